"""Settings come from the environment and .env, and faults are told without showing a value."""

from __future__ import annotations

import os
import re
import traceback
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from tests.support import locals_of_ours

from ptb_s3 import S3Persistence
from ptb_s3._keys.keyring import Key
from ptb_s3._keys.kms_names import header_id
from ptb_s3.errors import PersistenceError, SettingsError
from ptb_s3.settings import (
    Settings,
    describe,
    load_key_settings,
    load_settings,
    load_settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
KEY = Key(bytes(range(100, 132)))
OLD = Key(bytes(range(32)))
OLDER = Key(bytes(range(32, 64)))
LEAKED = Key(bytes(range(64, 96)))
ARN = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
REQUIRED = {"PTB_S3_BUCKET": "my-bucket", "PTB_S3_KEY": KEY.reveal()}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the developer's own settings out, and what a test puts into the environment in."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.upper().startswith(("PTB_S3_", "AWS_"))]:
            del os.environ[name]
        monkeypatch.chdir(tmp_path)
        yield


def load(**variables: str) -> Settings:
    """Load the settings with some variables set beside the required ones."""
    os.environ.update(REQUIRED | {f"PTB_S3_{name}": value for name, value in variables.items()})
    return load_settings()


def fault(**variables: str) -> str:
    """Return the message that some variables get."""
    with pytest.raises(SettingsError) as caught:
        load(**variables)
    return str(caught.value)


def write_env(*lines: str) -> None:
    Path(".env").write_text("\n".join(lines), encoding="utf-8")


def test_required_settings_are_enough() -> None:
    """With bucket and key, everything else has its default."""
    settings = load()
    assert (settings.bucket, settings.keyring().ids) == ("my-bucket", (KEY.id,))
    assert (settings.prefix, settings.endpoint_url, settings.region) == ("", None, None)
    assert (settings.update_interval, settings.compression_level) == (60, 3)
    assert (settings.sync, settings.flush_timeout) == ("auto", 8)
    assert settings.addressing_style == "auto"
    assert (settings.restore, settings.expected_bucket_owner) == (None, None)
    assert settings.retired_keys == ()


@pytest.mark.parametrize(
    ("name", "variable"),
    [("load", "LOAD"), ("update_interval", "UPDATE_INTERVAL"), ("region_name", "REGION")],
)
def test_a_setting_is_no_argument_of_from_env(name: str, variable: str) -> None:
    """Whether a variable sets it or not: one of the two would have no effect."""
    os.environ.update(REQUIRED)
    make: Any = S3Persistence.from_env
    with pytest.raises(SettingsError, match=rf"takes no {name}=: .* Set PTB_S3_{variable},"):
        make(**{name: None})


def test_every_setting_is_read() -> None:
    """Each variable arrives under its own name, with its type."""
    settings = load(
        PREFIX="shop-bot/",
        ENDPOINT_URL="http://minio.internal:9000",
        REGION="eu-central-1",
        ADDRESSING_STYLE="virtual",
        RETIRED_KEYS=f"{OLD.reveal()}, {OLDER.reveal()},",
        HISTORY_KEYS=LEAKED.reveal(),
        RETIRED_KMS_KEY_IDS=f"{ARN}, mrk-{'5' * 32},",
        UPDATE_INTERVAL="2.5",
        COMPRESSION_LEVEL="19",
        SYNC="10",
        SINGLE_WRITER="true",
        FLUSH_TIMEOUT="4",
        RESTORE="2026-01-31T12:00:00Z",
        ON_LOSS="rewrite",
        LOAD="on_demand",
        BEGIN_ANEW="3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
        EXPECTED_BUCKET_OWNER="012345678901",
    )
    kms = tuple(map(header_id, (ARN.rpartition("/")[2], f"mrk-{'5' * 32}")))
    assert settings.keyring().ids == (KEY.id, OLD.id, OLDER.id, *kms)
    assert settings.keyring().kms_ids == kms
    assert settings.keyring().history_ids == (LEAKED.id,)
    keys = {"key", "retired_keys", "history_keys"}
    others = {"kms_key_id", "retired_kms_key_ids"}
    left_out = keys | others | {f"{name}_file" for name in keys}
    assert {k: v for k, v in vars(settings).items() if k not in left_out} == {
        "bucket": "my-bucket",
        "prefix": "shop-bot/",
        "endpoint_url": "http://minio.internal:9000",
        "region": "eu-central-1",
        "addressing_style": "virtual",
        "update_interval": 2.5,
        "compression_level": 19,
        "sync": 10.0,
        "single_writer": True,
        "flush_timeout": 4.0,
        "restore": "2026-01-31T12:00:00Z",
        "on_loss": "rewrite",
        "load": "on_demand",
        "begin_anew": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
        "expected_bucket_owner": "012345678901",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("auto", "auto"), ("AUTO", "auto"), ("none", None), ("None", None), ("", None), ("0.5", 0.5)],
)
def test_sync_is_auto_seconds_or_none(text: str, value: str | float | None) -> None:
    """`sync` has three forms, and empty is one way to write none."""
    assert load(SYNC=text).sync == value


