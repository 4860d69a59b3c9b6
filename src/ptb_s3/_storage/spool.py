"""Spool: bytes of an object to write, in a temporary file as soon as they are many.

Rule: only ciphertext goes into a spool. Its file may lie on any disk.

Everything here may block, and is for a thread.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import IO, Self

from ptb_s3._storage.body import Body
from ptb_s3.errors import StorageError

_LOGGER = logging.getLogger("ptb_s3")

LIMIT = 2**20
"""Bytes that are held in memory; a file takes them in writes of this size."""
_PIECE = 2**18
_TOLD: set[str] = set()
"""What this process has logged already."""


class Spool:
    """Append-only sequence of bytes: the first ones in an unnamed file, up to 1 MiB in memory.

    The file belongs to this user alone (mode 0600) and is gone with the process, even a killed one.
    Where none can be written, or its disk is full, what follows is held in memory, so that nothing
    is lost but memory. Whoever makes a spool closes it.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._filed = 0
        self._held: list[bytes] = []
        self._holding = 0
        self._full = False
        self._sealed = False
        self._lock = Lock()

    def __len__(self) -> int:
        return self._filed + self._holding

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, piece: bytes) -> None:
        """Append bytes.

        Raises:
            ValueError: A body was made of the spool already, or it is closed.
        """
        if self._sealed:
            raise ValueError("A spool takes no more once it has a body or is closed.")
        self._held.append(piece)
        self._holding += len(piece)
        if self._holding > LIMIT and not self._full:
            self._spill()

    def body(self, beginning: bytes) -> Body:
        """Return a body: the beginning, and then all that was written. It lasts until `close`.

        Args:
            beginning: Bytes that come first, such as a header that states what follows.
        """
        self._sealed = True
        return _Spooled(beginning, self._file, self._filed, self._held, self._lock)

    def close(self) -> None:
        """Free the file and the memory. Bodies cannot be read any more."""
        self._sealed = True
        self._held.clear()
        self._filed = self._holding = 0
        if self._file is not None:
            with self._lock:  # or a thread reads from whatever gets its number next
                self._file.close()

    def _spill(self) -> None:
        """Append what is in memory to the file, or keep it where that is not possible."""
        try:
            if self._file is None:
                # Unbuffered, so that a full disk is noticed here and leaves nothing in between.
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see `close`
            _write_all(self._file, b"".join(self._held))
        except OSError as exc:
            self._full = True  # what the file has got of it lies behind `_filed`, and is not read
            _tell(exc)
            return
        self._filed += self._holding
        self._held.clear()
        self._holding = 0


class _Spooled:
    """`Body` of a spool: a beginning, then a file's first bytes, then what is held in memory.

    Args:
        beginning: Bytes that come first.
        file: The file, if there is one.
        filed: Number of its bytes that count.
        held: Pieces that come last.
        lock: Held while the file is read or closed: all who read it share one position.
    """

    def __init__(
        self,
        beginning: bytes,
        file: IO[bytes] | None,
        filed: int,
        held: Sequence[bytes],
        lock: Lock,
    ) -> None:
        self._beginning, self._file, self._filed, self._held = beginning, file, filed, held
        self._size = len(beginning) + filed + sum(map(len, held))
        self._lock = lock

    def __len__(self) -> int:
        return self._size

    def pieces(self) -> Iterator[bytes]:
        """See `Body.pieces`."""
        yield from _cut(self._beginning)
        if self._file is not None:
            at = 0
            while at < self._filed:
                piece = self._read(self._file, at, min(_PIECE, self._filed - at))
                at += len(piece)
                yield piece
        for piece in self._held:
            yield from _cut(piece)

    def _read(self, file: IO[bytes], at: int, size: int) -> bytes:
        """Read bytes of the file.

        Raises:
            StorageError: They are not to be had any more: the disk is broken.
        """
        try:
            with self._lock:
                file.seek(at)
                piece = file.read(size)
        except OSError as exc:
            raise _unreadable(_why(exc)) from None
        if not piece:
            raise _unreadable("it ends too early")
        return piece


def _cut(whole: bytes) -> Iterator[bytes]:
    for start in range(0, len(whole), _PIECE):
        yield whole[start : start + _PIECE]


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write to an unbuffered file, which may take less at once."""
    with memoryview(data) as view:
        start = 0
        while start < len(data):
            start += file.write(view[start:])


def _tell(exc: OSError) -> None:
    """Log once in a process that objects are held in memory, and what to do about it."""
    if "full" in _TOLD:
        return
    _TOLD.add("full")
    _LOGGER.warning(
        "No temporary file could be written (%s): objects that are written anew are held in memory "
        "as a whole until they are saved. Nothing is lost. Where memory is short, set TMPDIR to a "
        "folder with room for them; it gets ciphertext alone.",
        _why(exc),
    )


def _why(exc: OSError) -> str:
    """Return the system's words for an error, without the names of files that Python adds."""
    return os.strerror(exc.errno) if exc.errno else type(exc).__name__


def _unreadable(why: str) -> StorageError:
    return StorageError(
        f"Could not read back what was put into a temporary file ({why}). Nothing was written to "
        "the storage. Look at the disk, or set TMPDIR to a folder on another one."
    )
