"""The engine on a store in memory: one request a commit, settled outcomes, compaction, rotation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import BOT_ID, KEY, OTHER_KEY, opened

from ptb_s3._engine import settling
from ptb_s3._engine.reading import LOAD_TRIES
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import read_header
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import COMPACTION_SLACK
from ptb_s3._format.reader import Reader
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.body import Body, joined
from ptb_s3._storage.contract import PreconditionFailed
from ptb_s3._storage.faults import Call, Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    AccessDeniedError,
    ConflictError,
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    SettingsError,
    StorageUnavailableError,
    UnknownKeyError,
)

USER = Kind.USER_DATA


async def committed(repository: Repository, **users: bytes | None) -> None:
    for name, value in users.items():
        repository.stage(USER, int(name[1:]), value)
    await repository.commit()


OBJECTS = 1 + len(Kind)


def fault_at(number: int, fault: Fault) -> Callable[[Call], Fault | None]:
    return lambda call: fault if call.number == number else None


async def test_a_new_store_is_read_in_one_round_and_nothing_is_written() -> None:
    """A cold start asks for all objects at once, and creates none."""
    store = MemoryStore()
    repository = await opened(store)
    assert [call.operation for call in store.calls] == [*["get"] * OBJECTS, "remains"]
    assert repository.revision == 0
    assert store.current() == {}


async def test_a_commit_is_one_request_and_no_change_is_none() -> None:
    """Whatever changed goes in one PUT; nothing changed, nothing is sent."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u9=b"first")
    before = len(store.calls)
    repository.stage(USER, 1, b"a")
    repository.stage(Kind.CHAT_DATA, 2, b"b")
    await repository.commit()
    assert [(c.operation, c.name) for c in store.calls[before:]] == [("put", "head")]
    repository.stage(USER, 1, b"a")
    assert not repository.dirty
    await repository.commit()
    assert len(store.calls) == before + 1


async def test_a_value_changed_back_costs_nothing() -> None:
    """Only what differs from the committed state is a change."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    before = len(store.calls)
    await committed(repository, u1=b"b", u2=None)
    repository.stage(USER, 1, b"c")
    repository.stage(USER, 1, b"b")
    await repository.commit()
    assert len(store.calls) == before + 1


async def test_a_lost_reply_is_settled_as_success() -> None:
    """The PUT took effect and its reply was lost: head lists our commit, so it is committed."""
    store = MemoryStore(faults=fault_at(OBJECTS + 5, Fault.FAIL_AFTER))
    repository = await opened(store)
    await committed(repository, u1=b"a")
    assert store.calls[OBJECTS + 4] == Call(OBJECTS + 5, "put", "head")
    assert repository.revision == 1
    assert not repository.dirty
    await committed(repository, u1=b"b")
    assert repository.revision == 2


async def test_a_lost_reply_with_a_commit_on_top_is_success_and_then_conflict() -> None:
    """Our commit id in a stranger's head means ours succeeded; only the next one conflicts."""
    store = MemoryStore()
    ours = await opened(store)
    await committed(ours, u1=b"a")

    def interfere(call: Call) -> Fault | None:
        return Fault.FAIL_AFTER if call.number == mine else None

    mine = len(store.calls) + 1
    store.faults = interfere
    get, stolen = store.get, list[bool]()

    async def get_late(name: str, **options: Any) -> Any:
        if not stolen:
            stolen.append(True)
            theirs = await opened(store)
            await committed(theirs, u9=b"z")
        return await get(name, **options)

    store.get = get_late  # type: ignore[method-assign]  # another writer, between our two requests
    await committed(ours, u1=b"b")
    assert ours.revision == 2
    assert not ours.dirty
    with pytest.raises(ConflictError):
        await committed(ours, u1=b"c")
    state = await opened(store)
    assert state.staged.entities(USER) == {1: b"b", 9: b"z"}


async def test_a_denial_after_a_lost_reply_is_settled() -> None:
    """A store that tries twice may be denied the second time only: the first is still ours."""
    store = MemoryStore()
    repository = await opened(store)
    put = store.put

    async def denied(name: str, body: bytes | Body, *, if_match: str | None) -> Any:
        await put(name, body, if_match=if_match)
        raise AccessDeniedError("expired in between")

    store.put = denied  # type: ignore[method-assign]  # credentials that run out
    with pytest.raises(AccessDeniedError):
        await committed(repository, u1=b"a")
    store.put = put  # type: ignore[method-assign]  # and are renewed
    await committed(repository, u2=b"b")
    assert (await opened(store)).staged.entities(USER) == {1: b"a", 2: b"b"}
    assert repository.counters.conflicts == 0


