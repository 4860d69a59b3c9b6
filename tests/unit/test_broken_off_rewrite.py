"""A rewrite of a lost state that breaks off, before what was lost is put right by other means."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import opened

from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind, Resolution
from ptb_s3._storage.faults import Call, Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError

USER = Kind.USER_DATA


def ours(_: Any, __: Any, ___: bytes | None, own: bytes | None, ____: bytes | None) -> Resolution:
    return Resolution(own)


def no_blob(call: Call) -> Fault | None:
    return Fault.FAIL_BEFORE if (call.operation, call.name) == ("put", USER) else None


async def test_a_bot_saves_again_once_the_lost_state_is_put_back() -> None:
    """The object that was to be replaced is no blob that the next head may name."""
    store = MemoryStore()
    bot = await opened(store, resolve=ours, rewrites_lost=True)
    bot.stage(USER, 1, b"one")
    await bot.commit()
    await bot.compact(USER)
    await bot.commit(publish=True)
    before = store.current()
    store.lose(HEAD)
    store.replace(USER, b"<html>no</html>")
    store.faults = no_blob
    bot.stage(USER, 2, b"two")
    with pytest.raises(StorageUnavailableError):
        await bot.commit()
    store.faults = lambda _: None
    for name in (HEAD, USER):
        store.replace(name, before[name])
    await bot.commit()
    assert (await opened(store)).base.entities[USER] == {1: b"one", 2: b"two"}
