"""Erasures: who is covered, until when, and what the record gives away."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import KEY, opened
from tests.unit.test_repository import USER, committed

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._format.erasure import Erasures, subjects
from ptb_s3._format.reader import Reader
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.memory import MemoryStore

SECRET = bytes(range(32))
MALLORY = 987_654_321


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        (Kind.USER_DATA, 5, (5,)),
        (Kind.CHAT_DATA, -100, (-100,)),
        (Kind.BOT_DATA, 0, ()),
        (Kind.CALLBACK_DATA, ("k", "5"), ()),
        (Kind.CONVERSATIONS, ("order", (5, -100, "inline")), (5, -100)),
    ],
)
def test_whose_an_entity_is(kind: Kind, key: Any, expected: tuple[int, ...]) -> None:
    """Users and chats are known by their keys, conversations by each number in theirs."""
    assert tuple(subjects(kind, key)) == expected


def test_an_erasure_covers_what_came_before_it() -> None:
    """An entity is covered in every older state, and not in those since."""
    erasures = Erasures(SECRET, {}).adding(5, revision=10)
    assert erasures.cover(USER, 5, 9)
    assert not erasures.cover(USER, 5, 10)
    assert not erasures.cover(USER, 6, 9)
    assert erasures.cover(Kind.CONVERSATIONS, ("order", (1, 5)), 3)


def test_an_erasure_can_be_renewed() -> None:
    """Who comes back and is erased again is covered until the later time, and stands there once."""
    erasures = Erasures(SECRET, {}).adding(5, revision=10).adding(5, revision=20)
    assert erasures.cover(USER, 5, 15)
    assert len(erasures.revisions) == 1


def test_digests_depend_on_the_secret() -> None:
    """Without a store's secret, a digest cannot be looked up in a table of ids."""
    assert Erasures(SECRET, {}).digest(5) != Erasures(bytes(32), {}).digest(5)
    assert "secret" not in repr(Erasures(SECRET, {}))


async def with_mallory(store: MemoryStore) -> Repository:
    """Mallory is in a blob, in a differential, in a chat and in a conversation."""
    repository = await opened(store)
    await committed(repository, u1=b"one", **{f"u{MALLORY}": b"old"})
    await repository.compact(USER)
    repository.stage(Kind.CHAT_DATA, MALLORY, b"chat")
    repository.stage(Kind.CONVERSATIONS, ("order", (MALLORY, MALLORY)), b"2")
    await committed(repository, u1=b"uno", **{f"u{MALLORY}": b"new"})
    return repository


async def erased(store: MemoryStore) -> Repository:
    repository = await opened(store)
    await repository.erase(MALLORY)
    await repository.seal_anew(repository.written_kinds())
    return repository


def opened_pages(body: bytes, name: str) -> str:
    return repr(Reader(Keyring(KEY)).open(name, body))


async def test_the_erased_is_gone_from_everything_current() -> None:
    """After an erasure no current object names the erased, not even as deleted."""
    store = MemoryStore()
    await with_mallory(store)
    assert str(MALLORY) in opened_pages(store.current()["head"], "head")
    await erased(store)
    for name, body in store.current().items():
        assert str(MALLORY) not in opened_pages(body, name)
    again = await opened(store)
    assert again.staged.entities(USER) == {1: b"uno"}
    assert again.staged.entities(Kind.CHAT_DATA) == again.staged.entities(Kind.CONVERSATIONS) == {}


@pytest.mark.parametrize("revision", ["1", "2"])
async def test_an_older_state_comes_back_without_the_erased(revision: str) -> None:
    """Whatever is restored after an erasure leaves the erased out, of blob and differential."""
    store = MemoryStore()
    await with_mallory(store)
    await erased(store)
    repository = await opened(store)
    await repository.restore(RestorePoint.parse(revision))
    again = await opened(store)
    assert again.staged.entities(USER) == {1: b"one" if revision == "1" else b"uno"}
    assert again.staged.entities(Kind.CHAT_DATA) == again.staged.entities(Kind.CONVERSATIONS) == {}


async def test_who_comes_back_is_kept() -> None:
    """Data saved after the erasure is new, and a state since then brings it back."""
    store = MemoryStore()
    await with_mallory(store)
    repository = await erased(store)
    await committed(repository, **{f"u{MALLORY}": b"back"})
    later = repository.revision
    await committed(repository, u1=b"eins", **{f"u{MALLORY}": b"later"})
    again = await opened(store)
    await again.restore(RestorePoint.parse(str(later)))
    assert again.staged.entities(USER) == {1: b"uno", MALLORY: b"back"}


async def test_a_later_commit_keeps_the_record() -> None:
    """Every writer carries erasures along, under the secret that they began with."""
    store = MemoryStore()
    await with_mallory(store)
    first = (await erased(store)).base.head.erasures
    other = await opened(store)
    await committed(other, u7=b"x")
    await other.erase(7)
    erasures = (await opened(store)).base.head.erasures
    assert first is not None
    assert erasures is not None
    assert erasures.secret == first.secret
    assert set(erasures.revisions) == {erasures.digest(MALLORY), erasures.digest(7)}


async def test_an_erasure_broken_off_is_finished_by_another() -> None:
    """Wherever an erasure ends, between its commit and the last object, it can be gone on with."""
    for calls in range(1, 12):
        store = MemoryStore()
        await with_mallory(store)
        repository = await opened(store)
        limit = len(store.calls) + calls

        def dead(call: Any, limit: int = limit) -> None:
            if call.number > limit:
                raise KeyboardInterrupt

        store.faults = dead
        try:
            await repository.erase(MALLORY)
            await repository.seal_anew(repository.written_kinds())
        except KeyboardInterrupt:
            pass
        store.faults = lambda _: None
        await erased(store)
        for name, body in store.current().items():
            assert str(MALLORY) not in opened_pages(body, name)
        assert (await opened(store)).staged.entities(USER) == {1: b"uno"}


async def test_the_record_holds_no_id() -> None:
    """The head's own record of an erasure is a hash."""
    store = MemoryStore()
    await with_mallory(store)
    await erased(store)
    head = (await opened(store)).base.head
    assert head.erasures is not None
    (digest,) = head.erasures.revisions
    assert len(digest) == 16
    assert str(MALLORY).encode() not in digest
