"""`ptb-s3 serve` as a program: a storage that stays, and for this machine alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ptb_s3.cli._app import app
from ptb_s3.cli._ports import free_ports

WITHIN = 60  # seconds: the longest that a call may take
PROC = Path("/proc")
_BOT = """
import asyncio
from telegram.ext import ApplicationBuilder
from ptb_s3 import S3Persistence

async def main():
    persistence = S3Persistence.from_env()
    ApplicationBuilder().token("4711:A").persistence(persistence).build()
    data = await persistence.get_user_data()
    print(data.get(7, {}).get("n", 0), flush=True)
    await persistence.update_user_data(7, {"n": data.get(7, {}).get("n", 0) + 1})
    await persistence.flush()

asyncio.run(main())
"""
_SECRETS = ("PTB_S3_KEY", "AWS_SECRET_ACCESS_KEY")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals, reads modes")


class Served:
    """The command as a process, in a folder, with its own place for temporary files."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.folder = folder
        self.told = ""
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "ptb_s3.cli", "serve", *arguments],
            cwd=folder,
            env=_environment(folder) | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._limit = threading.Timer(WITHIN, self.process.kill)
        self._limit.start()

    def ready(self) -> Served:
        """Read on to the line that says so."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told += line
            if line.startswith("Ready:"):
                return self
        pytest.fail(f"not ready: {self.told}")

    def ended(self, by: signal.Signals | None = None) -> tuple[int, str, str]:
        """Return exit code and both outputs, after a signal if there is one to send."""
        if by:
            self.process.send_signal(by)
        output, told = self.process.communicate()
        return self.process.returncode, output, self.told + told

    def close(self) -> None:
        self._limit.cancel()
        self.process.kill()
        self.process.communicate()

    @property
    def guard(self) -> int:
        (child,) = (
            (PROC / f"{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        return int(child)


def _environment(folder: Path) -> dict[str, str]:
    home, temporary = str(folder), str(folder.parent / "tmp")
    return {"PATH": os.defpath, "HOME": home, "TMPDIR": temporary, "PYTHONPATH": _PYTHONPATH}


_PYTHONPATH = os.environ.get("PYTHONPATH", "")
Serve = Callable[..., Served]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not in tmp_path: SeaweedFS makes sockets, whose paths must be short.
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / "tmp").mkdir()
        (Path(path) / "bot").mkdir()
        yield Path(path) / "bot"
        assert list((Path(path) / "tmp").iterdir()) == []  # whatever became of the command


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Start the command in the folder, on a port that nobody has."""
    port = free_ports()["s3"]
    with ExitStack() as stack:

        def start(*arguments: str, **variables: str) -> Served:
            given = arguments if "--port" in arguments else (*arguments, "--port", str(port))
            started = Served(folder, *given, **variables)
            stack.callback(started.close)
            return started

        yield start
    _wait_until_unlocked(folder / "ptb-s3-storage")


def _wait_until_unlocked(storage: Path) -> None:
    """Return when no server is left that has the folder, as after a kill."""
    import fcntl  # noqa: PLC0415 - POSIX alone

    if storage.is_dir():
        descriptor = os.open(storage, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.close(descriptor)


def bot(folder: Path) -> int:
    """Have a bot count one up with what `.env` says; return how far it had come before."""
    ran = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", _BOT],
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        check=True,
        timeout=WITHIN,
    )
    return int(ran.stdout)


