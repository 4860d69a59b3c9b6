"""Verify what lies in the bucket: every object the current state needs, or every version there is.

Nothing is changed, no value is unpickled, and one bad object does not keep the others from being
looked at.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Container
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader, TornReadError
from ptb_s3._history.history import restorable
from ptb_s3._history.listing import still_listed
from ptb_s3._history.order import put_back
from ptb_s3._history.scan import NAMES, Advance, Listing, list_all, open_all, peek
from ptb_s3._storage.contract import Fetched, Store
from ptb_s3.errors import (
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    PersistenceError,
)

# Another writer may commit and compact between two of our reads.
_TRIES = 3


class Finding(NamedTuple):
    """An object that cannot be read.

    Attributes:
        name: The object.
        version_id: Its version; None in a bucket that keeps none.
        revision: What its header says, if it can be read.
        error: Why.
    """

    name: str
    version_id: str | None
    revision: int | None
    error: PersistenceError

    @property
    def reason(self) -> str:
        """Why, as the end of a sentence."""
        error = self.error
        return error.reason if isinstance(error, DamagedObjectError) else str(error)


class PutBack(NamedTuple):
    """A current object that the storage took long after it was made.

    Attributes:
        name: The object.
        made: When it was made, by its writer's clock.
        modified: When the storage took it.
    """

    name: str
    made: datetime
    modified: datetime


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        objects: How many objects, or versions of objects, were opened.
        size: Their bytes.
        findings: Those that cannot be read.
        commits: How many versions of head were opened.
        stranded: Revisions that are intact, but whose blobs are gone: they cannot be restored.
        put_back: Current objects that were put back, or copied, since they were made.
        known: Versions that cannot be read, or be brought back, and are older than what was asked.
    """

    objects: int = 0
    size: int = 0
    findings: list[Finding] = field(default_factory=list)
    commits: int = 0
    stranded: list[int] = field(default_factory=list)
    put_back: list[PutBack] = field(default_factory=list)
    known: int = 0

    @property
    def exit_code(self) -> int:
        """The gravest finding's: damaged data comes before a key that is not at hand."""
        codes = {finding.error.exit_code for finding in self.findings}
        damaged = DamagedObjectError.exit_code
        return damaged if damaged in codes else max(codes, default=0)


async def verify_current(store: Store, reader: Reader) -> Report:
    """Open the current version of every object, and see that they fit together.

    Raises:
        StorageError: The storage cannot be asked.
    """
    for tries_left in reversed(range(_TRIES)):
        objects = {name: await store.get(name) for name in NAMES}
        report = Report()
        for name, fetched in objects.items():
            if fetched is not None:
                await _verify_object(reader, name, fetched, report)
        misfit = None if report.findings else await _misfit(reader, objects)
        if misfit is None:
            break
        if not tries_left:  # nobody has committed between our reads, so many times
            report.findings.append(misfit)
    return report


async def _verify_object(reader: Reader, name: str, fetched: Fetched, report: Report) -> None:
    report.objects += 1
    report.size += len(fetched.body)
    report.commits += name == HEAD
    try:
        header, _ = await asyncio.to_thread(reader.open, name, fetched.body)
    except PersistenceError as error:
        revision = _revision(peek(name, fetched))
        report.findings.append(Finding(name, fetched.version_id, revision, error))
    else:
        report.put_back += _put_back(name, header, fetched.modified)


def _put_back(name: str, header: Header, modified: datetime | None) -> list[PutBack]:
    if modified is None or not put_back(header, modified):
        return []
    return [PutBack(name, header.created, modified)]


async def find_put_back(store: Store, base: Base) -> list[PutBack]:
    """Return which current objects of a state that was just loaded were put back, or copied."""
    found = []
    for name, stored in base.objects.items():
        fetched = await store.get(name, first_bytes=1)
        etag = base.etag if name == HEAD else base.blobs[Kind(name)].etag
        if fetched is not None and fetched.etag == etag:
            found += _put_back(name, stored.header, fetched.modified)
    return found


async def _misfit(reader: Reader, objects: dict[str, Fetched | None]) -> Finding | None:
    try:
        await asyncio.to_thread(reader.assemble, objects, bytes)
    except TornReadError as moved:
        fault = moved.fault
    except ForeignStoreError as error:
        return Finding(HEAD, None, None, error)
    else:
        return None
    found = objects[fault.object_name]
    return Finding(fault.object_name, found and found.version_id, None, fault)


async def verify_history(
    store: Store, reader: Reader, advance: Advance, since: datetime | None = None
) -> Report:
    """Open every version of every object, and see which commits still have their blobs.

    Args:
        store: Where they lie.
        reader: Opens them.
        advance: Called with how many are done, and of how many, where that is known.
        since: What is wrong with versions that the storage took before is only counted, unless
            they are current.

    Raises:
        StorageError: The storage cannot be asked.
    """
    report = Report()
    blobs: dict[str, dict[Kind, list[Header]]] = defaultdict(lambda: {kind: [] for kind in Kind})
    heads: list[tuple[str, Head, bool]] = []
    seen: set[tuple[str, str]] = set()
    listing = await list_all(store, advance)
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            report.objects += 1
            report.size += opened.version.size
            header, version_id = opened.header, opened.version.version_id
            early = since is not None and opened.version.modified < since
            known = early and not opened.version.is_latest
            seen.add((opened.name, version_id))
            if opened.version.is_latest and opened.fault is None and header is not None:
                report.put_back += _put_back(opened.name, header, opened.version.modified)
            if opened.fault is not None and known:
                report.known += 1
            elif opened.fault is not None:
                finding = Finding(opened.name, version_id, _revision(header), opened.fault)
                report.findings.append(finding)
            elif isinstance(opened.content, Head) and header is not None:
                heads.append((header.store, opened.content.refs_alone, known))
            elif header is not None:
                blobs[header.store][Kind(opened.name)].append(header)
    report.findings += await _not_given(store, listing, seen)
    report.commits = len(heads)
    stranded = [
        (head.revision, known) for of, head, known in heads if not restorable(head, blobs[of])
    ]
    report.known += sum(known for _, known in stranded)
    report.stranded = sorted((number for number, known in stranded if not known), reverse=True)
    return report


async def _not_given(
    store: Store, listing: Listing, seen: Container[tuple[str, str]]
) -> list[Finding]:
    """Return what is listed, and cannot be read by its id."""
    missing = [
        (name, version)
        for name, versions in listing.items()
        for version in versions
        if (name, version.version_id) not in seen
    ]
    return [
        Finding(name, version.version_id, None, MissingObjectError(name, "it is listed, and gone"))
        for name, version in await still_listed(store, missing)
    ]


def _revision(header: Header | None) -> int | None:
    return header.revision if header is not None else None
