"""Settings of a bot, as ``PTB_S3_*`` variables of the environment and of ``.env`` give them.

A value that cannot be used is a `SettingsError`, with one line for each fault: which variable, what
is wrong with it, what to do. No text shows a value, since one of them is the key. Defaults and
faults of options are those of `ptb_s3._options`, so that code and environment are checked alike.

Credentials are not settings of ours: they come from the AWS chain. ``AWS_*`` variables in ``.env``
are put into the environment, where that chain looks for them.
"""

from __future__ import annotations

import traceback
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from urllib.parse import urlsplit

from ptb_s3._environment import (
    ENV_FILE,
    aws_variables,
    our_variables,
    prepare_for_aws,
    read_file,
    refuse_unknown,
    variable_of,
    without_variables,
)
from ptb_s3._key_settings import KeySettings, with_keys_of_files
from ptb_s3._options import AddressingStyle, Load, OnLoss, Options, Sync
from ptb_s3._setting_fields import (
    FaultsError,
    made,
    number,
    one_of,
    setting,
    sync,
    text,
    whole_number,
    yes_or_no,
)
from ptb_s3._storage.place import prefix_fault
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    import aioboto3

__all__ = [
    "KeySettings",
    "Settings",
    "describe",
    "load_key_settings",
    "load_settings",
    "load_settings_of",
]

_Settings = TypeVar("_Settings", bound=KeySettings)


def _bucket(given: str, _name: str) -> str:
    """Refuse a URL or ARN in place of a name, which botocore's own error would not tell."""
    if given.startswith("arn:") and ":::" not in given:
        return given  # an access point: its name may hold a slash
    if ":" in given or "/" in given:
        raise ValueError(
            "is not a bucket's name. Give the name alone, without s3://, URL or ARN; "
            "what follows it belongs in PTB_S3_PREFIX."
        )
    return given


def _prefix(given: str, _name: str) -> str:
    """Refuse a prefix under which objects would not be found again everywhere."""
    if fault := prefix_fault(given):
        raise ValueError(fault)
    return given


def _url(given: str, _name: str) -> str:
    """Refuse what is no URL of a service, and one with credentials in it."""
    if _is_http_url(given):
        return given
    raise ValueError(
        "is not the URL of a service. Give http:// or https:// with a host, such as "
        "http://localhost:9000; credentials belong in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY."
    )


@dataclass(frozen=True, kw_only=True)
class Settings(KeySettings):
    """Settings that `S3Persistence.from_env` takes from variables, made by `load_settings`."""

    bucket: str = setting(_bucket, "Bucket that the state lies in: its name alone.")
    prefix: str = setting(
        _prefix,
        "What the names of all objects begin with, to the letter; best ends in `/`.",
        default="",
    )
    endpoint_url: str | None = setting(
        _url, "URL of the S3-compatible service, where it is not AWS.", default=None
    )
    region: str | None = setting(
        text, "Region of the bucket, where the AWS chain does not give it.", default=None
    )
    addressing_style: AddressingStyle = setting(
        one_of(*get_args(AddressingStyle)),
        "Bucket in the `path` or in front of the host (`virtual`); `auto` finds out.",
        default=Options.addressing_style,
    )
    update_interval: float = setting(
        number,
        "Seconds between commits, more than 0: what a crash may cost at most.",
        default=Options.update_interval,
    )
    compression_level: int = setting(
        whole_number,
        "Level of zstd compression, from 1 to 19.",
        default=Options.compression_level,
    )
    sync: Sync = setting(
        sync,
        "Seconds between looks for other instances' commits; `auto`: 1, if any.",
        default=Options.sync,
    )
    single_writer: bool = setting(
        yes_or_no,
        "`true` vouches for a single instance: for storage without conditional PUT.",
        default=Options.single_writer,
    )
    flush_timeout: float = setting(
        number,
        "Seconds that a stop may take, all told; hosts kill 5 to 30 s after SIGTERM.",
        default=Options.flush_timeout,
    )
    restore: str | None = setting(
        text,
        "Revision, time or version id to go back to at the next start, once.",
        default=None,
    )
    on_loss: OnLoss = setting(
        one_of(*get_args(OnLoss)),
        "`rewrite`: a running bot writes its memory in place of what was deleted.",
        default=Options.on_loss,
    )
    load: Load = setting(
        one_of(*get_args(Load)),
        "`on_demand`: users and chats are read when they are asked for, not at the start.",
        default=Options.load,
    )
    begin_anew: str | None = setting(
        text,
        "Id of a deleted head, as the error gives it: begin a new state above it.",
        default=None,
    )
    expected_bucket_owner: str | None = setting(
        text, "Id of the AWS account that must own the bucket.", default=None
    )

    @property
    def _kms_region(self) -> str | None:
        # The bucket's where it is on AWS. Elsewhere, regions have other names, such as R2's `auto`.
        return self.region if self.endpoint_url is None else None

    def options(self, session: aioboto3.Session | None = None) -> dict[str, Any]:
        """Return the arguments of `S3Persistence` that these settings stand for, by name.

        Args:
            session: An `aioboto3.Session` to ask AWS KMS with, where it keeps a key.
        """
        own = {one.name for one in fields(self)} - {one.name for one in fields(KeySettings)}
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
            variable_of(one.name),
            "required" if one.default is MISSING else _written(one.default),
            one.metadata["description"],
        )
        for one in fields(Settings)
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
    # Read once: a pipe, such as a decrypting program's, can be read but once.
    in_file = read_file(env_file)
    refuse_unknown(in_file, {name for name, _, _ in describe()})
    given = with_keys_of_files(our_variables(in_file))
    try:
        settings = made(model, given, _MISSING)
        faults = _together(settings)
    except FaultsError as error:
        faults = error.lines
    if not faults:
        prepare_for_aws(in_file)
        return settings
    # Out here, the new error has no context: the old one has frames that hold the values.
    raise SettingsError("\n".join(dict.fromkeys(faults)))


def _together(settings: KeySettings) -> list[str]:
    """Refuse keys that contradict each other, such as a sealing key among the history keys."""
    try:
        settings.keyring()
    except SettingsError as error:
        return [f"{variable_of('history_keys')}: {error}"]
    return []


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
