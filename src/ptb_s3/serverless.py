"""One call for each update, on hosts that may freeze or end the process as soon as it returns.

    await deliver(application, event["body"])

takes an update from Telegram to its durable effects: what other instances have committed is brought
in, the update is processed, and what it changed is committed. It may be called on another event
loop each time (`asyncio.run`), after a freeze of any length, and again for an update that was
delivered before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from telegram import Update
from telegram.ext import Application

from ptb_s3._ptb import Internals, tasks
from ptb_s3.application import PersistentApplication
from ptb_s3.errors import ConflictError, SettingsError, StorageUnavailableError, UpdateFormatError
from ptb_s3.persistence import S3Persistence

__all__ = ["begin", "close", "deliver"]

App: TypeAlias = Application[Any, Any, Any, Any, Any, Any]
_Persistence: TypeAlias = S3Persistence[Any, Any, Any]

# Seconds that blobs written after a commit may hold up the answer. They make the next cold start
# cheaper, and nothing is lost if they are not written.
BLOBS_PATIENCE = 5.0


class _Host:
    """What there is to know of an application between two calls.

    Attributes:
        loop: The event loop of the last call.
        turn: Held by the call that is under way: one update at a time, so that it is known what
            belongs to it.
        begun: Whether the application is initialised.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.turn = asyncio.Lock()
        self.begun = False


_hosts: WeakKeyDictionary[_Persistence, _Host] = WeakKeyDictionary()


async def deliver(application: App, update: str | bytes | Mapping[str, Any]) -> bool:
    """Process one update, and return when its effects are durable.

    The application needs no `Updater` and no `JobQueue`. The first call initialises it, and calls
    its `post_init`. Calls that come meanwhile wait for their turn.

    Args:
        application: The application, with an `S3Persistence`; best a `PersistentApplication`.
        update: The update, as Telegram sends it: JSON, or the object that was made from it.

    Returns:
        False if the update's effects had been committed before, so that it was not processed again.

    Raises:
        UpdateFormatError: It is not an update. Answer 400: Telegram need not send it again.
        PersistenceError: The state cannot be read, or what changed is not durable. Answer 500:
            Telegram sends the update again, and the next call goes on from there.
    """
    persistence = _persistence_of(application)
    host = await _host_of(application, persistence)
    data = _parsed(update)
    async with host.turn:
        internals = await _begin(application, persistence, host)
        return await _deliver(application, persistence, internals, _update(application, data))


async def begin(application: App) -> None:
    """Initialise the application and load the state, ahead of the first update.

    For hosts on which a start that fails is better seen before requests are sent there.

    Raises:
        PersistenceError: The state cannot be read.
    """
    persistence = _persistence_of(application)
    host = await _host_of(application, persistence)
    async with host.turn:
        if not host.begun:
            await _begin(application, persistence, host)


async def close(application: App) -> None:
    """Save what is left, close connections, and let a later `deliver` begin anew.

    For hosts that say when they end the process, such as by SIGTERM. Takes little longer than the
    persistence's `flush_timeout`, whatever the storage does.

    Raises:
        PersistenceError: What changed is not durable.
    """
    persistence = _persistence_of(application)
    host = _hosts.get(persistence)
    if host is None or not host.begun:
        return
    host.begun = False
    try:
        async with asyncio.timeout(persistence.flush_timeout), host.turn:
            await application.shutdown()
    except TimeoutError:
        raise StorageUnavailableError(
            f"The storage did not take what was left within {persistence.flush_timeout} s "
            "(flush_timeout). An update that was not answered is sent again by Telegram."
        ) from None
    finally:
        await persistence.close()


async def _host_of(application: App, persistence: _Persistence) -> _Host:
    """Return what there is to know; leave behind what belongs to a loop that may be closed."""
    host, loop = _hosts.setdefault(persistence, _Host()), asyncio.get_running_loop()
    if host.loop is not loop:
        begun_elsewhere = host.loop is not None
        host.loop, host.turn = loop, asyncio.Lock()  # at once: calls may come meanwhile
        if begun_elsewhere:
            async with host.turn:
                request = application.bot.request
                with suppress(RuntimeError):  # its connections are of the other loop
                    await request.shutdown()
                await request.initialize()
    return host


async def _begin(application: App, persistence: _Persistence, host: _Host) -> Internals:
    """Initialise the application, or bring its state up to date."""
    if host.begun:
        internals = Internals(application)
        commits = await persistence.opened()
        await commits.catch_up()
        internals.bring_in(commits.objects)
        return internals
    await application.initialize()
    host.begun = True
    if application.post_init is not None:
        await application.post_init(application)
    return Internals(application)


async def _deliver(
    application: App, persistence: _Persistence, internals: Internals, update: Update
) -> bool:
    commits = await persistence.opened()
    new = not commits.repository.has_delivered(update.update_id)
    if new:
        try:
            await _process(application, update)
        except BaseException:  # out of time, for one: Telegram sends it again
            if isinstance(application, PersistentApplication):
                application.take_back_drops()
            internals.reset(commits.objects, update)
            raise
        commits.repository.note_delivered(update.update_id)
    marks = internals.marks()
    try:
        await application.update_persistence()
        await commits.repository.commit()
    except BaseException:
        internals.put_back(marks)  # it may have been cut short before anything was handed over
        raise
    if not commits.repository.has_delivered(update.update_id):
        raise ConflictError(
            "Another instance has processed an update whose effects could not be saved here. They "
            "were taken back, and those of this update with them: have it sent again, as Telegram "
            "does with what is not answered 200."
        )
    await commits.settle(BLOBS_PATIENCE)
    return new


async def _process(application: App, update: Update) -> None:
    """Process an update to the end, what `Application.create_task` was given included."""
    if application.bot.callback_data_cache is not None:
        application.bot.insert_callback_data(update)
    before = tasks()
    await application.process_update(update)
    while spawned := tasks() - before:
        await asyncio.wait(spawned)


def _persistence_of(application: App) -> _Persistence:
    persistence = application.persistence
    if not isinstance(persistence, S3Persistence):
        raise SettingsError(
            "The application has no S3Persistence: give it one with "
            "ApplicationBuilder().persistence(S3Persistence.from_env())."
        )
    return persistence


def _parsed(update: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    try:
        data = json.loads(update) if isinstance(update, (str, bytes)) else dict(update)
    except (ValueError, RecursionError):
        data = None
    number = data.get("update_id") if isinstance(data, dict) else None
    if not isinstance(data, dict) or type(number) is not int or not 0 <= number < 2**53:
        raise UpdateFormatError(
            "What was delivered is not an update: it must be a JSON object with an update_id. Pass "
            "the body of Telegram's request, decoded if the host has encoded it (base64)."
        )
    return data


def _update(application: App, data: dict[str, Any]) -> Update:
    try:
        return Update.de_json(data, application.bot)
    except Exception:  # noqa: BLE001 - PTB raises whatever the wrong shape leads to
        update_id = data["update_id"]
    raise UpdateFormatError(
        f"Update {update_id} is not of the form that python-telegram-bot knows. Nothing was "
        "changed."
    )
