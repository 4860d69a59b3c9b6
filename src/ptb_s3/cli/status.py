"""``ptb-s3 status`` and ``ptb-s3 history``: what there is, and how it came about."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer

from ptb_s3._base import Base
from ptb_s3._container import HEAD, Changed
from ptb_s3._history import Commit
from ptb_s3._state import Kind
from ptb_s3._versions import keys_of, list_all
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Json, Place, moment, run
from ptb_s3.cli._output import ago, count, size, when, when_json

_BAR = 12  # columns


class _Keys(NamedTuple):
    """How many objects each key has sealed, by id."""

    sealing: str
    current: Counter[str]
    history: Counter[str] | None


def status(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not look which keys the history needs.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the current state: its size, its age, and which keys it needs."""

    async def work(place: Place) -> tuple[str, Base, _Keys]:
        repository = await place.load()
        base = repository.base
        history = None
        if not quick:
            with _output.progress("Reading headers") as advance:
                history = await keys_of(place.store, await list_all(place.store), advance)
        current = Counter(stored.header.key for stored in base.objects.values())
        return place.name, base, _Keys(place.keys.sealing_key().key_id, current, history)

    found = run(work)
    if json:
        _output.result_json(_status_json(*found))
    else:
        _show_status(*found)


def _show_status(name: str, base: Base, keys: _Keys) -> None:
    header, bytes_ = base.objects[HEAD]
    _output.table(
        ["state", name],
        [
            ["revision", f"{header.revision}, {ago(header.created)} ({when(header.created)})"],
            ["writer", header.writer],
            ["bot", str(base.head.bot)],
            ["head", f"{size(bytes_)}, sealed with key {header.key}"],
        ],
    )
    _output.result("")
    _output.table(
        ["kind", "entities", "differential", "blob", "key", "last compacted"],
        [_kind_row(base, kind) for kind in Kind],
        right=["entities", "differential", "blob"],
    )
    _output.result("")
    _output.table(
        ["key", "current objects", "versions", ""],
        [_key_row(keys, key) for key in _needed(keys)],
        right=["current objects", "versions"],
    )


def _kind_row(base: Base, kind: Kind) -> list[str]:
    part, stored = base.head.parts[kind], base.objects.get(kind)
    row = [kind.value, f"{len(base.entities[kind]):,}", f"{len(part.differential):,}"]
    if stored is None:
        return [*row, "none", "", "never"]
    header = stored.header
    made = f"{when(header.created)} (revision {header.revision})"
    return [*row, size(stored.size), header.key, made]


def _needed(keys: _Keys) -> list[str]:
    others = sorted({*keys.current, *(keys.history or ())} - {keys.sealing})
    return [keys.sealing, *others]


def _key_row(keys: _Keys, key: str) -> list[str]:
    role = "seals" if key == keys.sealing else "opens"
    versions = "not counted" if keys.history is None else f"{keys.history[key]:,}"
    return [key, f"{keys.current[key]:,}", versions, role]


def _status_json(name: str, base: Base, keys: _Keys) -> dict[str, Any]:
    header, bytes_ = base.objects[HEAD]
    return {
        "state": name,
        "store": header.store,
        "bot": base.head.bot,
        "revision": header.revision,
        "created": when_json(header.created),
        "writer": header.writer,
        "head": {"bytes": bytes_, "key": header.key},
        "kinds": {kind.value: _kind_json(base, kind) for kind in Kind},
        "keys": {
            "sealing": keys.sealing,
            "current": dict(keys.current),
            "history": None if keys.history is None else dict(keys.history),
        },
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
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")] = 20,
    json: Json = False,
) -> None:
    """List the commits that can be gone back to, newest first.

    What is shown stands in the headers of the objects; they are not opened for it.
    """
    first = None if since is None else moment(since)
    last = None if until is None else moment(until)

    async def work(place: Place) -> list[Commit]:
        found: list[Commit] = []
        commits = (await place.commits()).commits(since=first, until=last)
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


def _nothing(since: datetime | None, until: datetime | None) -> str:
    span = [f" since {when(since)}"] if since else []
    return f"No commits{''.join([*span, f' until {when(until)}' if until else ''])}."


def _show_history(commits: list[Commit]) -> None:
    largest = max(commit.version.size for commit in commits)
    _output.table(
        ["revision", "time", "writer", "changed", "size", ""],
        [_commit_row(commit, largest) for commit in commits],
        right=["revision", "size"],
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
        return ["?", when(version.modified), "?", "damaged", size(version.size), bar]
    changed = _counts(header.changed)
    text = ", ".join(f"{kind.removesuffix('_data')} {n:,}" for kind, n in changed.items())
    row = [str(header.revision), when(header.created), header.writer, text or "nothing"]
    return [*row, size(version.size), bar]


def _counts(changed: Changed | None) -> dict[str, int]:
    counts = {kind.value: getattr(changed, kind.value, 0) for kind in Kind}
    return {kind: number for kind, number in counts.items() if number}


def _commit_json(commit: Commit) -> dict[str, Any]:
    version, header = commit
    stored = {"version_id": version.version_id, "bytes": version.size}
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
