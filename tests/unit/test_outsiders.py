"""Outsiders who copy, put back, delete and garble objects under a running bot."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest
from tests import support

from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD, read_header
from ptb_s3._format.entities import Entities, Kind, Resolution, Resolve
from ptb_s3._storage.faults import Call, Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    ConflictError,
    HeadLostError,
    NoConditionalPutError,
    StorageUnavailableError,
)

USER = Kind.USER_DATA


def ours_wins(_: Kind, __: Any, ___: Any, ours: bytes | None, ____: Any) -> Resolution:
    return Resolution(ours, 1, contested=True)


async def opened(store: MemoryStore, **options: Any) -> Repository:
    return await support.opened(store, **{"resolve": cast("Resolve", ours_wins), **options})


async def committed(repository: Repository, **users: bytes | None) -> None:
    for name, value in users.items():
        repository.stage(USER, int(name[1:]), value)
    await repository.commit()


async def saved(store: MemoryStore) -> Entities:
    return (await opened(store)).staged.entities(USER)


async def test_head_copied_onto_itself_is_no_other_commit() -> None:
    """Another storage class, another key of the storage's: the ETag is new, the commit is not."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1")
    store.replace(HEAD, store.current()[HEAD])
    await committed(repository, u1=b"2")
    assert repository.counters.conflicts == 0
    assert await saved(store) == {1: b"2"}
    # Whoever put it back may have put it back from behind others.
    assert [line.revision for line in repository.base.head.lines] == [1, 2]


