"""`load="on_demand"`: users and chats are read when they are asked for, and are never made up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from telegram.ext import ApplicationBuilder, MessageHandler, PersistenceInput, filters
from tests.support import KEY, make_persistence, state_of, update
from tests.support.bots import TOKEN, gather_errors, persistence_of, say
from tests.support.deliveries import application
from tests.support.on_demand import (
    COUNT,
    agreed,
    filled,
    on_demand,
    own,
    ranges,
    repository_of,
    small_segments,
    written,
)

from ptb_s3 import Keyring, PersistentApplication, S3Persistence
from ptb_s3._ptb.background_compaction import BackgroundCompaction
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import MissingObjectError, SettingsError

EVERYBODY = {key: own(key) for key in range(1, COUNT + 1)}


@pytest.fixture(autouse=True)
def _small_segments() -> Iterator[None]:
    with small_segments():
        yield


def remembering(seen: list[Any]) -> MessageHandler[Any, Any]:
    """Return a handler that notes what it finds of its user and chat, and changes both."""

    async def remember(update: Any, context: Any) -> None:
        seen.append((dict(context.user_data), dict(context.chat_data)))
        context.user_data["said"] = context.chat_data["heard"] = update.message.text

    return MessageHandler(filters.TEXT, remember)


# Who can have it ----------------------------------------------------------------------------------


async def test_an_application_that_cannot_read_on_demand_is_refused() -> None:
    """PTB's own would make empty objects of what it was not given, and save them."""
    store = MemoryStore()
    await filled(store)
    app = application(store, plain=True, load="on_demand")
    with pytest.raises(SettingsError, match=r"application_class\(PersistentApplication\)"):
        await app.initialize()
    with pytest.raises(SettingsError, match="PTB_S3_LOAD"):
        await state_of(make_persistence(store, load="on_demand"))
    assert await make_persistence(store).get_user_data() == EVERYBODY


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"load": "on_demand", "on_loss": "rewrite"}, "only a part"),
        ({"load": "sometimes"}, "neither `all` nor `on_demand`"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], match: str) -> None:
    """A state of which a part is in memory cannot be written anew from memory."""
    with pytest.raises(SettingsError, match=match):
        S3Persistence("bucket", keyring=Keyring(KEY), **options)


@pytest.mark.parametrize("load", ["all", "on_demand"])
async def test_a_blob_that_was_deleted_is_no_state_to_start_on(load: str) -> None:
    """Its version may be there yet: the bot would run on it until a rule expires the last copy."""
    store = MemoryStore()
    await filled(store)
    store.lose("user_data")
    with pytest.raises(MissingObjectError, match="gone, while head refers to it"):
        await on_demand(store, load=load).initialize()


@pytest.mark.parametrize("method", ["get_user_data", "get_chat_data"])
def test_a_getter_of_ones_own_is_refused(method: str) -> None:
    """It is called for all users at once, and never for one: what it makes of them would be lost.

    One of a kind that is not saved is no matter.
    """

    async def changed(_: Any) -> dict[int, Any]:
        return {}

    own_class = type("Own", (S3Persistence,), {method: changed})
    for stores, refused in ((None, True), (PersistenceInput(**{method[4:]: False}), False)):
        persistence = own_class("bucket", keyring=Keyring(KEY), load="on_demand", store_data=stores)
        builder: Any = ApplicationBuilder().application_class(PersistentApplication).token(TOKEN)
        if refused:
            with pytest.raises(SettingsError, match=rf"Own overrides {method}\(\)"):
                builder.persistence(persistence).build()
        else:
            assert builder.persistence(persistence).build().user_data == {}


# What is read, and when ---------------------------------------------------------------------------


