"""Keys come from files as from variables, and files that others may read are told."""

from __future__ import annotations

import logging
import os
import re
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from tests.support import locals_of_ours

from ptb_s3 import S3Persistence
from ptb_s3._key_files import MAX_BYTES, exposure
from ptb_s3._keys.keyring import Key
from ptb_s3.errors import SettingsError
from ptb_s3.settings import Settings, load_key_settings, load_settings, load_settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = Key(bytes(range(100, 132)))
OLD = Key(bytes(range(32)))
OLDER = Key(bytes(range(32, 64)))
LEAKED = Key(bytes(range(64, 96)))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the developer's own settings out."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.upper().startswith(("PTB_S3_", "AWS_"))]:
            del os.environ[name]
        os.environ["PTB_S3_BUCKET"] = "my-bucket"
        monkeypatch.chdir(tmp_path)
        yield


def file_of(content: str | bytes, name: str = "bot.key", mode: int = 0o600) -> str:
    """Write a file and return its absolute path."""
    path = Path(name).absolute()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return str(path)


def load(**variables: str) -> Settings:
    os.environ.update({f"PTB_S3_{name}": value for name, value in variables.items()})
    return load_settings()


def fault(**variables: str) -> str:
    """Return the message that some variables get, which shows no key, whatever it quotes."""
    with pytest.raises(SettingsError) as caught:
        load(**variables)
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    shown = [str(error), *traceback.format_exception(error), *locals_of_ours(error)]
    for key in (KEY, OLD):
        body = key.reveal()[8:]
        slices = {body[i : i + 6] for i in range(len(body) - 5)}
        assert [part for part in slices if part in "".join(shown)] == []
    return str(error)


def test_the_key_comes_from_a_file() -> None:
    """Line breaks around it, and the mark of Windows editors, do no harm."""
    for text in (KEY.reveal(), f"{KEY.reveal()}\n", f"\ufeff{KEY.reveal()}\r\n"):
        assert load(KEY_FILE=file_of(text)).keyring().ids == (KEY.id,)


def test_further_keys_are_apart_by_commas_white_space_or_lines() -> None:
    """One key a line, or as the variables have them."""
    retired = file_of(f"{OLD.reveal()}, {OLDER.reveal()},\n", "retired")
    history = file_of(f"\n{LEAKED.reveal()}\r\n\r\n", "history")
    os.environ["PTB_S3_KEY_FILE"] = file_of(KEY.reveal())
    ring = load(RETIRED_KEYS_FILE=retired, HISTORY_KEYS_FILE=history).keyring()
    assert (ring.ids, ring.history_ids) == ((KEY.id, OLD.id, OLDER.id), (LEAKED.id,))
    lines = file_of(f"{OLD.reveal()}\n{OLDER.reveal()}", "lines")
    assert load(RETIRED_KEYS_FILE=lines).keyring().ids == (KEY.id, OLD.id, OLDER.id)


def test_the_env_file_may_name_files() -> None:
    """In the default file, in another, and for the keys alone; a relative path works as well."""
    file_of(KEY.reveal())
    Path(".env").write_text("PTB_S3_BUCKET=b\nPTB_S3_KEY_FILE=bot.key\nPTB_S3_KEY=\n")
    assert load_settings().keyring().ids == (KEY.id,)
    assert load_key_settings().keyring().ids == (KEY.id,)
    assert load_settings_of(".env")[0].keyring().ids == (KEY.id,)


def test_a_file_may_be_a_pipe() -> None:
    """As of a password manager: it is read once, and never lies on a disk."""
    reading, writing = os.pipe()
    os.write(writing, f"{KEY.reveal()}\n".encode())
    os.close(writing)
    try:
        settings = load(KEY_FILE=f"/dev/fd/{reading}")
    finally:
        os.close(reading)
    assert (settings.keyring().ids, settings.exposed_files()) == ((KEY.id,), [])


@pytest.mark.parametrize("name", ["KEY", "RETIRED_KEYS", "HISTORY_KEYS"])
def test_variable_and_file_at_once_are_refused(name: str) -> None:
    """It would not be known which one is meant; the environment does not win here."""
    required = {} if name == "KEY" else {"KEY": KEY.reveal()}
    Path(".env").write_text(f"PTB_S3_{name}={OLD.reveal()}")
    message = fault(**required, **{f"{name}_FILE": file_of(OLD.reveal())})
    assert message.startswith(f"PTB_S3_{name}_FILE is set, and PTB_S3_{name} as well")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (KEY.reveal().encode("utf-16"), "is not UTF-8 text"),
        (KEY.reveal().encode() + b"\n" * MAX_BYTES, "has more than 8,192 bytes"),
        (KEY.reveal()[:-1].encode(), "characters after 'ptbs3k1_'"),
        (f"PTB_S3_BUCKET=b\nPTB_S3_KEY={KEY.reveal()}".encode(), "its variable's name in front"),
        (b"correct horse", "does not begin with 'ptbs3k1_'"),
    ],
)
@pytest.mark.parametrize("name", ["KEY_FILE", "RETIRED_KEYS_FILE", "HISTORY_KEYS_FILE"])
def test_unfit_content_is_told_with_variable_and_path(name: str, content: bytes, says: str) -> None:
    """One line names both, and shows nothing of what is there."""
    required = {} if name == "KEY_FILE" else {"KEY": OLDER.reveal()}
    path = file_of(content)
    message = fault(**required, **{name: path})
    if name != "KEY_FILE" and b"BUCKET" in content:
        says = "key 1 does not begin"  # the file's first line
    assert message.startswith(f"PTB_S3_{name}: {path}")
    assert says in message
    assert "\n" not in message


