"""Settings from the environment and ``.env``: the only reader, and writer, of ``os.environ``.

A value that cannot be used is a `SettingsError`, with one line for each fault: which variable, what
is wrong with it, what to do. No message holds a value, since one of them is the key.

Credentials are not settings of ours: they come from the AWS chain. What ``.env`` holds of ``AWS_*``
is put into the environment for that chain to find.
"""

from __future__ import annotations

import difflib
import os
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ptb_s3._format.restore_point import recording_fault
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._storage.place import prefix_fault
from ptb_s3.errors import KeyFormatError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic_core import ErrorDetails

__all__ = [
    "KeySettings",
    "Settings",
    "describe",
    "load_keyring",
    "load_settings",
    "load_settings_of",
]

ENV_PREFIX = "PTB_S3_"
ENV_FILE = ".env"
ENV_FILE_ENCODING = (
    "utf-8-sig"  # UTF-8, with the mark that Windows editors put in front of it or not
)

# One identity: taking one of them from .env and another from the environment makes none that works.
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_Settings = TypeVar("_Settings", bound=BaseSettings)


class KeySettings(BaseSettings):
    """The keys alone: enough to make or list keys, before there is a bucket."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    key: SecretStr = Field(
        description="Key that seals all state, made by `ptb-s3 keys new`. Lose it, lose the state."
    )
    retired_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Earlier keys, separated by commas: they open what is there, and seal nothing.",
    )
    history_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Keys that may have leaked: they open older versions, and nothing current.",
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Compose files and CI pass on what nobody has set as empty. Only `sync` has a use for it.
        return {k: v for k, v in values.items() if k == "sync" or not _is_blank(v)}

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: SecretStr) -> SecretStr:
        Key.parse(key.get_secret_value(), label=_variable("key"))
        return key

    @field_validator("retired_keys", "history_keys", mode="before")
    @classmethod
    def _split(cls, keys: object) -> object:
        return [k for k in keys.split(",") if not _is_blank(k)] if isinstance(keys, str) else keys

    @field_validator("retired_keys", "history_keys")
    @classmethod
    def _check_more_keys(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        for number, key in enumerate(keys, start=1):
            label = f"{_variable(info.field_name or '')}: key {number}"
            Key.parse(key.get_secret_value(), label=label)
        return keys

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        self.keyring()
        return self

    def keyring(self) -> Keyring:
        """Return the keys, ready to seal and open with."""
        return Keyring(_parsed(self.key), *map(_all_parsed, (self.retired_keys, self.history_keys)))


class Settings(KeySettings):
    """Everything that `S3Persistence.from_env` goes by. Made by `load_settings`."""

    bucket: str = Field(description="Bucket that the state lies in: its name alone.")
    prefix: str = Field(
        default="",
        description="What the names of all objects begin with, to the letter; best ends in `/`.",
    )
    endpoint_url: str | None = Field(
        default=None, description="URL of the S3-compatible service, where it is not AWS."
    )
    region: str | None = Field(
        default=None, description="Region of the bucket, where the AWS chain does not give it."
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="Bucket in the `path` or in front of the host (`virtual`); `auto` finds out.",
    )
    update_interval: float = Field(
        default=60,
        gt=0,
        allow_inf_nan=False,
        description="Seconds between commits, more than 0: what a crash may cost at most.",
    )
    compression_level: int = Field(
        default=3, ge=1, le=19, description="Level of zstd compression, from 1 to 19."
    )
    sync: Literal["auto"] | float | None = Field(
        default="auto",
        description="Seconds between looks for other instances' commits; `auto`: 1, if any.",
    )
    single_writer: bool = Field(
        default=False,
        description="`true` vouches for a single instance: for storage without conditional PUT.",
    )
    flush_timeout: float = Field(
        default=8,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a stop may take, all told; hosts kill 5 to 30 s after SIGTERM.",
    )
    restore: str | None = Field(
        default=None,
        description="Revision, time or version id to go back to at the next start, once.",
    )
    on_loss: Literal["wait", "rewrite"] = Field(
        default="wait",
        description="`rewrite`: a running bot writes its memory in place of what was deleted.",
    )
    begin_anew: str | None = Field(
        default=None,
        description="Id of a deleted head, as the error gives it: begin a new state above it.",
    )
    expected_bucket_owner: str | None = Field(
        default=None, description="Id of the AWS account that must own the bucket."
    )

    @field_validator("bucket")
    @classmethod
    def _check_bucket(cls, bucket: str) -> str:
        if bucket.startswith("arn:") and ":::" not in bucket:
            return bucket  # an access point: its name may hold a slash
        if ":" in bucket or "/" in bucket:
            raise ValueError(
                "is not a bucket's name. Give the name alone, without s3://, URL or ARN; "
                "what follows it belongs in PTB_S3_PREFIX."
            )
        return bucket

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        if fault := prefix_fault(prefix):
            raise ValueError(fault)
        return prefix

    @field_validator("restore")
    @classmethod
    def _check_restore(cls, request: str | None) -> str | None:
        if request is not None and (fault := recording_fault(request)):
            raise ValueError(fault)
        return request

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint_url(cls, url: str | None) -> str | None:
        if url is None or _is_http_url(url):
            return url
        raise ValueError(
            "is not the URL of a service. Give http:// or https:// with a host, such as "
            "http://localhost:9000; credentials belong in AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        )

    @field_validator("sync", mode="before")
    @classmethod
    def _parse_sync(cls, sync: object) -> object:
        text = sync.strip().lower() if isinstance(sync, str) else sync
        if text in ("", "none"):
            return None
        if text in ("auto", None) or _is_duration(text):
            return text
        raise ValueError('is not understood. Give "auto", a number of seconds, or "none".')


def load_settings(env_file: str | Path | None = ENV_FILE) -> Settings:
    """Read the settings from the environment and a file of variables; the environment wins.

    ``AWS_*`` variables that only the file has are put into ``os.environ``, where the AWS chain
    looks for them; of the three that make up credentials, all or none. Those that are empty are
    taken out of it, and line ends are dropped.

    Args:
        env_file: The file. It need not exist if it is the default, ``.env`` in the working
            directory. None: read the environment alone.

    Raises:
        SettingsError: A variable is missing, wrong, or none of ours; all such faults are named.
    """
    return _load(Settings, env_file)


def load_settings_of(env_file: str | Path) -> tuple[Settings, dict[str, str]]:
    """Read the settings of a file alone: those of the environment are another place's.

    Returns:
        The settings, and the file's ``AWS_*`` variables.

    Raises:
        SettingsError: As `load_settings`.
    """
    with _without_ours():
        settings = _load(Settings, env_file)
        return settings, {n: v for n, v in os.environ.items() if n.startswith("AWS_")}


@contextmanager
def _without_ours() -> Iterator[None]:
    """Have none of our variables, nor the AWS chain's, in the environment for a while."""
    ours = (ENV_PREFIX, "AWS_")
    kept = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(ours)}
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(ours)]:
            del os.environ[name]
        os.environ.update(kept)


