"""The embedded SeaweedFS: on the loopback interface, for whom it is meant, and gone afterwards."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ptb_s3.cli import _seaweedfs
from ptb_s3.cli._ports import free_ports
from ptb_s3.cli._seaweedfs import embedded_seaweedfs
from ptb_s3.cli._server_process import EmbeddedServer
from ptb_s3.errors import SettingsError, StorageUnavailableError

_OWNER = """
import time
from ptb_s3.cli._seaweedfs import embedded_seaweedfs
with embedded_seaweedfs() as server:
    print(server.folder, server.endpoint_url, flush=True)
    time.sleep(60)
"""


def _status(endpoint_url: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(endpoint_url).netloc, timeout=5)
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    return status


def _socket(server: EmbeddedServer) -> Path:
    """One of those that it makes outside its folder."""
    port = urlsplit(server.endpoint_url).port or 0
    return Path(f"/tmp/seaweedfs-s3-grpc-{port + 10_000}.sock")  # noqa: S108 - its choice


def _wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_of_it_is_left() -> None:
    """Neither process, nor folder, nor sockets; and while it runs, nobody gets in without a key."""
    with embedded_seaweedfs() as server:
        assert _status(server.endpoint_url) == http.client.FORBIDDEN
        assert server.secret_key not in repr(server)
        assert _socket(server).exists()
    assert server.process.poll() == 0
    assert not server.folder.exists()
    assert not _socket(server).exists()
    with pytest.raises(OSError, match="refused"):
        _status(server.endpoint_url)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_embedded_server_ends_with_whoever_started_it(end: signal.Signals) -> None:
    """However its owner ends, it does not stay behind."""
    command = [sys.executable, "-c", _OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:  # noqa: S603 - our own
        assert owner.stdout is not None
        folder, endpoint_url = owner.stdout.readline().decode().split()
        assert _status(endpoint_url) == http.client.FORBIDDEN
        owner.send_signal(end)
    _wait_until_gone(Path(folder))
    with pytest.raises(OSError, match="refused"):
        _status(endpoint_url)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of listeners")
def test_an_embedded_server_listens_on_the_loopback_interface_only() -> None:
    """Nobody else on the network gets to see it."""
    with embedded_seaweedfs() as server:
        guard = server.process.pid
        children = Path(f"/proc/{guard}/task/{guard}/children").read_text(encoding="ascii")
        listeners = _listeners(int(children))
    assert urlsplit(server.endpoint_url).port in {port for _, port in listeners}
    assert {address for address, _ in listeners} == {"0100007F"}


def _listeners(process: int) -> set[tuple[str, int]]:
    """Address and port of every TCP socket that a process listens on, as the kernel writes them."""
    sockets = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since; a socket that listens is not
            sockets.add(str(descriptor.readlink()))
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            if state == "0A" and f"socket:[{inode}]" in sockets:
                address, port = local.split(":")
                listening.add((address, int(port, 16)))
    return listening


def test_a_port_that_was_taken_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts on others."""
    choose = free_ports
    chosen: list[dict[str, int]] = []

    def choose_a_taken_one_first() -> dict[str, int]:
        ports = choose()
        if not chosen:
            ports["volume"] = taken_port
        chosen.append(ports)
        return ports

    with embedded_seaweedfs() as other:
        taken_port = urlsplit(other.endpoint_url).port or 0
        monkeypatch.setattr(_seaweedfs, "free_ports", choose_a_taken_one_first)
        with embedded_seaweedfs() as server:
            assert _status(server.endpoint_url) == http.client.FORBIDDEN
    assert len(chosen) == 2


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error shows what it said last, and its folder is gone."""
    program = tmp_path / "weed"
    program.write_text("#!/bin/sh\necho the disk is on fire\nexit 3\n", encoding="ascii")
    program.chmod(0o700)
    monkeypatch.setattr(_seaweedfs, "weed_program", lambda: str(program))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(StorageUnavailableError, match="the disk is on fire"), embedded_seaweedfs():
        pass
    assert list(tmp_path.iterdir()) == [program]


def test_without_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(SettingsError, match=r"ptb-s3\[demo\]"), embedded_seaweedfs():
        pass


def test_an_embedded_server_sees_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Credentials of the developer's stay with the developer."""
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "the developer's own")
    with embedded_seaweedfs() as server:
        environment = Path(f"/proc/{server.process.pid}/environ")
        if environment.exists():
            assert b"the developer's own" not in environment.read_bytes()
