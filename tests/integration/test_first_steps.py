"""The first path of README, as it stands: from an empty folder to a bot that survives a kill."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.polled_telegram import USER
from tests.servers import PROJECT

from ptb_s3.cli._seaweedfs import weed_program

README = (PROJECT / "README.md").read_text()
PATHS = "## From zero to a bot whose state is safe\n"
TITLE = "### On your machine, without Docker\n"
AT_MOST = 5
"""Commands that the path may take, with the second start of the bot."""
WITHIN = 90.0
"""Seconds for any of its steps, on a busy machine."""

# Stands in for pip, which would download: our code and the libraries that are here already.
_PIP = """#!/bin/sh
set -eu
echo "$@" >pip-arguments
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\\n' {paths} >"$site/installed.pth"
echo 'import sys
if sys.orig_argv[-1] == "bot.py":
    import tests.integration.polled_telegram' >"$site/sitecustomize.py"
printf '#!%s/.venv/bin/python\\nfrom ptb_s3.cli import main\\nmain()\\n' "$PWD" >.venv/bin/ptb-s3
chmod +x .venv/bin/ptb-s3
ln -s {weed} .venv/bin/weed
"""


def blocks(language: str) -> list[str]:
    """The blocks of README in a language, from the beginning of the paths to the second one."""
    paths = README.split(PATHS)[1].split("\n### On AWS")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", paths, re.MULTILINE | re.DOTALL)


def wait_for(folder: Path, what: str, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < until, f"{what}: {_log(folder)}"
        time.sleep(0.1)


def environment(folder: Path) -> dict[str, str]:
    """Our Python and the system's programs, nobody's settings, and a commit each second."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "HOME": str(folder.parent),
        "TMPDIR": str(folder.parent),
        "PTB_S3_UPDATE_INTERVAL": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def running(command: str, folder: Path, end: signal.Signals) -> Iterator[None]:
    """A command in a shell; whatever it has started is ended by a signal to all of it."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - README's own commands
            ["/bin/sh", "-euc", f"{command}\nwait"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment(folder),
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, end)
        process.wait()


def run(command: str, folder: Path) -> str:
    """Run a command to its end; return what it prints."""
    ran = subprocess.run(  # noqa: S603 - as above
        ["/bin/sh", "-euc", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(folder),
        text=True,
        check=False,
        timeout=WITHIN,
    )
    return ran.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, beside a checkout where README has it."""
    # Not in tmp_path: SeaweedFS makes sockets, whose paths must be short.
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "ptb-s3").symlink_to(PROJECT)
        (Path(home) / "bot").mkdir()
        yield Path(home) / "bot"


@pytest.mark.skipif(sys.platform == "win32", reason="the path is for a POSIX shell")
def test_the_path_without_docker(folder: Path) -> None:
    """Five commands, run as they stand: what the bot had saved when it was killed is there."""
    install, serve, start = blocks("sh")
    commands = [line for block in (install, serve, start, start) for line in block.splitlines()]
    assert len(commands) <= AT_MOST
    assert all("\\" not in command for command in commands)
    (folder / "bot.py").write_text(blocks("python")[0])

    _install(install, folder)
    with running(serve, folder, signal.SIGTERM):
        wait_for(folder, "no .env", (folder / ".env").exists)
        _run_and_kill(start, folder, "1 so far")
        _run_and_kill(start, folder, "2 so far")
        _fit(folder)
    wait_for(folder, "the storage has not ended", lambda: "has ended" in _log(folder))


def _run_and_kill(start: str, folder: Path, answer: str) -> None:
    """Have the bot answer and save, then kill it."""
    with running(start, folder, signal.SIGKILL):
        wait_for(folder, f"no {answer!r}", lambda: _last_answer(folder) == answer)
        wait_for(folder, f"{answer!r} not saved", lambda: _saved(folder) == answer[0])


def _install(block: str, folder: Path) -> None:
    """Run the two lines that install; the second one with a stand-in for pip."""
    venv, pip = block.splitlines()
    assert run(venv, folder) == ""
    paths = [PROJECT / "src", PROJECT, *(path for path in sys.path if "site-packages" in path)]
    quoted = " ".join(shlex.quote(str(path)) for path in paths)
    script = _PIP.format(paths=quoted, weed=shlex.quote(weed_program()))
    (folder / ".venv/bin/pip").write_text(script)
    assert run(pip, folder) == ""
    given = (folder / "pip-arguments").read_text().split()
    assert given[:2] == ["install", "-c"]
    assert Path(given[2]).is_file()
    assert given[3:5] == ["ptb-s3[demo]", "@"]
    assert (Path(given[5].removeprefix("file://")) / "pyproject.toml").is_file()


def _last_answer(folder: Path) -> str:
    answers = folder / "answers"
    return answers.read_text().splitlines()[-1] if answers.exists() else ""


def _saved(folder: Path) -> str:
    """What the bucket has of the user: how often it wrote."""
    shown = run(f".venv/bin/ptb-s3 show user_data {USER} --json", folder)
    found = re.search(r'"n": (\d+)', shown)
    return found[1] if found else ""


def _fit(folder: Path) -> None:
    """The storage is fit for a bot, and status shows what there is."""
    said = run(".venv/bin/ptb-s3 doctor", folder)
    assert re.search(r"^ok +versioning +enabled", said, re.MULTILINE), said
    assert re.search(r"^ok +conditional PUT ", said, re.MULTILINE), said
    assert re.search(r"^\d+ ok, 1 warning$", said, re.MULTILINE), said
    assert re.search(r"^user_data +1 ", run(".venv/bin/ptb-s3 status", folder), re.MULTILINE)


def _log(folder: Path) -> str:
    return (folder / "log").read_text()
