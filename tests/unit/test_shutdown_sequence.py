"""The end of a `PersistentApplication`: it saves before anything else can fail, and says what not.

With real processes and signals: `tests/integration/test_sigterm.py`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from telegram.ext import Application, DictPersistence, MessageHandler, filters
from telegram.warnings import PTBUserWarning
from tests.support import TESTED_LOAD, StoreAround, make_persistence
from tests.support.bots import App, asking, persistence_of, remembering, say
from tests.support.deliveries import message
from tests.unit.test_persistent_application import application, sent_a_button

from ptb_s3 import PersistentApplication
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.shutdown_sequence import BROKEN_OFF, ShutdownSequence
from ptb_s3._ptb.unsaved_changes import describe_unsaved
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Written
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.application import _logging_unsaved
from ptb_s3.errors import SettingsError, StorageUnavailableError
from ptb_s3.serverless import deliver


class Silent(StoreAround):
    """A store that takes what is sent, and does not answer."""

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        await asyncio.Event().wait()
        return await self.store.put(name, body, if_match=if_match)


async def said(store: MemoryStore) -> dict[int, Any]:
    users: dict[int, dict[str, Any]] = await make_persistence(store).get_user_data()
    return {user: data["said"] for user, data in users.items()}


async def begun(store: MemoryStore) -> App:
    """Return an application that runs, and to which somebody has said tea."""
    app = application(store, remembering())
    await app.initialize()
    await app.start()
    await say(app, "tea")
    return app


# What is saved, and when --------------------------------------------------------------------------


async def test_all_is_saved_before_a_stop_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a job queue's stop raises; what it has changed until then is saved as well."""
    store = MemoryStore()
    app = await begun(store)

    async def stop(_: object) -> None:
        assert await said(store) == {1: "tea"}
        await say(app, "milk", user=2)
        raise RuntimeError("scheduler")

    with monkeypatch.context() as patched:
        patched.setattr(Application, "stop", stop)
        with pytest.raises(RuntimeError, match="scheduler"):
            await app.stop()
    assert await said(store) == {1: "tea", 2: "milk"}
    await app.stop()
    await app.shutdown()


async def test_what_a_stop_has_changed_is_saved_when_it_is_done() -> None:
    """Updates that wait are processed in it: a post_stop that raises is not to lose them."""
    store = MemoryStore()
    app = await begun(store)
    app.create_task(say(app, "milk", user=2))
    await app.stop()
    assert await said(store) == {1: "tea", 2: "milk"}
    await app.shutdown()


async def test_a_task_that_a_task_makes_is_awaited_by_deliver_alone() -> None:
    """PTB's stop waits for those that there are when it begins to, and warns of others."""
    ends: list[str] = []

    async def inner(app: App) -> None:
        await asyncio.sleep(0.01)
        app.user_data[1]["said"] = "done"
        app.mark_data_for_update_persistence(user_ids=1)
        ends.append("inner")

    async def outer(app: App) -> None:
        while app.running:  # noqa: ASYNC110 - PTB has no event for that
            await asyncio.sleep(0)
        app.create_task(inner(app))

    async def spawn(_: object, context: Any) -> None:
        context.application.create_task(outer(context.application))

    store = MemoryStore()
    app = application(store, MessageHandler(filters.ALL, spawn))
    await app.initialize()
    await app.start()
    await say(app, "go")
    with pytest.warns(PTBUserWarning, match="won't be automatically awaited"):
        await app.stop()
    assert ends == []
    await asyncio.sleep(0.05)
    await app.shutdown()
    app = application(store, MessageHandler(filters.ALL, spawn))
    with pytest.warns(PTBUserWarning, match="won't be automatically awaited"):
        assert await deliver(app, message("go"))
    assert ends == ["inner", "inner"]
    assert await said(store) == {1: "done"}


async def test_all_is_saved_before_a_shutdown_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an updater still runs, or the bot's connections cannot be closed."""
    store = MemoryStore()
    app = application(store, remembering())
    await app.initialize()
    await say(app, "tea")

    async def shutdown() -> None:
        raise OSError("no route")

    with monkeypatch.context() as patched:
        patched.setattr(app.bot.request, "shutdown", shutdown)
        with pytest.raises(OSError, match="no route"):
            await app.shutdown()
    assert await said(store) == {1: "tea"}


async def test_a_stop_that_is_refused_saves_nothing() -> None:
    """Nor does a shutdown of what was never initialised: there is nothing, and none is loaded."""
    store = MemoryStore()
    app = application(store, remembering())
    with pytest.raises(RuntimeError, match="not running"):
        await app.stop()
    await app.shutdown()
    assert persistence_of(app)._commits is None


async def test_a_silent_storage_holds_up_no_shutdown_for_longer_than_it_may() -> None:
    """Also of what was never started; `flush_timeout` bounds both saves and the flush together."""
    store = Silent(MemoryStore())
    persistence = make_persistence(store, flush_timeout=0.2, load=TESTED_LOAD)
    app = application(None, remembering(), persistence=persistence)
    await app.initialize()
    await say(app, "tea")
    begun = time.monotonic()
    with pytest.raises(StorageUnavailableError):
        await app.shutdown()
    assert time.monotonic() - begun < 1.0