def load_keyring(env_file: str | Path | None = ENV_FILE) -> Keyring:
    """Read the keys as `load_settings` does, and ask for nothing else to be set.

    Args:
        env_file: As for `load_settings`.

    Raises:
        SettingsError: A key is missing or malformed, or a variable is none of ours.
    """
    return _load(KeySettings, env_file).keyring()


def describe() -> list[tuple[str, str, str]]:
    """Return variable name, default and description of each setting, in the order of the model.

    The default reads as one would write it; it is ``"required"`` where there is none, and empty
    where the default is not to set it.
    """
    return [
        (
            _variable(name),
            "required" if field.is_required() else _written(field.default),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _load(model: type[_Settings], env_file: str | Path | None) -> _Settings:
    try:
        return _validated(model, env_file)
    except BaseException as error:
        # Their locals are what was put in, keys and credentials included.
        traceback.clear_frames(error.__traceback__)
        raise


def _validated(model: type[_Settings], env_file: str | Path | None) -> _Settings:
    in_file = _read(env_file)
    _refuse_unknown({*in_file, *os.environ})
    # Not for pydantic to read: of a pipe, such as a decrypting program's, there is one reading.
    given: dict[str, Any] = {
        name[len(ENV_PREFIX) :].lower(): value
        for name, value in in_file.items()
        if name.upper().startswith(ENV_PREFIX) and name not in os.environ
    }
    try:
        settings = model(**given)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
    else:
        _tidy_aws()
        _pass_on_aws(in_file)
        return settings
    # Out here, the new error has no context: the old one holds what was put in.
    raise SettingsError("\n".join(dict.fromkeys(_line(fault) for fault in faults)))


def _read(env_file: str | Path | None) -> dict[str, str]:
    """Return the variables that a file sets."""
    if env_file is None:
        return {}
    if not Path(env_file).exists() or Path(env_file).is_dir():
        if str(env_file) == ENV_FILE:
            return {}
        raise SettingsError(f"{env_file}: there is no such file.")
    try:
        values = dotenv_values(env_file, encoding=ENV_FILE_ENCODING)
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text. Save it as UTF-8"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        return {name: value for name, value in values.items() if value is not None}
    raise SettingsError(f"{env_file}: cannot be read: {reason}.")


def _refuse_unknown(names: Iterable[str]) -> None:
    known = {name for name, _, _ in describe()}
    unknown = sorted(n for n in names if n.upper().startswith(ENV_PREFIX) and n not in known)
    if unknown:
        raise SettingsError(
            "\n".join(f"{name} is not a setting. {_suggestion(name, known)}" for name in unknown)
        )


def _suggestion(name: str, known: Iterable[str]) -> str:
    # Without the prefixes, which all of them share, and with what people put ours in front of.
    ours = {candidate.removeprefix(ENV_PREFIX): candidate for candidate in sorted(known)}
    theirs = {candidate.removeprefix("AWS_"): candidate for candidate in _CREDENTIALS}
    stem = name.upper().removeprefix(ENV_PREFIX)
    near = difflib.get_close_matches(stem, [*ours, *theirs], n=1)
    if near:
        return f"Did you mean {(theirs | ours)[near[0]]}?"
    return f"There are: {', '.join(ours.values())}."


def _pass_on_aws(in_file: Mapping[str, str]) -> None:
    skipped = _CREDENTIALS if any(name in os.environ for name in _CREDENTIALS) else ()
    for name, value in in_file.items():
        if name.startswith("AWS_") and value.strip() and name not in skipped:
            os.environ.setdefault(name, value.strip())
    if "AWS_REGION" in os.environ:  # what other SDKs read, and hosts set; botocore does not
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])


