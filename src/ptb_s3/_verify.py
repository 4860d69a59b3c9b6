"""Verify what lies in the bucket: every object the current state needs, or every version there is.

Nothing is changed, no value is unpickled, and one bad object does not keep the others from being
looked at.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from ptb_s3._base import MovedError, Reader
from ptb_s3._container import HEAD, Header
from ptb_s3._head import Head
from ptb_s3._history import restorable
from ptb_s3._state import Kind
from ptb_s3._store import Fetched, Store
from ptb_s3._versions import NAMES, Advance, list_all, open_all, peek
from ptb_s3.errors import DamagedObjectError, ForeignStoreError, PersistenceError

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


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        objects: How many objects, or versions of objects, were opened.
        size: Their bytes.
        findings: Those that cannot be read.
        commits: How many versions of head were opened.
        stranded: Revisions that are intact, but whose blobs are gone: they cannot be restored.
    """

    objects: int = 0
    size: int = 0
    findings: list[Finding] = field(default_factory=list)
    commits: int = 0
    stranded: list[int] = field(default_factory=list)

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
        await asyncio.to_thread(reader.open, name, fetched.body)
    except PersistenceError as error:
        revision = _revision(peek(name, fetched))
        report.findings.append(Finding(name, fetched.version_id, revision, error))


async def _misfit(reader: Reader, objects: dict[str, Fetched | None]) -> Finding | None:
    try:
        await asyncio.to_thread(reader.assemble, objects, bytes)
    except MovedError as moved:
        fault = moved.fault
    except ForeignStoreError as error:
        return Finding(HEAD, None, None, error)
    else:
        return None
    found = objects[fault.object_name]
    return Finding(fault.object_name, found and found.version_id, None, fault)


async def verify_history(store: Store, reader: Reader, advance: Advance) -> Report:
    """Open every version of every object, and see which commits still have their blobs.

    Raises:
        StorageError: The storage cannot be asked.
    """
    report = Report()
    blobs: dict[str, dict[Kind, list[int]]] = defaultdict(lambda: {kind: [] for kind in Kind})
    heads: list[tuple[str, Head]] = []
    listing = await list_all(store, advance)
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            report.objects += 1
            report.size += opened.version.size
            header, version_id = opened.header, opened.version.version_id
            if opened.fault is not None:
                finding = Finding(opened.name, version_id, _revision(header), opened.fault)
                report.findings.append(finding)
            elif isinstance(opened.content, Head) and header is not None:
                heads.append((header.store, opened.content.refs_alone))
            elif header is not None:
                blobs[header.store][Kind(opened.name)].append(header.revision)
    report.commits = len(heads)
    report.stranded = [head.revision for of, head in heads if not restorable(head, blobs[of])]
    return report


def _revision(header: Header | None) -> int | None:
    return header.revision if header is not None else None
