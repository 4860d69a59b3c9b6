"""A spool on a disk that fails as bytes tell it to, and what can be read back of it."""

from __future__ import annotations

import errno
import io
import itertools
import os
import struct
import tempfile
from typing import Any, Final
from unittest import mock

from ptb_s3._storage import spool
from ptb_s3._storage.spool import Spool
from ptb_s3.errors import StorageError

# Room on the disk, bytes that it takes at once, reads until it fails, and bytes that it gives at
# once; then, for each write, its number of bytes.
FORM: Final = struct.Struct("<HBBB")
# As small as lets everything happen within an input.
_LIMIT: Final = 64
_PIECE: Final = 16


class _Disk(io.BytesIO):
    """File on a disk with little room, which may break."""

    def __init__(self, room: int, taken: int, reads: int, given: int) -> None:
        super().__init__()
        self.broken = False
        self._room, self._taken, self._reads, self._given = room, taken, reads, given

    def write(self, data: Any) -> int:
        taken = min(len(data), self._taken + 1, self._room)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= taken
        return super().write(data[:taken])

    def read(self, size: int | None = -1) -> bytes:
        self._reads -= 1
        if self._reads == 0:  # never, where it is zero at first
            self.broken = True
            raise OSError(errno.EIO, os.strerror(errno.EIO), "/secret/place")
        return super().read(min(size or 0, self._given + 1))


def any_spool(data: bytes) -> None:
    """Any sizes of writes to a spool on any disk: by `FORM`, then a byte for each write.

    All that was written comes back, to two who read in turn; or an error says that the disk broke.
    """
    if len(data) < FORM.size:
        return
    disk = _Disk(*FORM.unpack_from(data))
    with (
        mock.patch.object(spool, "LIMIT", _LIMIT),
        mock.patch.object(spool, "_PIECE", _PIECE),
        mock.patch.object(spool, "_tell"),
        mock.patch.object(tempfile, "TemporaryFile", return_value=disk),
        Spool() as spooled,
    ):
        written = _filled(spooled, data[FORM.size :])
        body = spooled.body(written[:20])
        assert len(body) == len(written[:20]) + len(written)
        try:
            turns = [*itertools.zip_longest(body.pieces(), body.pieces(), fillvalue=b"")]
            assert all(len(piece) <= _PIECE for turn in turns for piece in turn)
            for read in zip(*turns, strict=True):
                assert b"".join(read) == written[:20] + written
        except StorageError:
            assert disk.broken


def _filled(spooled: Spool, sizes: bytes) -> bytes:
    """Write bytes to a spool, and return them. It holds few of them, unless its disk is full."""
    written = b""
    for number, size in enumerate(sizes):
        piece = bytes([number % 251]) * size
        spooled.write(piece)
        written += piece
        assert len(spooled) == len(written)
        assert spooled._full or spooled._holding <= _LIMIT
    return written


def seeds() -> list[bytes]:
    """Return disks and writes to start with."""
    disks = [(9999, 255, 0, 255), (100, 10, 0, 3), (0, 0, 0, 0), (9999, 255, 3, 7)]
    writes = [b"", bytes([1, 63, 64, 65, 200]), bytes([20] * 20)]
    return [FORM.pack(*disk) + sizes for disk in disks for sizes in writes]
