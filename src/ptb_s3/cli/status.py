"""``ptb-s3 status`` and ``ptb-s3 history``: what there is, and how it came about."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer

from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD, Changed, Header
from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._history.history import History, newest_store
from ptb_s3._history.order import Commit
from ptb_s3._history.verify import PutBack, find_put_back
from ptb_s3._keys.keyring import Keyring
from ptb_s3.cli import _output
from ptb_s3.cli._opened import LOST, Json, OfStore, Opened, Place, duration, moment, run
from ptb_s3.cli._output import Graded, Severity, ago, count, size, when, when_json, without_seconds
from ptb_s3.cli.verify import put_back_json, tell_put_back
from ptb_s3.errors import NoHistoryError, NothingThereError

_BAR = 12  # columns
_NOT_AT_HAND = "not at hand"


class _Past(NamedTuple):
    """How far the history goes back, if that was looked at."""

    commits: int
    oldest: Header | None
    others: list[Header]


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

    async def work(place: Place) -> tuple[Place, Opened, list[PutBack], _Past | None]:
        opened = await place.load_or_recover()
        repository = opened.repository
        put_back = [] if opened.fault else await find_put_back(place.store, repository.base)
        if quick:
            return place, opened, put_back, None
        return place, opened, put_back, await _look_back(repository.history)

    place, opened, put_back, past = run(work)
    base = opened.repository.base
    keys = _keys(base, place.keys, past)
    if json:
        shown = _status_json(place.name, base, past, keys)
        _output.result_json({**shown, "put_back": put_back_json(put_back)})
    else:
        _show_status(place.name, base, past, keys)
        tell_put_back(put_back)
    if opened.fault is not None:
        raise typer.Exit(opened.fault.exit_code)
    created = base.objects[HEAD].header.created
    if limit is not None and datetime.now(UTC) - created > limit:
        _output.warning(f"The last commit is older than {max_age}: it was made {ago(created)}.")
        raise typer.Exit(1)


async def _look_back(history: History) -> _Past:
    """Look how far the history goes back; where the storage keeps no versions, there is none."""
    try:
        with _output.progress("Listing versions") as advance:
            return _Past(*await history.oldest(lambda listed: advance(listed, None)))
    except NoHistoryError:
        return _Past(0, None, [])


class _Need(NamedTuple):
    """What a key is needed for.

    Attributes:
        role: ``seals``, ``opens``, ``opens older versions``, or ``not at hand``.
        current: How many current objects it has sealed.
        newest: The newest commit that needs it and can still be brought back; None if there is
            none, or if nobody has looked.
    """

    role: str
    current: int
    newest: int | None


def _keys(base: Base, ring: Keyring, past: _Past | None) -> dict[str, _Need]:
    """Return what each key is needed for; one that is needed for nothing is left out.

    Head knows the newest revision that needs a key. If that is older than the oldest commit there
    is, so is every other that does.
    """
    sealing = ring.ids[0]
    roles = dict.fromkeys(ring.history_ids, "opens older versions")
    roles |= {**dict.fromkeys(ring.ids, "opens"), sealing: "seals"}
    current = Counter(stored.header.key for stored in base.objects.values())
    oldest = past.oldest.revision if past and past.oldest else None
    needed = {
        key: revision
        for key, revision in base.head.keys.items()
        if oldest is not None and revision >= oldest
    }
    return {
        key: _Need(roles.get(key, _NOT_AT_HAND), current[key], needed.get(key))
        for key in sorted({sealing, *current, *needed}, key=lambda key: (key != sealing, key))
    }


def _show_status(name: str, base: Base, past: _Past | None, keys: dict[str, _Need]) -> None:
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
    _output.table(["state", name], rows)
    _output.result("")
    _output.table(
        ["kind", "entities", "differential", "blob", "key", "last compacted"],
        [_kind_row(base, kind) for kind in Kind],
        right=["entities", "differential", "blob"],
        spare=[("last compacted", without_seconds), ("last compacted", _day_and_hour), "key"],
    )
    _output.result("")
    _output.table(
        ["key", "", "current objects", "history"],
        [_key_row(key, need, past) for key, need in keys.items()],
        right=["current objects"],
    )


def _kind_row(base: Base, kind: Kind) -> list[str]:
    part, stored = base.head.parts[kind], base.objects.get(kind)
    row = [kind.value, f"{len(base.entities[kind]):,}", f"{len(part.differential):,}"]
    if stored is None:
        return [*row, "none", "", "never"]
    header = stored.header
    made = f"{when(header.created)} (revision {header.revision})"
    return [*row, size(stored.size), header.key, made]


def _day_and_hour(compacted: str) -> str:
    return compacted.partition(" (")[0]


def _key_row(key: str, need: _Need, past: _Past | None) -> list[str]:
    history = "not looked at" if past is None else "not needed"
    if need.newest is not None:
        history = f"needed up to revision {need.newest}"
    at_hand = need.role != _NOT_AT_HAND
    role = need.role if at_hand else Graded(need.role, Severity.DOUBTFUL)
    return [key, role, f"{need.current:,}", history]


def _status_json(
    name: str, base: Base, past: _Past | None, keys: dict[str, _Need]
) -> dict[str, Any]:
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
        with _output.progress("Reading headers") as advance:
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
    """Return the history, also where the current head, which says whose it is, cannot be read."""
    if store_id is not None:
        return History(place.store, Reader(place.keys).for_history, store_id)
    try:
        return await place.commits()
    except (*LOST, NothingThereError):
        store_id = await newest_store(place.store)
        if store_id is None:
            raise
    _output.note("The current head is damaged or gone: ptb-s3 repair says what can be done.")
    return History(place.store, Reader(place.keys).for_history, store_id)


def _nothing(since: datetime | None, until: datetime | None) -> str:
    span = [f" since {when(since)}"] if since else []
    return f"No commits{''.join([*span, f' until {when(until)}' if until else ''])}."


def _show_history(commits: list[Commit]) -> None:
    largest = max(commit.version.size for commit in commits)
    _output.table(
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
    version, header = commit
    bar = _output.bar(version.size / largest, _BAR)
    if header is None:
        bad = Graded("damaged", Severity.BAD)
        return ["?", when(version.modified), "?", bad, size(version.size), bar]
    changed = _counts(header.changed)
    text = ", ".join(f"{kind.removesuffix('_data')} {n:,}" for kind, n in changed.items())
    row = [str(header.revision), when(commit.made), header.writer, text or "nothing"]
    return [*row, size(version.size), bar]


def _counts(changed: Changed | None) -> dict[str, int]:
    counts = {kind.value: getattr(changed, kind.value, 0) for kind in Kind}
    return {kind: number for kind, number in counts.items() if number}


def _commit_json(commit: Commit) -> dict[str, Any]:
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
