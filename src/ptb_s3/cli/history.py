"""``ptb-s3 history``: list the commits that can be restored.

Headers alone are read, so that it takes no key. What they say is not authenticated: a commit is
opened only when it is restored. JSON: a list of commits, newest first, each with ``revision`` (null
where its header cannot be read), ``created`` by the writer's clock, ``made`` by the storage's, and
``version_id`` to restore it by.
"""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

import typer

from ptb_s3._format.container import Changed
from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._history.history import History, find_history
from ptb_s3._history.order import Commit
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import Json, OfStore
from ptb_s3.cli._output import Graded, Severity
from ptb_s3.cli._parsing import moment
from ptb_s3.cli._progress import progress
from ptb_s3.cli._table import bar, table
from ptb_s3.cli._wording import count, size, when, when_json, without_seconds

_BAR = 12  # columns of the bar that shows the size of a commit, the largest one in full


def history(
    *,
    since: Annotated[str | None, typer.Option(help="The oldest: a time, or '2 hours ago'.")] = None,
    until: Annotated[str | None, typer.Option(help="The newest: a time, or '2 hours ago'.")] = None,
    store: OfStore = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")] = 20,
    json: Json = False,
) -> None:
    """List the commits that can be gone back to, newest first.

    What is shown stands in the headers of the objects; none is opened for it.
    """
    first = None if since is None else moment(since)
    last = None if until is None else moment(until)

    async def work(place: Place) -> list[Commit]:
        past = await _past(place, store)
        found: list[Commit] = []
        commits = past.commits(since=first, until=last)
        with progress("Reading headers") as advance:
            async with aclosing(commits):
                async for commit in commits:
                    found.append(commit)
                    advance(len(found), limit or None)
                    if len(found) == limit + 1 and limit:
                        break
        return found

    found = run(work)
    more = bool(limit) and len(found) > limit
    shown = found[:limit] if more else found
    if json:
        _output.result_json([_commit_json(commit) for commit in shown])
        return
    if not shown:
        _output.note(_nothing(first, last))
        return
    _show_history(shown)
    if more:
        _output.note(f"These are the newest {limit}. --limit 0 lists all.")


async def _past(place: Place, store_id: str | None) -> History:
    """Return the history to list: of the store asked for, else of the current or newest head."""
    reader = Reader(place.keys)
    if store_id is not None:
        return History(place.archive, reader.for_history, store_id)
    past, fault = await find_history(place.archive, reader)
    if fault is not None:
        _output.note("The current head is damaged or gone: ptb-s3 repair says what can be done.")
    return past


def _nothing(since: datetime | None, until: datetime | None) -> str:
    """Say that there are no commits in a span of time."""
    span = [f" since {when(since)}"] if since else []
    return f"No commits{''.join([*span, f' until {when(until)}' if until else ''])}."


def _show_history(commits: list[Commit]) -> None:
    """Print the commits as a table, and how many of them cannot be read."""
    largest = max(commit.version.size for commit in commits)
    table(
        ["revision", "time", "writer", "changed", "size", ""],
        [_commit_row(commit, largest) for commit in commits],
        right=["revision", "size"],
        spare=["", ("time", without_seconds), "writer"],
    )
    damaged = sum(commit.header is None for commit in commits)
    if damaged:
        _output.note(
            f"{count(damaged, 'version')} cannot be read: ptb-s3 verify --history says why."
        )


def _commit_row(commit: Commit, largest: int) -> list[str]:
    """Return the row of a commit, marked as damaged where its header cannot be read."""
    version, header = commit
    drawn = bar(version.size / largest, _BAR)
    if header is None:
        bad = Graded("damaged", Severity.BAD)
        return ["?", when(version.modified), "?", bad, size(version.size), drawn]
    changed = _counts(header.changed)
    text = ", ".join(f"{kind.removesuffix('_data')} {n:,}" for kind, n in changed.items())
    row = [str(header.revision), when(commit.made), header.writer, text or "nothing"]
    return [*row, size(version.size), drawn]


def _counts(changed: Changed | None) -> dict[str, int]:
    """Return how many entities of each kind a commit changed, without kinds unchanged."""
    counts = {kind.value: getattr(changed, kind.value, 0) for kind in Kind}
    return {kind: number for kind, number in counts.items() if number}


def _commit_json(commit: Commit) -> dict[str, Any]:
    """Return a commit as JSON."""
    version, header = commit
    stored = {
        "version_id": version.version_id,
        "bytes": version.size,
        "made": when_json(commit.made),
    }
    if header is None:
        return {"revision": None, "created": when_json(version.modified), **stored}
    return {
        "revision": header.revision,
        "created": when_json(header.created),
        "writer": header.writer,
        "key": header.key,
        "changed": _counts(header.changed),
        **stored,
    }
