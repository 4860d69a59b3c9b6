"""Settings of a bot, as ``PTB_S3_*`` variables of the environment and of ``.env`` give them.

A value that cannot be used is a `SettingsError`, with one line for each fault: which variable, what
is wrong with it, what to do. No text shows a value, since one of them is the key. Defaults and
faults of options are those of `ptb_s3._options`, so that code and environment are checked alike.

Credentials are not settings of ours: they come from the AWS chain. ``AWS_*`` variables in ``.env``
are put into the environment, where that chain looks for them.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from ptb_s3._environment import (
    ENV_FILE,
    aws_variables,
    only_in_file,
    prepare_for_aws,
    read_file,
    refuse_unknown,
    variable_of,
    without_variables,
)
from ptb_s3._key_settings import KeySettings
from ptb_s3._options import WANTED, AddressingStyle, OnLoss, Options, Sync, option_fault
from ptb_s3._storage.place import prefix_fault
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    import aioboto3
    from pydantic_core import ErrorDetails

__all__ = [
    "KeySettings",
    "Settings",
    "describe",
    "load_key_settings",
    "load_settings",
    "load_settings_of",
]

_Settings = TypeVar("_Settings", bound=BaseSettings)


class Settings(KeySettings):
    """Settings that `S3Persistence.from_env` takes from variables, made by `load_settings`."""

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
    addressing_style: AddressingStyle = Field(
        default=Options.addressing_style,
        description="Bucket in the `path` or in front of the host (`virtual`); `auto` finds out.",
    )
    update_interval: float = Field(
        default=Options.update_interval,
        allow_inf_nan=False,
        description="Seconds between commits, more than 0: what a crash may cost at most.",
    )
    compression_level: int = Field(
        default=Options.compression_level,
        description="Level of zstd compression, from 1 to 19.",
    )
    sync: Sync = Field(
        default=Options.sync,
        description="Seconds between looks for other instances' commits; `auto`: 1, if any.",
    )
    single_writer: bool = Field(
        default=Options.single_writer,
        description="`true` vouches for a single instance: for storage without conditional PUT.",
    )
    flush_timeout: float = Field(
        default=Options.flush_timeout,
        allow_inf_nan=False,
        description="Seconds that a stop may take, all told; hosts kill 5 to 30 s after SIGTERM.",
    )
    restore: str | None = Field(
        default=None,
        description="Revision, time or version id to go back to at the next start, once.",
    )
    on_loss: OnLoss = Field(
        default=Options.on_loss,
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
        """Refuse a URL or ARN in place of a name, which botocore's own error would not tell."""
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
        """Refuse a prefix under which objects would not be found again everywhere."""
        if fault := prefix_fault(prefix):
            raise ValueError(fault)
        return prefix

    @field_validator("update_interval", "compression_level", "sync", "flush_timeout", "restore")
    @classmethod
    def _check_option(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what `Options` would refuse, in the name of the variable."""
        if fault := option_fault(info.field_name or "", value):
            raise ValueError(fault)
        return value

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint_url(cls, url: str | None) -> str | None:
        """Refuse what is no URL of a service, and one with credentials in it."""
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
        """Take "none", or nothing, for None."""
        text = sync.strip().lower() if isinstance(sync, str) else sync
        return None if text in ("", "none") else text

    @property
    def _kms_region(self) -> str | None:
        # The bucket's where it is on AWS. Elsewhere, regions have other names, such as R2's `auto`.
        return self.region if self.endpoint_url is None else None

    def options(self, session: aioboto3.Session | None = None) -> dict[str, Any]:
        """Return the arguments of `S3Persistence` that these settings stand for, by name.

        Args:
            session: An `aioboto3.Session` to ask AWS KMS with, where it keeps a key.
        """
        own = set(type(self).model_fields) - set(KeySettings.model_fields)
        given = {name: getattr(self, name) for name in own}
        given["region_name"] = given.pop("region")
        return {"keyring": self.keyring(session), **given}


def load_settings(env_file: str | Path | None = ENV_FILE) -> Settings:
    """Read the settings from the environment and a file of variables. The environment wins.

    ``AWS_*`` variables that only the file has are put into the process's environment, where the
    AWS chain looks for them; of the three that make up credentials, all or none. Those that are
    empty are taken out of it, and line ends are dropped.

    Args:
        env_file: The file. It need not exist if it is the default, ``.env`` in the working
            directory. None: read the environment alone.

    Raises:
        SettingsError: A variable is missing, wrong, or none of ours. All such faults are named.
    """
    return _load(Settings, env_file)


def load_settings_of(env_file: str | Path) -> tuple[Settings, dict[str, str]]:
    """Read the settings of a file alone, since those of the environment are another place's.

    Args:
        env_file: File of variables.

    Returns:
        The settings, and the file's ``AWS_*`` variables.

    Raises:
        SettingsError: As `load_settings`.
    """
    with without_variables():
        return _load(Settings, env_file), aws_variables()


def load_key_settings(env_file: str | Path | None = ENV_FILE) -> KeySettings:
    """Read the settings of the keys as `load_settings` does, and ask for nothing else to be set.

    Args:
        env_file: As for `load_settings`.

    Raises:
        SettingsError: A key is missing or malformed, or a variable is none of ours.
    """
    return _load(KeySettings, env_file)


def describe() -> list[tuple[str, str, str]]:
    """Return variable name, default and description of each setting, in the order of the model.

    The default is text as one would write it in ``.env``: ``"required"`` if there is none, and
    empty if the default is not to set the variable.
    """
    return [
        (
            variable_of(name),
            "required" if field.is_required() else _written(field.default),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _load(model: type[_Settings], env_file: str | Path | None) -> _Settings:
    """Read and validate settings, and leave no value in the frames of an error.

    An error tracker would send them.
    """
    try:
        return _validated(model, env_file)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise


def _validated(model: type[_Settings], env_file: str | Path | None) -> _Settings:
    """Validate the variables, and pass on those of the AWS chain only if they are all good."""
    # Read once, and not by pydantic: a pipe, such as a decrypting program's, can be read but once.
    in_file = read_file(env_file)
    refuse_unknown(in_file, {name for name, _, _ in describe()})
    given: dict[str, Any] = {**only_in_file(in_file)}
    try:
        settings = model(**given)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
    else:
        prepare_for_aws(in_file)
        return settings
    # Out here, the new error has no context: the old one holds the values.
    raise SettingsError("\n".join(dict.fromkeys(_line(fault) for fault in faults)))


def _line(fault: ErrorDetails) -> str:
    """Return the line of an error that names a variable, and says what to do about its value."""
    if not fault["loc"]:  # of all keys together
        return f"{variable_of('history_keys')}: {fault['ctx']['error']}"
    name = str(fault["loc"][0])
    if fault["type"] == "missing":
        return f"{variable_of(name)} {_MISSING[name]}"
    if fault["type"] == "value_error":  # one of our own validators
        error = fault["ctx"]["error"]
        return str(error) if isinstance(error, SettingsError) else f"{variable_of(name)} {error}"
    return f"{variable_of(name)} {WANTED.get(name, 'cannot be used as it is.')}"


def _written(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default or "")


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.username is None
    except ValueError:
        return False


_MISSING = {
    "bucket": "is not set. Give the name of the bucket that the state is to lie in.",
    "key": (
        "is not set. Make a key with `ptb-s3 keys new`, put it there (or into a file that "
        "PTB_S3_KEY_FILE names), and keep a copy elsewhere: without it, nobody can read the state "
        "again. Or name a key that AWS KMS keeps in PTB_S3_KMS_KEY_ID."
    ),
}
