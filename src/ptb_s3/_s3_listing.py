"""Pages of a listing: what is in them, and where the next one begins. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ptb_s3._s3_answers import Question
from ptb_s3._store import Version
from ptb_s3.errors import StorageError


class Progress:
    """Goes from page to page, never to one twice.

    Args:
        question: What is listed.

    Attributes:
        markers: Where the next page begins, as arguments of the request; None: there is none.
    """

    def __init__(self, question: Question) -> None:
        self.markers: dict[str, str] | None = {}
        self._question = question
        self._passed: set[tuple[tuple[str, str], ...]] = set()

    def take(self, page: dict[str, Any]) -> Iterator[Version]:
        """Take a page in; give the versions of the object that are in it.

        Raises:
            StorageError: It says that there are more, and not where, or where the list has been.
        """
        for entry in page.get("Versions", []):
            if entry["Key"] == self._question.key:
                latest = bool(entry.get("IsLatest"))
                yield Version(entry["VersionId"], entry["LastModified"], entry["Size"], latest)
        self.markers = self._next(page) if page.get("IsTruncated") else None

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


def _endless(question: Question) -> StorageError:
    """Return the error for a listing that would be asked for without end.

    gofakes3 1.2.0 leaves out the markers of a page that is not the last one, versitygw 1.8.0
    repeats them where a page has one entry.
    """
    return StorageError(
        f"Could not {question}: the storage says that its list goes on, and not where. It cannot "
        "list so many versions. Have fewer kept (a lifecycle rule on noncurrent versions), or use "
        "another storage; the README lists some."
    )
