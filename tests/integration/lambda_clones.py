"""Clones of one snapshot, as AWS Lambda SnapStart makes them: a program for `test_lambda_starts`.

    python -m tests.integration.lambda_clones shop.bot:build

It makes the handler, as the start phase does, and forks into two processes. A fork tells that it is
one, and a clone of a machine does not: so each is given the process id and the state of `random`
that the snapshot has. Then what was registered for the resume is run.

A line of JSON from standard input has the number of a clone and an event for it. What comes out are
lines of JSON, too: one when there is a snapshot, and one for each event.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.integration.lambda_runtime import Context

from ptb_s3.hosts.aws_lambda import handler_for

# Untyped, and a part of the runtimes that have SnapStart.
HOOKS: Any = import_module("awslambdaric.lambda_runtime_hooks_runner")
CLONES = 2
SECONDS = 30.0
"""What an invocation may take."""


def main(build: str) -> None:
    answer = handler_for(build)
    HOOKS.run_before_snapshot()
    _write({"snapshot": os.getpid()})
    ends: list[int] = []
    for number in range(CLONES):
        reading, writing = os.pipe()
        ends.append(writing)
        if not _forked():
            for end in ends:
                os.close(end)
            with os.fdopen(reading) as lines:
                for line in lines:
                    _write({"clone": number, "answered": answer(json.loads(line), _context())})
            os._exit(0)
        os.close(reading)
    for line in sys.stdin:
        given = json.loads(line)
        os.write(ends[given["clone"]], json.dumps(given["event"]).encode() + b"\n")


def _forked() -> bool:
    """Make a clone, and tell whether this is still the process that it was made of."""
    process, state = os.getpid(), random.getstate()
    if os.fork():
        return True
    same: Callable[[], int] = lambda: process  # noqa: E731 - in the place of a built-in function
    os.getpid = same
    random.setstate(state)
    HOOKS.run_after_restore()
    return False


def _context() -> Any:
    return Context(time.monotonic() + SECONDS)


def _write(line: dict[str, Any]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")  # in one piece


if __name__ == "__main__":
    main(*sys.argv[1:])