def _tidy_aws() -> None:
    """Drop what compose files and CI pass on as empty, and line ends, as for our own variables.

    An empty ``AWS_CA_BUNDLE`` or ``REQUESTS_CA_BUNDLE`` turns verification off in botocore, an
    empty ``AWS_PROFILE`` is a profile that does not exist.
    """
    for name, value in [*os.environ.items()]:
        if name.startswith("AWS_") or name == "REQUESTS_CA_BUNDLE":
            if _is_blank(value):
                del os.environ[name]
            elif value != value.strip():
                os.environ[name] = value.strip()


def _line(fault: ErrorDetails) -> str:
    if not fault["loc"]:  # of all keys together
        return f"{_variable('history_keys')}: {fault['ctx']['error']}"
    name = str(fault["loc"][0])
    if fault["type"] == "missing":
        return f"{_variable(name)} {_MISSING[name]}"
    if fault["type"] == "value_error":  # one of our own validators
        error = fault["ctx"]["error"]
        return str(error) if isinstance(error, KeyFormatError) else f"{_variable(name)} {error}"
    return f"{_variable(name)} {_WANTED.get(name, 'cannot be used as it is.')}"


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper()


def _parsed(key: SecretStr) -> Key:
    return Key.parse(key.get_secret_value())


def _all_parsed(keys: Iterable[SecretStr]) -> list[Key]:
    return [_parsed(key) for key in keys]


def _written(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default or "")


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_duration(value: object) -> bool:
    try:
        return 0 <= float(value) < float("inf")  # type: ignore[arg-type] # what it cannot take is caught
    except (TypeError, ValueError):
        return False


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.username is None
    except ValueError:
        return False


_MISSING = {
    "bucket": "is not set. Give the name of the bucket that the state is to lie in.",
    "key": (
        "is not set. Make a key with `ptb-s3 keys new`, put it there, and keep a copy elsewhere: "
        "without it, nobody can read the state again."
    ),
}

_WANTED = {
    "update_interval": (
        "is not a number of seconds above 0. Give one, such as 60; at 0, "
        "python-telegram-bot would save without a pause."
    ),
    "compression_level": "is not a whole number from 1 to 19. Give one, such as 3.",
    "addressing_style": "is neither `auto`, nor `path`, nor `virtual`. Give one of them.",
    "on_loss": "is neither `wait` nor `rewrite`. Give one of them.",
    "single_writer": "is neither `true` nor `false`. Give one of them.",
    "flush_timeout": "is not a number of seconds above 0. Give one, such as 8.",
}
