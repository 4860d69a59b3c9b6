"""Storage without conditional PUT: found out, remembered, and refused unless the user vouches."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import BOT_ID, KEY, StoreAround, make_persistence, state_of, update

from ptb_s3._base import Reader
from ptb_s3._head import Conditions, Head
from ptb_s3._keyring import Keyring
from ptb_s3._store import MemoryStore, Written
from ptb_s3.errors import NoConditionalPutError


class Heedless(StoreAround):
    """Takes every write, whatever the condition, as some storages do without a word."""

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        del if_match
        return await self.store.overwrite(name, body)


class Incapable(StoreAround):
    """Answers a condition with "not implemented"."""

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        del name, body, if_match
        raise NoConditionalPutError("501")


class Elsewhere(StoreAround):
    """The same objects, copied to another storage."""

    async def place(self) -> str:
        return "elsewhere"


def head_in(store: MemoryStore) -> Head:
    return Reader(Keyring(KEY), BOT_ID).open_head(store.current()["head"])[1]


async def started(store: Any, **options: Any) -> Any:
    persistence = make_persistence(store, **options)
    await state_of(persistence)
    return persistence


async def test_the_first_commit_finds_out_and_head_remembers() -> None:
    """One request more, once: a write that must be refused. Nobody has to try again."""
    store = MemoryStore()
    await update(await started(store), {"user_data": {1: {"n": 1}}})
    assert [call.operation for call in store.calls if call.name == "head"] == [
        *["get", "remains"],
        *["remains", "get", "put", "put"],
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
