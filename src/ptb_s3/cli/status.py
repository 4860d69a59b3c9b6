"""``ptb-s3 status``: show the current state, its age, and the keys that it needs.

Three tables: the state (revision, writer, bot, extent of the history, jobs), its kinds (entities,
bytes, last compaction), and the keys (role, current objects, newest commit that needs it). Exit
code 1 if ``--max-age`` is exceeded, for monitoring. Where the current state cannot be read, the
newest one that can be is shown, and the exit code is the fault's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ptb_s3._engine.overdue import price
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._history.history import Extent, History
from ptb_s3._history.key_needs import NOT_AT_HAND, Need, key_needs
from ptb_s3._history.put_back import PutBack, find_put_back
from ptb_s3.cli import _output
from ptb_s3.cli._jobs import FoundJobs, find_jobs
from ptb_s3.cli._opened import Opened, Place, run
from ptb_s3.cli._options import Json
from ptb_s3.cli._output import Graded, Severity
from ptb_s3.cli._parsing import duration
from ptb_s3.cli._progress import progress
from ptb_s3.cli._put_back import put_back_json, tell_put_back
from ptb_s3.cli._table import table
from ptb_s3.cli._view import state_of
from ptb_s3.cli._wording import ago, count, in_time, size, when, when_json, without_seconds
from ptb_s3.errors import NoHistoryError


def status(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not look how far the history goes back.")
    ] = False,
    max_age: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Exit 1 if the last commit is older: 90s, 10m, 2h, 1d."),
    ] = None,
    json: Json = False,
) -> None:
    """Show the current state: its size, its age, and which keys it and its history need."""
    limit = None if max_age is None else duration(max_age)

    async def work(place: Place) -> tuple[Place, Opened, list[PutBack], Extent | None, FoundJobs]:
        opened = await place.load_or_recover()
        repository = opened.repository
        put_back = [] if opened.fault else await find_put_back(place.store, repository.base)
        jobs = find_jobs(await state_of(repository, None))
        past = None if quick else await _look_back(repository.history)
        return place, opened, put_back, past, jobs

    place, opened, put_back, past, jobs = run(work)
    base, due = opened.repository.base, _due(opened)
    keys = key_needs(base, place.keys, past.oldest if past else None)
    if json:
        shown = _status_json(place.name, base, past, keys)
        others = {
            "jobs": _jobs_json(jobs),
            "put_back": put_back_json(put_back),
            "compaction": _compaction_json(base, due),
        }
        _output.result_json(shown | others)
    else:
        more = {"jobs": _jobs_text(jobs), "compaction": _compaction_text(base, due)}
        _show_status(place.name, base, past, keys, **more)
        tell_put_back(put_back)
    if opened.fault is not None:
        raise typer.Exit(opened.fault.exit_code)
    created = base.objects[HEAD].header.created
    if limit is not None and datetime.now(UTC) - created > limit:
        _output.warning(f"The last commit is older than {max_age}: it was made {ago(created)}.")
        raise typer.Exit(1)


async def _look_back(history: History) -> Extent:
    """Find how far the history goes back, which is nowhere without versions."""
    try:
        with progress("Listing versions") as advance:
            return await history.extent(lambda listed: advance(listed, None))
    except NoHistoryError:
        return Extent(0, None, [])


def _jobs_text(found: FoundJobs) -> str:
    """Say how many jobs there are, when the next one runs, and how many are overdue, if any."""
    now, due = datetime.now(UTC), found.due
    if not found.jobs:
        return ""
    parts = [f"{len(found.jobs):,}"]
    if upcoming := [moment for moment in due if moment > now]:
        parts.append(f"the next one {in_time(upcoming[0] - now)} ({when(upcoming[0])})")
    if overdue := found.overdue(now):
        parts.append(f"{overdue:,} overdue, the first since {when(due[0])}")
    return "; ".join(parts)


def _jobs_json(found: FoundJobs) -> dict[str, Any]:
    """Return the numbers of jobs as JSON. ``next`` may have passed: then that one is overdue."""
    return {
        "kept": len(found.jobs) + len(found.unreadable),
        "next": when_json(found.due[0]) if found.due else None,
        "overdue": found.overdue(datetime.now(UTC)),
        "unreadable": len(found.unreadable),
    }


def _due(opened: Opened) -> list[Kind]:
    """Return the kinds whose blobs are due: overdue, unless a bot is about to write them."""
    return [] if opened.fault else opened.repository.due()


def _compaction_text(base: Base, due: list[Kind]) -> str:
    """Say which blobs are due and what it costs to leave them, if any are."""
    if not due:
        return ""
    carried, sends = price(base, due)
    return (
        f"due for {', '.join(due)}; each commit carries {size(carried)} for it, and "
        f"ptb-s3 compact sends some {size(sends)}"
    )


def _compaction_json(base: Base, due: list[Kind]) -> dict[str, Any]:
    """Return the kinds whose blobs are due as JSON, and what they cost, in bytes."""
    carried, sends = price(base, due)
    return {"due": [kind.value for kind in due], "carried": carried, "sends": sends}


def _show_status(
    name: str,
    base: Base,
    past: Extent | None,
    keys: dict[str, Need],
    **more: str,
) -> None:
    """Print the three tables, and in the first what else there is to say, if anything."""
    header, bytes_ = base.objects[HEAD]
    rows = [
        ["revision", f"{header.revision}, {ago(header.created)} ({when(header.created)})"],
        ["writer", header.writer],
        ["bot", str(base.head.bot)],
        ["head", f"{size(bytes_)}, sealed with key {header.key}"],
    ]
    if past is not None and past.oldest is not None:
        oldest = f"the oldest is revision {past.oldest.revision} ({when(past.oldest.created)})"
        rows.append(["history", f"{count(past.commits, 'commit')}; {oldest}"])
    for other in past.others if past is not None else ():
        newest = f"up to revision {other.revision} ({when(other.created)})"
        rows.append(["earlier store", f"{other.store}, {newest}"])
    rows += [[name, text] for name, text in more.items() if text]
    table(["state", name], rows)
    _output.result("")
    table(
        ["kind", "entities", "differential", "blob", "key", "last compacted"],
        [_kind_row(base, kind) for kind in Kind],
        right=["entities", "differential", "blob"],
        spare=[("last compacted", without_seconds), ("last compacted", _day_and_hour), "key"],
    )
    _output.result("")
    table(
        ["key", "", "current objects", "history"],
        [_key_row(key, need, past) for key, need in keys.items()],
        right=["current objects"],
    )


def _kind_row(base: Base, kind: Kind) -> list[str]:
    """Return the row of a kind: its entities, its differential and its blob."""
    part, stored = base.head.parts[kind], base.objects.get(kind)
    row = [kind.value, f"{len(base.entities[kind]):,}", f"{len(part.differential):,}"]
    if stored is None:
        return [*row, "none", "", "never"]
    header = stored.header
    made = f"{when(header.created)} (revision {header.revision})"
    return [*row, size(stored.size), header.key, made]


def _day_and_hour(compacted: str) -> str:
    """Leave out the revision of a text such as ``2026-11-23 14:00 (revision 41)``."""
    return compacted.partition(" (")[0]


def _key_row(key: str, need: Need, past: Extent | None) -> list[str]:
    """Return the row of a key, with a missing key marked as doubtful."""
    history = "not looked at" if past is None else "not needed"
    if need.newest is not None:
        history = f"needed up to revision {need.newest}"
    at_hand = need.role != NOT_AT_HAND
    kept = f"{need.role}, kept by AWS KMS" if need.in_kms else need.role
    role = kept if at_hand else Graded(need.role, Severity.DOUBTFUL)
    return [key, role, f"{need.current:,}", history]


def _status_json(
    name: str, base: Base, past: Extent | None, keys: dict[str, Need]
) -> dict[str, Any]:
    """Return the status as JSON: one object, times in UTC, sizes in bytes."""
    header, bytes_ = base.objects[HEAD]
    oldest = past.oldest if past else None
    return {
        "state": name,
        "store": header.store,
        "bot": base.head.bot,
        "revision": header.revision,
        "created": when_json(header.created),
        "writer": header.writer,
        "head": {"bytes": bytes_, "key": header.key},
        "history": past
        and {
            "commits": past.commits,
            "oldest": oldest
            and {"revision": oldest.revision, "created": when_json(oldest.created)},
            "earlier_stores": [
                {
                    "store": other.store,
                    "revision": other.revision,
                    "created": when_json(other.created),
                }
                for other in past.others
            ],
        },
        "kinds": {kind.value: _kind_json(base, kind) for kind in Kind},
        "keys": {key: need._asdict() for key, need in keys.items()},
    }


def _kind_json(base: Base, kind: Kind) -> dict[str, Any]:
    """Return the status of a kind as JSON."""
    stored = base.objects.get(kind)
    return {
        "entities": len(base.entities[kind]),
        "differential": len(base.head.parts[kind].differential),
        "blob": stored
        and {
            "bytes": stored.size,
            "key": stored.header.key,
            "revision": stored.header.revision,
            "created": when_json(stored.header.created),
        },
    }