def variables_of(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with what is in it."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_second_call_goes_on(folder: Path, serve: Serve) -> None:
    """Settings are the same, and the state is there: after Ctrl-C and after SIGTERM."""
    first = serve("--env-file", ".env").ready()
    written = (folder / ".env").read_text()
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert bot(folder) == 0
    assert first.ended(signal.SIGINT)[:2] == (0, "")
    second = serve("--env-file", ".env").ready()
    assert bot(folder) == 1
    assert second.ended(signal.SIGTERM)[:2] == (0, "")
    third = serve().ready()
    assert bot(folder) == 2
    assert third.ended(signal.SIGINT)[:2] == (0, written)
    assert (folder / ".env").read_text() == written


def test_what_was_killed_goes_on(folder: Path, serve: Serve) -> None:
    """After a SIGKILL of the command, its server ends, and the next one has the state."""
    first = serve("--env-file", ".env").ready()
    assert bot(folder) == 0
    first.ended(signal.SIGKILL)
    beside = serve()
    assert beside.ended()[0] == 6  # the server takes two seconds to end
    _wait_until_unlocked(folder / "ptb-s3-storage")
    serve("--env-file", ".env").ready()
    assert bot(folder) == 1


def test_one_folder_has_one_server(folder: Path, serve: Serve) -> None:
    """A second call beside the first is an error, and changes nothing; the first goes on."""
    serve("--env-file", ".env").ready()
    before = (folder / "ptb-s3-storage" / "serve.json").read_bytes()
    code, output, told = serve("--json").ended()
    assert code == 6
    assert json.loads(output)["error"]["kind"] == "FolderInUseError"
    assert "served already, by another ptb-s3 serve" in told
    assert (folder / "ptb-s3-storage" / "serve.json").read_bytes() == before
    assert bot(folder) == 0


def test_no_secret_in_arguments_or_notes(folder: Path, serve: Serve) -> None:
    """They are in files of the owner's alone, and in the lines that were asked for."""
    served = serve().ready()
    arguments = b"".join(_read(entry / "cmdline") for entry in PROC.glob("[0-9]*"))
    code, output, told = served.ended(signal.SIGINT)
    variables = variables_of(output)
    assert code == 0
    for name in _SECRETS:
        assert variables[name].encode() not in arguments
        assert variables[name] not in told
    storage = folder / "ptb-s3-storage"
    assert (storage / "serve.json").stat().st_mode & 0o777 == 0o600
    assert (storage / ".gitignore").read_text() == "*\n"
    assert storage.stat().st_mode & 0o777 == 0o700


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def test_for_programs(folder: Path, serve: Serve) -> None:
    """With `--json`, the result is one value, which holds secrets only if no file was asked for."""
    file = serve("--json", "--env-file", "my.env").ready().ended(signal.SIGINT)[1]
    told = json.loads(file)
    assert told["env_file"] == "my.env"
    assert told["variables"] == {}
    printed = json.loads(serve("--json").ready().ended(signal.SIGINT)[1])
    assert printed["variables"] == variables_of((folder / "my.env").read_text())
    assert printed["endpoint_url"] == printed["variables"]["PTB_S3_ENDPOINT_URL"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("PTB_S3_KEY=ptbs3k1_another\n", "is not written over"),
        ("TELEGRAM_BOT_TOKEN=1:A\n", "is not written over"),
    ],
)
def test_a_file_with_other_settings(folder: Path, serve: Serve, content: str, said: str) -> None:
    """It stays as it is, and nothing is made beside it."""
    (folder / ".env").write_text(content)
    code, _, told = serve("--env-file", ".env").ended()
    assert (code, said in told) == (2, True), told
    assert "ptbs3k1" not in told
    assert contents(folder) == {str(folder / ".env"): content.encode()}
    assert not (folder / "ptb-s3-storage").exists()


def test_a_file_with_the_same_settings_and_more(folder: Path, serve: Serve) -> None:
    """A token, another prefix and an interval are the user's; another key is not."""
    serve("--env-file", ".env").ready().ended(signal.SIGINT)
    mine = (folder / ".env").read_text().replace("my-bot/", "tea/") + "PTB_S3_UPDATE_INTERVAL=5\n"
    (folder / ".env").write_text(mine)
    assert serve("--env-file", ".env").ready().ended(signal.SIGINT)[0] == 0
    assert (folder / ".env").read_text() == mine
    (folder / ".env").write_text(mine.replace("AWS_ACCESS_KEY_ID=", "AWS_ACCESS_KEY_ID=A"))
    before = contents(folder / "ptb-s3-storage")
    code, _, told = serve("--env-file", ".env").ended()
    assert (code, "lacks this storage's AWS_ACCESS_KEY_ID." in told) == (2, True), told
    assert contents(folder / "ptb-s3-storage") == before


@pytest.mark.parametrize("there", ["file", "contents", "damaged", "data"])
def test_folders_that_are_no_storage(folder: Path, serve: Serve, there: str) -> None:
    """They are refused with what to do, and stay as they are."""
    storage = folder / "ptb-s3-storage"
    if there == "file":
        storage.write_text("mine")
    else:
        name = {"contents": "holiday.jpg", "damaged": "serve.json", "data": "data/1.dat"}[there]
        (storage / name).parent.mkdir(parents=True)
        (storage / name).write_text('{"bucket": "b"}')
    before = contents(folder)
    code, _, told = serve().ended()
    assert (code, "folder" in told) == (2, True), told
    assert contents(folder) == before


