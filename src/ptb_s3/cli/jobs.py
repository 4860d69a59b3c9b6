"""``ptb-s3 jobs``: list the jobs of a state, the next one to run first.

Whether a callback is still there, the bot's code alone can tell. JSON: a list of jobs, each with
``key``, ``kind`` (``job``, ``timeout``, or ``unreadable`` with nothing but the key), ``name``,
``callback``, ``trigger`` in words, ``next`` (null: paused), ``overdue``, ``claimed_until``,
``chat``, ``user`` and, with ``--values``, ``data``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ptb_s3._format.entities import EntityKey
from ptb_s3._jobs import claims
from ptb_s3._jobs.listing import ListedJob
from ptb_s3.cli import _output
from ptb_s3.cli._jobs import FoundJobs, find_jobs
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import POINT, Json, OfStore
from ptb_s3.cli._output import Graded, Severity
from ptb_s3.cli._parsing import point
from ptb_s3.cli._table import table
from ptb_s3.cli._view import State, key_json, open_at, state_of
from ptb_s3.cli._wording import count, in_time, span, when, when_json, without_seconds

_LONGEST = 60  # characters of a job's data in a table


def jobs(
    *,
    at: Annotated[str | None, typer.Option(metavar="POINT", help=f"{POINT}.")] = None,
    store: OfStore = None,
    user: Annotated[
        int | None, typer.Option(metavar="ID", help="Only those for this user.")
    ] = None,
    chat: Annotated[
        int | None, typer.Option(metavar="ID", help="Only those for this chat.")
    ] = None,
    values: Annotated[bool, typer.Option("--values", help="Show their data, too.")] = False,
    json: Json = False,
) -> None:
    """List the jobs that wait to run, the next one first. Unpickles them, but runs no code."""
    request = None if at is None else point(at)

    async def work(place: Place) -> State:
        return await state_of(await open_at(place, request, store), request)

    found = _chosen(find_jobs(run(work)), chat=chat, user=user)
    now = datetime.now(UTC)
    if json:
        told = [_job_json(key, job, now, values=values) for key, job in found.jobs.items()]
        unreadable = [{"key": key_json(key), "kind": "unreadable"} for key in found.unreadable]
        _output.result_json(told + unreadable)
        return
    if found.jobs:
        _show(list(found.jobs.values()), now, values=values)
    elif not found.unreadable:
        _output.note("No jobs.")
    if found.unreadable:
        _output.warning(
            f"{count(len(found.unreadable), 'job')} cannot be read: damaged, or made by another "
            "serializer. ptb-s3 show jobs --redact lists the keys."
        )


def _chosen(found: FoundJobs, *, chat: int | None, user: int | None) -> FoundJobs:
    """Return the jobs that are for a chat and a user, each None: for any."""
    asked = {chat, user} - {None}
    return FoundJobs(
        {key: job for key, job in found.jobs.items() if job.is_for(chat=chat, user=user)},
        [key for key in found.unreadable if isinstance(key, tuple) and asked <= {*key[1]}],
    )


def _show(listed: list[ListedJob], now: datetime, *, values: bool) -> None:
    """Print jobs as a table."""
    columns = ["next run", "", "name", "callback", "trigger", "for", *(["data"] if values else [])]
    rows = [
        [
            "never" if job.next is None else when(job.next),
            _condition(job, now),
            job.name,
            job.callback or "",
            job.trigger,
            _whom(job),
            *([_data(job)] if values else []),
        ]
        for job in listed
    ]
    table(columns, rows, spare=[("next run", without_seconds), "trigger", "callback"])


def _condition(job: ListedJob, now: datetime) -> str:
    """Return in how long a job runs, or why it does not."""
    if job.claim is not None and claims.holds(job.claim, now):
        return f"running: claimed until {when(claims.claim_until(job.claim))}"
    if job.next is None:
        return Graded("paused", Severity.DOUBTFUL)
    if job.is_overdue(now):
        return Graded(f"overdue by {span(now - job.next)}", Severity.DOUBTFUL)
    return in_time(job.next - now)


def _whom(job: ListedJob) -> str:
    """Return whom a job is for, by their ids."""
    if job.callback is None:
        return " ".join(map(str, job.whom))
    sides = {"chat": job.chat, "user": job.user}
    return " ".join(f"{name} {number}" for name, number in sides.items() if number is not None)


def _data(job: ListedJob) -> str:
    text = "" if job.data is None else _output.readable_json(_readable(job.data))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _readable(value: object) -> Any:  # noqa: ANN401 - JSON
    from ptb_s3._values.readable import readable  # noqa: PLC0415 - takes a second

    return readable(value)


def _job_json(key: EntityKey, job: ListedJob, now: datetime, *, values: bool) -> dict[str, Any]:
    """Return a job as JSON."""
    claimed = job.claim is not None and claims.holds(job.claim, now)
    return {
        "key": key_json(key),
        "kind": "timeout" if job.callback is None else "job",
        "name": job.name,
        "callback": job.callback,
        "trigger": job.trigger,
        "next": None if job.next is None else when_json(job.next),
        "overdue": job.is_overdue(now),
        "claimed_until": when_json(claims.claim_until(job.claim or {})) if claimed else None,
        "chat": job.chat,
        "user": job.user,
        **({"data": _readable(job.data)} if values else {}),
    }