def test_empty_variables_are_not_set() -> None:
    """What compose files and CI pass on as empty has its default, or is missing."""
    settings = load(PREFIX="", REGION=" ", UPDATE_INTERVAL="", RETIRED_KEYS="", RESTORE="")
    assert settings == load()
    assert "PTB_S3_KEY is not set" in fault(KEY="")


def test_white_space_around_values_is_dropped() -> None:
    """A line break at the end of a value, as secret stores add it, does no harm."""
    settings = load(BUCKET=" my-bucket\n", KEY=f"{KEY.reveal()}\n", SYNC=" none ")
    assert (settings.bucket, settings.sync) == ("my-bucket", None)
    assert settings.keyring().ids == (KEY.id,)


def test_env_file_is_read_and_the_environment_wins() -> None:
    """`.env` in the working directory fills in what the environment lacks."""
    write_env(
        "PTB_S3_BUCKET=from-file", f"PTB_S3_KEY='{KEY.reveal()}'", "export PTB_S3_PREFIX=from-file/"
    )
    os.environ["PTB_S3_BUCKET"] = "from-environment"
    settings = load_settings()
    assert (settings.bucket, settings.prefix) == ("from-environment", "from-file/")
    assert settings.keyring().ids == (KEY.id,)


def test_env_file_may_be_elsewhere_or_not_wanted(tmp_path: Path) -> None:
    """Another file can be named, or none."""
    write_env("PTB_S3_PREFIX=default/")
    elsewhere = tmp_path / "prod.env"
    elsewhere.write_bytes(b"\xef\xbb\xbfPTB_S3_PREFIX=prod/\r\n")  # as Windows editors write it
    os.environ.update(REQUIRED)
    assert load_settings(elsewhere).prefix == "prod/"
    assert load_settings(None).prefix == ""


def test_named_env_file_must_exist() -> None:
    """A file that was asked for and is not there is an error, not an empty one."""
    with pytest.raises(SettingsError, match=r"prod\.env: there is no such file"):
        load_settings("prod.env")


def test_env_file_in_another_encoding_is_a_clear_error() -> None:
    """A `.env` saved as UTF-16, as some shells do, says how to save it."""
    Path(".env").write_bytes(f"PTB_S3_KEY={KEY.reveal()}".encode("utf-16"))
    with pytest.raises(SettingsError, match="Save it as UTF-8") as caught:
        load_settings()
    assert caught.value.__context__ is None


def test_unreadable_env_file_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `.env` that may not be read says so."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_env()
    monkeypatch.setattr("ptb_s3._environment.dotenv_values", denied)
    with pytest.raises(SettingsError, match=r"\.env: cannot be read: Permission denied"):
        load_settings()


