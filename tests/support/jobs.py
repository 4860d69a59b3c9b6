"""Bots with jobs that are kept: started, killed, stopped, and what their store holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from telegram.ext import ApplicationBuilder
from tests.support.bots import TOKEN, OfflineTelegram

from ptb_s3 import PersistentApplication, PersistentJobQueue, PickleSerializer
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3.testing import MemoryPersistence

JobBot: TypeAlias = Any  # an Application, whose job queue may be None, as PTB's types have it
Memory: TypeAlias = MemoryPersistence[Any, Any, Any]
PATIENCE = 20.0
"""Seconds to wait for what has to happen: far more than it takes."""


def built(persistence: Any, *handlers: Any, **settings: Any) -> JobBot:
    """Build a bot with a job queue that is kept.

    Args:
        persistence: Where its state lies.
        handlers: What it does with updates.
        settings: Further methods of `ApplicationBuilder`, by name, and what to give them.
    """
    builder: Any = (
        ApplicationBuilder()
        .application_class(PersistentApplication)
        .token(TOKEN)
        .request(OfflineTelegram(TOKEN))
        .get_updates_request(OfflineTelegram(TOKEN))
        .updater(None)
        .persistence(persistence)
        .job_queue(PersistentJobQueue())
    )
    for name, value in settings.items():
        builder = getattr(builder, name)(value)
    application = builder.build()
    for handler in handlers:
        application.add_handler(handler)
    return application


async def begun(persistence: Any, *handlers: Any, **settings: Any) -> JobBot:
    """Start a bot."""
    application = built(persistence, *handlers, **settings)
    await application.initialize()
    await application.start()
    return application


async def kill(application: JobBot) -> None:
    """End a bot as by SIGKILL: nothing of it runs any more, and nothing is saved."""
    if application.job_queue.scheduler.running:
        application.job_queue.scheduler.shutdown(wait=False)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def end(application: JobBot) -> None:
    """Stop a bot in good order."""
    await application.stop()
    await application.shutdown()


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: It has not become so in time.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it is any condition, which has no event
            await asyncio.sleep(0.005)


async def saved(persistence: Memory) -> dict[Any, Any]:
    """Return what the store holds of jobs: values by key."""
    repository = (await loader_of(persistence.restarted()).opened()).repository
    plain = PickleSerializer(trusted=())
    return {k: plain.loads(v) for k, v in repository.base.entities[Kind.JOBS].items()}
