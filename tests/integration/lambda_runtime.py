"""As much of AWS Lambda's runtime as a handler sees of it: a program for `test_lambda`.

    python -m tests.integration.lambda_runtime handler.answer

It imports the handler, and calls it with one event after another: a line of JSON each, from
standard input, with the seconds that the invocation may take. What comes out are lines of JSON too:
one when the handler is imported, and one for each event.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any, NamedTuple


class Context(NamedTuple):
    """What there is to know of an invocation."""

    deadline: float

    def get_remaining_time_in_millis(self) -> int:
        return int((self.deadline - time.monotonic()) * 1000)


def main(handler: str) -> None:
    clock = time.monotonic
    begun = clock()
    module, name = handler.rsplit(".", 1)
    answer = getattr(importlib.import_module(module.replace("/", ".")), name)
    _write({"seconds": clock() - begun, "cpu": time.process_time()})
    for line in sys.stdin:
        begun, given = clock(), json.loads(line)
        cpu = time.process_time()
        answered = answer(given["event"], Context(begun + given["seconds"]))
        _write({"answered": answered, "seconds": clock() - begun, "cpu": time.process_time() - cpu})


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
