"""`ptb-s3 keys`, and what every command has in common: errors, exit codes, quick help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from typer.testing import CliRunner

from ptb_s3._keys.keyring import Key
from ptb_s3.cli._app import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

KEY = Key(bytes(range(100, 132)))
OLD = Key(bytes(range(32)))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the developer's own settings out."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.upper().startswith(("PTB_S3_", "AWS_"))]:
            del os.environ[name]
        monkeypatch.chdir(tmp_path)
        yield


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own, with the environment as it is."""
    return subprocess.run(  # noqa: S603 - our own interpreter and arguments
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_new_key_is_all_there_is_on_stdout() -> None:
    """`PTB_S3_KEY=$(ptb-s3 keys new)` works; what to do with the key is said on stderr."""
    result = run("keys", "new")
    assert result.exit_code == 0
    key = Key.parse(result.stdout.removesuffix("\n"))
    assert result.stdout == f"{key.reveal()}\n"
    assert key.id in result.stderr
    assert "PTB_S3_RETIRED_KEYS" in result.stderr
    assert key.reveal()[8:14] not in result.stderr


def test_new_key_differs_each_time() -> None:
    """No two calls make the same key."""
    assert run("keys", "new").stdout != run("keys", "new").stdout


def test_new_key_as_json() -> None:
    """With --json there are key and id, and nothing else on either stream."""
    result = run("keys", "new", "--json")
    shown = json.loads(result.stdout)
    assert shown == {"key": shown["key"], "id": Key.parse(shown["key"]).id}
    assert result.stderr == ""


def test_list_shows_ids_and_roles_without_a_bucket() -> None:
    """Ids and roles of the configured keys are listed, the keys are not."""
    os.environ.update(PTB_S3_KEY=KEY.reveal(), PTB_S3_RETIRED_KEYS=OLD.reveal())
    result = run("keys", "list")
    assert result.exit_code == 0
    assert result.stdout == f"{KEY.id}  sealing\n{OLD.id}  retired\n"
    assert result.stderr == ""
    assert json.loads(run("keys", "list", "--json").stdout) == [
        {"id": KEY.id, "role": "sealing", "in_kms": False},
        {"id": OLD.id, "role": "retired", "in_kms": False},
    ]
    os.environ.update(PTB_S3_RETIRED_KEYS="", PTB_S3_HISTORY_KEYS=OLD.reveal())
    assert run("keys", "list").stdout == f"{KEY.id}  sealing\n{OLD.id}  history\n"


def test_list_reads_the_env_file(tmp_path: Path) -> None:
    """Keys in `.env` are found as those in the environment."""
    (tmp_path / ".env").write_text(f"PTB_S3_KEY={KEY.reveal()}\n", encoding="utf-8")
    assert run("keys", "list").stdout == f"{KEY.id}  sealing\n"


def test_list_reads_key_files_and_warns_of_what_others_may_read(tmp_path: Path) -> None:
    """The warning is on stderr, and the list is the list."""
    files = [tmp_path / name for name in ("key", "retired")]
    for file, key, mode in zip(files, (KEY, OLD), (0o600, 0o644), strict=True):
        file.write_text(f"{key.reveal()}\n")
        file.chmod(mode)
    os.environ.update(PTB_S3_KEY_FILE=str(files[0]), PTB_S3_RETIRED_KEYS_FILE=str(files[1]))
    result = run("keys", "list")
    assert (result.exit_code, result.stdout) == (0, f"{KEY.id}  sealing\n{OLD.id}  retired\n")
    assert result.stderr == (
        f"warning: PTB_S3_RETIRED_KEYS_FILE: {files[1]} may be read by other users of this "
        f"machine. Close it to them: chmod 600 {files[1]}\n"
    )


def test_list_without_a_key_says_how_to_make_one() -> None:
    """No key is exit code 2 and a hint, with nothing on stdout."""
    result = run("keys", "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "error: PTB_S3_KEY is not set. Make a key with `ptb-s3 keys new`"
    )


@pytest.mark.parametrize("arguments", [["keys", "list"], ["keys", "list", "--json"]])
def test_malformed_key_is_exit_code_2_and_is_not_shown(arguments: list[str]) -> None:
    """A malformed key gets one line that says what is wrong, and no part of it."""
    os.environ["PTB_S3_KEY"] = KEY.reveal()[:-1]
    result = run(*arguments)
    assert result.exit_code == 2
    assert ('"kind": "SettingsError"' in result.stdout) == ("--json" in arguments)
    assert KEY.reveal()[20:-1] not in result.stdout
    assert result.stderr == (
        "error: PTB_S3_KEY has 47 characters after 'ptbs3k1_' instead of 48. "
        "Copy it again, whole.\n"
    )


@pytest.mark.parametrize(
    "command", [["keys", "list"], ["status"], ["rotate"], ["compact"], ["verify"]]
)
def test_a_mistyped_letter_is_told_by_every_command(command: list[str]) -> None:
    """Before anything is read or written, and without the key."""
    text = KEY.reveal()
    os.environ["PTB_S3_KEY"] = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    os.environ["PTB_S3_BUCKET"] = "my-bucket"
    result = run(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: PTB_S3_KEY has a checksum that does not fit: a letter is wrong, or two are "
        "swapped. Copy it again.\n"
    )


def test_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command with one line and the shell's exit code for it."""

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ptb_s3.settings.load_key_settings", interrupted)
    result = run("keys", "list")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Interrupted.\n"


def test_version() -> None:
    """--version prints name and version."""
    result = run("--version")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "ptb-s3")


@pytest.mark.parametrize("arguments", [[], ["keys"]])
def test_no_arguments_is_help(arguments: list[str]) -> None:
    """Alone, the program and each of its groups show their help, as usage errors do."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.output


def test_module_runs_as_a_program() -> None:
    """In a process of its own as well, an expected error is its text and its exit code."""
    os.environ["PTB_S3_KEY"] = "x"
    result = python("-m", "ptb_s3.cli", "keys", "list")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: PTB_S3_KEY does not begin with")
    assert len(result.stderr.splitlines()) == 1


def test_unexpected_error_shows_no_local_variables() -> None:
    """A bug's traceback is Python's plain one: no values of variables, so no key."""
    code = (
        "import ptb_s3._keys.keyring, ptb_s3.cli, sys\n"
        "def broken(self): secret = self._secret.hex(); raise RuntimeError\n"
        "ptb_s3._keys.keyring.Key.reveal = broken\n"
        "sys.argv[1:] = ['keys', 'new']\n"
        "ptb_s3.cli.main()"
    )
    result = python("-c", code)
    assert result.returncode == 1
    assert result.stderr.endswith("RuntimeError\n")
    assert result.stderr.startswith("Traceback (most recent call last):")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_extra_is_one_line(missing: str) -> None:
    """Without what the extra `cli` brings, the program says how to install it."""
    code = f"import sys; sys.modules[{missing!r}] = None; import ptb_s3.cli; ptb_s3.cli.main()"
    result = python("-c", code)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == 'error: ptb-s3 needs its extra "cli": pip install "ptb-s3[cli]"\n'


def test_help_loads_neither_storage_nor_settings() -> None:
    """`ptb-s3 --help` is quick because what commands need comes when they run."""
    code = (
        "import sys; from ptb_s3.cli import main; assert 'typer' not in sys.modules\n"
        "sys.argv[1:] = ['keys', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*{'aioboto3', 'botocore', 'ptb_s3.settings'} & set(sys.modules))"
    )
    result = python("-c", code)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == ""
