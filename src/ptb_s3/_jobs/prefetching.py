"""Read the data that a job is about before it runs, where it is read on demand.

A job's function gets its user's and chat's data by attributes, and cannot await it there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from telegram.ext import Job, JobQueue

from ptb_s3._jobs.scheduler import WrappingExecutor
from ptb_s3._ptb.application_state import App
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.on_demand import prefetch, unreadable
from ptb_s3._ptb.rollback import Subjects, subjects_of
from ptb_s3.errors import PersistenceError


def subjects_of_job(job: Job[Any]) -> Subjects:
    """Return the user and chat that a job is about."""
    users = [] if job.user_id is None else [job.user_id]
    return subjects_of(users, [] if job.chat_id is None else [job.chat_id])


async def has_read(
    commits: GroupCommit | None, subjects: Subjects, application: App, job: Job[Any]
) -> bool:
    """Read the data that a job is about, and tell whether that was possible.

    If not, the error handlers are told.

    Args:
        commits: Group commit of the state; None: nothing is loaded, nor to be read.
        subjects: Whose data it is.
        application: Application that the job belongs to.
        job: The job, for the error handlers.
    """
    try:
        if commits is not None:
            await prefetch(commits, subjects)
    except PersistenceError as failure:
        with unreadable(subjects, failure):
            await application.process_error(None, failure, job=job)
        return False
    return True


def prefetch_for(queue: JobQueue[Any], commits: Callable[[], GroupCommit | None]) -> None:
    """Have the data of jobs of PTB's own queue read before they run.

    One whose data cannot be read is left out, as if its function had failed.

    Args:
        queue: The queue, which has no application yet.
        commits: Gives the group commit of the loaded state, or None before it is loaded.
    """

    async def run(call: Callable[..., Awaitable[None]], *arguments: Any) -> None:  # noqa: ANN401 - of any job
        job = arguments[-1] if arguments else None
        if isinstance(job, Job):
            subjects = subjects_of_job(job)
            if not await has_read(commits(), subjects, queue.application, job):
                return
        await call(*arguments)

    def wrapped(call: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        return partial(run, call)

    queue._executor = WrappingExecutor(wrapped)  # noqa: SLF001 - PTB has no way to give one
