"""Who is a writer: one run of one process."""

from __future__ import annotations

import itertools
import os
import sys
from types import ModuleType
from typing import Any, cast

import pytest
from tests.support import BOT_ID, KEY, StoreAround

from ptb_s3._engine import run as _run
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.run import Run
from ptb_s3._format.entities import Kind, Resolution, Resolve
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Written
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError

USER = Kind.USER_DATA


def a_run() -> Run:
    numbers = itertools.count()
    return Run(lambda: f"writer {next(numbers)}")


def test_an_id_is_drawn_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded before a fork, parent and child go by two ids; so does a parent that committed."""
    run = a_run()
    monkeypatch.setattr(os, "getpid", lambda: 77)
    assert run.writer == "writer 0"
    run.note_commit("writer 0")
    assert (run.writer, run.begins_line) == ("writer 0", False)
    monkeypatch.setattr(os, "getpid", lambda: 78)
    assert (run.writer, run.begins_line) == ("writer 1", True)


def test_a_resume_from_a_snapshot_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda's runtime hook tells of it, where it is there."""
    hooks: list[Any] = []
    module = ModuleType("snapshot_restore_py")
    vars(module)["register_after_restore"] = hooks.append
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", module)
    monkeypatch.setattr(_run, "find_spec", lambda name: name == "snapshot_restore_py" or None)
    _run.notice_resumes.cache_clear()
    _run.notice_resumes()
    _run.notice_resumes()
    run = a_run()
    before = run.writer
    (hook,) = hooks
    hook()
    assert run.writer != before
    _run.notice_resumes.cache_clear()


class Add:
    """Adds up what both sides counted, and says whose value was whose."""

    def __call__(
        self, _: Kind, __: Any, base: bytes | None, ours: bytes | None, theirs: bytes | None
    ) -> Resolution:
        return Resolution(b"%d" % (int(ours or 0) + int(theirs or 0) - int(base or 0)))


class LosesReplies(StoreAround):
    """A store whose answer to a PUT is lost, after somebody else has done something."""

    meanwhile: Any = None

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        written = await super().put(name, body, if_match=if_match)
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            await act()
            raise StorageUnavailableError("The answer was lost.")
        return written


async def opened(store: Any, *writers: str) -> Repository:
    ids = iter(writers)

    def randomness(count: int) -> bytes:
        return bytes.fromhex(next(ids)) if count == 8 else os.urandom(count)

    repository = Repository(
        store,
        Keyring(KEY),
        bot=BOT_ID,
        serializer="pickle5",
        resolve=cast("Resolve", Add()),
        randomness=randomness,
    )
    await repository.load()
    return repository


async def test_two_processes_of_one_id_do_not_take_each_other_for_themselves() -> None:
    """Clones that nobody could tell apart: a lost reply is settled by the commit, not the id."""
    store = LosesReplies(MemoryStore())
    first = await opened(store, "11" * 8)
    first.stage(USER, 1, b"0")
    await first.commit()
    one = await opened(store, "22" * 8, "33" * 8, "44" * 8)
    other = await opened(store, "22" * 8, "55" * 8, "66" * 8)

    async def meanwhile() -> None:
        other.stage(USER, 1, b"1")
        await other.commit()

    store.meanwhile = meanwhile
    one.stage(USER, 1, b"1")
    await one.commit()
    assert other.staged.get(USER, 1) == b"2"
    one.stage(USER, 2, b"5")
    await one.commit()
    fresh = await opened(store, "77" * 8)
    assert fresh.staged.entities(USER) == {1: b"2", 2: b"5"}
