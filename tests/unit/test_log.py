"""What a bot's log says at INFO and above: few lines, and those that somebody looks for."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import make_persistence, opened, settled, state_of, update
from tests.support.bots import gather_errors, persistence_of, remembering, say
from tests.unit.test_persistent_application import application

from ptb_s3._format.entities import Kind
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError, PersistenceError, StorageUnavailableError

NEW = "Beginning a new state at s3://bucket/shop/: there is none yet."


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "ptb_s3")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return what was said since this was asked last: levels and messages."""
    said = [(record.levelname, record.getMessage()) for record in log.records]
    log.clear()
    return said


async def test_a_start_says_what_was_loaded_and_from_where(log: pytest.LogCaptureFixture) -> None:
    """Or that a new store is begun: a mistyped prefix shows in the first lines."""
    store = MemoryStore()
    first = make_persistence(store, prefix="shop/")
    await state_of(first, "order")
    assert lines(log) == [("INFO", NEW)]
    users = {1: {"a": 1}, 2: {"a": 2}}
    await update(first, {"user_data": users, "bot_data": {"n": 1}})
    assert [level for level, _ in lines(log)] == []
    await state_of(make_persistence(store, prefix="shop/"))
    loaded = "Loaded revision 1 at s3://bucket/shop/: 2 of user_data, 1 of bot_data."
    assert lines(log) == [("INFO", loaded)]


async def test_a_state_without_entities_is_loaded_as_well(log: pytest.LogCaptureFixture) -> None:
    """It is no new one: its history is there."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await update(persistence, {"user_data": {1: {"a": 1}}})
    await persistence.drop_user_data(1)
    log.clear()
    await make_persistence(store).get_user_data()
    assert lines(log) == [("INFO", "Loaded revision 2 at s3://bucket/: nothing.")]


async def test_an_hour_of_quiet_running_adds_nothing(log: pytest.LogCaptureFixture) -> None:
    """Sixty intervals with changes and blobs, and another instance that commits, too."""
    store = MemoryStore()
    other = make_persistence(store)
    await update(other, {"user_data": {7: {"a": 0}}})
    log.clear()
    persistence: Any = make_persistence(store, sync=0)
    app = application(None, remembering(), persistence=persistence)
    await app.initialize()
    for minute in range(60):
        await say(app, f"{minute}" * 20_000)
        if minute % 2:
            await update(other, {"user_data": {7: {"a": minute}}})
        await app.update_persistence()
        await settled(persistence)
    assert persistence.stats.commits == 60
    assert persistence.stats.compactions > 0
    assert persistence.stats.conflicts > 0
    said = lines(log)
    assert said[0] == ("INFO", "Loaded revision 1 at s3://bucket/: 1 of user_data.")
    assert [message for _, message in said[1:]] == []


async def test_a_failed_save_speaks_of_saving_and_of_what_waits(
    log: pytest.LogCaptureFixture,
) -> None:
    """What the error handlers get; the log says when it works again, and not of each failure."""
    store = MemoryStore()
    app = application(store, remembering(), prefix="shop/")
    errors = gather_errors(app)
    await app.initialize()
    await say(app, "tea")
    await app.update_persistence()
    await settled(persistence_of(app))
    store.faults = lambda _: Fault.FAIL_BEFORE
    log.clear()
    for text in ("milk", "coffee"):
        await say(app, text, user=2)
        await app.update_persistence()
    waits = (
        "Could not save what has changed (1 of user_data, 1 of chat_data, 1 of bot_data, kept in "
        "memory for the next save). "
    )
    assert [str(error)[: len(waits)] for error in errors] == [waits, waits]
    assert all(isinstance(error, StorageUnavailableError) for error in errors)
    assert lines(log) == []
    store.faults = lambda _: None
    await app.update_persistence()
    ((level, message),) = lines(log)
    assert level == "INFO"
    assert message == "Saving works again after 0 s: revision 2 is saved."
    await say(app, "water", user=2)
    await app.update_persistence()
    assert lines(log) == []


async def test_it_is_said_for_how_long_nothing_was_saved(log: pytest.LogCaptureFixture) -> None:
    """From the first failure on; a commit without changes proves nothing."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = MemoryStore()
    repository = await opened(store, clock=lambda: now)
    repository.stage(Kind.USER_DATA, 1, b"one")
    store.faults = lambda _: Fault.FAIL_BEFORE
    for _ in range(3):
        with pytest.raises(PersistenceError):
            await repository.commit()
        now += timedelta(seconds=60)
    store.faults = lambda _: None
    repository.discard()
    await repository.commit()
    assert lines(log) == []
    repository.stage(Kind.USER_DATA, 1, b"one")
    await repository.commit()
    saved = ("INFO", "Saving works again after 180 s: revision 1 is saved.")
    assert [line for line in lines(log) if line[0] == "INFO"] == [saved]


async def test_a_save_by_hand_that_fails_says_the_same() -> None:
    """By `commit` or by `flush`; a command, which keeps nothing, does not."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await persistence.get_bot_data()
    store.faults = lambda _: Fault.FAIL_BEFORE
    with pytest.raises(ExceptionGroup):
        await update(persistence, {"bot_data": {"n": 1}})
    waits = r"^Could not save what has changed \(1 of bot_data, kept in memory for the next save\)"
    for save in (persistence.commit, persistence.flush):
        with pytest.raises(StorageUnavailableError, match=waits):
            await save()
    store.faults = lambda _: None
    command = await opened(store)
    command.stage(Kind.USER_DATA, 1, b"one")
    store.faults = lambda _: Fault.FAIL_BEFORE
    with pytest.raises(StorageUnavailableError) as caught:
        await command.commit()
    assert "kept in memory" not in str(caught.value)


async def test_a_state_that_is_taken_away_is_a_failed_save(log: pytest.LogCaptureFixture) -> None:
    """And saving works again when it is back, though no request has failed."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await update(persistence, {"bot_data": {"n": 1}})
    lost = store._current.pop("head")
    with pytest.raises(ExceptionGroup) as caught:
        await update(persistence, {"bot_data": {"n": 2}})
    assert isinstance(caught.value.exceptions[0], ConflictError)
    assert str(caught.value.exceptions[0]).startswith("Could not save what has changed (1 of bot")
    store._current["head"] = lost
    log.clear()
    await persistence.commit()
    assert ("INFO", "Saving works again after 0 s: revision 2 is saved.") in lines(log)
