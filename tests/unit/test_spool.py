"""A spool keeps what it is given, in order, in a file that nobody else finds; or else in memory."""

from __future__ import annotations

import errno
import io
import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ptb_s3._storage import spool as module
from ptb_s3._storage.body import joined
from ptb_s3._storage.spool import LIMIT, Spool
from ptb_s3.errors import StorageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, and a process that has logged nothing yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_TOLD", set())
    return tmp_path


@pytest.fixture
def spool() -> Iterator[Spool]:
    with Spool() as spool:
        yield spool


class _Disk(io.FileIO):
    """An unnamed file on a disk with little room, which takes few bytes at once."""

    room = 10**9
    fails_to_read = False
    meanwhile: Callable[[], object] = staticmethod(lambda: None)  # between seek and read

    def write(self, data: Any) -> int:
        taken = min(len(data), 100_000, self.room)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= taken
        return super().write(data[:taken])

    def read(self, size: int | None = -1) -> bytes:
        if self.fails_to_read:
            raise OSError(errno.EIO, os.strerror(errno.EIO), "/secret/place")
        self.meanwhile()
        return super().read(size)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> _Disk:
    """The file that a spool gets."""
    disk = _Disk(folder / "file", "w+b")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: disk)
    return disk


def filled(spool: Spool, size: int, piece: int = 70_000) -> bytes:
    """Write some bytes to a spool, and return them."""
    data = os.urandom(size)
    for at in range(0, size, piece):
        spool.write(data[at : at + piece])
    return data


@pytest.mark.parametrize("piece", [1000, 70_000, LIMIT, LIMIT + 1, 5 * LIMIT])
@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 4 * LIMIT + 17])
def test_what_was_written_is_read_in_order(spool: Spool, size: int, piece: int) -> None:
    """The beginning first; each time anew; and in pieces that fit into memory."""
    data = filled(spool, size, piece)
    assert len(spool) == size
    body = spool.body(b"beginning")
    assert len(body) == size + 9
    for _ in range(2):
        pieces = list(body.pieces())
        assert b"".join(pieces) == b"beginning" + data
        assert 0 < min(map(len, pieces)) <= max(map(len, pieces)) <= 2**18


def test_two_who_read_do_not_get_in_each_others_way(spool: Spool) -> None:
    """An attempt that was given up may still read while the next one begins."""
    data = filled(spool, 3 * LIMIT)
    body = spool.body(b"")
    ahead, pieces = body.pieces(), []
    next(ahead)
    for piece in body.pieces():
        pieces.append(piece)
        next(ahead, None)
    assert b"".join(pieces) == data


def test_two_threads_that_read_do_not_move_each_others_place(spool: Spool, disk: _Disk) -> None:
    """A thread that comes between another's look for its place and its read has to wait."""
    data = filled(spool, 2 * LIMIT)
    body, others = spool.body(b""), spool.body(b"x").pieces()
    next(others)
    thread = threading.Thread(target=lambda: next(others))

    def meanwhile() -> None:
        disk.meanwhile = lambda: None
        thread.start()
        thread.join(0.2)  # which it does not get to, as long as the place is ours

    disk.meanwhile = meanwhile
    assert joined(body) == data
    thread.join()


