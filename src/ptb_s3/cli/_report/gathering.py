"""Gathering of the facts: each part is read by the function of the command that is about it.

Nothing is written to the bucket, unless the doctor is to probe it. What cannot be read becomes a
fact; only a storage that cannot be asked is an error, and a place that holds nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ptb_s3._doctor.examination import Examination
from ptb_s3._doctor.findings import Finding
from ptb_s3._engine.repair import UNREADABLE
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._history.headers import of_store, read_headers
from ptb_s3._history.history import Extent, History, find_history
from ptb_s3._history.key_needs import key_needs
from ptb_s3._history.listing import is_kept
from ptb_s3._history.order import Commit
from ptb_s3._history.put_back import find_put_back
from ptb_s3._history.scan import Listing, list_all
from ptb_s3._history.verify import Report, verify_current, verify_history
from ptb_s3._storage.bucket_config import Bucket, Unknown
from ptb_s3._storage.contract import Version
from ptb_s3._storage.lifecycle import Rule
from ptb_s3.cli._jobs import find_jobs
from ptb_s3.cli._opened import Place
from ptb_s3.cli._progress import progress, waiting
from ptb_s3.cli._report.facts import Current, Facts, Jobs, Kept
from ptb_s3.cli._report.opening import Follower, open_commits
from ptb_s3.cli._view import State, state_of
from ptb_s3.errors import NoHistoryError, NothingThereError, PersistenceError


@dataclass(frozen=True, slots=True)
class Request:
    """Request for a report.

    Attributes:
        since: The oldest commit to look at; None: no matter how old.
        limit: How many commits to look at, the newest; 0: all.
        store: Id of the store; None: the current one.
        verify: Whether to open the current objects.
        every_version: Whether to open every version.
        examine: Whether to check the storage.
        probe: Whether such checks may write.
        deep: Whether to open the commits.
        subject: Id of the user or chat to follow; None: nobody.
        values: Whether to show its values.
    """

    since: datetime | None = None
    limit: int = 0
    store: str | None = None
    verify: bool = True
    every_version: bool = False
    examine: bool = True
    probe: bool = False
    deep: bool = False
    subject: int | None = None
    values: bool = False


async def gather(place: Place, request: Request) -> Facts:
    """Return the facts for a report.

    Raises:
        NothingThereError: No bot has saved any state there.
        StorageError: The storage cannot be asked.
    """
    reader, store = Reader(place.keys), place.store
    past = await _history(place, reader, request.store)
    with progress("Listing versions") as advance:
        listing = await list_all(store, advance)
    commits, older = await _commits(past, request)
    blobs = {kind: await _blobs(place, listing, kind, past, commits) for kind in Kind}
    facts = Facts(
        place=place.name,
        store=past.store_id,
        now=datetime.now(UTC).astimezone(),
        commits=tuple(commits),
        older=older,
        extent=await _extent(past),
        blobs=blobs,
        kept={name: _kept(versions) for name, versions in listing.items()},
        versioned=any(is_kept(v) for versions in listing.values() for v in versions),
        prefix=store.prefix,
        current=None,
        keys=(*place.keys.ids, *place.keys.history_ids),
        rules=await _rules(place),
        verified=await _verified(place, reader, request),
        every_version=request.every_version,
        examined=await _examined(place, request),
        probed=request.probe,
    )
    return await _with_state(place, facts, request)


async def _history(place: Place, reader: Reader, store_id: str | None) -> History:
    """Return the history of the store asked for, else of the current or newest head."""
    if store_id is not None:
        return History(place.store, reader.for_history, store_id)
    past, _ = await find_history(place.store, reader)
    return past


async def _commits(past: History, request: Request) -> tuple[list[Commit], bool]:
    """Return the commits asked for, newest first, and whether there are older ones."""
    found: list[Commit] = []
    commits = past.commits(since=request.since)
    with progress("Reading headers") as advance:
        async with aclosing(commits):
            async for commit in commits:
                if request.limit and len(found) == request.limit:
                    return found, True
                found.append(commit)
                advance(len(found), request.limit or None)
    return found, request.since is not None


async def _extent(past: History) -> Extent:
    """Return the extent of the whole history, which is none without versions."""
    try:
        with progress("Looking for the oldest commit") as advance:
            return await past.extent(lambda listed: advance(listed, None))
    except NoHistoryError:
        return Extent(0, None, [])


async def _blobs(
    place: Place, listing: Listing, kind: Kind, past: History, commits: Sequence[Commit]
) -> tuple[Commit, ...]:
    """Return the versions of a kind's blob, oldest first, from the one before the commits."""
    begun = min((commit.made for commit in commits), default=None)
    versions = listing[kind]  # newest first
    later = [v for v in versions if begun is None or v.modified >= begun]
    chosen = versions[: len(later) + 1]
    with progress(f"Reading headers of {kind.value}") as advance:
        found = await read_headers(place.store, chosen, kind, advance)
    return tuple(sorted(of_store(found, past.store_id), key=lambda blob: blob.made))