def test_unknown_variables_are_named_with_the_nearest_setting() -> None:
    """All misspelt variables are told at once, from the environment and from `.env`."""
    write_env("PTB_S3_RETIRED_KEY=x", "ptb_s3_region=eu-central-1", "TELEGRAM_BOT_TOKEN=mine")
    assert fault(BUCKET_NAME="x", ACCESS_KEY_ID="x", ZZZ="x").splitlines() == [
        "PTB_S3_ACCESS_KEY_ID is not a setting. Did you mean AWS_ACCESS_KEY_ID?",
        "PTB_S3_BUCKET_NAME is not a setting. Did you mean PTB_S3_BUCKET?",
        "PTB_S3_RETIRED_KEY is not a setting. Did you mean PTB_S3_RETIRED_KEYS?",
        "PTB_S3_ZZZ is not a setting. There are: "
        + ", ".join(sorted(n for n, _, _ in describe()))
        + ".",
        "ptb_s3_region is not a setting. Did you mean PTB_S3_REGION?",
    ]


def test_missing_settings_are_all_told() -> None:
    """Without anything set, the message names bucket and key, and how to make a key."""
    with pytest.raises(SettingsError) as caught:
        load_settings()
    key, bucket = str(caught.value).splitlines()
    assert bucket.startswith("PTB_S3_BUCKET is not set.")
    assert key.startswith("PTB_S3_KEY is not set. Make a key with `ptb-s3 keys new`")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BUCKET", "s3://xyzzy", "is not a bucket's name"),
        ("BUCKET", "xyzzy/state", "belongs in PTB_S3_PREFIX"),
        ("BUCKET", "https://xyzzy.example", "is not a bucket's name"),
        ("BUCKET", "arn:aws:s3:::xyzzy", "is not a bucket's name"),
        ("PREFIX", "/xyzzy/", "begins with a slash"),
        ("PREFIX", "xyzzy//bot/", "two slashes in a row"),
        ("PREFIX", "xyzzy\\bot/", "holds a backslash"),
        ("PREFIX", "./xyzzy/", "has a part '.' or '..'"),
        ("PREFIX", "xyzzy/../bot/", "has a part '.' or '..'"),
        ("PREFIX", "xyzzy/..", "has a part '.' or '..'"),
        ("PREFIX", "xyzzy\x7fbot/", "cannot be seen"),
        ("PREFIX", "xyzzy\nbot/", "cannot be seen"),
        ("PREFIX", "xyzzy" + "\u00e9" * 478, "takes 961 bytes, and 960 fit"),
        ("RESTORE", "xyzzy" + "1" * 1020, "has 1025 characters"),
        ("RESTORE", "xyzzy\t1", "cannot be seen"),
        ("ENDPOINT_URL", "xyzzy:9000", "is not the URL of a service"),
        ("ENDPOINT_URL", "ftp://xyzzy", "is not the URL of a service"),
        ("ENDPOINT_URL", "https://", "is not the URL of a service"),
        ("ENDPOINT_URL", "http://[xyzzy", "is not the URL of a service"),
        ("ENDPOINT_URL", "http://xyzzy:secret@host", "credentials belong in AWS_ACCESS_KEY_ID"),
        ("ADDRESSING_STYLE", "xyzzy", "neither `auto`, nor `path`, nor `virtual`"),
        ("UPDATE_INTERVAL", "0", "save without a pause"),
        ("UPDATE_INTERVAL", "-60", "above 0"),
        ("UPDATE_INTERVAL", "xyzzy", "is not a number of seconds"),
        ("UPDATE_INTERVAL", "inf", "is not a number of seconds"),
        ("COMPRESSION_LEVEL", "0", "from 1 to 19"),
        ("COMPRESSION_LEVEL", "20", "from 1 to 19"),
        ("COMPRESSION_LEVEL", "3.5", "is not a whole number"),
        ("SYNC", "xyzzy", 'Give "auto", a number of seconds, or "none"'),
        ("SYNC", "-1", "is not understood"),
        ("SYNC", "nan", "is not understood"),
        ("SINGLE_WRITER", "maybe", "neither `true` nor `false`"),
        ("FLUSH_TIMEOUT", "0", "above 0"),
        ("FLUSH_TIMEOUT", "nan", "above 0"),
        ("KEY", "xyzzy", "does not begin with 'ptbs3k1_'"),
        ("RETIRED_KEYS", f"{OLD.reveal()},xyzzy", "key 2 does not begin with 'ptbs3k1_'"),
        ("HISTORY_KEYS", f"{OLD.reveal()},xyzzy", "key 2 does not begin with 'ptbs3k1_'"),
        ("HISTORY_KEYS", KEY.reveal(), f"Key {KEY.id} seals, and is among the history keys"),
    ],
)
def test_wrong_value_is_told_in_one_line_without_it(name: str, value: str, says: str) -> None:
    """Each fault names its variable and what to do, and does not repeat the value."""
    message = fault(**{name: value})
    assert message.startswith(f"PTB_S3_{name}")
    assert says in message
    assert "\n" not in message
    assert "xyzzy" not in message