async def test_a_start_reads_two_beginnings_and_an_update_two_ranges() -> None:
    """Head and the small kinds whole; the second update of the same user nothing at all."""
    store, seen = MemoryStore(), list[Any]()
    await filled(store)
    app = on_demand(store, remembering(seen), sync=None)
    since = len(store.calls)
    async with app:
        assert ranges(store, since) == []
        begun = [call.name for call in store.calls[since:]]
        assert sorted(set(begun)) == sorted(begun), "each once"
        assert {call.operation for call in store.calls[since:]} == {"get"}
        assert not app._user_data.live  # type: ignore[attr-defined]
        since = len(store.calls)
        await say(app, "tea", user=7, chat=11)
        assert sorted(ranges(store, since)) == ["chat_data", "user_data"]
        assert len(store.calls) == since + 2
        await say(app, "milk", user=7, chat=11)
        assert len(store.calls) == since + 2
        assert seen[0] == (own(7), own(11))
        assert list(app._user_data.live) == [7]  # type: ignore[attr-defined]
        assert (await agreed(app, store))["user_data"][7] == {**own(7), "said": "milk"}


async def test_a_state_without_blobs_is_read_from_head_alone() -> None:
    """As of a small bot: there is nothing that could be fetched."""
    store, seen = MemoryStore(), list[Any]()
    state = {"user_data": {1: {"said": "tea"}}, "chat_data": {1: {"heard": "tea"}}}
    with mock.patch.object(BackgroundCompaction, "start"):
        await update(make_persistence(store), state)
    since = len(store.calls)
    async with on_demand(store, remembering(seen)) as app:
        await say(app, "milk", user=1)
        await say(app, "milk", user=2)
        assert 3 not in app.user_data
        assert ranges(store, since) == []
        assert sorted(await agreed(app, store)) == ["chat_data", "user_data"]
    assert seen == [({"said": "tea"}, {"heard": "tea"}), ({}, {})]


# The mappings -------------------------------------------------------------------------------------


async def mixed(store: MemoryStore) -> dict[int, Any]:
    """Write a state with users in a blob, changed, new and dropped in head; return all of it."""
    await filled(store)
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"user_data": {5: {"changed": 5}, 500: {"new": 500}, 6: {}}})
    await persistence.drop_user_data(9)
    model = {**EVERYBODY, 5: {"changed": 5}, 500: {"new": 500}, 6: {}}
    del model[9]
    return model


@pytest.mark.parametrize("key", [1, 5, 6, 9, 60, 61, 500, 501, -7])
@pytest.mark.parametrize("way", ["[]", "get", "in", "get first", "in first"])
async def test_an_id_gives_what_is_saved_of_it(key: int, way: str) -> None:
    """Whether it is in a blob, in head alone, changed or dropped there, or was never there."""
    store = MemoryStore()
    model = await mixed(store)
    async with on_demand(store) as app:
        if way == "get first":
            app.user_data.get(key)
        if way.startswith("in"):
            assert (key in app.user_data) == (key in model)
        if way in ("[]", "get first", "in first"):
            assert app.user_data[key] == model.get(key, {})
            assert app.user_data[key] is app.user_data[key]
            model.setdefault(key, {})
        else:
            assert app.user_data.get(key, "none") == model.get(key, "none")
        assert app.user_data == model
        app.mark_data_for_update_persistence(user_ids=key)
        assert (await agreed(app, store))["user_data"] == model


async def test_the_mappings_tell_the_truth() -> None:
    """All that a dictionary can be asked, before and after some of it is live, new and changed."""
    store = MemoryStore()
    model = await mixed(store)
    async with on_demand(store) as app:
        data: Any = app.user_data
        for _ in range(2):
            assert len(data) == len(model)
            assert bool(data)
            assert sorted(data) == sorted(data.keys()) == sorted(model)
            assert list(reversed(data)) == list(data)[::-1]
            assert dict(data) == data.copy() == {**data} == dict(data.items()) == model
            assert sorted(map(repr, data.values())) == sorted(map(repr, model.values()))
            assert data == model
            assert not data != model  # noqa: SIM202 - another method
            assert data != {}
            assert data | {1: 2} == {**model, 1: 2}
            assert {1: 2} | data == {1: 2} | model
            data[1000]["unsaved"] = True
            data[7]["unsaved"] = True
            model[1000] = {"unsaved": True}
            model[7] = {**own(7), "unsaved": True}
        app.drop_user_data(12)
        app.drop_user_data(1000)
        del model[12], model[1000]
        assert len(data) == len(model)
        assert data == model
        app.mark_data_for_update_persistence(user_ids=[7])
        assert (await agreed(app, store))["user_data"] == model


