"""Storage without conditional PUT: found out, remembered, and refused unless the user vouches."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from tests.support import BOT_ID, KEY, StoreAround, make_persistence, state_of, update

from ptb_s3._format.head import Conditions, Head
from ptb_s3._format.reader import Reader
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import NoConditionalPutError, StorageUnavailableError


class Heedless(StoreAround):
    """Takes every write, whatever the condition, as some storages do without a word."""

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        del if_match
        return await self.store.overwrite(name, body)


class Incapable(StoreAround):
    """Answers a condition with "not implemented"."""

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        del name, body, if_match
        raise NoConditionalPutError("501")


class Elsewhere(StoreAround):
    """The same objects, copied to another storage."""

    async def place(self) -> str:
        return "elsewhere"


class Spaces(StoreAround):
    """Refuses a right ETag in quotation marks, as it takes the one without."""

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if if_match is not None:
            if if_match.startswith('"'):
                raise PreconditionFailed(name)
            if_match = f'"{if_match}"'
        return await self.store.put(name, body, if_match=if_match)


class Suspended(StoreAround):
    """Refuses to replace anything on a condition, as SeaweedFS does after a suspension."""

    over = False

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if self.over:
            return await self.store.put(name, body, if_match=if_match)
        if if_match is not None:
            raise PreconditionFailed(name)
        return await self.store.put(name, body, if_match=None)


class Careless(StoreAround):
    """Refuses ETags in quotation marks, and takes those without for no condition."""

    refused = 0

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if if_match is not None and not if_match.startswith('"'):
            return await self.store.overwrite(name, body)
        self.refused += if_match is not None
        return await Suspended(self.store).put(name, body, if_match=if_match)


class Beneath(StoreAround):
    """Creates nothing: it looks at what lies beneath a delete marker, as versitygw does."""

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if if_match is None and name == "head":
            raise PreconditionFailed(name)
        return await self.store.put(name, body, if_match=if_match)


class Creating(StoreAround):
    """Creates what is there already, as Ceph 16.2 does in a bucket with versions."""

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if if_match is None:
            return await self.store.overwrite(name, body)
        return await self.store.put(name, body, if_match=if_match)


def head_in(store: MemoryStore) -> Head:
    return Reader(Keyring(KEY), BOT_ID).open_head(store.current()["head"])[1]


async def started(store: Any, **options: Any) -> Any:
    persistence = make_persistence(store, **options)
    await state_of(persistence)
    return persistence


async def test_the_first_commit_finds_out_and_head_remembers() -> None:
    """Two requests more, once: writes that must be refused. Nobody has to try again."""
    store = MemoryStore()
    await update(await started(store), {"user_data": {1: {"n": 1}}})
    assert [call.operation for call in store.calls if call.name == "head"] == [
        *["get", "remains"],
        *["remains", "get", "put", "put", "put"],
    ]
    assert head_in(store).conditions == Conditions("memory", kept=True)
    before = len(store.calls)
    await update(await started(store), {"user_data": {1: {"n": 2}}})
    later = [call.operation for call in store.calls[before:] if call.name == "head"]
    assert later == ["get", "put"]


async def test_a_copy_elsewhere_proves_nothing_there() -> None:
    """A bucket may be copied to a storage that does not keep to conditions."""
    store = MemoryStore()
    await update(await started(store), {"user_data": {1: {"n": 1}}})
    await update(await started(Elsewhere(store)), {"user_data": {1: {"n": 2}}})
    assert head_in(store).conditions == Conditions("elsewhere", kept=True)
    with pytest.RaisesGroup(NoConditionalPutError):
        await update(await started(_heedless_elsewhere(store)), {"user_data": {1: {"n": 3}}})


def _heedless_elsewhere(store: MemoryStore) -> Any:
    heedless = Heedless(store)
    heedless.place = Elsewhere(store).place  # type: ignore[method-assign]  # of another name
    heedless.place = lambda: _place("third")  # type: ignore[method-assign]  # and of a third one
    return heedless


async def _place(name: str) -> str:
    return name


async def test_a_heedless_storage_is_refused_and_remembered() -> None:
    """What it took is saved; the next commit is refused, and so is the next start."""
    store = MemoryStore()
    persistence = await started(Heedless(store))
    with pytest.RaisesGroup(pytest.RaisesExc(NoConditionalPutError, match="has been saved")):
        await update(persistence, {"user_data": {1: {"n": 1}}})
    with pytest.RaisesGroup(pytest.RaisesExc(NoConditionalPutError, match="overwritten")):
        await update(persistence, {"user_data": {1: {"n": 2}}})
    assert head_in(store).conditions == Conditions("memory", kept=False)
    with pytest.raises(NoConditionalPutError, match="single_writer=True"):
        await started(Heedless(store))


async def test_an_incapable_storage_is_refused() -> None:
    """Nothing is written to a storage that says so itself."""
    store = MemoryStore()
    with pytest.RaisesGroup(NoConditionalPutError):
        await update(await started(Incapable(store)), {"user_data": {1: {"n": 1}}})
    assert store.current() == {}


@pytest.mark.parametrize("kind", [Heedless, Incapable])
async def test_a_single_writer_may_be_vouched_for(kind: type[StoreAround]) -> None:
    """Commits, compactions and restarts work; head remembers what the storage cannot do."""
    store = MemoryStore()
    for number in range(1, 4):
        persistence = await started(kind(store), single_writer=True)
        await update(persistence, {"user_data": {1: {"n": number}}})
        await persistence.flush()
    assert head_in(store).conditions == Conditions("memory", kept=False)
    assert await make_persistence(kind(store), single_writer=True).get_user_data() == {1: {"n": 3}}


async def test_who_vouches_and_is_wrong_is_mostly_found_out() -> None:
    """A read before each write sees what another instance has committed, and merges it."""
    store = MemoryStore()
    one = await started(Heedless(store), single_writer=True)
    other = await started(Heedless(store), single_writer=True)
    await update(one, {"user_data": {1: {"n": 1}}})
    await update(other, {"user_data": {2: {"n": 2}}})
    await update(one, {"user_data": {3: {"n": 3}}})
    assert await make_persistence(Heedless(store), single_writer=True).get_user_data() == {
        1: {"n": 1},
        2: {"n": 2},
        3: {"n": 3},
    }


async def test_to_vouch_changes_nothing_on_storage_that_keeps_to_conditions() -> None:
    """The protection stays where there is one."""
    store = MemoryStore()
    persistence = await started(store, single_writer=True)
    await update(persistence, {"user_data": {1: {"n": 1}}})
    before = len(store.calls)
    await update(persistence, {"user_data": {1: {"n": 2}}})
    assert [c.operation for c in store.calls[before:] if c.name == "head"] == ["put"]
    assert head_in(store).conditions == Conditions("memory", kept=True)


async def count(store: Any, to: int = 4, **options: Any) -> Any:
    """Let a bot commit so often, and write its blobs; then start another one, which goes on."""
    persistence = await started(store, **options)
    for number in range(1, to):
        await update(persistence, {"user_data": {1: {"n": number}}})
    await persistence.flush()
    persistence = await started(store, **options)
    await update(persistence, {"user_data": {1: {"n": to}}})
    return await started(store, **options)


@pytest.mark.parametrize("single_writer", [True, False])
async def test_an_etag_is_tried_without_its_marks(*, single_writer: bool) -> None:
    """Where the storage refuses the right one that has them, and a wrong one without."""
    store = Spaces(MemoryStore())
    persistence = await count(store, single_writer=single_writer)
    assert await persistence.get_user_data() == {1: {"n": 4}}
    other = await started(store, single_writer=single_writer)
    await update(persistence, {"user_data": {1: {"n": 5}}})
    await update(other, {"user_data": {2: {"n": 5}}})  # and a wrong one is refused, not overwritten
    users = await (await started(store)).get_user_data()
    assert users == {1: {"n": 5}, 2: {"n": 5}}


async def test_what_takes_an_etag_without_marks_for_no_condition_is_refused() -> None:
    """A storage is asked in a form only if it refuses what is wrong in that form."""
    memory = MemoryStore()
    persistence = await started(Careless(memory))
    await update(persistence, {"user_data": {1: {"n": 1}}})
    with pytest.RaisesGroup(pytest.RaisesExc(NoConditionalPutError, match="has been saved")):
        await update(persistence, {"user_data": {1: {"n": 2}}})
    assert head_in(memory).conditions == Conditions("memory", kept=False)


@pytest.mark.parametrize("how", ["no answer", "changed"])
async def test_what_was_not_tried_to_its_end_is_not_trusted(how: str) -> None:
    """No condition has the other form before a wrong one was refused in it: it might be none."""
    memory = MemoryStore()
    other = await started(memory)
    await update(other, {"user_data": {2: {"n": 0}}})

    class Interrupted(Careless):
        looks = 0
        tried = False

        async def get(self, name: str, **options: Any) -> Any:
            self.looks += name == "head" and self.refused == 2
            if self.looks == 2 and how == "changed" and not self.tried:
                self.tried = True  # the look before the trial, after that of the refusal
                await update(other, {"user_data": {2: {"n": 1}}})
            return await super().get(name, **options)

        async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
            if if_match and not if_match.startswith('"') and how == "no answer" and not self.tried:
                self.tried = True
                raise StorageUnavailableError("no answer")
            return await super().put(name, body, if_match=if_match)

    store = Interrupted(memory)
    persistence = await started(store)
    with contextlib.suppress(ExceptionGroup):
        await update(persistence, {"user_data": {1: {"n": 1}}})
    assert store.tried
    await update(other, {"user_data": {2: {"n": 2}}})
    with contextlib.suppress(ExceptionGroup):
        await update(persistence, {"user_data": {1: {"n": 2}}})
    assert (await make_persistence(memory, single_writer=True).get_user_data())[2] == {"n": 2}


async def test_a_right_condition_that_is_refused_is_an_error_of_its_own() -> None:
    """At the second commit, and each time; nothing is written, and nothing is lost."""
    memory = MemoryStore()
    store = Suspended(memory)
    persistence = await started(store)
    await update(persistence, {"user_data": {1: {"n": 1}}})
    for number in (2, 3):
        says = pytest.RaisesExc(NoConditionalPutError, match="versioning was suspended")
        with pytest.RaisesGroup(says):
            await update(persistence, {"user_data": {1: {"n": number}}})
    assert head_in(memory).revision == 1
    store.over = True
    await update(persistence, {"user_data": {2: {}}})
    assert await (await started(memory)).get_user_data() == {1: {"n": 3}, 2: {}}


async def test_a_store_that_cannot_be_begun_says_why() -> None:
    """The storage looks beneath the delete marker: no commit would ever come of it."""
    persistence = await started(Beneath(MemoryStore()))
    says = pytest.RaisesExc(NoConditionalPutError, match="beneath the delete marker")
    with pytest.RaisesGroup(says):
        await update(persistence, {"user_data": {1: {"n": 1}}})


@pytest.mark.parametrize("kind", [Suspended, Beneath, Spaces])
async def test_a_single_writer_needs_no_condition(
    kind: type[StoreAround], caplog: pytest.LogCaptureFixture
) -> None:
    """It reads, and then writes without one; and says so."""
    persistence = await count(kind(MemoryStore()), single_writer=True)
    assert await persistence.get_user_data() == {1: {"n": 4}}
    assert ("no condition" in caplog.text) == (kind is not Spaces)


async def test_a_storage_that_creates_what_is_there_is_refused() -> None:
    """Two bots that start at once would overwrite each other's first commit."""
    memory = MemoryStore()
    persistence = await started(Creating(memory))
    with pytest.RaisesGroup(pytest.RaisesExc(NoConditionalPutError, match="has been saved")):
        await update(persistence, {"user_data": {1: {"n": 1}}})
    assert head_in(memory).conditions == Conditions("memory", kept=False)
    with pytest.raises(NoConditionalPutError):
        await started(Creating(memory))
    assert await (await count(Creating(MemoryStore()), single_writer=True)).get_user_data() == {
        1: {"n": 4}
    }


