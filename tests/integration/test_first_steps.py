"""The first path of README, from an empty folder to a storage that is fit for a bot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.servers import PROJECT

from ptb_s3.cli import _seaweedfs

README = (PROJECT / "README.md").read_text()
TITLE = "### On your machine, without Docker\n"
OTHERS = "-s3.port.iceberg=0 -s3.port.lance=0"  # listeners that the path leaves on their defaults
STARTS_WITHIN = 60.0  # seconds
RUNS_WITHIN = 120  # seconds


def path_blocks() -> list[str]:
    """The blocks of the path, in their order."""
    path = README.split(TITLE)[1].split("\n### ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", path, re.MULTILINE | re.DOTALL)


def own_ports(command: str, ports: dict[str, int]) -> str:
    """Have a block use these ports in the place of the usual ones, which may be taken."""
    for usual, own in ((8333, ports["s3"]), (9333, ports["master"])):
        command = command.replace(str(usual), str(own))
    rest = " ".join(
        f"-{name}.port={port}" for name, port in ports.items() if name not in {"s3", "master"}
    )
    return command.replace("weed mini ", f"weed mini {rest} {OTHERS} ")


@contextmanager
def shell(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A shell in a folder, with our programs and nobody's settings; all that it started ends."""
    process = subprocess.Popen(
        ["/bin/sh", "-eu"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.defpath}",
            "HOME": str(folder),
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(url: str) -> None:
    """Return when a server answers at all."""
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - a server on this machine
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing answers at {url}")


@pytest.mark.skipif(sys.platform == "win32", reason="the path is for a POSIX shell")
def test_the_path_without_docker(tmp_path: Path) -> None:
    """Its commands start a storage, make its bucket and the settings, and doctor finds it fit."""
    start, settle, run = path_blocks()
    assert run.splitlines()[-1] == "ptb-s3 status"
    ports = _seaweedfs._free_ports()
    try:
        with shell(tmp_path) as process:
            assert process.stdin is not None
            process.stdin.write(own_ports(start, ports))
            process.stdin.flush()
            wait_for(f"http://127.0.0.1:{ports['s3']}/healthz")
            said, _ = process.communicate(own_ports(settle, ports) + "echo done\n", RUNS_WITHIN)
    finally:
        for socket in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108 - its choice
            if any(
                str(port + more) in socket.name for port in ports.values() for more in (0, 10_000)
            ):
                socket.unlink(missing_ok=True)
    assert re.search(r"^ok +versioning +enabled", said, re.MULTILINE), said
    assert re.search(r"^ok +conditional PUT ", said, re.MULTILINE), said
    assert said.endswith("done\n"), said
    assert "PTB_S3_KEY=ptbs3k1_" in (tmp_path / ".env").read_text()