async def test_an_attempt_that_arrives_late_is_the_new_base() -> None:
    """An attempt given up for lost may still arrive: it is ours, and what came after follows."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    sent: list[bytes] = []

    def lose(call: Call) -> Fault | None:
        return Fault.FAIL_BEFORE if call.operation == "put" and not sent else None

    put = store.put

    async def catch(name: str, body: bytes | Body, *, if_match: str | None) -> Any:
        try:
            return await put(name, body, if_match=if_match)
        except StorageUnavailableError:
            sent.append(joined(body))
            raise

    store.faults, store.put = lose, catch  # type: ignore[method-assign]  # a slow network
    with pytest.raises(StorageUnavailableError):
        await committed(repository, u1=b"b", u2=b"x")
    assert repository.dirty
    store.replace("head", sent[0])
    await committed(repository, u1=b"a")  # changed back meanwhile: must not be lost
    assert (await opened(store)).staged.entities(USER) == {1: b"a", 2: b"x"}
    assert repository.revision == 3


async def test_settling_does_not_take_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """If head gives no answer either, the commit fails in good time, and is settled later."""
    monkeypatch.setattr(settling, "SETTLE_PATIENCE", 0.01)
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u9=b"first")
    get = store.get

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    store.faults = lambda call: Fault.FAIL_AFTER if call.operation == "put" else None
    store.get = hang  # type: ignore[method-assign]  # a storage that has gone silent
    with pytest.raises(StorageUnavailableError, match="answer was lost"):
        await committed(repository, u1=b"a")
    store.get, store.faults = get, lambda _: None  # type: ignore[method-assign]  # it is back
    await repository.commit()
    assert repository.revision == 2
    assert not repository.dirty


async def test_what_may_yet_arrive_is_undone_for_sure() -> None:
    """A change that may still arrive, and was changed back, is decided by another commit."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    etag = (await store.get("head")).etag  # type: ignore[union-attr]  # it is there
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await committed(repository, u1=b"b")
    store.faults = lambda _: None
    before = len(store.calls)
    await committed(repository, u1=b"a")
    assert [call.operation for call in store.calls[before:]] == ["get", "put"]
    with pytest.raises(PreconditionFailed):
        await store.put("head", b"late", if_match=etag)
    assert (await opened(store)).staged.entities(USER) == {1: b"a"}


async def test_a_stranger_is_never_overwritten() -> None:
    """Promise 4: a commit on a head we have not seen is refused; our changes stay."""
    store = MemoryStore()
    ours, theirs = await opened(store), await opened(store)
    await committed(theirs, u1=b"theirs")
    before = store.current()
    with pytest.raises(ConflictError, match="Another writer has committed") as caught:
        await committed(ours, u2=b"ours")
    assert caught.value.exit_code == 6
    assert store.current() == before
    assert ours.dirty
    with pytest.raises(ConflictError):
        await ours.commit()
    assert ours.counters.conflicts == 2


async def test_a_head_deleted_meanwhile_is_an_error() -> None:
    """A running bot does not begin a new store in the place of one that vanished."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    store.lose("head")
    with pytest.raises(ConflictError, match="it is gone"):
        await committed(repository, u1=b"b")
    assert store.current() == {}
    assert repository.dirty


async def test_a_kind_gets_its_blob_after_its_first_commit() -> None:
    """Compaction is due at once for a new kind, and then only when it has paid."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    assert repository.due() == [USER]
    await repository.compact(USER)
    assert repository.due() == []
    await committed(repository, u2=b"b")
    assert repository.due() == []
    size = len(store.current()[USER])
    await committed(repository, u2=os.urandom(9000))
    carried = 0
    while not repository.due():
        await committed(repository, u3=str(carried).encode())
        carried += 9000
    assert COMPACTION_SLACK + size <= carried + 200 <= COMPACTION_SLACK + size + 2 * 9000
    before = len(store.current()["head"])
    await repository.compact(USER)
    await committed(repository, u3=b"c")
    assert len(store.current()["head"]) < before / 2
    assert len((await opened(store)).staged.entities(USER)) == 3


async def test_what_a_commit_changes_itself_does_not_pay_for_a_blob() -> None:
    """One large value that changes each time is sent once each time, and not twice."""
    store = MemoryStore()
    repository = await opened(store)
    for number in range(40):
        await committed(repository, u1=os.urandom(30_000))
        if repository.due():
            await repository.compact(USER)
            assert number == 0
    assert repository.counters.bytes_sent < 40 * 1.05 * 30_000 + 2 * 30_000


