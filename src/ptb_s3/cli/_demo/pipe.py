"""Protocol between the demo and its processes: one JSON object a line, there and back.

demo     -> {"do": "update", "update": {...}}     standard input
process  <- {"sent": [...]}                       standard output, one answer to each command
or {"error": "UnknownKeyError", "text": "..."}
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ptb_s3.errors import PersistenceError

Json = dict[str, Any]


async def commands() -> AsyncIterator[Json]:
    """Yield the commands of standard input, and end the process where the input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)
    os._exit(1)  # whoever started us is gone; there is nobody left to work for


def answer(**fields: object) -> None:
    """Answer a command with the fields of a JSON object."""
    sys.stdout.write(json.dumps(fields, default=_plain) + "\n")
    sys.stdout.flush()


def refuse(error: BaseException) -> None:
    """Answer a command with an error: the name of its class, and its text."""
    answer(error=type(error).__name__, text=str(error))


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a process to its end and exit, answering the last command with an error of ours."""

    async def to_the_end() -> int:
        try:
            await main()
        except PersistenceError as error:
            refuse(error)
            return error.exit_code
        return 0

    sys.exit(asyncio.run(to_the_end()))


def _plain(value: object) -> object:
    """Return the JSON form of a dataclass, as which the bot keeps teas and orders."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} is nothing that is sent here")
