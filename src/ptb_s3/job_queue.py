"""`PersistentJobQueue`: PTB's job queue, whose jobs outlive the process that made them."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from telegram.ext import Application, CallbackContext, ConversationHandler, Job, JobQueue

from ptb_s3._ptb.state_loader import loader_of
from ptb_s3.errors import PersistenceError, SettingsError
from ptb_s3.persistence import S3Persistence

if TYPE_CHECKING:
    from ptb_s3._jobs.callbacks import Callback
    from ptb_s3._jobs.keeper import JobKeeper

__all__ = ["PersistentJobQueue"]

_Context = CallbackContext[Any, Any, Any, Any]

When: TypeAlias = float | dt.timedelta | dt.datetime | dt.time
"""When a job runs: in so many seconds, in so long, at a moment, or at a time of day."""
JSONDict: TypeAlias = dict[str, Any]


class PersistentJobQueue(JobQueue[_Context]):
    """Job queue whose jobs are saved by the application's :class:`ptb_s3.S3Persistence`.

    A job is saved when it is made, changes when it runs, and goes when its last run has ended. So a
    reminder comes though the host has died meanwhile: at least once, and by one of several
    instances.

    Example:
        .. code:: python

            application = (
                ApplicationBuilder()
                .application_class(PersistentApplication)
                .token(token)
                .persistence(S3Persistence.from_env())
                .job_queue(PersistentJobQueue())
                .build()
            )

    Args:
        persistent (:obj:`bool`, optional): Whether jobs are saved, unless a call says otherwise.
            Defaults to :obj:`True`.
    """

    __slots__ = ("_keeper", "_persistent", "_saving", "_timer")

    def __init__(self, *, persistent: bool = True) -> None:
        self._persistent = persistent
        self._keeper: JobKeeper | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None  # the loop itself may forget a task
        super().__init__()

    # PTB's calls --------------------------------------------------------------------------------

    def set_application(self, application: Application[Any, Any, Any, Any, Any, Any]) -> None:
        """Set the application, as its builder does.

        Args:
            application (:class:`telegram.ext.Application`): The application.

        Raises:
            SettingsError: It has no :class:`ptb_s3.S3Persistence` that could save jobs.
        """
        persistence = application.persistence
        if isinstance(persistence, S3Persistence):
            from ptb_s3._jobs.keeper import JobKeeper  # noqa: PLC0415 - APScheduler is an extra

            loader = loader_of(persistence)
            self._keeper = JobKeeper(
                self, loader, self._note_change, self._save, keeps=self._persistent
            )
            self.scheduler = self._keeper.schedule.scheduler
        elif self._persistent:
            raise SettingsError(
                "A PersistentJobQueue saves jobs with an S3Persistence, and the application has "
                "none: give one to ApplicationBuilder().persistence(), or use PTB's JobQueue."
            )
        super().set_application(application)

    async def start(self) -> None:
        """Start the scheduler, as `JobQueue.start`. Overdue jobs run now."""
        if self._keeper is not None:
            self._keeper.begin_to_run()
        self._timer = None  # it may be of a loop that is closed
        await super().start()

    async def stop(self, wait: bool = True) -> None:  # noqa: FBT001, FBT002 - PTB's signature
        """Stop the scheduler, as `JobQueue.stop`. Jobs that are due from now on run after a start.

        Args:
            wait (:obj:`bool`, optional): Whether to wait for jobs that are running.
        """
        if self._keeper is not None:
            self._keeper.begin_to_end()
        running = self._is_started
        await super().stop(wait)
        if self._keeper is not None and running:
            self._keeper.put_all()

    def jobs(self, pattern: str | re.Pattern[str] | None = None) -> tuple[Job[_Context], ...]:
        """Return the jobs that are scheduled, as `JobQueue.jobs`, before the start as well.

        Args:
            pattern (:obj:`str` | :obj:`re.Pattern`, optional): Pattern of their names.
        """
        found = super().jobs(pattern)
        if self._keeper is not None:
            for job in found:
                self._keeper.table.look_at(str(job.id))
        return found

    @staticmethod
    async def job_callback(job_queue: JobQueue[Any], job: Job[Any]) -> None:
        """Run a job that is due: the function that APScheduler calls, as `JobQueue.job_callback`.

        Args:
            job_queue (:class:`telegram.ext.JobQueue`): Queue of the job.
            job (:class:`telegram.ext.Job`): The job.
        """
        keeper = getattr(job_queue, "_keeper", None)
        if keeper is None:
            await job.run(job_queue.application)
        else:
            await keeper.run(job, job_queue.application)

    # Making jobs --------------------------------------------------------------------------------

    def run_once(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        when: When,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that runs once, as `JobQueue.run_once`.

        Args:
            callback (coroutine function): Function to call. To be kept, it has to be one at
                the top of a module, or in a class, that is trusted.
            when (:obj:`float` | :obj:`datetime.datetime`): Seconds from now, or the moment; also a
                :obj:`datetime.timedelta`, or a :obj:`datetime.time` of today or tomorrow.
            data (:obj:`object`, optional): Anything that can be saved.
            name (:obj:`str`, optional): Name of the job. Defaults to its callback's.
            chat_id (:obj:`int`, optional): Chat that it is for.
            user_id (:obj:`int`, optional): User that it is for.
            job_kwargs (:obj:`dict`, optional): Further arguments for APScheduler. Saved are ``id``,
                ``misfire_grace_time`` and ``max_instances``.
            persistent (:obj:`bool`, optional): Whether it is kept over a restart. Defaults to what
                the queue was made with.

        Returns:
            :class:`telegram.ext.Job`: The job.

        Raises:
            JobError: It cannot be kept: its callback cannot be found again after a restart, its
                trigger cannot be written, or there is one of its id.
            SerializationError: Its data cannot be saved.
        """
        rest = data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_once, callback, when, *rest)

    def run_repeating(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        interval: float | dt.timedelta,
        first: When | None = None,
        last: When | None = None,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that repeats, as `JobQueue.run_repeating`. See :meth:`run_once`."""
        rest = first, last, data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_repeating, callback, interval, *rest)

    def run_monthly(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        when: dt.time,
        day: int,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that runs once a month, as `JobQueue.run_monthly`. See :meth:`run_once`."""
        rest = day, data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_monthly, callback, when, *rest)

    def run_daily(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        time: dt.time,
        days: tuple[int, ...] = tuple(range(7)),
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that runs once a day, as `JobQueue.run_daily`. See :meth:`run_once`."""
        rest = days, data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_daily, callback, time, *rest)

    def run_custom(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        job_kwargs: JSONDict,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job of a trigger of one's own, as `JobQueue.run_custom`. See :meth:`run_once`."""
        rest = data, name, chat_id, user_id
        return self._made(persistent, super().run_custom, callback, job_kwargs, *rest)

    def _made(
        self,
        persistent: bool | None,  # noqa: FBT001 - as users give it
        make: Callable[..., Job[Any]],
        *args: object,
    ) -> Job[Any]:
        """Have PTB make a job, and return it, or the kept one that took its place in between."""
        persistent = self._persistent if persistent is None else persistent
        if self._keeper is not None:
            return self._keeper.schedule.made(lambda: make(*args), kept=persistent)
        if persistent:
            raise SettingsError(
                "A job that is kept needs an application with an S3Persistence, which this queue "
                "was given to when it was built. Give persistent=False for one that may be lost."
            )
        return make(*args)

    # Saving -------------------------------------------------------------------------------------

    def _of_update(self) -> AbstractContextManager[Callable[[], None]]:
        """Hold the jobs that an update makes, until it ends, to be saved with its data.

        It gives a function that takes them back.
        """
        return nullcontext(lambda: None) if self._keeper is None else self._keeper.update()

    def _keep_timeouts(self, handler: ConversationHandler[Any]) -> None:
        """Keep the timeouts of a handler's conversations, which were loaded just now."""
        if self._keeper is not None:
            self._keeper.timeouts.keep(handler)

    @property
    def _is_started(self) -> bool:
        if self._keeper is None:
            return bool(self.scheduler.running)
        return self._keeper.schedule.scheduler.is_started

    def _note_change(self) -> None:
        """Have a change saved within the interval, though PTB may have nothing else to save."""
        persistence = self.application.persistence
        if self._timer is None and self._is_started and persistence is not None:
            with suppress(RuntimeError):  # of another thread: PTB saves it with the next interval
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(persistence.update_interval, self._save_changes)

    def _save_changes(self) -> None:
        self._timer = None
        if self._keeper is None or not self._keeper.pending:
            return
        if self.application.running:
            self.application.create_task(self._save(), name="ptb_s3:jobs:save")
        else:  # it is stopping, and waits for a job: PTB would warn that it waits for no new task
            self._saving = asyncio.get_running_loop().create_task(self._save())

    async def _save(self) -> None:
        await self.application.update_persistence()
        if self._keeper is not None:
            try:
                await self._keeper.save_left()
            except PersistenceError as failure:  # it is kept, and goes with the next save
                await self.application.process_error(update=None, error=failure)
