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
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from copy import deepcopy
from datetime import datetime
from typing import Any, TypeAlias, get_args
from weakref import WeakKeyDictionary

from telegram import Update

from ptb_s3._ptb.application_state import App, renew_lock
from ptb_s3._ptb.block import CommittedState, SharedBlock, TransactionBlock
from ptb_s3._ptb.delivery import Delivery
from ptb_s3._ptb.due_call import carry_out
from ptb_s3._ptb.due_runs import DueRuns
from ptb_s3._ptb.flush import CLOSE_RESERVE
from ptb_s3._ptb.host import Host, prepare
from ptb_s3._ptb.on_demand import prefetch
from ptb_s3._ptb.rollback import subjects_of
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._ptb.time_limit import TimeLimit
from ptb_s3._ptb.transaction import OnConflict
from ptb_s3._ptb.turns import has_turn, turn_of
from ptb_s3.errors import SettingsError, StorageUnavailableError, UpdateFormatError
from ptb_s3.job_queue import PersistentJobQueue
from ptb_s3.persistence import S3Persistence

__all__ = ["CommittedState", "begin", "close", "committed", "compact", "deliver", "run_due"]

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
        TimeLimit(limit),
    )
    try:
        async with limit, _turn_of(application, persistence) as host:
            return await delivery.run(loader_of(persistence), host)
    except TimeoutError:
        if not limit.expired():
            raise
    raise delivery.failure()


async def run_due(
    application: App,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - what is not begun by then is left to the next call
) -> datetime | None:
    """Run the jobs that are due, and return when the next one is.

    To be called by a schedule, where no scheduler of the application's runs: `deliver` runs nothing
    that is not an update's. Jobs are those of a :class:`ptb_s3.PersistentJobQueue`, and
    conversations whose time is up are ended as jobs are run. They are claimed in one commit, run at
    the same time, up to 100, and each is saved when it ends. What one raises goes to the error
    handlers, as PTB does it, and the others run.

    Updates that this process is to deliver wait meanwhile, as for one another.

    Example:
        .. code:: python

            def handler(event, context):
                if event.get("source") == "aws.events":
                    asyncio.run(run_due(application, timeout=25))

    Args:
        application: Application with an :class:`ptb_s3.S3Persistence` and a
            :class:`ptb_s3.PersistentJobQueue`.
        timeout: Seconds that the call may take, waiting for its turn included. No job is begun in
            the second half of what is left when the state is there: those that run have as long as
            that. What is not begun is not claimed, and left to the next call, of this process or
            another. What runs when the time is up is cancelled and keeps its claim: it runs again
            when that lapses, after ten minutes. None: any time for jobs and for the first load, and
            20 s for everything else.

    Returns:
        When the next job is due, in UTC: not in the future if some were left. None: there is none.

    Raises:
        SerializationError: A value cannot be saved. Everything else is.
        PersistenceError: The state cannot be read, or no job claimed, or what they have changed is
            not durable, and kept for the next call. Jobs whose end is not durable run again.
        SettingsError: The application has no `S3Persistence`, or nothing that may be due.
        TimeoutError: The time was up before all that were begun had ended.
        RuntimeError: A handler has called it in an update of `deliver`'s, or a job.
    """
    persistence = _persistence_of(application)
    loader = loader_of(persistence)
    if not loader.due_sources:
        raise SettingsError(
            "The application has no jobs that are kept: give it a queue with "
            "ApplicationBuilder().job_queue(PersistentJobQueue())."
        )
    runs, limit = DueRuns(loader.due_sources), asyncio.timeout(timeout)
    try:
        async with limit, _turn_of(application, persistence) as host:
            commits = await prepare(application, loader, host, time := TimeLimit(limit))
            await carry_out(application, commits, runs, time)
            return runs.next_due()
    except TimeoutError:
        if not limit.expired():
            raise
    raise runs.failure()