def test_several_keys_where_one_is_wanted() -> None:
    """The number is told, and where the others belong."""
    message = fault(KEY_FILE=file_of(f"{KEY.reveal()}\n{OLD.reveal()}\n"))
    assert "bot.key holds 2 keys, and one is wanted" in message
    assert "PTB_S3_RETIRED_KEYS_FILE" in message


def test_a_bad_key_among_several_is_told_by_its_number() -> None:
    """As in the variable."""
    message = fault(KEY=KEY.reveal(), RETIRED_KEYS_FILE=file_of(f"{OLD.reveal()}\nxyzzy"))
    assert re.fullmatch(r"PTB_S3_RETIRED_KEYS_FILE: \S+/bot\.key: key 2 does not .+", message)
    assert "xyzzy" not in message


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/nowhere/bot.key", "PTB_S3_KEY_FILE: /nowhere/bot.key leads to no file"),
        ("/etc/passwd/bot.key", "PTB_S3_KEY_FILE: /etc/passwd/bot.key leads to no file"),
        ("xyzzy", "PTB_S3_KEY_FILE: its path (not shown"),
        ("123456:xyzzy", "PTB_S3_KEY_FILE: its path (not shown"),
        ("x\0yzzy", "PTB_S3_KEY_FILE: its path (not shown"),
        ("xyzzy" * 99, "PTB_S3_KEY_FILE looks like a key, and takes the path of a file"),
        ("/", "PTB_S3_KEY_FILE: / is a folder"),
        ("/dev/zero", "PTB_S3_KEY_FILE: /dev/zero has more than 8,192 bytes"),
        (KEY.reveal(), "PTB_S3_KEY_FILE looks like a key, and takes the path of a file"),
        (KEY.reveal()[8:], "PTB_S3_KEY_FILE looks like a key, and takes the path of a file"),
        (f"'{KEY.reveal()}'", "put the key itself into PTB_S3_KEY."),
    ],
)
def test_a_path_that_leads_to_no_key(path: str, says: str) -> None:
    """The path is shown unless it could be a secret that was put there."""
    Path(".env").write_text(f"PTB_S3_KEY_FILE={path}" if "\0" in path else "")
    message = fault(**({} if "\0" in path else {"KEY_FILE": path}))
    assert says in message
    assert "xyzzy" not in message


def test_a_path_where_the_key_belongs() -> None:
    """The opposite mistake is told as well."""
    assert "the variable that ends in _FILE" in fault(KEY="/run/secrets/bot_key")


def test_an_unreadable_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason that the system gives."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = file_of(KEY.reveal())
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(SettingsError, match=f"{path} cannot be read: Permission denied"):
        load(KEY_FILE=path)


def test_faults_of_files_are_told_with_those_of_others() -> None:
    """One start tells all."""
    lines = fault(KEY_FILE="/nowhere", RETIRED_KEYS_FILE="/nowhere", SYNC="x").splitlines()
    assert [line.split()[0].rstrip(":") for line in lines] == [
        "PTB_S3_KEY_FILE",
        "PTB_S3_RETIRED_KEYS_FILE",
        "PTB_S3_SYNC",
    ]


# Who else may read it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "is_own", "read_only", "remedy"),
    [
        (0o600, True, False, None),
        (0o400, True, False, None),
        (0o644, True, False, "Close it to them: chmod 600 {path}"),
        (0o640, True, False, "Close it to them: chmod 600 {path}"),
        (0o604, True, False, "Close it to them: chmod 600 {path}"),
        (0o644, True, True, None),  # Kubernetes, into a container that runs as root
        (0o444, False, True, None),  # Docker
        (0o640, False, False, None),  # root:bot, read by way of the group
        (0o644, False, False, "Close it to them: chmod o-r {path}"),
    ],
)
def test_rule_of_exposure(
    monkeypatch: pytest.MonkeyPatch, *, mode: int, is_own: bool, read_only: bool, remedy: str | None
) -> None:
    """By mode, owner and mount."""
    path = file_of(KEY.reveal(), mode=mode)
    if not is_own:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    flags = os.ST_RDONLY if read_only else 0
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=flags))
    found = exposure(path, "PTB_S3_KEY_FILE")
    assert (found and found.remedy) == (remedy and remedy.format(path=path))


def test_a_file_that_is_gone_is_not_exposed() -> None:
    """Nor is a device."""
    assert exposure("/nowhere", "X") is None
    assert exposure("/dev/null", "X") is None


def test_the_bot_warns_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each file, with what to do; a file that nobody else may read is not mentioned."""
    path = file_of(OLD.reveal(), "retired", mode=0o644)
    os.environ.update(PTB_S3_KEY_FILE=file_of(KEY.reveal()), PTB_S3_RETIRED_KEYS_FILE=path)
    S3Persistence.from_env()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("ptb_s3", logging.WARNING)
    assert record.message == (
        f"PTB_S3_RETIRED_KEYS_FILE: {path} may be read by other users of this machine. "
        f"Close it to them: chmod 600 {path}"
    )
