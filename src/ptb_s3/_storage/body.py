"""Bodies of objects that need not lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Body(Protocol):
    """Body of an object to write, of known size, which can be read as often as it takes.

    An object that is not in memory as a whole is handed to a store as such a body; any other one as
    `bytes`.
    """

    def __len__(self) -> int:
        """Return the number of bytes."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """Iterate over all bytes, from the first one on, in pieces of up to some hundred KiB.

        A step may block, so it is for a thread. The pieces of two iterators may be asked for in
        turn, in different threads, until the body's owner closes what is behind it.
        """
        ...


def joined(body: bytes | Body) -> bytes:
    """Return all bytes of a body, for storage in memory and for tests."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    return b"".join(body.pieces())