@pytest.mark.parametrize(
    ("harm", "said"),
    [("older", "revision 1 again"), ("gone", "it is gone"), ("garbage", "it is damaged")],
)
async def test_a_head_that_is_lost_is_said_and_followed_once_it_is_there(
    harm: str, said: str
) -> None:
    """All that is unsaved is kept, nothing is overwritten, and the bot goes on by itself."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1")
    older = store.current()[HEAD]
    await committed(repository, u1=b"2", u2=b"2")
    newest = store.current()[HEAD]
    if harm == "gone":
        store.lose(HEAD)
    else:
        store.replace(HEAD, older if harm == "older" else b"garbage")
    there = store.current()
    for value in (b"3", b"4"):
        with pytest.raises(HeadLostError, match=said) as caught:
            await committed(repository, u1=value)
        assert "1 unsaved changes are kept" in str(caught.value)
    with pytest.raises(HeadLostError):
        await repository.sync()
    assert store.current() == there
    store.replace(HEAD, newest)
    await repository.commit()
    assert await saved(store) == {1: b"4", 2: b"2"}


async def test_a_first_commit_whose_answer_was_lost_leaves_no_new_store() -> None:
    """Another writer has gone on from it when it is found; then head is deleted by somebody."""
    store, probed = MemoryStore(), 0

    def lose_answers(call: Call) -> Fault | None:
        nonlocal probed
        if call.operation == "put":
            probed += 1
            return Fault.FAIL_AFTER if probed == 2 else None
        return Fault.FAIL_BEFORE if probed == 2 else None

    bot = await opened(store)
    store.faults = lose_answers
    with pytest.raises(StorageUnavailableError):
        await committed(bot, u1=b"1")
    store.faults = lambda _: None
    await committed(await opened(store), u2=b"2")
    await bot.sync()
    assert bot.revision == 1
    store.lose(HEAD)
    with pytest.raises(HeadLostError, match="it is gone"):
        await committed(bot, u3=b"3")
    assert store.current() == {}


async def test_what_an_operator_restored_is_followed_with_what_is_unsaved_on_top() -> None:
    """It is a new commit on the older state; what that had not is gone, and said to be."""
    store = MemoryStore()
    bot = await opened(store)
    await committed(bot, u1=b"1", u2=b"1")
    point = store.current()
    await committed(bot, u1=b"2", u3=b"3")
    await bot.compact(USER)
    await committed(bot, u2=b"2")
    for name, body in point.items():
        store.replace(name, body)
    store.lose(USER)
    with pytest.raises(HeadLostError):
        await committed(bot, u4=b"4")
    operator = await opened(store)
    await committed(operator, u5=b"5")
    await bot.commit()
    assert await saved(store) == {1: b"1", 2: b"1", 4: b"4", 5: b"5"}
    assert bot.staged.seen(USER, 1) == b"2"  # what the caller holds is known to be overtaken


async def test_words_of_a_branch_that_was_given_up_do_not_get_into_values() -> None:
    """A bare value refers to words by number, which are others on the branch gone on from."""
    store = MemoryStore()
    bot = await opened(store)
    await committed(bot, u1=b"\x80\x05N.")
    point = store.current()
    bot.suggest(["balance"])
    await committed(bot, u1=b"\x80\x05K\x01.")
    bare = b"}h\x03K\x05s"  # {word 3: 5}
    await committed(bot, u2=bare)
    for name, body in point.items():
        store.replace(name, body)
    with pytest.raises(HeadLostError):
        await committed(bot, u3=bare)
    operator = await opened(store)
    operator.suggest(["email"])
    await committed(operator, u5=b"\x80\x05N.")
    await bot.commit()
    assert bot.words == ("email",)
    assert b"balance" in (await saved(store))[3]
    seen = bot.staged.seen(USER, 2)
    assert seen is not None
    assert b"balance" in seen


@pytest.mark.parametrize("harm", ["older", "gone", "garbage", "other store's"])
async def test_a_blob_that_is_lost_is_written_anew_from_memory(
    harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Head is as it was, and all of it is in memory: that is no reason to stop, but to say so."""
    store, other = MemoryStore(), MemoryStore()
    stranger = await opened(other)
    await committed(stranger, u9=b"9")
    await stranger.compact(USER)
    bot = await opened(store)
    await committed(bot, u1=b"1")
    await bot.compact(USER)
    older = store.current()[USER]
    await committed(bot, u1=b"2")
    await bot.compact(USER)
    await committed(bot, u2=b"2")
    bodies = {"older": older, "garbage": b"garbage", "other store's": other.current()[USER]}
    store.lose(USER)
    if harm != "gone":
        store.replace(USER, bodies[harm])
    with caplog.at_level(logging.WARNING, "ptb_s3"):
        await bot.compact(USER)
    assert "written anew" in caplog.text
    assert read_header(USER, store.current()[USER])[0].revision == 3
    assert await saved(store) == {1: b"2", 2: b"2"}


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("published", [True, False])
async def test_a_blob_that_stayed_when_head_alone_was_put_back_is_written_anew(
    *, running: bool, published: bool
) -> None:
    """Its revision is above head's, and of no commit that is not seen yet: head is as it was."""
    store = MemoryStore()
    bot = await opened(store)
    await committed(bot, u1=b"1")
    point = store.current()[HEAD]
    for number in range(6):
        await committed(bot, u1=b"given up %d" % number)
    await bot.compact(USER)
    if published:
        await bot.commit(publish=True)
    store.replace(HEAD, point)
    if running:
        with pytest.raises(HeadLostError):
            await committed(bot, u2=b"2")
    operator = await opened(store)
    await committed(operator, u2=b"2")
    if running:
        await bot.commit()
        operator = bot
    assert operator.due() == [USER]
    await operator.compact(USER)
    assert operator.due() == []
    await operator.commit(publish=True)
    assert read_header(USER, store.current()[USER])[0].revision < bot.revision
    assert await saved(store) == {1: b"1", 2: b"2"}


async def test_a_blob_is_left_alone_where_head_has_changed_as_well() -> None:
    """Somebody has put the whole store back: ours is not to be mixed into that."""
    store = MemoryStore()
    bot = await opened(store)
    await committed(bot, u1=b"1")
    await bot.compact(USER)
    await bot.commit(publish=True)
    point = store.current()
    await committed(bot, u1=b"2")
    await bot.compact(USER)
    await bot.commit(publish=True)
    await committed(bot, u1=b"3")
    for name, body in point.items():
        store.replace(name, body)
    before = store.current()
    with pytest.raises(ConflictError, match="left as it is"):
        await bot.compact(USER)
    assert store.current() == before


