"""Ranges of objects: how they are asked for, and where they lie in the body of a reply. Pure.

A server may answer with the range (206), or with the whole object, if it knows no ranges (200). The
object may end within the range, which a 206 tells by the object's size. RFC 9110, section 14.2,
allows a server to give less than was asked for, too: that is not the end of the object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

PARTIAL = 206
"""HTTP status of a reply with a range alone."""
# No object has more digits of bytes, and Python refuses to read numbers of thousands of digits.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Span(NamedTuple):
    """Range of an object: the bytes ``body[start : start + length]``, as Python slices.

    Attributes:
        start: Number of the first byte, counted from 0.
        length: Number of bytes, at most.
    """

    start: int
    length: int

    def header(self) -> str:
        """Return the value of the header Range, which holds one byte at least: ranges have one."""
        return f"bytes={self.start}-{self._end - 1}"

    def place(self, response: Mapping[str, Any]) -> int | None:
        """Return how many bytes of a reply's body lie before the range.

        Args:
            response: botocore's view of the reply.

        Returns:
            The number; None: the reply holds another range, or only a part of this one.
        """
        if response.get("ResponseMetadata", {}).get("HTTPStatusCode") != PARTIAL:
            return self.start
        found = _CONTENT_RANGE.fullmatch(response.get("ContentRange") or "")
        if found is None:
            return 0  # it is not said; who reads the bytes finds out
        first, last, size = found.groups()
        enough = self._end if size == "*" else min(self._end, int(size))
        return 0 if int(first) == self.start and int(last) + 1 >= enough else None

    @property
    def _end(self) -> int:
        return self.start + max(self.length, 1)
