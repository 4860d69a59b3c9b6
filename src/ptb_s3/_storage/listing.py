"""Pages of a list of versions: their entries, and where the next page begins. Pure.

S3 lists by key prefix, up to a thousand entries a page, and not one object alone: entries of other
objects are left out here. Servers differ in order and in paging, so nothing relies on the order,
and a list that does not come to an end is an error rather than a loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from ptb_s3._storage.answers import Question
from ptb_s3._storage.contract import Remains, Version
from ptb_s3.errors import StorageError, StorageUnavailableError

COUNTED = 1000
"""Versions of a deleted object that are counted at a start: those of one page."""


class Deletion(NamedTuple):
    """A delete marker: its id, when it was made, and whether it is what a read finds."""

    version_id: str
    modified: datetime
    is_latest: bool


class Page(NamedTuple):
    """Entries of one object on one page of the list.

    Attributes:
        versions: Versions of it.
        deletions: Its delete markers.
        is_last: Whether there is no further page.
    """

    versions: list[Version]
    deletions: list[Deletion]
    is_last: bool


class Progress:
    """Cursor over the pages of a list, which never visits a page twice.

    Args:
        question: Description of the list, for an error's text.

    Attributes:
        markers: Where the next page begins, as arguments of the request; None: there is none.
    """

    def __init__(self, question: Question) -> None:
        self.markers: dict[str, str] | None = {}
        self._question = question
        self._passed: set[tuple[tuple[str, str], ...]] = set()

    def take(self, page: dict[str, Any]) -> Page:
        """Read a page, move on to the next, and return the entries of the object.

        Raises:
            StorageError: It says that there are more, and gives no place or one that was visited.
        """
        versions = [
            Version(
                entry["VersionId"],
                entry["LastModified"],
                entry["Size"],
                bool(entry.get("IsLatest")),
            )
            for entry in self._ours(page, "Versions")
        ]
        deletions = [
            Deletion(entry["VersionId"], entry["LastModified"], bool(entry.get("IsLatest")))
            for entry in self._ours(page, "DeleteMarkers")
        ]
        self.markers = self._next(page) if page.get("IsTruncated") else None
        return Page(versions, deletions, is_last=self.markers is None)

    def _ours(self, page: dict[str, Any], entries: str) -> Iterator[dict[str, Any]]:
        return (entry for entry in page.get(entries, []) if entry["Key"] == self._question.key)

    def _next(self, page: dict[str, Any]) -> dict[str, str]:
        markers = {
            marker: str(page[f"Next{marker}"])
            for marker in ("KeyMarker", "VersionIdMarker")
            if page.get(f"Next{marker}")
        }
        place = tuple(markers.items())
        if not place or place in self._passed:
            raise _endless(self._question)
        self._passed.add(place)
        return markers


async def remaining(pages: AsyncIterator[Page], marker: str) -> Remains | None:
    """Return the traces of an object that a read does not find, or None if there never was one.

    Args:
        pages: The list of its versions.
        marker: Id of the delete marker that the read has told of; empty if it told of none. It
            decides alone where nothing may be listed, or no versions are kept.

    Raises:
        StorageUnavailableError: There was no answer.
    """
    versions: list[Version] = []
    deletions: list[Deletion] = []
    more = False
    try:
        async for page in pages:
            versions += page.versions
            deletions += page.deletions
            more = not page.is_last and len(versions) >= COUNTED
            if more:
                break
    except StorageUnavailableError:
        raise
    except StorageError:
        return Remains(marker, marker) if marker else None
    if not (versions or deletions or marker):
        return None
    deletion = max(deletions, key=lambda one: (one.is_latest, one.modified), default=None)
    marker = marker or (deletion.version_id if deletion else "")
    newest = max(versions, key=lambda one: one.modified, default=None)
    return Remains(
        newest.version_id if newest else marker,
        marker or None,
        deletion.modified if deletion else None,
        len(versions),
        more,
    )


def _endless(question: Question) -> StorageError:
    """Return the error for a listing that would be asked for without end.

    gofakes3 1.2.0 leaves out the markers of a page that is not the last one, versitygw 1.8.0
    repeats them where a page has one entry.
    """
    return StorageError(
        f"Could not {question}: the storage says that its list goes on, and not where. It cannot "
        "list so many versions. Have fewer kept (a lifecycle rule on noncurrent versions), or use "
        "another storage; docs/providers.md lists some."
    )
