"""Deliver updates one by one, on hosts that may freeze or end the process when a call returns.

.. code:: python

    await deliver(application, event["body"])

takes an update from Telegram to its durable effects: what other instances have committed is brought
in, the update is processed, and its changes are committed. If others have changed the same
meanwhile, its changes are taken back, and it is processed again on the present state. `deliver` may
be called on another event loop each time (`asyncio.run`), by several threads, after a freeze of any
length, and again for an update that was delivered before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from typing import Any, TypeAlias, get_args
from weakref import WeakKeyDictionary

from telegram import Update

from ptb_s3._ptb.application_state import App, renew_lock
from ptb_s3._ptb.delivery import Delivery
from ptb_s3._ptb.flush import CLOSE_RESERVE
from ptb_s3._ptb.host import Host, prepare
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._ptb.transaction import OnConflict
from ptb_s3.errors import SettingsError, StorageUnavailableError, UpdateFormatError
from ptb_s3.persistence import S3Persistence

__all__ = ["begin", "close", "deliver"]

# Seconds between two looks whether another thread, which has an event loop of its own, is done. An
# event of asyncio belongs to one loop, so there is none to wait for.
LOOK = 0.005

_Persistence: TypeAlias = S3Persistence[Any, Any, Any]

_hosts: WeakKeyDictionary[_Persistence, Host] = WeakKeyDictionary()


async def deliver(
    application: App,
    update: str | bytes | Mapping[str, Any],
    *,
    on_conflict: OnConflict = "retry",
    timeout: float | None = None,  # noqa: ASYNC109 - what is not committed by then is taken back
) -> bool:
    """Process one update, and return when its effects are durable.

    The application needs no `Updater` and no `JobQueue`. The first call initialises it, and calls
    its `post_init`; if that raises, the next call does so again. Calls that come meanwhile wait for
    their turn.

    An update is a transaction. If others have changed what it changes since it was read, and
    neither fields nor ``merge=`` settle that, its changes are taken back, and it is processed again
    on the present state. What it only *read* is not checked. What the bot has *sent* cannot be
    taken back, and neither can what a handler commits itself.

    Example:
        .. code:: python

            application = (
                ApplicationBuilder()
                .application_class(PersistentApplication)
                .token(token)
                .persistence(S3Persistence.from_env())
                .updater(None)
                .build()
            )


            def handler(event, context):
                asyncio.run(deliver(application, event["body"]))
                return {"statusCode": 200}

    Args:
        application: Application with an :class:`ptb_s3.S3Persistence`, preferably a
            :class:`ptb_s3.PersistentApplication`.
        update: Update as Telegram sends it: JSON, or the object that was made from it.
        on_conflict: ``"retry"`` as above, or ``"merge"`` for handlers that must not run twice: of
            what both have changed, ours wins, or what ``merge=`` returns. See
            :obj:`ptb_s3.OnConflict`.
        timeout: Seconds that the call may take, waiting for its turn included. None: any time for
            handlers and for the first load, and 20 s for everything else.

    Returns:
        False if the update's effects had been committed before, so that it was not processed again.

    Raises:
        UpdateFormatError: This is not an update. Answer 400: Telegram need not send it again.
        SerializationError: A value cannot be saved. Everything else is, and the update is noted as
            delivered: answer 200, since to send it again cannot help, and log this.
        ConflictError: Its changes cannot be merged here, or others were first until the time was
            up. Nothing of it stays. Answer 500: Telegram sends it again.
        PersistenceError: The state cannot be read, or the changes are not durable. Nothing of the
            update stays, unless it was on its way to the storage. Answer 500.
        SettingsError: An argument cannot be used, or the application has no `S3Persistence`.
        TimeoutError: The time was up before it was processed. Nothing of it stays. Answer 500.
    """
    if on_conflict not in get_args(OnConflict):
        raise SettingsError(f'on_conflict is {on_conflict!r}: give "retry" or "merge".')
    persistence = _persistence_of(application)
    data = _parsed(update)
    limit = asyncio.timeout(timeout)
    delivery = Delivery(
        application,
        data["update_id"],
        lambda: _update(application, data),
        on_conflict,
        limit,
    )
    try:
        async with limit, _host_of(application, persistence) as host, host.turn:
            return await delivery.run(loader_of(persistence), host)
    except TimeoutError:
        if not limit.expired():
            raise
    raise delivery.failure()


async def begin(application: App) -> None:
    """Initialise the application and load the state, ahead of the first update.

    For hosts on which a failed start is better seen before requests are sent there.

    Args:
        application: Application with an :class:`ptb_s3.S3Persistence`.

    Raises:
        PersistenceError: The state cannot be read.
    """
    persistence = _persistence_of(application)
    async with _host_of(application, persistence) as host, host.turn:
        if not host.ready:
            await prepare(application, loader_of(persistence), host)


async def close(application: App) -> None:
    """Save what is left, close connections, and let a later `deliver` begin anew.

    For hosts that say when they end the process, such as by SIGTERM. Takes little longer than the
    persistence's `flush_timeout`, whatever the storage does.

    Args:
        application: Application that updates were delivered to. Does nothing if none was.

    Raises:
        PersistenceError: Changes are not durable.
    """
    persistence = _persistence_of(application)
    host = _hosts.get(persistence)
    if host is None or not host.begun:
        return
    try:
        # Including the time in which a flush closes connections, or it would seem to have failed.
        limit = persistence.flush_timeout + 2 * CLOSE_RESERVE
        async with asyncio.timeout(limit), _host_of(application, persistence), host.turn:
            host.begun = host.ready = False  # only now: an update may have had its turn just before
            await host.take_back()
            await application.shutdown()
    except TimeoutError:
        raise StorageUnavailableError(
            f"The storage did not take what was left within {persistence.flush_timeout} s "
            "(flush_timeout). An update that was not answered is sent again by Telegram."
        ) from None
    finally:
        with suppress(TimeoutError):  # a peer that never answers, for which the flush has waited
            async with asyncio.timeout(CLOSE_RESERVE):
                await persistence.close()


@asynccontextmanager
async def _host_of(application: App, persistence: _Persistence) -> AsyncIterator[Host]:
    """Enter the host of an application, with its connections on the running loop."""
    host, loop = _hosts.setdefault(persistence, Host()), asyncio.get_running_loop()
    while not host.enter(loop):  # noqa: ASYNC110 - an event is of one loop
        await asyncio.sleep(LOOK)
    try:
        if host.moved:
            async with host.turn:
                await _move(application, host)
        yield host
    finally:
        host.leave(loop)


async def _move(application: App, host: Host) -> None:
    """Replace what belongs to the old event loop, which may be closed: a lock, and connections."""
    if host.moved:  # else another call was first
        renew_lock(application)
        request = application.bot.request
        with suppress(RuntimeError):  # its connections belong to the other loop
            await request.shutdown()
        await request.initialize()
        host.moved = False


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
        return Update.de_json(deepcopy(data), application.bot)
    except Exception:  # noqa: BLE001 - PTB raises whatever the wrong shape leads to
        update_id = data["update_id"]
    raise UpdateFormatError(
        f"Update {update_id} is not of the form that python-telegram-bot knows. Nothing was "
        "changed."
    )