async def test_a_head_deleted_at_once_accuses_nobody() -> None:
    """What was created again had been deleted in between: the next commit says what is true."""

    class Deleted(StoreAround):
        created = 0

        async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
            written = await self.store.put(name, body, if_match=if_match)
            self.created += name == "head"
            if self.created == 1 and name == "head":
                memory.lose("head")
            return written

    memory = MemoryStore()
    persistence = await started(Deleted(memory))
    await update(persistence, {"user_data": {1: {"n": 1}}})
    await update(persistence, {"user_data": {1: {"n": 2}}})
    assert head_in(memory).conditions == Conditions("memory", kept=True)
    assert await (await started(memory)).get_user_data() == {1: {"n": 2}}


@pytest.mark.parametrize("refusals", [1, 2])
async def test_a_refusal_by_the_way_is_weather(refusals: int) -> None:
    """Once refused, it is asked again; twice, in another form; nothing comes of it for good."""

    class Moody(StoreAround):
        left = 0

        async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
            if name == "head" and self.left:
                self.left -= 1
                raise PreconditionFailed(name)
            return await self.store.put(name, body, if_match=if_match)

    store = Moody(MemoryStore())
    persistence = await started(store)
    await update(persistence, {"user_data": {1: {"n": 1}}})
    store.left = refusals
    try:
        await update(persistence, {"user_data": {1: {"n": 2}}})
    except* NoConditionalPutError:
        assert refusals > 1
    await update(persistence, {"user_data": {1: {"n": 3}}})
    assert await (await started(store)).get_user_data() == {1: {"n": 3}}