def _kept(versions: Sequence[Version]) -> Kept:
    current = sum(version.size for version in versions if version.is_latest)
    return Kept(len(versions), sum(version.size for version in versions), current)


async def _rules(place: Place) -> tuple[Rule, ...] | Unknown | None:
    """Return the lifecycle rules of the bucket, or None where nobody could say."""
    try:
        return await Bucket(place.store).lifecycle()
    except PersistenceError:
        return None


async def _verified(place: Place, reader: Reader, request: Request) -> Report | None:
    """Open the current objects, or every version, if that was asked for."""
    if request.every_version:
        with progress("Opening versions") as advance:
            return await verify_history(place.store, reader, advance)
    if not request.verify:
        return None
    async with waiting("Opening the current objects", lambda: (0, None)):
        return await verify_current(place.store, reader)


async def _examined(place: Place, request: Request) -> tuple[Finding, ...] | None:
    """Check the storage, if that was asked for."""
    if not request.examine:
        return None
    done: list[int] = [0]
    examination = Examination(
        place.store,
        place.keys,
        place.name,
        token=secrets.token_hex(8),
        now=lambda: datetime.now(UTC),
        report=done.append,
        exposed=place.exposed,
        writes=request.probe,
    )
    async with waiting("Checking", lambda: (done[-1], examination.total)):
        return await examination.run()


async def _with_state(place: Place, facts: Facts, request: Request) -> Facts:
    """Add the current state or, where it cannot be read, why, and the newest that can be."""
    try:
        repository, fault = await place.load_or_recover(request.store)
    except (*UNREADABLE, NothingThereError) as error:
        return replace(facts, fault=str(error), exit_code=error.exit_code)
    if fault is not None:
        facts = replace(facts, fault=str(fault), exit_code=fault.exit_code)
    current = await _current(place, repository, facts, is_current=fault is None)
    facts = replace(facts, current=current)
    if not request.deep and request.subject is None:
        return facts
    return await _opened(place, repository, facts, request)


async def _current(
    place: Place, repository: Repository, facts: Facts, *, is_current: bool
) -> Current:
    """Return what is told of a state that was loaded."""
    base = repository.base
    header = base.objects[HEAD].header
    erasures = base.head.erasures
    return Current(
        revision=header.revision,
        created=header.created,
        writer=header.writer,
        bot=base.head.bot,
        entities={kind: len(base.entities[kind]) for kind in Kind},
        differential={kind: len(base.head.parts[kind].differential) for kind in Kind},
        needs=key_needs(base, place.keys, facts.extent.oldest),
        erased=tuple(sorted(erasures.revisions.values())) if erasures is not None else (),
        put_back=tuple(await find_put_back(place.store, base)) if is_current else (),
        jobs=_jobs(await state_of(repository, None), facts.now),
    )


def _jobs(state: State, now: datetime) -> Jobs | None:
    """Count the jobs of a state, without running anybody's code."""
    found = find_jobs(state)
    if not found.jobs and not found.unreadable:
        return None
    overdue = [job.next for job in found.jobs.values() if job.next and job.is_overdue(now)]
    return Jobs(
        kept=len(found.jobs) + len(found.unreadable),
        overdue=len(overdue),
        late=min(overdue, default=None),
        next=next((moment for moment in found.due if moment > now), None),
    )


async def _opened(place: Place, repository: Repository, facts: Facts, request: Request) -> Facts:
    """Add what opened commits tell, and the life of the user asked for."""
    reader = Reader(place.keys)
    follower = None
    if request.subject is not None:
        follower = Follower(
            place.store,
            reader.for_history,
            repository.base,
            request.subject,
            values=request.values,
        )
    with progress("Opening commits") as advance:
        deep = await open_commits(place.store, reader, facts.commits, follower, advance)
    life = None if follower is None else follower.result()
    return replace(facts, deep=deep, life=life)
