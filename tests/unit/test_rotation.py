"""Keys are exchanged beside running bots, and one that leaked is believed no more."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support import (
    BOT_ID,
    KEY,
    OTHER_KEY,
    Persistence,
    make_persistence,
    settled,
    state_of,
    update,
)

from ptb_s3 import Keyring
from ptb_s3._engine.repository import Repository
from ptb_s3._format import head as _head
from ptb_s3._format.committed import Identity
from ptb_s3._format.container import read_header
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import Head, Line, Writer
from ptb_s3._format.key_source import KeySource, SealedHeader, SealingKey
from ptb_s3._format.reader import Reader
from ptb_s3._format.sealer import Sealer
from ptb_s3._history.verify import verify_current, verify_history
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import UnknownKeyError

LEAKED, CURRENT = KEY, OTHER_KEY
BLOBS = {kind.value for kind in Kind}


class Service:
    """A key source of somebody's own, which knows nothing of history."""

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def sealing_key(self) -> SealingKey:
        return self._ring.sealing_key()

    def opening_key(self, header: SealedHeader) -> bytes:
        return self._ring.opening_key(header)


async def started(store: MemoryStore, keys: KeySource, **options: Any) -> Persistence:
    persistence = make_persistence(store, keyring=keys, **options)
    await state_of(persistence)
    return persistence


async def saves(persistence: Persistence, **bot_data: Any) -> None:
    await update(persistence, {"bot_data": bot_data})
    await settled(persistence)


def repository_of(persistence: Persistence) -> Repository:
    assert persistence._commits is not None
    return persistence._commits.repository


async def rotate(store: MemoryStore, keys: KeySource) -> None:
    """Do as ``ptb-s3 rotate`` does."""
    repository = Repository(store, keys)
    await repository.load()
    await repository.seal_anew(repository.written_kinds())


async def rotated() -> MemoryStore:
    """Return a store of two commits by the leaked key, all sealed anew by the current one."""
    store = MemoryStore()
    old = await started(store, Keyring(LEAKED))
    await saves(old, admin=1)
    await saves(old, admin=2)
    await old.flush()
    await rotate(store, Keyring(CURRENT, retired=[LEAKED]))
    return store


def forge(store: MemoryStore) -> None:
    """Put a head there that the leaked key seals; all that it takes stands in readable headers."""
    header, _ = read_header("head", store.current()["head"])
    sealer = Sealer(
        Keyring(LEAKED), level=3, clock=lambda: datetime.now(UTC), randomness=os.urandom
    )
    writer = Writer(header.writer, header.commit, header.revision)
    blob, _ = read_header("bot_data", store.current()["bot_data"])
    lines = tuple({one.line: Line(one.line, one.revision) for one in (header, blob)}.values())[::-1]
    base = Head(header.revision, header.commit, BOT_ID, writers=(writer,), lines=lines)
    head = _head.follow(
        base,
        {Kind.BOT_DATA: {0: pickle.dumps({"admin": 666}, 5)}},
        commit=sealer.new_commit(),
        writer=sealer.new_writer(),
        refs={},
        counts={Kind.BOT_DATA: 1},
    )
    store.replace("head", sealer.head(Identity(header.store, header.serializer), head)[1])


# A key that leaked --------------------------------------------------------------------------------


async def test_a_running_bot_does_not_believe_a_leaked_key() -> None:
    """What its finder writes is no commit: it is named, and what the bot has goes nowhere."""
    store = await rotated()
    bot = await started(store, Keyring(CURRENT, history=[LEAKED]))
    forge(store)
    live = await bot.get_bot_data()
    with pytest.raises(UnknownKeyError, match="opens nothing current") as caught:
        await bot.catch_up()
    assert caught.value.in_history
    assert "Everything that this bot has not saved is kept" in str(caught.value)
    await bot.refresh_bot_data(live)
    assert live == {"admin": 2}
    with pytest.raises(ExceptionGroup) as group:
        await saves(bot, admin=3)
    assert isinstance(group.value.exceptions[0], UnknownKeyError)


async def test_a_start_does_not_believe_a_leaked_key() -> None:
    """A bot does not start on what the finder of the key wrote; a retired key is believed."""
    store = await rotated()
    forge(store)
    with pytest.raises(UnknownKeyError, match="whoever has it may have written this"):
        await started(store, Keyring(CURRENT, history=[LEAKED]))
    believing = await started(store, Keyring(CURRENT, retired=[LEAKED]))
    assert await believing.get_bot_data() == {"admin": 666}


