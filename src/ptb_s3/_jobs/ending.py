"""End a conversation whose wait is over: PTB's own job does, on a state that is up to date."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from telegram import Update
from telegram.ext import Job

from ptb_s3._jobs.timeout_record import TimeoutRecord
from ptb_s3._ptb.application_state import App
from ptb_s3._ptb.conversation_states import Wait, complete, is_under_way
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.rollback import Subjects
from ptb_s3._ptb.takeover import bring_in
from ptb_s3._ptb.transaction import work_of


class Ending:
    """Run of one conversation's timeout, after it was claimed.

    Args:
        job_id: Id of the timeout.
        job: PTB's job of it.
        wait: What the job ends.
        record: What is saved of it.
        commits: Group commit of the state.

    Attributes:
        id: Id of the timeout.
        claim_id: Id of the run that is under way.
    """

    def __init__(
        self, job_id: str, job: Job[Any], wait: Wait, record: TimeoutRecord, commits: GroupCommit
    ) -> None:
        self.id = job_id
        self.claim_id: str | None = None
        self._job = job
        self._wait = wait
        self._record = record
        self._commits = commits

    @property
    def ptb_job(self) -> Job[Any]:
        """Return PTB's job of the wait, as error handlers get it."""
        return self._job

    def subjects(self, application: App) -> Subjects:
        """Return the user and chat of the update in which the wait began."""
        with suppress(Exception):  # of an update that is none any more, `call` tells
            self._complete(application)
        update = self._wait.details.update
        return work_of(update).subjects if isinstance(update, Update) else ()

    async def call(self, application: App) -> None:
        """End the wait: call the handlers of the `TIMEOUT` state, and end the conversation.

        As `Job.run`, whose task for an error PTB warns of where the application does not run.

        Args:
            application: The conversation's application.
        """
        if self._commits.objects.held():
            await self._commits.idle()
        # Else the handlers of an idle instance would get data of its last update, however old.
        bring_in(Internals(application), self._commits.objects)
        try:
            self._complete(application)
            context = application.context_types.context.from_job(self._job, application)
            await self._job.callback(context)
        except asyncio.CancelledError:
            self._put_back()
            raise
        except Exception as error:  # noqa: BLE001 - a handler's, or a context class's
            await application.process_error(None, error, job=self._job)
        finally:
            self._mark(application)

    def _put_back(self) -> None:
        """Have PTB know the job again, which it forgets before it calls any handler.

        It would end nothing when the job runs the next time, once the claim has lapsed.
        """
        handler, key = self._wait.handler, self._wait.details.conversation_key
        if is_under_way(handler, key):
            handler.timeout_jobs.setdefault(key, self._job)

    def _mark(self, application: App) -> None:
        """Have what the handlers have changed saved with the end, not with a later update."""
        update = self._wait.details.update
        chat, user = update and update.effective_chat, update and update.effective_user
        application.mark_data_for_update_persistence(
            chat_ids=[chat.id] if chat else (), user_ids=[user.id] if user else ()
        )

    def _complete(self, application: App) -> None:
        """Make the update and the context, if an earlier process or another instance had them."""
        if self._wait.details.update is None:
            update = Update.de_json(self._record.update, application.bot)
            complete(self._wait, application, update)