def test_a_key_is_retired_or_for_history() -> None:
    """What must open nothing current is refused where it would."""
    message = fault(RETIRED_KEYS=OLD.reveal(), HISTORY_KEYS=f"{LEAKED.reveal()},{OLD.reveal()}")
    assert message.startswith(f"PTB_S3_HISTORY_KEYS: Key {OLD.id} is among the retired keys and ")
    ring = load(RETIRED_KEYS=OLD.reveal(), HISTORY_KEYS=LEAKED.reveal()).keyring()
    assert (ring.ids, ring.history_ids) == ((KEY.id, OLD.id), (LEAKED.id,))


@pytest.mark.parametrize("prefix", ["", "bot", "a/b/", "a b/", "...", "a/.b/", "\u00e9" * 480])
def test_what_every_server_takes_is_a_prefix(prefix: str) -> None:
    """What is refused is what servers change, and no more."""
    assert load(PREFIX=prefix).prefix == prefix


def test_several_wrong_values_are_told_at_once() -> None:
    """One start tells all faults, one line each."""
    lines = fault(PREFIX="/x", SYNC="x", COMPRESSION_LEVEL="x").splitlines()
    assert sorted(line.split()[0] for line in lines) == [
        "PTB_S3_COMPRESSION_LEVEL",
        "PTB_S3_PREFIX",
        "PTB_S3_SYNC",
    ]


@pytest.mark.parametrize("bucket", ["arn:aws:s3:eu-west-1:012345678901:accesspoint/state", "a.b"])
def test_access_points_and_dotted_names_are_buckets(bucket: str) -> None:
    """What S3 takes for a bucket is taken here."""
    assert load(BUCKET=bucket).bucket == bucket


@pytest.mark.parametrize("url", ["http://localhost:9000", "https://x.example/storage/v1/s3"])
def test_plain_http_and_paths_are_endpoints(url: str) -> None:
    """An endpoint may be without TLS, since all content is sealed, and may have a path."""
    assert load(ENDPOINT_URL=url).endpoint_url == url


def slices(secret: str) -> set[str]:
    return {secret[i : i + 6] for i in range(len(secret) - 5)}