async def test_a_blob_never_holds_what_is_not_committed() -> None:
    """Rule 4: staged changes are in no blob, so that any blob is a valid base."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    repository.stage(USER, 1, b"staged")
    repository.stage(USER, 2, b"staged")
    await repository.compact(USER)
    assert (await opened(store)).staged.entities(USER) == {1: b"a"}


async def test_a_blob_is_of_one_revision_though_others_come_while_it_is_made() -> None:
    """Commits in the middle of it are not in it, whatever they change: it is a state that was."""
    store = MemoryStore()

    async def slowly(seal: Any, *args: Any) -> Any:
        for number in range(3):
            await committed(repository, u1=b"new%d" % number, u3=None, **{f"u{30 + number}": b"+"})
        return seal(*args)

    repository = await opened(store, offload_blobs=slowly)
    await committed(repository, **{f"u{number}": b"old" for number in range(1, 21)})
    await repository.compact(USER)
    blob = store.current()[USER]
    header, entities = Reader(Keyring(KEY)).open_blob(USER, blob, repository.base.identity.store)
    older = await opened(store)
    assert await older.restore(RestorePoint.parse(str(header.revision)))
    assert older.staged.entities(USER) == entities


async def test_a_blob_deleted_meanwhile_is_written_again() -> None:
    """All of it is in memory: a running bot heals what was deleted behind its back."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    await repository.compact(USER)
    await committed(repository, u2=b"b")
    store.lose(USER)
    with pytest.raises(MissingObjectError, match="head refers to it"):
        await opened(store)
    await repository.compact(USER)
    assert (await opened(store)).staged.entities(USER) == {1: b"a", 2: b"b"}


async def test_a_blob_of_another_writer_will_do() -> None:
    """Compaction writes over nothing that it has not seen; what it finds there is as good."""
    store = MemoryStore()
    ours = await opened(store)
    await committed(ours, u1=b"a")
    theirs = await opened(store)
    await theirs.compact(USER)
    blob = store.current()[USER]
    await ours.compact(USER)
    assert store.current()[USER] == blob
    await ours.commit(publish=True)
    assert (await opened(store)).staged.entities(USER) == {1: b"a"}


async def test_a_blob_from_a_commit_not_seen_yet_stays() -> None:
    """Its revision only grows: whoever is behind does not write over it."""
    store = MemoryStore()
    ours = await opened(store)
    await committed(ours, u1=b"a")
    theirs = await opened(store)
    await committed(theirs, u1=b"b")
    await theirs.compact(USER)
    before = store.current()
    with pytest.raises(ConflictError, match="Another writer has written"):
        await ours.compact(USER)
    assert store.current() == before


async def test_reads_that_do_not_fit_are_read_again() -> None:
    """Another writer may compact and commit between two of our reads: the next round fits."""
    store = MemoryStore()
    writer = await opened(store)
    await committed(writer, u1=b"a")
    await writer.compact(USER)
    get = store.get

    async def get_between(name: str, **options: Any) -> Any:
        if name == USER and writer.revision < 3:
            await committed(writer, u1=b"b" * writer.revision)
            await writer.compact(USER)
        return await get(name, **options)

    store.get = get_between  # type: ignore[method-assign]  # another writer, between two reads
    reader = await opened(store)
    assert reader.staged.entities(USER) == writer.staged.entities(USER)
    assert reader.revision == 3


async def test_what_never_fits_is_damaged() -> None:
    """An older blob put back is refused, after a few rounds, and the bucket is left alone."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    await repository.compact(USER)
    old = store.current()[USER]
    await committed(repository, u1=b"b")
    await repository.compact(USER)
    await committed(repository, u1=b"c")
    store.replace(USER, old)
    before, calls = store.current(), len(store.calls)
    with pytest.raises(
        DamagedObjectError, match=r"it holds revision 1 of line \w+, and head needs one"
    ):
        await opened(store)
    assert len(store.calls) - calls == OBJECTS * LOAD_TRIES
    assert store.current() == before


async def test_a_newer_blob_put_ahead_is_no_base() -> None:
    """Head was put back alone: what it builds on is taken, and not what came after it."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    old = store.current()["head"]
    await committed(repository, u1=b"b")
    await repository.compact(USER)
    store.replace("head", old)
    calls = len(store.calls)
    fresh = await opened(store)
    assert fresh.staged.entities(USER) == {1: b"a"}
    assert len(store.calls) - calls == OBJECTS * LOAD_TRIES  # a commit could have been on its way


