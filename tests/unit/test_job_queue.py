"""Jobs that outlive the process that made them: made, saved, loaded, run once, and gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from telegram.ext import ApplicationBuilder
from tests.support.bots import TOKEN, OfflineTelegram

from ptb_s3 import PersistentApplication, PersistentJobQueue
from ptb_s3.testing import MemoryPersistence, memory_persistence

ran: list[tuple[str, Any]] = []
App = Any


async def remind(context: Any) -> None:
    ran.append((context.job.name, context.job.data))


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def built(persistence: MemoryPersistence[Any, Any, Any]) -> App:
    """Build a bot with a job queue that is kept."""
    return (
        ApplicationBuilder()
        .application_class(PersistentApplication)
        .token(TOKEN)
        .request(OfflineTelegram(TOKEN))
        .get_updates_request(OfflineTelegram(TOKEN))
        .updater(None)
        .persistence(persistence)
        .job_queue(PersistentJobQueue())
        .build()
    )


async def begun(persistence: MemoryPersistence[Any, Any, Any]) -> App:
    """Start a bot."""
    application = built(persistence)
    await application.initialize()
    await application.start()
    return application


async def kill(application: App) -> None:
    """End a bot as by SIGKILL: nothing of it runs any more, and nothing is saved."""
    application.job_queue.scheduler.shutdown(wait=False)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def end(application: App) -> None:
    """Stop a bot in good order."""
    await application.stop()
    await application.shutdown()


async def test_a_job_outlives_its_process() -> None:
    """A reminder that was made and saved runs in the next process, once, and is gone then."""
    first = memory_persistence(update_interval=0.05)
    application = await begun(first)
    application.job_queue.run_once(remind, 0.3, data={"n": 1}, name="tea", chat_id=5)
    await application.update_persistence()
    await kill(application)
    await asyncio.sleep(0.4)
    assert not ran
    second = first.restarted()
    application = built(second)
    await application.initialize()
    assert [job.name for job in application.job_queue.jobs()] == ["tea"]
    await application.start()
    await asyncio.sleep(0.2)
    assert ran == [("tea", {"n": 1})]
    await end(application)
    application = await begun(second.restarted())
    assert application.job_queue.jobs() == ()
    await end(application)
    assert len(ran) == 1
