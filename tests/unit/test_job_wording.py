"""Triggers in words, and jobs as operators see them, without APScheduler and the bot's code."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from telegram.ext import ApplicationBuilder, JobQueue
from tests.support.bots import TOKEN

from ptb_s3._jobs.claims import LASTS, new
from ptb_s3._jobs.listing import ListedJob, listed
from ptb_s3._jobs.record import JobRecord, JobRecordError
from ptb_s3._jobs.triggers import record_of
from ptb_s3._jobs.wording import UNKNOWN, trigger_words

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


class NightsOnly(IntervalTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """A trigger of a bot's own."""


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (DateTrigger(NOW), "once"),
        (IntervalTrigger(seconds=60), "every 60 s"),
        (IntervalTrigger(seconds=90), "every 90 s"),
        (IntervalTrigger(seconds=300), "every 5 min"),
        (IntervalTrigger(hours=24), "every 24 h"),
        (IntervalTrigger(days=14), "every 14 d"),
        (CronTrigger(hour=8, minute=0, second=0, timezone=BERLIN), "daily at 08:00 Europe/Berlin"),
        (CronTrigger(hour=8, minute=5, second=7, timezone=UTC), "daily at 08:05:07 UTC"),
        (CronTrigger(day_of_week="mon,fri", hour=8, timezone=UTC), "mon,fri at 08:00 UTC"),
        (CronTrigger(day=1, hour=8, timezone=UTC), "monthly on day 1 at 08:00 UTC"),
        (CronTrigger(minute="*/5", timezone=UTC), "cron minute=*/5 UTC"),
        (CronTrigger(hour="8,20", timezone=UTC), "cron hour=8,20 UTC"),
        (CronTrigger(month=12, day=24, hour=8, timezone=UTC), "cron month=12 day=24 hour=8 UTC"),
        (OrTrigger([DateTrigger(NOW), IntervalTrigger(seconds=60)]), "once; every 60 s"),
        (AndTrigger([IntervalTrigger(seconds=60)] * 2), "when all agree: every 60 s; every 60 s"),
        (NightsOnly(seconds=60), f"{__name__}.NightsOnly"),
    ],
)
def test_triggers_have_words(trigger: Any, words: str) -> None:
    """Each form of record, as it is written for APScheduler's triggers."""
    assert trigger_words(record_of(trigger)) == words


def test_jobs_of_ptb_have_words() -> None:
    """What PTB's own methods make of their arguments."""
    queue: JobQueue[Any] = JobQueue()
    application: Any = ApplicationBuilder().token(TOKEN).updater(None).job_queue(None).build()
    queue.set_application(application)

    async def remind(_: Any) -> None: ...

    def words(job: Any) -> str:
        return trigger_words(record_of(job.job.trigger))

    eight = time(8, tzinfo=BERLIN)
    assert words(queue.run_daily(remind, eight)) == "daily at 08:00 Europe/Berlin"
    assert words(queue.run_daily(remind, eight, days=(1, 5))) == "mon,fri at 08:00 Europe/Berlin"
    monthly = words(queue.run_monthly(remind, eight, day=-1))
    assert monthly == "monthly on the last day at 08:00 Europe/Berlin"
    assert words(queue.run_monthly(remind, eight, 3)) == "monthly on day 3 at 08:00 Europe/Berlin"
    assert words(queue.run_once(remind, 60)) == "once"


@pytest.mark.parametrize(
    "record", [None, "date", ("lunar", {}), ("interval", {}), ("cron", {"fields": 3}), ("or", 3)]
)
def test_a_trigger_of_another_version_hides_no_job(record: Any) -> None:
    """It is said to be unknown."""
    assert trigger_words(record) == UNKNOWN


def job(**members: Any) -> JobRecord:
    """Return a job that is due in a minute, with other members in the place of some."""
    defaults: dict[str, Any] = {
        "id": "a1",
        "name": "tea",
        "callback": "shop:remind",
        "trigger": ("date", {"at": NOW}),
        "next": NOW + timedelta(minutes=1),
        "chat": -5,
        "user": 7,
    }
    return JobRecord(**defaults | members)


def seen(record: JobRecord) -> ListedJob:
    return listed(record.key, record.value())


def test_a_job_is_overdue_once_its_time_is_up_and_nobody_runs_it() -> None:
    """To the moment; a claim holds for its time; a paused one never is."""
    claim = new("c", "b", NOW)
    assert not seen(job()).is_overdue(NOW)
    assert seen(job(next=NOW)).is_overdue(NOW)
    assert not seen(job(next=None)).is_overdue(NOW)
    assert not seen(job(next=NOW, claim=claim)).is_overdue(NOW)
    assert seen(job(next=NOW, claim=claim)).is_overdue(NOW + LASTS)


def test_a_job_is_for_its_chat_and_user() -> None:
    """Each by itself, and both; an id of the other sort is another one."""
    one = seen(job())
    assert one.is_for(chat=-5, user=None)
    assert one.is_for(chat=None, user=7)
    assert one.is_for(chat=-5, user=7)
    assert not one.is_for(chat=7, user=None)
    assert not one.is_for(chat=-5, user=8)
    assert not seen(job(user=None)).is_for(chat=None, user=7)


def test_a_conversation_timeout_is_listed_as_such() -> None:
    """By the name of its conversation, with no callback, for whom its key says."""
    key = ("timeout:order", (-5, 7))
    found = listed(key, {"update": "…", "next": NOW, "claim": None})
    assert (found.name, found.callback, found.trigger) == ("order", None, "conversation timeout")
    assert (found.next, found.whom) == (NOW, (-5, 7))
    assert found.is_overdue(NOW)
    assert found.is_for(chat=-5, user=7)
    assert not found.is_for(chat=None, user=8)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a1", job().value()),
        (("a1", (-5, 7)), {"name": "tea"}),
        (("a1", (-5, 7)), job().value() | {"next": "soon"}),
        (("timeout:order", (7,)), {"next": 3}),
        (("timeout:order", (7,)), {"next": datetime(2026, 11, 29)}),  # noqa: DTZ001 - on purpose
        (("timeout:order", (7,)), None),
    ],
)
def test_what_is_no_job_is_refused(key: Any, value: Any) -> None:
    """With one error, for whoever lists the others."""
    with pytest.raises(JobRecordError):
        listed(key, value)


def test_the_program_needs_no_apscheduler() -> None:
    """The extra ``cli`` does not install it: nothing that the commands import does either."""
    code = (
        "import sys; sys.modules['apscheduler'] = None\n"
        "import ptb_s3.cli._app, ptb_s3.cli._jobs, ptb_s3._values.transcoder\n"
        "from tests.unit.test_job_going_back import check\ncheck()\n"
        "assert not [name for name in sys.modules if name.startswith('apscheduler.')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
