"""Jobs in operation: figures of a running bot, and a restore at its start."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.jobs import begun, built, end, kill, saved, until
from tests.unit.test_job_queue import ran, remind

from ptb_s3 import Stats
from ptb_s3._jobs.keeper import JobKeeper
from ptb_s3._jobs.record import JobRecord
from ptb_s3._jobs.table import JobTable
from ptb_s3.testing import memory_persistence

HOUR = timedelta(hours=1)
TRUSTED = remind.__module__


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def table_of(application: Any) -> JobTable:
    keeper: JobKeeper = application.job_queue._keeper
    return keeper.table


def figures(stats: Stats) -> tuple[int, int]:
    return stats.jobs, stats.jobs_due


async def test_a_bot_without_jobs_has_figures_of_none() -> None:
    """Before anything is loaded, and where there is no queue of ours."""
    persistence = memory_persistence(trusted=[TRUSTED])
    assert (*figures(persistence.stats), persistence.stats.jobs_late) == (0, 0, 0.0)


async def test_figures_tell_what_waits() -> None:
    """How many are kept, are due, and since when the first one is."""
    persistence = memory_persistence(trusted=[TRUSTED])
    application = built(persistence)
    await application.initialize()  # and not started: nothing runs
    queue, now = application.job_queue, datetime.now(UTC)
    queue.run_once(remind, now - 2 * HOUR, name="first")
    queue.run_once(remind, now - HOUR, name="second")
    queue.run_once(remind, HOUR, name="third")
    queue.run_repeating(remind, 3600, name="paused", job_kwargs={"next_run_time": None})
    stats = persistence.stats
    assert figures(stats) == (4, 2)
    assert 7200 <= stats.jobs_late < 7300
    await application.start()
    await until(lambda: len(ran) == 2)
    await until(lambda: figures(persistence.stats) == (2, 0))
    assert persistence.stats.jobs_late == 0.0
    assert figures(stats) == (4, 2)  # a snapshot stays what it is
    await end(application)


async def test_figures_are_asked_for_by_another_thread() -> None:
    """While jobs come and go, as a scrape does."""
    persistence = memory_persistence(trusted=[TRUSTED])
    application = built(persistence)
    await application.initialize()
    table, failures, ending = table_of(application), [], threading.Event()

    def scrape() -> None:
        while not ending.is_set():
            try:
                _ = persistence.stats
            except Exception as error:  # noqa: BLE001 - what the test is for
                failures.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    one = JobRecord("a", "tea", "shop:remind", ("date", {}), datetime.now(UTC))
    for number in range(20_000):
        table.records[str(number)] = replace(one, id=str(number))
        if number >= 1000:
            del table.records[str(number - 1000)]
    ending.set()
    thread.join()
    assert not failures
    table.records.clear()
    await application.shutdown()


async def test_a_restore_at_a_start_sends_no_reminder_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that was sent since stays away; one that was cancelled since, and is not due, is back."""
    first = memory_persistence(trusted=[TRUSTED])
    application = await begun(first)
    application.job_queue.run_once(remind, 0.2, name="sent")
    application.job_queue.run_once(remind, HOUR, name="to come")
    await application.update_persistence()
    assert first.stats.revision == 1
    await until(lambda: ran == [("sent", None)])
    await until(lambda: figures(first.stats) == (1, 0))
    (job,) = application.job_queue.get_jobs_by_name("to come")
    job.schedule_removal()
    await end(application)
    assert await saved(first) == {}
    application = await begun(second := first.restarted(restore="1"))
    assert [job.name for job in application.job_queue.jobs()] == ["to come"]
    assert "were left out" in caplog.text
    assert not [text for text in ("sent", "to come") if text in caplog.text]
    await asyncio.sleep(0.1)
    assert ran == [("sent", None)]
    await kill(application)
    # The request is carried out once: another start with it changes nothing.
    application = await begun(third := second.restarted())
    assert len(await saved(third)) == 1
    await end(application)