async def test_to_ask_a_view_makes_nothing() -> None:
    """A dictionary's views tell what is in them, and nothing is in it for that."""
    store = MemoryStore()
    model = await mixed(store)
    async with on_demand(store) as app:
        items: Any = app.user_data.items()
        values: Any = app.user_data.values()
        assert (30, own(30)) in items
        others: list[Any] = [(30, {}), (-1, {}), (-1,), "no pair", None]
        for item in others:
            assert item not in items
        assert own(31) in values
        assert {"nobody": 1} not in values
        assert (len(items), len(values)) == (len(model), len(model))
        assert app.user_data == model


async def test_an_empty_state_is_false() -> None:
    async with on_demand(MemoryStore()) as app:
        assert not app.user_data
        assert (len(app.user_data), list(app.user_data), app.user_data == {}) == (0, [], True)
        assert app.user_data.get(1) is None
        assert len(app.user_data) == 0
        assert app.user_data[1] == {}
        assert list(app.user_data) == [1]


async def test_all_of_it_is_read_by_a_segment_and_no_object_is_made_of_a_key() -> None:
    """Keys come segment by segment; what is read for them is not kept."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        segments = len(repository_of(app).base.partial["user_data"].source.index.segments)
        assert segments > 5
        keys, since = iter(app.user_data), len(store.calls)
        next(keys)
        assert ranges(store, since) == ["user_data"]
        assert len(list(keys)) == COUNT - 1
        assert len(ranges(store, since)) == segments
        assert not app._user_data.live  # type: ignore[attr-defined]
        assert not repository_of(app).base.entities["user_data"]


async def test_no_key_is_left_out_if_some_are_read_meanwhile() -> None:
    """An iteration goes on across what its body reads, drops and makes."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        met = []
        for key in app.user_data:
            met.append(key)
            await app.prefetch(users=[key + 1, key + 2])  # type: ignore[attr-defined]
        assert sorted(met) == sorted(EVERYBODY)


@pytest.mark.parametrize("versioned", [True, False])
async def test_an_iteration_goes_on_in_a_new_blob(*, versioned: bool) -> None:
    """A compaction of ones own, as in the background, is no reason for it to break off."""
    store = MemoryStore(versioned=versioned)
    await filled(store)
    async with on_demand(store) as app:
        met = []
        for key in app.user_data:
            met.append(key)
            if len(met) in (2, 20):
                app.user_data[key]["changed"] = True
                app.mark_data_for_update_persistence(user_ids=key)
                await app.update_persistence()
                await repository_of(app).compact("user_data")
                await repository_of(app).commit(publish=True)
        assert sorted(met) == sorted(EVERYBODY)


@pytest.mark.parametrize("key", [5.0, Decimal(5)])
async def test_a_number_that_equals_an_id_is_that_id(key: Any) -> None:
    """As in any dictionary. An empty object under it would be found in the place of the id's."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        assert key in app.user_data
        assert app.user_data[key] == own(5)
        assert app.user_data[5] is app.user_data[key]
        app.drop_user_data(key)
        assert 5 not in app.user_data
        assert 5 not in (await agreed(app, store))["user_data"]
    async with on_demand(store) as app:
        app.drop_chat_data(key)
        assert True in app.user_data
        assert app.user_data[True] == own(1)
        assert 5 not in (await agreed(app, store))["chat_data"]


@pytest.mark.parametrize("key", ["5", None, (5,), 5.5, float("inf"), float("nan"), 2**70])
async def test_what_is_no_id_is_not_there(key: Any) -> None:
    """It is not looked for, and to drop it is no error: as in a dictionary."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        since = len(store.calls)
        assert key not in app.user_data
        assert app.user_data.get(key, "none") == "none"
        app.drop_user_data(key)
        assert len(store.calls) == since
        assert len(await agreed(app, store)) == 2