def test_a_folder_that_cannot_be_made(folder: Path, serve: Serve) -> None:
    """The error has the system's reason."""
    (folder / "file").write_text("")
    code, _, told = serve("file/storage").ended()
    assert (code, "file/storage cannot be made or written to: Not a directory" in told) == (2, True)


def test_a_port_that_is_taken(folder: Path, serve: Serve) -> None:
    """A known storage keeps its port, since `.env` names it; `--port` chooses another."""
    serve("--env-file", ".env").ready().ended(signal.SIGINT)
    old = variables_of((folder / ".env").read_text())
    port = int(old["PTB_S3_ENDPOINT_URL"].rpartition(":")[2])
    with closing(socket.create_server(("127.0.0.1", port))):
        code, _, told = serve().ended()
        assert (code, f"Port {port}" in told, "--port" in told) == (2, True, True), told
        other = str(free_ports()["s3"])
        assert serve("--env-file", ".env", "--port", other).ended()[0] == 2
        moved = variables_of(serve("--port", other).ready().ended(signal.SIGINT)[1])
    assert moved == old | {"PTB_S3_ENDPOINT_URL": f"http://127.0.0.1:{other}"}
    given = variables_of(serve("--port", other).ready().ended(signal.SIGINT)[1])
    assert given == moved


def test_ports_of_its_own_that_are_taken(folder: Path, serve: Serve) -> None:
    """Nobody knows the others, so they are exchanged; the state is there all the same."""
    first = serve("--env-file", ".env").ready()
    assert bot(folder) == 0
    first.ended(signal.SIGINT)
    ports = json.loads((folder / "ptb-s3-storage" / "serve.json").read_text())["ports"]
    with ExitStack() as stack:
        for name in ("master", "volume", "filer"):
            stack.enter_context(closing(socket.create_server(("127.0.0.1", ports[name]))))
        serve("--env-file", ".env").ready()
        assert bot(folder) == 1


def test_a_server_that_ends_by_itself(serve: Serve) -> None:
    """The command ends as well, with the exit code of a storage out of reach."""
    served = serve().ready()
    (server,) = (PROC / f"{served.guard}/task/{served.guard}/children").read_text().split()
    os.kill(int(server), signal.SIGKILL)
    code, _, told = served.ended()
    assert (code, "SeaweedFS ended by itself" in told) == (7, True), told


def test_variables_that_win_over_the_file(serve: Serve) -> None:
    """They are named in a warning; the command itself uses none of them."""
    variables = {"AWS_ACCESS_KEY_ID": "AKIAMINE", "AWS_SECRET_ACCESS_KEY": "canary"}
    code, _, told = serve(**variables, PTB_S3_BUCKET="other").ready().ended(signal.SIGINT)
    assert code == 0
    named = "PTB_S3_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    assert f"warning: This shell sets {named} to something else" in told
    assert "canary" not in told


def test_interrupted_while_starting(serve: Serve) -> None:
    """What is not there yet was interrupted: exit code 130, as of other commands."""
    served = serve()
    assert served.process.stderr is not None
    assert "is starting" in served.process.stderr.readline()
    code, output, told = served.ended(signal.SIGINT)
    assert (code, output) == (130, "")
    assert "Interrupted." in told
    serve().ready()


def test_a_proxy_in_between(folder: Path, serve: Serve) -> None:
    """It could not reach this machine, so it is refused, unless it is not asked."""
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    code, _, told = serve(**proxy).ended()
    assert (code, "Add 127.0.0.1 to NO_PROXY" in told) == (2, True), told
    assert contents(folder) == {}
    serve(**proxy, NO_PROXY="127.0.0.1").ready()


def test_without_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what to install, and makes nothing."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    ran = CliRunner().invoke(app, ["serve", str(tmp_path / "storage")])
    assert ran.exit_code == 2
    assert re.search(r"pip install 'ptb-s3\[demo\]'", ran.output)
    assert not (tmp_path / "storage").exists()


def test_it_stays_on_this_machine_and_reports_to_nobody(folder: Path, serve: Serve) -> None:
    """Its command line has the two options that say so."""
    served = serve().ready()
    (server,) = (PROC / f"{served.guard}/task/{served.guard}/children").read_text().split()
    arguments = (PROC / server / "cmdline").read_text().split("\0")
    assert {"-ip.bind=127.0.0.1", "-master.telemetry=false"} <= set(arguments)
    assert f"-dir={folder / 'ptb-s3-storage' / 'data'}" in arguments