async def test_an_error_of_another_persistence_does_not_keep_the_bot_from_its_end() -> None:
    """It goes to the error handlers, as what goes wrong in an interval does."""

    class Raising(DictPersistence):
        def update_callback_data(self, *_: object) -> Any:
            raise OSError("disk full")

    app = application(None, remembering(), persistence=Raising())
    heard = []

    async def hear(_: object, context: Any) -> None:
        heard.append(str(context.error))

    app.add_error_handler(hear)
    await app.initialize()
    await app.start()
    await say(app, "tea")
    await app.stop()
    assert not app.running
    assert set(heard) == {"disk full"}


# Signals ------------------------------------------------------------------------------------------


async def test_the_first_signal_leaves_the_loop_when_all_is_saved() -> None:
    """And the second at once, twice: PTB takes one raise for the beginning of an orderly end."""
    saved = asyncio.Event()

    async def save() -> None:
        await saved.wait()

    left: list[str] = []
    ending = ShutdownSequence(save)
    ending.begin(lambda: left.append("left"))
    await asyncio.sleep(0)
    assert left == []
    saved.set()
    await asyncio.sleep(0.01)
    assert left == ["left"]


async def test_a_first_signal_in_a_stop_that_is_under_way_changes_nothing() -> None:
    """It was begun by `stop_running`, for one; the second one breaks it off."""

    async def save() -> None:
        raise AssertionError("all is being saved already")

    ending = ShutdownSequence(save)
    with ending.under_way():
        ending.on_signal()
        await asyncio.sleep(0)
        assert not ending.is_broken_off
        with pytest.raises(SystemExit) as status:
            ending.on_signal()
    assert status.value.code == BROKEN_OFF
    with pytest.raises(SystemExit):  # as it comes out of a loop that runs on
        call_scheduled()


def call_scheduled() -> None:
    """Call what was scheduled last on the running loop, and take it from there."""
    ready: Any = asyncio.get_running_loop()
    handle = ready._ready.pop()
    handle._callback(*handle._args)


async def test_a_ptb_without_the_hook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than found out when the bot is stopped."""
    monkeypatch.delattr(Application, "_raise_system_exit")
    with pytest.raises(SettingsError, match="_raise_system_exit"):
        application(MemoryStore())


# What is said -------------------------------------------------------------------------------------


async def test_what_is_unsaved_is_counted_by_kind() -> None:
    """What was only looked at does not count, what was handed over and is not durable does."""
    app = application(MemoryStore(), remembering(), asking("order"))
    await app.initialize()
    commits = persistence_of(app)._commits
    assert commits is not None
    internals = Internals(app)
    assert describe_unsaved(internals, commits) == ""
    await say(app, "/start")
    await say(app, "tea", user=2)
    await app.update_persistence()
    assert describe_unsaved(internals, commits) == ""
    app.mark_data_for_update_persistence(user_ids=[1, 2])
    assert describe_unsaved(internals, commits) == ""
    await say(app, "/start", user=3)
    await say(app, "milk", user=2)
    app.user_data[1]["made"] = "well"
    app.mark_data_for_update_persistence(user_ids=1)
    app.drop_chat_data(2)
    await sent_a_button(app)
    told = describe_unsaved(internals, commits)
    assert sorted(told.split(", ")) == [
        "1 of bot_data",
        "1 of callback_data",
        "1 of chat_data",
        "1 of conversations",
        "2 of user_data",
    ]


async def test_what_waits_for_a_storage_is_counted() -> None:
    """Whether it is staged by then, or about to be."""
    app = application(
        None, remembering(), persistence=make_persistence(Silent(MemoryStore()), load=TESTED_LOAD)
    )
    await app.initialize()
    commits = persistence_of(app)._commits
    assert commits is not None
    await say(app, "tea")
    saving = asyncio.create_task(app.update_persistence())
    for _ in range(20):
        told = describe_unsaved(Internals(app), commits)
        assert sorted(told.split(", ")) == ["1 of bot_data", "1 of chat_data", "1 of user_data"]
        await asyncio.sleep(0)
    saving.cancel()


def test_a_run_that_breaks_off_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """And one that ends well, or that raised what says so itself, says nothing more."""

    def end_with(failure: BaseException) -> str:
        async def run() -> None:
            await app.initialize()
            await say(app, "tea")
            raise failure

        caplog.clear()
        app: Any = application(MemoryStore(), remembering())
        with pytest.raises(type(failure)):
            _logging_unsaved(lambda _: asyncio.run(run()))(app)
        return caplog.text

    assert "by OSError. Not saved, and lost: 1 of user_data" in end_with(OSError("post_stop"))
    assert "by SystemExit. Not saved, and lost: 1 of user_data" in end_with(SystemExit(3))
    assert end_with(StorageUnavailableError("it says so itself")) == ""


def test_the_runs_look_as_ptbs_do() -> None:
    """Their parameters and docstrings are what an editor shows."""
    for name in ("run_polling", "run_webhook"):
        ours, theirs = getattr(PersistentApplication, name), getattr(Application, name)
        assert ours.__doc__ == theirs.__doc__
        assert ours.__wrapped__ is theirs
