"""Verify the objects of a store: those that the current state needs, or every version there is.

Nothing is changed, no value is unpickled, and one bad object does not keep the others from being
opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader, TornReadError
from ptb_s3._history.blobs import BlobHeaders
from ptb_s3._history.headers import peek
from ptb_s3._history.listing import still_listed
from ptb_s3._history.put_back import PutBack, if_put_back
from ptb_s3._history.scan import NAMES, Advance, Listing, Opened, list_all, open_all, unseen
from ptb_s3._storage.contract import Fetched, Store
from ptb_s3.errors import (
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    PersistenceError,
)

# Times that the current objects are read before a misfit counts: another writer may commit and
# compact between two of our reads.
_TRIES = 3


class Finding(NamedTuple):
    """Object that cannot be read.

    Attributes:
        name: The object.
        version_id: Its version; None in a bucket that keeps none.
        revision: The revision that its header gives, if that can be read.
        error: Why it cannot be read.
    """

    name: str
    version_id: str | None
    revision: int | None
    error: PersistenceError

    @property
    def reason(self) -> str:
        """Return why it cannot be read, as the end of a sentence."""
        error = self.error
        return error.reason if isinstance(error, DamagedObjectError) else str(error)


@dataclass(slots=True)
class Report:
    """Report on the objects that were opened.

    Attributes:
        objects: How many objects, or versions of objects, were opened.
        size: Their bytes.
        findings: Those that cannot be read.
        commits: How many versions of head were opened.
        stranded: Revisions that are intact, but whose blobs are gone: they cannot be restored.
        put_back: Current objects that were put back, or copied, since they were made.
        known: Versions that cannot be read or restored, older than ``since`` and so only counted.
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
        """Return the gravest finding's code: damaged data comes before a key not at hand."""
        codes = {finding.error.exit_code for finding in self.findings}
        damaged = DamagedObjectError.exit_code
        return damaged if damaged in codes else max(codes, default=0)


async def verify_current(store: Store, reader: Reader) -> Report:
    """Open the current version of every object, and check that they fit together.

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
        if not tries_left:  # a writer does not commit between our reads so many times in a row
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
        report.put_back += if_put_back(name, header, fetched.modified)


async def _misfit(reader: Reader, objects: dict[str, Fetched | None]) -> Finding | None:
    """Return why objects that are each intact do not make a state, or None if they do."""
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
    """Open every version of every object, and check which commits still have their blobs.

    Args:
        store: Where they lie.
        reader: Opens them.
        advance: Called with how many are done, and of how many, where that is known.
        since: Faults of versions that the storage took before are only counted, unless the version
            is current.

    Raises:
        StorageError: The storage cannot be asked.
    """
    audit = _Audit(since)
    seen: set[tuple[str, str]] = set()
    listing = await list_all(store, advance)
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            seen.add((opened.name, opened.version.version_id))
            audit.add(opened)
    audit.report.findings += await _not_given(store, listing, seen)
    return audit.result()


@dataclass(slots=True)
class _Audit:
    """Builder for the report on all versions, one added after the other.

    Attributes:
        since: Faults of older versions are known, and only counted; None: none are.
        report: The report so far.
        blobs: The headers of blobs, to tell which commits can be restored.
        heads: The commits: id of their store, references to blobs, and whether they are known.
    """

    since: datetime | None
    report: Report = field(default_factory=Report)
    blobs: BlobHeaders = field(default_factory=BlobHeaders)
    heads: list[tuple[str, Head, bool]] = field(default_factory=list)

    def add(self, opened: Opened) -> None:
        """Add a version that was opened, or could not be."""
        report, version, header = self.report, opened.version, opened.header
        report.objects += 1
        report.size += version.size
        early = self.since is not None and version.modified < self.since
        known = early and not version.is_latest
        if opened.fault is not None:
            if known:
                report.known += 1
                return
            revision = _revision(header)
            report.findings.append(Finding(opened.name, version.version_id, revision, opened.fault))
        elif header is not None:
            if version.is_latest:
                report.put_back += if_put_back(opened.name, header, version.modified)
            if isinstance(opened.content, Head):
                self.heads.append((header.store, opened.content.refs_alone, known))
            else:
                self.blobs.add(header)

    def result(self) -> Report:
        """Return the report, once all versions have been added."""
        report = self.report
        report.commits = len(self.heads)
        stranded = [
            (head.revision, known)
            for store, head, known in self.heads
            if not self.blobs.suffice(store, head)
        ]
        report.known += sum(known for _, known in stranded)
        report.stranded = sorted((number for number, known in stranded if not known), reverse=True)
        return report


async def _not_given(
    store: Store, listing: Listing, seen: Container[tuple[str, str]]
) -> list[Finding]:
    """Return the versions that are listed, and cannot be read by their id."""
    return [
        Finding(name, version.version_id, None, MissingObjectError(name, "it is listed, and gone"))
        for name, version in await still_listed(store, unseen(listing, seen))
    ]


def _revision(header: Header | None) -> int | None:
    return header.revision if header is not None else None