async def test_what_is_made_before_a_start_is_replaced_by_what_is_saved() -> None:
    """With `load="all"`, PTB lays what it is given over what it has."""
    store, seen = MemoryStore(), list[Any]()
    await filled(store)
    for load in ("all", "on_demand"):
        app = on_demand(store, remembering(seen), load=load)
        assert app.user_data[5] == {}
        app.chat_data[6]["early"] = True
        app.user_data[99]["early"] = True
        app.mark_data_for_update_persistence(user_ids=[5, 99], chat_ids=6)
        async with app:
            assert app.user_data[5] == own(5)
            assert app.chat_data[6] == own(6)
            assert app.user_data[99] == {"early": True}
            await say(app, "tea", user=5, chat=6)
            assert seen.pop() == (own(5), own(6))
            app.drop_user_data(99)
            app.user_data[5].pop("said")
            app.chat_data[6].pop("heard")
            await agreed(app, store)


async def test_a_second_start_reads_anew() -> None:
    """What was live is forgotten, and what another has changed meanwhile is there."""
    store, seen = MemoryStore(), list[Any]()
    await filled(store)
    app = on_demand(store, remembering(seen))
    async with app:
        await say(app, "tea", user=7)
    await written(store, {"user_data": {7: {"of another": 7}}, "chat_data": {}})
    async with app:
        assert not app._user_data.live  # type: ignore[attr-defined]
        await say(app, "tea", user=7)
        await agreed(app, store)
    assert seen == [(own(7), own(7)), ({"of another": 7}, {**own(7), "heard": "tea"})]


async def test_whoever_asks_before_a_start_gets_everything() -> None:
    """Such as a script that writes to all users: to give none would look like an empty state."""
    store = MemoryStore()
    await filled(store)
    app = on_demand(store)
    await app.bot.initialize()
    persistence = persistence_of(app)
    assert await persistence.get_user_data() == EVERYBODY
    assert await persistence.get_chat_data() == EVERYBODY
    async with app:
        assert not app._user_data.live  # type: ignore[attr-defined]
        assert app.user_data[7] == own(7)


async def test_one_kind_that_is_not_stored_is_ptbs_own() -> None:
    """Of a kind that is not saved nothing is read, and PTB's empty objects are right."""
    store, seen = MemoryStore(), list[Any]()
    await filled(store)
    stores = PersistenceInput(user_data=False)
    async with on_demand(store, remembering(seen), store_data=stores) as app:
        await say(app, "tea", user=7)
        assert len(app.user_data) == 1
        assert len(app.chat_data) == COUNT
    assert seen == [({}, own(7))]
    assert await make_persistence(store).get_user_data() == EVERYBODY


async def test_neither_the_log_nor_a_text_has_an_id_or_a_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The line about a fetch that blocks comes once for each kind, and names the remedy."""
    store = MemoryStore()
    await filled(store)
    caplog.set_level(logging.DEBUG, "ptb_s3")
    async with on_demand(store) as app:
        for key in (31, 32, 33):
            assert app.user_data[key] == own(key)
            assert app.chat_data[key] == own(key)
        warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warned) == 2
        assert all("application.prefetch(" in text for text in warned)
        for text in [*warned, repr(app._user_data), repr(app.user_data)]:
            assert not any(part in text for part in ("31", "32", "33", "of 3"))
        assert persistence_of(app) is not None
        assert gather_errors(app) == []
