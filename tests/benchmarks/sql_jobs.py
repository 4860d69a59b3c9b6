"""Jobs in APScheduler's `SQLAlchemyJobStore`: what PTB users do who want to keep them.

The adapter is written for this benchmark, as one would by hand: what is pickled of a job is its
callback and what was given with it, and not the application, which cannot be.
"""

from __future__ import annotations

from typing import Any

from apscheduler.job import Job as Scheduled
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from telegram.ext import Job, JobQueue
from tests.benchmarks.jobs import JobBot, JobStart, make, plain_bot, timed_start
from tests.benchmarks.setting import Setting

_FILE, _FIXED_FILE = "jobs.sqlite", "fixed-jobs.sqlite"
_PARTS = ("callback", "data", "name", "chat_id", "user_id")


class SQLJobs(SQLAlchemyJobStore):  # type: ignore[misc]  # APScheduler ships no types
    """Job store for PTB's jobs.

    Args:
        queue: Queue of the jobs.
        url: The database, as SQLAlchemy takes it.
    """

    def __init__(self, queue: JobQueue[Any], url: str) -> None:
        super().__init__(url=url)
        self._queue = queue

    def add_job(self, job: Scheduled) -> None:
        super().add_job(_bare(job))

    def update_job(self, job: Scheduled) -> None:
        super().update_job(_bare(job))

    def _reconstitute_job(self, job_state: bytes) -> Scheduled:
        job = super()._reconstitute_job(job_state)
        made: Job[Any] = Job(**job.args[0])
        made._job = job
        job.args = (self._queue, made)
        return job


def _bare(job: Scheduled) -> Scheduled:
    """Return a copy that can be pickled."""
    made = job.args[1]
    bare = Scheduled.__new__(Scheduled)
    parts = {name: getattr(made, name) for name in _PARTS}
    bare.__setstate__({**job.__getstate__(), "args": (parts,)})
    return bare


def _bot(setting: Setting, file: str = _FILE) -> JobBot:
    app = plain_bot(JobQueue())
    store = SQLJobs(app.job_queue, f"sqlite:///{setting.folder / file}")
    app.job_queue.scheduler.add_jobstore(store)
    return app


async def fill(setting: Setting) -> None:
    """Save the jobs, in one file."""
    app = _bot(setting)
    await app.initialize()
    await app.start()
    for number in range(setting.jobs):
        make(app.job_queue, number)
    await app.stop()
    await app.shutdown()


async def start(setting: Setting) -> JobStart:
    """Start a bot whose jobs are in that file."""
    app = _bot(setting)
    taken = await timed_start(app)
    assert len(app.job_queue.jobs()) == setting.jobs
    await app.stop()
    await app.shutdown()
    return taken


async def start_with_fixed(setting: Setting) -> JobStart:
    """Start a bot that makes its jobs at each start, in another file."""
    app = _bot(setting, _FIXED_FILE)
    taken = await timed_start(app, makes=setting.jobs)
    assert len(app.job_queue.jobs()) == setting.jobs
    await app.stop()
    await app.shutdown()
    return taken
