"""What is written can be read: limits of pages, and objects that are opened before they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import BOT_ID, KEY

from ptb_s3._engine.repository import Repository
from ptb_s3._format import entities, head_pages, segments
from ptb_s3._format.entities import MAX_ENTRIES, Kind, Resolution, encode_segment, fault_of
from ptb_s3._format.head import Head, follow
from ptb_s3._format.head_pages import decode, encode
from ptb_s3._format.key_source import SealingKey
from ptb_s3._format.unsealer import Unsealer
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError, UnreadableError

USER = Kind.USER_DATA
KEY_ID, WRITER = "0123456789abcdef", "fedcba9876543210"


async def opened(store: MemoryStore, keys: Any = None, **options: Any) -> Repository:
    repository = Repository(
        store, keys or Keyring(KEY), bot=BOT_ID, serializer="pickle5", **options
    )
    await repository.load()
    return repository


def committed_head(head: Head, changed: dict[Any, bytes | None]) -> tuple[Head, list[bytes]]:
    following = follow(head, {USER: changed}, commit="c", writer=WRITER, refs={})
    return encode(following, lambda page: page, KEY_ID)


@pytest.mark.parametrize("each", [60_000, 2_000])
def test_many_small_changes_stay_within_what_a_reader_takes(each: int) -> None:
    """Deletions, and users without data, fill pages by their number and not by their size."""
    head = Head(revision=0, commit="", bot=1)
    frames: list[bytes] = []
    for at in range(0, 60_000, each):
        changed = dict.fromkeys(range(at, at + each), None if at % 4 else b"\x80\x05}.")
        head, frames = committed_head(head, {**changed})
    read = decode(iter(frames), revision=head.revision, commit="c", count=head.entries)
    assert read.parts[USER].differential == head.parts[USER].differential
    assert max(len(page.entries) for page in head.parts[USER].full) <= MAX_ENTRIES


@given(st.lists(st.tuples(st.integers(0, 40), st.none() | st.binary(max_size=40)), max_size=60))
def test_any_history_of_changes_is_read_as_it_was(history: list[tuple[int, bytes | None]]) -> None:
    """With pages of a few entries, so that they fill and are merged all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_pages, "PAGE", 150)
        patch.setattr(entities, "MAX_ENTRIES", 9)
        head = Head(revision=0, commit="", bot=1)
        for key, value in history:
            head, frames = committed_head(head, {key: value, key + 100: None})
            read = decode(iter(frames), revision=head.revision, commit="c", count=head.entries)
            assert read.parts[USER].differential == head.parts[USER].differential
            assert all(len(page.entries) <= 9 for page in head.parts[USER].full)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (USER, "1"),
        (USER, 2**70),
        (USER, None),
        (Kind.CALLBACK_DATA, ("k", "\ud800")),
        (Kind.CONVERSATIONS, ("name", (1, "\udfff"))),
        (Kind.CONVERSATIONS, ("name", (1, None))),
        (Kind.CONVERSATIONS, ("x" * entities.MAX_ENTITY, (1,))),
    ],
)
def test_a_key_that_no_reader_takes_is_found_out_alone(kind: Kind, key: object) -> None:
    """Before it gets into a commit, which would be refused as a whole."""
    assert fault_of(kind, key, b"") is not None


def test_a_value_is_measured_with_its_key() -> None:
    """An entity that just fits does so with its key."""
    name = "x" * 1000
    room = entities.MAX_ENTITY - len(name) - 9
    assert fault_of(Kind.CONVERSATIONS, (name, (1,)), bytes(room)) is None
    assert fault_of(Kind.CONVERSATIONS, (name, (1,)), bytes(room + 1)) is not None


async def test_what_is_too_large_once_merged_is_left_out_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each side's value fits, and both together do not: all others are committed."""
    monkeypatch.setattr(entities, "MAX_ENTITY", 100)
    store = MemoryStore()

    def join(_: Kind, __: Any, ___: Any, ours: Any, theirs: Any) -> Resolution:
        return Resolution(theirs + ours)

    one, other = await opened(store), await opened(store, resolve=join)
    one.stage(USER, 1, b"t" * 60)
    await one.commit()
    other.stage(USER, 1, b"o" * 60)
    other.stage(USER, 2, b"2")
    await other.commit()
    (fault,) = other.take_faults()
    assert (fault.kind, fault.key) == ("user_data", 1)
    assert isinstance(fault, ConflictError)
    assert (await opened(store)).staged.entities(USER) == {1: b"t" * 60, 2: b"2"}


class Forgets:
    """A key source that cannot open what it has sealed."""

    def __init__(self) -> None:
        self.key = Key(bytes(32))

    def sealing_key(self) -> SealingKey:
        return SealingKey(self.key.id, self.key.seal_key)

    def opening_key(self, _: object) -> bytes:
        return bytes(32)


async def test_what_no_reader_opens_is_not_sent() -> None:
    """A key source of one's own that does not open what it sealed: nothing is sent, all is kept."""
    store = MemoryStore()
    repository = await opened(store, Forgets())
    repository.stage(USER, 1, b"1")
    with pytest.raises(UnreadableError, match="was not sent"):
        await repository.commit()
    assert repository.dirty
    assert store.current() == {}


async def test_a_page_that_no_reader_takes_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the writer to fill a page too far, nobody would be told that it is durable."""
    store = MemoryStore()
    repository = await opened(store)
    repository.stage(USER, 0, b"0")
    await repository.commit()
    monkeypatch.setattr(entities, "_ENTRY_OVERHEAD", 0)  # so that pages do not end
    for number in range(MAX_ENTRIES + 1):
        repository.stage(USER, number, b"")
    with pytest.raises(UnreadableError, match="not as the format says"):
        await repository.commit()
    assert len(repository.staged.dirty[USER]) == MAX_ENTRIES + 1
    assert (await opened(store)).staged.entities(USER) == {0: b"0"}


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (lambda _: b"\xc1", "a segment is not as the format says"),
        (lambda entries: encode_segment(entries[::-1]), "the keys of a segment do not ascend"),
        (lambda entries: encode_segment(entries[:1]), "a segment is not what its index says"),
    ],
)
async def test_a_blob_that_no_reader_takes_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, segment: Callable[[Any], bytes], reason: str
) -> None:
    """The differential holds all that the blob would have, so that nothing is lost."""
    store = MemoryStore()
    repository = await opened(store)
    repository.stage(USER, 1, b"1")
    repository.stage(USER, 2, b"2")
    await repository.commit()
    monkeypatch.setattr(segments, "encode_segment", segment)
    with pytest.raises(UnreadableError, match=f"user_data.*{reason}"):
        await repository.compact(USER)
    assert USER not in store.current()
    assert (await opened(store)).staged.entities(USER) == {1: b"1", 2: b"2"}


async def test_frames_that_are_carried_along_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full page goes into every head as it is; if it got there otherwise, nothing is sent."""
    monkeypatch.setattr(head_pages, "PAGE", 500)
    store = MemoryStore()
    repository = await opened(store)
    for number in range(40):
        repository.stage(USER, number, b"%40d" % number)
        await repository.commit()
    full = repository.base.head.parts[USER].full
    assert full
    frames = Unsealer.frames

    def garbled(self: Unsealer) -> Any:
        for frame in frames(self):
            yield (
                frame
                if bytes(frame) != full[0].frame
                else bytes(frame[:-1]) + bytes([frame[-1] ^ 1])
            )

    monkeypatch.setattr(Unsealer, "frames", garbled)
    repository.stage(USER, 1, b"more")
    with pytest.raises(UnreadableError, match="not those that were sealed"):
        await repository.commit()