async def test_head_gone_while_blobs_remain_is_no_new_store() -> None:
    """Only a definite nothing, for all of them, is a new store."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"a")
    await repository.compact(USER)
    store.lose("head")
    with pytest.raises(MissingObjectError, match="it is gone, while user_data remain"):
        await opened(store)


@pytest.mark.parametrize("number", range(1, 1 + OBJECTS))
async def test_a_read_that_fails_is_no_empty_state(number: int) -> None:
    """Whichever of the objects gives no answer, the bot does not start."""
    store = MemoryStore()
    await committed(await opened(store), u1=b"a")
    start = len(store.calls)
    store.faults = fault_at(start + number, Fault.FAIL_BEFORE)
    with pytest.raises(StorageUnavailableError):
        await opened(store)


async def test_keys_rotate_by_config_alone() -> None:
    """With a new sealing key, the next commits seal all that is current anew."""
    store = MemoryStore()
    old = await opened(store)
    await committed(old, u1=b"a")
    old.stage(Kind.BOT_DATA, 0, b"bot")
    await old.commit()
    for kind in old.due():
        await old.compact(kind)
    await committed(old, u2=b"b")
    new = await opened(store, Keyring(OTHER_KEY, [KEY]))
    assert set(new.due()) == {USER, Kind.BOT_DATA}
    await committed(new, u3=b"c")
    for kind in new.due():
        await new.compact(kind)
    await committed(new, u4=b"d")
    ids = {read_header(name, body)[0].key for name, body in store.current().items()}
    assert ids == {OTHER_KEY.id}
    assert len((await opened(store, Keyring(OTHER_KEY))).staged.entities(USER)) == 4
    assert new.due() == []
    with pytest.raises(UnknownKeyError) as caught:
        await opened(store)
    assert caught.value.needed == OTHER_KEY.id


async def test_another_bot_is_refused() -> None:
    """A store belongs to one bot: another token in the same place does not start."""
    store = MemoryStore()
    await committed(await opened(store), u1=b"a")
    with pytest.raises(ForeignStoreError, match="another bot"):
        await opened(store, bot=BOT_ID + 1)


async def test_another_serializer_is_refused() -> None:
    """Values are not handed to a serializer that did not make them."""
    store = MemoryStore()
    await committed(await opened(store), u1=b"a")
    with pytest.raises(SettingsError, match="serializer 'pickle5', and this one is 'json'"):
        await opened(store, serializer="json")


async def test_a_blob_of_another_store_is_refused() -> None:
    """A blob sealed by the same key for another store cannot stand in."""
    stores = MemoryStore(), MemoryStore()
    for store in stores:
        repository = await opened(store)
        await committed(repository, u1=b"a")
        await repository.compact(USER)
    stores[0].replace(USER, stores[1].current()[USER])
    with pytest.raises(ForeignStoreError, match="belongs to store"):
        await opened(stores[0])


async def test_a_bucket_without_history_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without versions all works but going back; the log says so once."""
    store = MemoryStore(versioned=False)
    repository = await opened(store)
    await committed(repository, u1=b"a")
    await committed(repository, u1=b"b")
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "keeps no versions" in warnings[0]
    assert (await opened(store)).staged.entities(USER) == {1: b"b"}


async def test_a_blob_refused_for_no_reason_is_not_taken_for_written() -> None:
    """A store that refuses to replace the very blob it was told of is an error, and no success."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1")
    await repository.compact(USER)
    await committed(repository, u1=b"2")
    put = store.put

    async def refuse(name: str, body: bytes | Body, *, if_match: str | None) -> Any:
        if name == USER:
            raise PreconditionFailed(name)
        return await put(name, body, if_match=if_match)

    store.put = refuse  # type: ignore[method-assign] # the same, less one answer
    with pytest.raises(StorageUnavailableError, match="should have taken"):
        await repository.compact(USER)
    store.put = put  # type: ignore[method-assign] # as it was
    await repository.compact(USER)
    assert repository.base.blobs[USER].ref.revision == 2


async def test_everything_current_is_sealed_with_the_new_key() -> None:
    """To seal anew leaves no current object, and no key that head needs now, of the old one."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1")
    await repository.compact(USER)
    await committed(repository, u2=b"2")
    rotated = await opened(store, Keyring(OTHER_KEY, retired=[KEY]))
    assert rotated.sealed_otherwise() == ["head", USER]
    names: list[str] = []
    await rotated.seal_anew([USER], names.append)
    assert names == [USER, "head"]
    again = await opened(store, Keyring(OTHER_KEY))
    assert again.sealed_otherwise() == []
    assert again.staged.entities(USER) == {1: b"1", 2: b"2"}
    assert again.base.head.keys == {KEY.id: 2, OTHER_KEY.id: 3}


async def test_a_restore_request_is_carried_out_once_whatever_came_after_it() -> None:
    """A host that still has an older request in its environment does not carry it out again."""
    store = MemoryStore()
    repository = await opened(store)
    for value in (b"1", b"2", b"3"):
        await committed(repository, u1=value)
    assert await (await opened(store)).restore(RestorePoint.parse("1"))
    assert await (await opened(store)).restore(RestorePoint.parse("2"))
    for request in ("1", "2"):
        assert not await (await opened(store)).restore(RestorePoint.parse(request))
    fresh = await opened(store)
    assert fresh.base.head.restored == ("1", "2")
    assert fresh.staged.entities(USER) == {1: b"2"}
