"""Where updates are processed and nobody asks for a save, the log says so, once."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bots import App, persistence_of, remembering, say
from tests.support.deliveries import message
from tests.unit.test_persistent_application import application

from ptb_s3._ptb.save_watchdog import INTERVALS, SaveWatchdog
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.serverless import deliver

WARNING = "nobody has asked for a save"
INTERVAL = 60.0


class Clock:
    """The running loop's time, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def begun(*, plain: bool) -> App:
    app = application(MemoryStore(), remembering(), plain=plain, update_interval=INTERVAL)
    await app.initialize()
    return app


@pytest.mark.parametrize("plain", [True, False])
async def test_nobody_who_asks_for_a_save_is_said_once(
    clock: Clock, caplog: pytest.LogCaptureFixture, *, plain: bool
) -> None:
    """`initialize` and `process_update` alone, as under a web framework: it names what to do."""
    app = await begun(plain=plain)
    said = []
    for _ in range(8):
        await say(app, "tea")
        clock.now += INTERVAL
        said.append(caplog.text.count(WARNING))
    assert said == [0, 0, 0, 0, 1, 1, 1, 1]
    for remedy in ("deliver()", "application.start()", "application.update_persistence()"):
        assert remedy in caplog.text
    assert [r.levelno for r in caplog.records if r.name == "ptb_s3"] == [logging.WARNING]


@pytest.mark.parametrize("plain", [True, False])
async def test_whoever_saves_hears_nothing(
    clock: Clock, caplog: pytest.LogCaptureFixture, *, plain: bool
) -> None:
    """After each update, now and then, or after hours without one: nothing has to have changed."""
    app = await begun(plain=plain)
    for pause in (1.0, INTERVAL, 2 * INTERVAL, 500 * INTERVAL):
        for _ in range(5):
            await say(app, "tea")
            clock.now += INTERVAL
            await say(app, "tea")
            await app.update_persistence()
            clock.now += pause
    assert WARNING not in caplog.text


async def test_deliver_saves_each_update(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Also where a handler fails in the middle of one, time and again."""

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    app = await begun(plain=False)
    for _ in range(8):
        assert await deliver(app, message("tea"))
        clock.now += 2 * INTERVAL
    app.handlers[0][0].callback = hang
    for _ in range(8):
        delivery = asyncio.create_task(deliver(app, message("milk"), on_conflict="merge"))
        for _ in range(50):
            await asyncio.sleep(0)
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        clock.now += 2 * INTERVAL
    assert WARNING not in caplog.text


async def test_a_save_that_takes_its_time_is_not_missing(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow storage is no reason to say that nobody asks."""
    app = await begun(plain=False)
    answered = asyncio.Event()
    store: Any = persistence_of(app)._loader.store
    put = store.put

    async def wait_and_put(name: str, body: bytes, **condition: Any) -> Any:
        await answered.wait()
        return await put(name, body, **condition)

    monkeypatch.setattr(store, "put", wait_and_put)
    await say(app, "tea")
    saving = asyncio.create_task(app.update_persistence())
    for _ in range(8):
        await asyncio.sleep(0)
        await say(app, "milk")
        clock.now += INTERVAL
    answered.set()
    await saving
    await say(app, "milk")
    assert WARNING not in caplog.text


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3 * INTERVAL)), max_size=40))
def test_it_is_said_if_and_only_if_updates_go_on_for_so_long(
    events: list[tuple[bool, float]],
) -> None:
    """Updates on both sides of three intervals, and no save between."""
    asked, now, first, expected = SaveWatchdog(INTERVAL), 0.0, None, False
    for is_save, pause in events:
        now += pause
        if is_save:
            asked.note_save()
            first = None
        else:
            asked.note_update(now)
            first = now if first is None else first
            expected = expected or now - first > INTERVALS * INTERVAL
        assert asked._warned == expected