async def test_a_late_blob_of_ours_does_not_replace_the_one_that_their_head_names() -> None:
    """While ours was made, head went on to one whose blob is newer: that one is looked at first."""
    store = MemoryStore()
    meanwhile: list[Any] = []

    async def slowly(work: Any, *args: Any) -> Any:
        made = work(*args)
        while meanwhile:
            await meanwhile.pop()
        return made

    one, late = await opened(store), await opened(store, offload_blobs=slowly)
    await committed(one, u1=b"1")
    await one.compact(USER)
    await one.commit(publish=True)
    await committed(late, u2=b"2")

    async def go_on() -> None:
        await committed(one, u3=b"3")
        await one.compact(USER)
        await one.commit(publish=True)
        await late.sync()

    meanwhile.append(go_on())
    named = one.base
    await late.compact(USER)
    assert store.current()[USER]
    header, _ = read_header(USER, store.current()[USER])
    ref = named.head.parts[USER].ref
    assert ref is not None
    assert (header.revision, header.commit) == (ref.revision, ref.commit)
    assert late.base.blobs[USER].ref == ref
    assert await saved(store) == {1: b"1", 2: b"2", 3: b"3"}


async def test_a_late_blob_of_ours_is_not_written_where_head_has_gone_on() -> None:
    """Head is taken over while the late one looks: what it saw before is no answer any more."""
    store = MemoryStore()
    one, late = await opened(store), await opened(store)
    await committed(one, u1=b"1")
    await late.sync()
    await committed(one, u2=b"2")
    await one.compact(USER)
    await one.commit(publish=True)
    get = store.get

    async def get_late(name: str, **options: Any) -> Any:
        if name == HEAD:
            store.get = get  # type: ignore[method-assign]  # once
            await late.sync()
        return await get(name, **options)

    store.get = get_late  # type: ignore[method-assign]  # while the late one looks
    await late.compact(USER)
    assert late.revision == one.revision
    assert read_header(USER, store.current()[USER])[0].revision == 2
    assert await saved(store) == {1: b"1", 2: b"2"}


async def test_two_winners_are_told_from_a_conflict() -> None:
    """The storage let two conditional writers win: an acknowledged commit was overwritten."""
    store = MemoryStore()
    one = await opened(store)
    await committed(one, u1=b"0")
    other = await opened(store)
    await committed(other, u1=b"0", u2=b"0")
    await one.sync()
    both = dict(store._current)
    await committed(one, u1=b"1")
    store._current = both  # as if the two had been taken at once
    await committed(other, u2=b"2")
    written = store.current()
    for value in (b"3", b"4"):
        with pytest.raises(NoConditionalPutError, match="two writers win") as caught:
            await committed(one, u3=value)
        assert "doctor" in str(caught.value)
    assert store.current() == written
    await committed(other, u2=b"5")
    with pytest.raises(NoConditionalPutError, match="two writers win"):
        await committed(one, u3=b"6")
    assert await saved(store) == {1: b"0", 2: b"5"}


async def test_two_winners_are_told_where_one_has_gone_on_and_no_version_is_left() -> None:
    """Whoever won as well began a line with that commit, and committed again before we looked."""
    store = MemoryStore(versioned=False)
    one = await opened(store)
    await committed(one, u1=b"0")
    other = await opened(store)
    before = dict(store._current)
    await committed(one, u1=b"1")
    store._current = before  # as if the two had been taken at once
    await committed(other, u2=b"2")
    await committed(other, u2=b"3")
    with pytest.raises(NoConditionalPutError, match="two writers win"):
        await committed(one, u3=b"4")
    assert await saved(store) == {1: b"0", 2: b"3"}


async def test_a_commit_of_our_own_revision_is_followed_where_an_operator_has_made_it() -> None:
    """One commit was put back, which the bot has said; then that is no sign of two winners."""
    store = MemoryStore()
    bot = await opened(store)
    await committed(bot, u1=b"1")
    point = store.current()
    await committed(bot, u1=b"2")
    store.replace(HEAD, point[HEAD])
    with pytest.raises(HeadLostError):
        await committed(bot, u2=b"2")
    operator = await opened(store)
    await committed(operator, u3=b"3")
    assert operator.revision == bot.revision == 2
    await bot.commit()
    assert await saved(store) == {1: b"1", 2: b"2", 3: b"3"}