@asynccontextmanager
async def committed(
    application: App,
    users: Iterable[int] = (),
    chats: Iterable[int] = (),
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - what is not committed by then is taken back
) -> AsyncIterator[CommittedState]:
    """Change data by code that is no handler's, such as a payment's webhook, in one commit.

    What the block changes in the data of these users and chats, in the bot's data and in the job
    queue is committed at its end. If it raises, all of that is taken back.

    Example:
        .. code:: python

            async with committed(application, users=[payer]) as state:
                state.user_data[payer]["paid"] = True
                state.job_queue.run_once(thank, 60, user_id=payer)

    While the application runs, as by `run_polling`, the block shares its live objects: handlers see
    what it changes at once, and changes of other instances are merged, as with all its saves. If it
    raises, the data that it has named goes back to what is committed. Whatever handlers have
    changed in the same data since the block began goes back as well, so do not await anything slow
    in it.

    Args:
        application: Application with an :class:`ptb_s3.S3Persistence`.
        users: Ids of the users whose data it may change.
        chats: Ids of the chats whose data it may change.
        timeout: Seconds that all of it may take, waiting for its turn included. None: any time for
            the block and for the first load, and 20 s for everything else.

    Yields:
        What it may change, brought up to date with what other instances have committed.

    Raises:
        OvertakenError: Another instance has changed the same since it was read, and the two cannot
            be merged. Nothing of it stays: begin the block again.
        SerializationError: A value cannot be saved. Nothing of it stays.
        PersistenceError: The state cannot be read, or the changes are not durable. Nothing of it
            stays, unless it was on its way to the storage, or the application runs.
        SettingsError: An id is none, or the application has no `S3Persistence`.
        TimeoutError: The time was up. Nothing of it stays.
        RuntimeError: A handler has called it in an update of `deliver`'s, or in another block.
    """
    persistence = _persistence_of(application)
    subjects = subjects_of(_ids(users, "users"), _ids(chats, "chats"))
    queue = getattr(application, "_job_queue", None)
    jobs = queue._of_update if isinstance(queue, PersistentJobQueue) else _no_jobs  # noqa: SLF001 - no method for users
    kind = SharedBlock if application.running else TransactionBlock
    async with asyncio.timeout(timeout) as limit, _turn_of(application, persistence) as host:
        commits = await prepare(application, loader_of(persistence), host, time := TimeLimit(limit))
        time.allow(math.inf)
        await prefetch(commits, subjects)
        block = kind(application, commits, host, subjects, jobs, time)
        async with block.run() as state:
            yield state
        await time.settle(commits.compaction)


def _no_jobs() -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


def _ids(ids: Iterable[int], argument: str) -> set[int]:
    """Return ids of users or chats.

    Raises:
        SettingsError: One is of another type.
    """
    if isinstance(ids, Iterable):
        given = list(ids)
        if all(type(one) is int for one in given):
            return set(given)
    raise SettingsError(f"{argument} of a block are ids: give a list of whole numbers.")


async def compact(
    application: App,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - what is not written by then stays as it was
) -> list[str]:
    """Write the blobs anew that are due, and return their kinds.

    `deliver` and `run_due` do so where a few seconds will do. Where they do not, as for a large
    state on a slow line, each commit carries more along from day to day: then have a schedule call
    this once a day, or run ``ptb-s3 compact``.

    Updates that this process is to deliver wait meanwhile.

    Example:
        .. code:: python

            def handler(event, context):
                if event == {"ptb_s3": "compact"}:
                    asyncio.run(compact(application, timeout=25))

    Args:
        application: Application with an :class:`ptb_s3.S3Persistence`.
        timeout: Seconds that the call may take, waiting for its turn included. The smallest blobs
            come first. None: any time.

    Returns:
        Kinds whose blobs were written; an empty list where nothing was due, and nothing sent.

    Raises:
        PersistenceError: The state cannot be read, or a blob is not written. The state is as safe
            as before.
        TimeoutError: The time was up before all was written. Give more, or run ``ptb-s3 compact``
            where there is more of it.
        SettingsError: The application has no `S3Persistence`.
        RuntimeError: A handler has called it in an update of `deliver`'s, or a job.
    """
    persistence = _persistence_of(application)
    limit = asyncio.timeout(timeout)
    try:
        async with limit, _turn_of(application, persistence) as host:
            commits = await prepare(application, loader_of(persistence), host)
            return [kind.value for kind in await commits.compaction.write_due()]
    except TimeoutError:
        if not limit.expired():
            raise
    raise TimeoutError(
        f"The blobs that are due were not all written within {timeout:.3g} s. Nothing is lost. "
        "Give it more time, or run ptb-s3 compact where there is more."
    )


async def begin(application: App) -> None:
    """Initialise the application and load the state, ahead of the first update.

    For hosts on which a failed start is better seen before requests are sent there.

    Args:
        application: Application with an :class:`ptb_s3.S3Persistence`.

    Raises:
        PersistenceError: The state cannot be read.
    """
    persistence = _persistence_of(application)
    async with _turn_of(application, persistence) as host:
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
        async with asyncio.timeout(limit), _turn_of(application, persistence):
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
async def _turn_of(application: App, persistence: _Persistence) -> AsyncIterator[Host]:
    """Enter the host of an application, and take its turn.

    Raises:
        RuntimeError: The running task has it already, and would wait for itself.
    """
    host = _hosts.setdefault(persistence, Host())
    if has_turn(host, application):
        raise RuntimeError(
            "This was called in the middle of an update of deliver's, of a job of run_due's, or of "
            "a block of committed's, which it would wait for without end. Change the data there "
            "directly, or call this when that is over."
        )
    async with _host_of(application, persistence) as entered, entered.turn:
        with turn_of(entered):
            yield entered


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