def test_a_little_needs_no_file(monkeypatch: pytest.MonkeyPatch, spool: Spool) -> None:
    """What fits into memory stays there, whatever the disk is like."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    data = filled(spool, LIMIT)
    assert joined(spool.body(b"")) == data
    assert set() == module._TOLD


def test_much_is_not_in_memory(spool: Spool) -> None:
    """Neither while it is written nor while it is read."""
    piece = os.urandom(100_000)
    tracemalloc.start()
    try:
        for _ in range(500):
            spool.write(piece)
        assert sum(map(len, spool.body(b"x").pieces())) == 500 * 100_000 + 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * LIMIT


@pytest.mark.skipif(os.name == "nt", reason="there, a file has no mode, and a name while it lasts")
def test_nobody_else_finds_the_file(spool: Spool, folder: Path) -> None:
    """It has no name, and belongs to this user alone."""
    filled(spool, 2 * LIMIT)
    assert spool._file is not None
    status = os.fstat(spool._file.fileno())
    assert status.st_size > LIMIT
    assert (status.st_nlink, stat.S_IMODE(status.st_mode)) == (0, 0o600)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_process_leaves_nothing(folder: Path) -> None:
    """No file is left behind, even by a process that could not close it."""
    code = (
        "import os, signal; from ptb_s3._storage.spool import Spool; spool = Spool();"
        "spool.write(bytes(2**22)); assert spool._file is not None;"
        "print(spool._filed, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout.strip(), ran.returncode) == (str(2**22), -9), ran.stderr
    assert list(folder.iterdir()) == []


def test_closing_frees_all_of_it(spool: Spool) -> None:
    """File and memory; and a body that outlives its spool says so."""
    filled(spool, 2 * LIMIT + 5)
    body, file = spool.body(b"x"), spool._file
    assert file is not None
    for _ in range(2):
        spool.close()
    assert file.closed
    assert (spool._held, len(spool)) == ([], 0)
    with pytest.raises(ValueError, match="closed"):
        joined(body)


@pytest.mark.parametrize("end", [lambda spool: spool.body(b""), Spool.close])
def test_nothing_is_added_after_the_end(spool: Spool, end: Callable[[Spool], object]) -> None:
    """A body's size is known, and so is that of what it is made of."""
    spool.write(b"one")
    end(spool)
    with pytest.raises(ValueError, match="takes no more"):
        spool.write(b"two")


def test_without_a_folder_it_goes_on_in_memory(
    monkeypatch: pytest.MonkeyPatch, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once in a process, and what to do about it."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/to/be/found")
    with Spool() as other:
        for each in (spool, other):
            data = filled(each, 3 * LIMIT)
            assert joined(each.body(b"x")) == b"x" + data
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "(No such file or directory)" in record.message
    assert "TMPDIR" in record.message
    assert "nowhere" not in record.message


@pytest.mark.parametrize("room", [0, 1, LIMIT // 2, LIMIT + 100_000, 2 * LIMIT + 300_000])
def test_a_full_disk_loses_nothing(
    spool: Spool, disk: _Disk, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What the disk took stays there; what it did not, and all that follows, is in memory."""
    disk.room = room
    data = filled(spool, 5 * LIMIT)
    assert len(spool) == 5 * LIMIT
    assert joined(spool.body(b"x")) == b"x" + data
    assert [record.message.split("(")[1][:23] for record in caplog.records] == [
        "No space left on device"
    ]


def test_a_disk_that_has_room_again_is_left_alone(spool: Spool, disk: _Disk) -> None:
    """What it took half of lies there, and what follows does not come behind it."""
    disk.room = LIMIT + 150_000
    first = filled(spool, 3 * LIMIT)
    disk.room = 100 * LIMIT
    spool.write(first)
    assert joined(spool.body(b"")) == first * 2


def test_no_temporary_folder_at_all(
    monkeypatch: pytest.MonkeyPatch, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """Python looks for one, and its error has no number."""

    def none(**_: object) -> Any:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/x']")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    data = filled(spool, 2 * LIMIT)
    assert joined(spool.body(b"")) == data
    assert "'/x'" not in caplog.text


def test_a_disk_that_cannot_be_read_is_an_error(spool: Spool, disk: _Disk) -> None:
    """It is said what broke, and that nothing was written; the place is nobody's business."""
    filled(spool, 2 * LIMIT)
    body = spool.body(b"")
    disk.fails_to_read = True
    with pytest.raises(StorageError, match="Nothing was written") as caught:
        joined(body)
    assert "secret" not in str(caught.value)
    disk.fails_to_read = False
    disk.truncate(LIMIT)
    with pytest.raises(StorageError, match="ends too early"):
        joined(body)
