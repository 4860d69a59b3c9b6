"""Run sessions that kill themselves with SIGKILL at storage call N: a program for `test_kill`.

Each runs in a process of its own, forked before any event loop or thread exists, so that the
second of imports is paid once. Prints one line of JSON for each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aioboto3  # noqa: F401 - imported once, before the forks
from tests.support import StoreAround, make_persistence, state_of
from tests.support.session import EAGER, STEPS, Session, state_after

from ptb_s3._format import head
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Fetched, Store, Written
from ptb_s3._storage.s3 import S3Store

MAX_CALLS = 100
_T = TypeVar("_T")


class LethalStore(StoreAround):
    """A store that kills its process at one of its calls, before or after it took effect."""

    def __init__(self, store: Store, number: int, when: str) -> None:
        super().__init__(store)
        self._number, self._when = number, when
        self._calls = 0

    async def get(self, name: str, **options: Any) -> Fetched | None:
        return await self._call(lambda: super(LethalStore, self).get(name, **options))

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        return await self._call(lambda: super(LethalStore, self).put(name, body, if_match=if_match))

    async def _call(self, call: Callable[[], Awaitable[_T]]) -> _T:
        self._calls += 1
        fatal = self._calls == self._number
        if fatal and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return await call()
        finally:  # to be told no is an answer, too
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)


def store_for(bucket: str, endpoint: str, number: int, when: str) -> S3Store:
    return S3Store(bucket, f"{when}-{number}/", endpoint_url=endpoint)


def in_child(work: Callable[[Callable[[str], None]], None]) -> tuple[int, list[str]]:
    """Run work in a forked process; return how it ended and the lines that it reported."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        work(lambda line: _write(writer, line))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        reported = lines.read().splitlines()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), reported


def _write(writer: int, line: str) -> None:
    os.write(writer, f"{line}\n".encode())


def session(store: Store, report: Callable[[str], None]) -> None:
    head.COMPACTION_SLACK = EAGER
    asyncio.run(Session(store, report).run())


def survey(store: Store, report: Callable[[str], None]) -> None:
    async def find() -> None:
        persistence = make_persistence(store)
        found = await state_of(persistence, "order")
        await persistence.flush()
        steps = [step for step in range(STEPS + 1) if state_after(step) == found]
        report(str(steps[0] if steps else None))

    asyncio.run(find())


def main(bucket: str, endpoint: str) -> None:
    for when in ("before", "after"):
        for number in range(1, MAX_CALLS):
            store = store_for(bucket, endpoint, number, when)
            lethal = LethalStore(store, number, when)
            ended, lines = in_child(lambda report, s=lethal: session(s, report))  # type: ignore[misc]  # s is bound
            _, found = in_child(lambda report, s=store: survey(s, report))  # type: ignore[misc]  # as above
            sys.stdout.write(json.dumps([when, number, ended, lines, found]) + "\n")
            sys.stdout.flush()
            if ended == 0:
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