@pytest.mark.parametrize(
    "variables",
    [
        {"KEY": KEY.reveal()[8:]},
        {"KEY": KEY.reveal() + "="},
        {"KEY": KEY.reveal(), "RETIRED_KEYS": KEY.reveal()[:-1]},
        {"KEY": KEY.reveal(), "HISTORY_KEYS": KEY.reveal()[:-1]},
        {"KEY": KEY.reveal(), "HISTORY_KEYS": KEY.reveal()},
        {"KEY": KEY.reveal(), "SYNC": "x"},
        {"KEY": KEY.reveal(), "BUCKET": "s3://x"},
        {"KEY": KEY.reveal(), "KEI": KEY.reveal()},
        {"BUCKET": KEY.reveal() + "/", "KEY": ""},
        {"UPDATE_INTERVAL": KEY.reveal(), "COMPRESSION_LEVEL": KEY.reveal()},
    ],
)
def test_no_fault_shows_any_part_of_a_key(variables: dict[str, str]) -> None:
    """No slice of a key is in an error's text, repr or traceback, wherever it was put."""
    with pytest.raises(PersistenceError) as caught:
        load(**variables)
    error = caught.value
    shown = "".join([str(error), repr(error), *traceback.format_exception(error)])
    assert [part for part in slices(KEY.reveal()[8:]) if part in shown] == []
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("where", ["environment", "file"])
@pytest.mark.parametrize(
    "variables",
    [
        {"KEY": KEY.reveal()[:-1]},
        {"RETIRED_KEYS": f"{OLD.reveal()},{KEY.reveal()[:-1]}"},
        {"HISTORY_KEYS": KEY.reveal()},
        {"KEI": KEY.reveal()},
        {"SYNC": "x"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_no_local_of_ours_holds_a_key_that_was_put_in(
    variables: dict[str, str], where: str
) -> None:
    """An error tracker sends the locals of each frame of a traceback; no key is in ours."""
    named = REQUIRED | {f"PTB_S3_{name}": value for name, value in variables.items()}
    if where == "file":
        write_env(*(f"{name}={value}" for name, value in named.items()))
    else:
        os.environ.update(named)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    shown = "".join(locals_of_ours(caught.value))
    assert "load_settings" in shown
    assert [part for key in (KEY, OLD) for part in slices(key.reveal()[8:]) if part in shown] == []


def test_settings_show_no_key() -> None:
    """Neither repr nor str of the settings shows a key, nor that of a value of theirs."""
    settings = load(RETIRED_KEYS=OLD.reveal(), HISTORY_KEYS=LEAKED.reveal())
    shown = [repr(settings), str(settings), str(vars(settings))]
    for key in (KEY, OLD, LEAKED):
        assert [part for part in slices(key.reveal()[8:]) if part in "".join(shown)] == []


def test_keys_are_read_without_a_bucket() -> None:
    """Listing keys needs nothing but keys, yet knows all names."""
    os.environ["PTB_S3_KEY"] = KEY.reveal()
    write_env(f"PTB_S3_RETIRED_KEYS={OLD.reveal()}", "PTB_S3_PREFIX=x/")
    assert load_key_settings().keyring().ids == (KEY.id, OLD.id)


def test_aws_variables_of_the_env_file_reach_the_aws_chain() -> None:
    """What only `.env` has of AWS_* is in the environment afterwards; nothing there is replaced."""
    write_env("AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=s", "AWS_PROFILE=file", "AWS_REGION=")
    os.environ["AWS_PROFILE"] = "environment"
    load()
    assert {n: v for n, v in os.environ.items() if n.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_PROFILE": "environment",
    }


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_empty_aws_variables_are_not_set(empty: str) -> None:
    """They go, from the environment as from the file: botocore takes some of them at their word."""
    names = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_PROFILE", "AWS_DEFAULTS_MODE")
    os.environ.update(dict.fromkeys(names, empty))
    os.environ["AWS_ACCESS_KEY_ID"] = empty
    write_env("AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=s", f"AWS_DEFAULT_REGION='{empty}'")
    load()
    assert {n: v for n, v in os.environ.items() if n.startswith(("AWS_", "REQUESTS"))} == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "s",
    }


def test_line_ends_of_aws_variables_are_dropped() -> None:
    """As those of our own are: secret stores add them."""
    write_env("AWS_DEFAULT_REGION='eu-west-1\n'")
    os.environ.update(AWS_ACCESS_KEY_ID="id\n", AWS_SECRET_ACCESS_KEY="s\r\n")  # noqa: S106
    load()
    assert {n: v for n, v in os.environ.items() if n.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }


@pytest.mark.parametrize("known", ["", "eu-west-1"])
def test_the_region_that_other_sdks_read_is_taken(known: str) -> None:
    """As `fly storage create` sets it; one that botocore reads comes first."""
    write_env("AWS_REGION=auto")
    os.environ["AWS_DEFAULT_REGION"] = known
    load()
    assert os.environ["AWS_DEFAULT_REGION"] == (known or "auto")


def test_credentials_are_not_mixed() -> None:
    """Credentials of the environment do not get another identity's session token from `.env`."""
    write_env("AWS_SESSION_TOKEN=token", "AWS_DEFAULT_REGION=eu-west-1")
    os.environ.update(AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="s")  # noqa: S106 - an example
    load()
    assert "AWS_SESSION_TOKEN" not in os.environ
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_faulty_settings_change_no_environment() -> None:
    """The environment is touched only when the settings are good."""
    write_env("AWS_ACCESS_KEY_ID=id")
    os.environ["AWS_PROFILE"] = ""
    fault(SYNC="x")
    assert {n: v for n, v in os.environ.items() if n.startswith("AWS_")} == {"AWS_PROFILE": ""}


def test_describe_has_a_row_for_every_setting() -> None:
    """Each setting has variable, default and one sentence, for the README and .env.example."""
    rows = describe()
    assert [name for name, _, _ in rows] == [
        f"PTB_S3_{one.name.upper()}" for one in fields(Settings)
    ]
    assert all(text.endswith(".") and "\n" not in text for _, _, text in rows)
    defaults = {name.removeprefix("PTB_S3_"): default for name, default, _ in rows}
    assert [name for name, default in defaults.items() if default == "required"] == [
        "KEY",
        "BUCKET",
    ]
    assert {
        name: default for name, default in defaults.items() if default not in ("", "required")
    } == {
        "ADDRESSING_STYLE": "auto",
        "UPDATE_INTERVAL": "60",
        "COMPRESSION_LEVEL": "3",
        "SYNC": "auto",
        "SINGLE_WRITER": "false",
        "FLUSH_TIMEOUT": "8",
        "ON_LOSS": "wait",
        "LOAD": "all",
    }


def example() -> str:
    return (ROOT / ".env.example").read_text(encoding="utf-8")


def test_env_example_has_every_setting_and_nothing_else() -> None:
    """`.env.example` lists each setting with description and default as the model has them."""
    found = re.findall(r"^# (.+)\n(# )?(PTB_S3_\w+)=(.*)$", example(), re.MULTILINE)
    rows = [(name, default if off else "required", text) for text, off, name, default in found]
    assert rows == describe()
    names = re.findall(r"^(?:# ?)?([A-Za-z_0-9]+)=", example(), re.MULTILINE)
    assert [name for name in names if not name.startswith("AWS_")] == [name for name, _, _ in rows]


@pytest.mark.parametrize("uncommented", [False, True])
def test_env_example_works_once_filled_in(*, uncommented: bool) -> None:
    """With bucket and key put in, `.env.example` is a `.env`, its commented defaults included."""
    text = re.sub(r"^# (?=\w+=)", "", example(), flags=re.MULTILINE) if uncommented else example()
    for name, value in REQUIRED.items():
        text = text.replace(f"{name}=\n", f"{name}={value}\n")
    write_env(text)
    from_file = load_settings()
    Path(".env").unlink()
    assert from_file == load()


def test_a_file_may_be_a_pipe() -> None:
    """As of a program that decrypts it: it is read once, and never lies on a disk."""
    reading, writing = os.pipe()
    os.write(writing, f"PTB_S3_BUCKET=piped\nPTB_S3_KEY={KEY.reveal()}\n".encode())
    os.close(writing)
    try:
        settings = load_settings(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
    assert (settings.bucket, settings.keyring().ids) == ("piped", (KEY.id,))


def test_the_settings_of_a_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment is in them, and the environment is as it was afterwards."""
    file = tmp_path / "there.env"
    file.write_text(f"PTB_S3_BUCKET=there\nPTB_S3_KEY={KEY.reveal()}\nAWS_ACCESS_KEY_ID=x\n")
    monkeypatch.setenv("PTB_S3_PREFIX", "here/")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    before = dict(os.environ)
    settings, aws = load_settings_of(file)
    assert (settings.bucket, settings.prefix, aws) == ("there", "", {"AWS_ACCESS_KEY_ID": "x"})
    assert dict(os.environ) == before
