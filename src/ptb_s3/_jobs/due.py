"""Define what `runs` needs of things that fall due: jobs, and timeouts of conversations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ptb_s3._ptb.application_state import App

if TYPE_CHECKING:
    from telegram.ext import Job

    from ptb_s3._ptb.group_commit import GroupCommit
    from ptb_s3._ptb.rollback import Subjects


class DueRecord(Protocol):
    """Record of something that falls due.

    Attributes:
        next: When it does; None: it never does.
        claim: Who runs it now, as `claims` writes it.
    """

    next: datetime | None
    claim: dict[str, Any] | None

    @property
    def label(self) -> str:
        """Return what a log calls it, with no id in it."""
        ...

    @property
    def trigger(self) -> tuple[str, Any]:
        """Return when it runs, as `triggers` writes it."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Return its options, as in a `JobRecord`."""
        ...


R = TypeVar("R", bound=DueRecord)


class DueTable(Protocol[R]):
    """Table of all records of one sort, by id."""

    @property
    def records(self) -> Mapping[str, R]:
        """Return the records."""
        ...

    @property
    def commits(self) -> GroupCommit | None:
        """Return the group commit that saves them, or None before the state is loaded."""
        ...

    def mark(self, job_id: str) -> None:
        """Mark a record as changed, to go with the next commit."""
        ...

    def is_held(self, job_id: str) -> bool:
        """Tell whether an update that is under way has made or changed one."""
        ...

    def committed(self, record: R) -> R | None:
        """Return a record as it is staged, merged with what others have committed, or None."""
        ...

    def bring_in(self) -> None:
        """Take over what others have committed."""
        ...

    def look_again(self, job_id: str, at: datetime) -> None:
        """Have one looked at again at a moment of this machine's clock, not before it is due."""
        ...

    def ensure(self, job_id: str, at: datetime) -> None:
        """Have one that nothing has scheduled looked at again, as `look_again`."""
        ...

    def end(self, job_id: str) -> None:
        """Remove one whose last run has ended."""
        ...

    def reschedule(self, record: R) -> None:
        """Have one scheduled for when its record says, if it is not."""
        ...


class Runnable(Protocol):
    """Object that runs what has fallen due.

    Attributes:
        claim_id: Id of the run that is under way.
    """

    claim_id: str | None

    @property
    def id(self) -> Any:  # noqa: ANN401 - as PTB's `Job` has it
        """Return the id of its record."""
        ...

    @property
    def ptb_job(self) -> Job[Any]:
        """Return PTB's job of it, for the error handlers."""
        ...

    def subjects(self, application: App) -> Subjects:
        """Return whose data it is about, to be read before it runs."""
        ...

    async def call(self, application: App) -> None:
        """Run it, and cancel it when this is cancelled."""
        ...