async def test_a_blob_by_a_leaked_key_is_not_believed_either() -> None:
    """Whichever current object it is."""
    store = MemoryStore()
    old = await started(store, Keyring(LEAKED))
    await saves(old, admin=1)
    await old.flush()
    blob = store.current()[Kind.BOT_DATA]
    await rotate(store, Keyring(CURRENT, retired=[LEAKED]))
    store.replace(Kind.BOT_DATA, blob)
    with pytest.raises(UnknownKeyError) as caught:
        await started(store, Keyring(CURRENT, history=[LEAKED]))
    assert (caught.value.object_name, caught.value.in_history) == ("bot_data", True)


async def test_history_is_gone_back_to_with_a_leaked_key() -> None:
    """A commit that the key sealed before it leaked is shown, and restored, as ever."""
    store = await rotated()
    bot = await started(store, Keyring(CURRENT, history=[LEAKED]), restore="1")
    assert await bot.get_bot_data() == {"admin": 1}
    keys = {read_header(name, body)[0].key for name, body in store.current().items()}
    assert keys == {CURRENT.id}
    with pytest.raises(UnknownKeyError, match="PTB_S3_HISTORY_KEYS will do"):
        await started(store, Keyring(CURRENT), restore="2")


async def test_a_source_of_somebodys_own_serves_both() -> None:
    """A key service that makes no difference needs no method for it."""
    store = await rotated()
    keys = Service(Keyring(CURRENT, retired=[LEAKED]))
    bot = await started(store, keys, restore="1")
    assert await bot.get_bot_data() == {"admin": 1}


async def test_verify_tells_current_from_older() -> None:
    """Older versions open with a key of history; a current one that it seals is reported."""
    store = await rotated()
    reader = Reader(Keyring(CURRENT, history=[LEAKED]))
    assert (await verify_history(store, reader, lambda *_: None)).findings == []
    forge(store)
    for report in (
        await verify_current(store, reader),
        await verify_history(store, reader, lambda *_: None),
    ):
        (finding,) = report.findings
        assert (finding.name, type(finding.error)) == ("head", UnknownKeyError)
        assert report.exit_code == UnknownKeyError.exit_code


# Beside running bots ------------------------------------------------------------------------------


async def test_a_bot_without_the_new_key_loses_nothing_where_keys_are_exchanged_again() -> None:
    """Its error says what is unsaved and how to save it; its next interval does, all of it."""
    store = MemoryStore()
    bot = await started(store, Keyring(KEY))
    await saves(bot, n=1)
    await rotate(store, Keyring(OTHER_KEY, retired=[KEY]))
    for n in (2, 3):
        with pytest.raises(ExceptionGroup) as caught:
            await update(bot, {"bot_data": {"n": n}, "user_data": {n: {"visits": n}}})
        (error,) = {*caught.value.exceptions}  # the same for each call
        assert isinstance(error, UnknownKeyError)
        assert "Everything that this bot has not saved is kept in its memory" in str(error)
        assert "ptb-s3 rotate --while-running" in str(error)
        assert f"key {OTHER_KEY.id} in PTB_S3_RETIRED_KEYS" in str(error)
    with pytest.raises(UnknownKeyError, match="--while-running"):
        await bot.flush()  # at a shutdown, too, and nothing is taken for saved
    await rotate(store, Keyring(KEY, retired=[OTHER_KEY]))
    await update(bot, {"user_data": {4: {"visits": 4}}})
    again = await started(store, Keyring(KEY))
    assert await again.get_bot_data() == {"n": 3}
    assert await again.get_user_data() == {n: {"visits": n} for n in (2, 3, 4)}


async def test_a_command_says_nothing_of_what_it_keeps() -> None:
    """It keeps nothing: a key that it lacks is to be given to it."""
    store = MemoryStore()
    await saves(await started(store, Keyring(KEY)), n=1)
    command = Repository(store, Keyring(KEY))
    await command.load()
    await rotate(store, Keyring(OTHER_KEY, retired=[KEY]))
    with pytest.raises(UnknownKeyError, match="Put that key into PTB_S3_RETIRED_KEYS"):
        await command.commit_only({Kind.BOT_DATA: {0: b"x"}})


async def test_two_bots_in_a_rotation_do_not_take_turns_at_the_blobs() -> None:
    """Each would take the other's key for the retired one, and write all blobs anew each time."""
    store = MemoryStore()
    before = await started(store, Keyring(KEY, retired=[OTHER_KEY]))
    await saves(before, n=0)
    await before.flush()
    instances = [before, await started(store, Keyring(OTHER_KEY, retired=[KEY]))]
    for n in range(1, 13):
        await saves(instances[n % 2], n=n)
    blobs = [call for call in store.calls if call.operation == "put" and call.name in BLOBS]
    assert len(blobs) == 2  # the flush's, and that of the one which had met nobody yet
    assert await (await started(store, Keyring(KEY, [OTHER_KEY]))).get_bot_data() == {"n": 12}
