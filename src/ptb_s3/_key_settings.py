"""Settings of the keys: the part of the settings that commands need before there is a bucket.

Each of three settings is given by its variable or by a file that another variable names, and not by
both: it would not be known which one is meant. Files are read while the settings are validated, so
that one start tells their faults with those of all other settings. A key of AWS KMS takes the place
of the sealing key in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ptb_s3._environment import ENV_PREFIX, is_blank, variable_of
from ptb_s3._key_files import ExposedFile, exposure, read_key, read_keys
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import aioboto3

    from ptb_s3._keys.ring import Ring

_FILES: Final = {name: f"{name}_file" for name in ("key", "retired_keys", "history_keys")}
"""Settings that name a file of keys, by the setting whose place the file takes."""


class KeySettings(BaseSettings):
    """Settings of the keys alone: enough to make or list keys, before there is a bucket."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    key: SecretStr | None = Field(
        description="Key that seals all state, made by `ptb-s3 keys new`. Lose it, lose the state."
    )
    key_file: str | None = Field(
        default=None,
        description="File with that key, in its place: a secret of Docker, Kubernetes or systemd.",
    )
    kms_key_id: str | None = Field(
        default=None,
        description="ARN, id or alias of a key in AWS KMS, which seals in the place of that key.",
    )
    retired_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Earlier keys, separated by commas: they open what is there, and seal nothing.",
    )
    retired_keys_file: str | None = Field(
        default=None,
        description="File with those keys, in their place, apart by commas, white space or lines.",
    )
    history_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Keys that may have leaked: they open older versions, and nothing current.",
    )
    history_keys_file: str | None = Field(
        default=None,
        description="File with those keys, in their place, apart by commas, white space or lines.",
    )

    retired_kms_key_ids: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="ARNs or ids of earlier keys in AWS KMS, separated by commas; no aliases.",
    )

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take an empty variable for one that is not set, and the keys of files for the keys.

        Compose files and CI pass on empty variables. Except for `sync`, where empty is one way to
        write none.
        """
        given = {k: v for k, v in values.items() if k == "sync" or not is_blank(v)}
        in_files = [name for name, file in _FILES.items() if given.get(file) is not None]
        sealing = _of_kms(given) if given.get("kms_key_id") is not None else {}
        return given | {name: _in_file(name, given) for name in in_files} | sealing

    @field_validator("key", "kms_key_id", "retired_keys", "history_keys", mode="before")
    @classmethod
    def _refuse_file(cls, keys: object) -> object:
        """Raise the error found before, so that pydantic tells it with those of other settings."""
        if isinstance(keys, SettingsError):
            raise keys
        return keys

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        """Refuse a key that does not parse, without showing any of it."""
        if key is not None:
            Key.parse(key.get_secret_value(), label=variable_of("key"))
        return key

    @field_validator("kms_key_id")
    @classmethod
    def _check_kms_key(cls, name: str | None) -> str | None:
        """Refuse what is no name of a key in AWS KMS, without showing it."""
        if name is not None:
            _check_kms_name(name, variable_of("kms_key_id"))
        return name

    @field_validator("retired_kms_key_ids")
    @classmethod
    def _check_more_kms_keys(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse names that are none, or aliases, by their number."""
        for number, name in enumerate(names, start=1):
            label = f"{variable_of('retired_kms_key_ids')}: key {number}"
            _check_kms_name(name, label, opens=True)
        return names

    @field_validator("retired_keys", "history_keys", "retired_kms_key_ids", mode="before")
    @classmethod
    def _split(cls, keys: object) -> object:
        """Split keys at commas, and skip empty ones, as after a trailing comma."""
        return [k for k in keys.split(",") if not is_blank(k)] if isinstance(keys, str) else keys

    @field_validator("retired_keys", "history_keys")
    @classmethod
    def _check_more_keys(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        """Refuse further keys that do not parse, named by their number."""
        for number, key in enumerate(keys, start=1):
            label = f"{variable_of(info.field_name or '')}: key {number}"
            Key.parse(key.get_secret_value(), label=label)
        return keys

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Refuse keys that contradict each other, such as a sealing key among the history keys."""
        self.keyring()
        return self

    def keyring(self, session: aioboto3.Session | None = None) -> Ring:
        """Return the keyring of these keys.

        Args:
            session: An `aioboto3.Session` to ask AWS KMS with, where it keeps one of them.
        """
        key = None if self.key is None else _parsed(self.key)
        retired, history = map(_all_parsed, (self.retired_keys, self.history_keys))
        if key is not None and not self.retired_kms_key_ids:
            return Keyring(key, retired, history)
        from ptb_s3._keys.kms_keyring import KmsKeyring  # noqa: PLC0415 - where it is configured

        return KmsKeyring(
            self.kms_key_id,
            key=key,
            retired=retired,
            history=history,
            retired_kms_key_ids=self.retired_kms_key_ids,
            region_name=self._kms_region,
            session=session,
        )

    @property
    def _kms_region(self) -> str | None:
        """Return the region of KMS keys that do not say theirs, where AWS's settings say none."""
        return None

    def exposed_files(self) -> list[ExposedFile]:
        """Return the key files that other users of the machine may read. Each is to be warned of.

        The rule is that of `ptb_s3._key_files`.
        """
        files = {variable_of(file): getattr(self, file) for file in _FILES.values()}
        judged = [exposure(path, variable) for variable, path in files.items() if path]
        return [file for file in judged if file is not None]


def _check_kms_name(name: str, label: str, *, opens: bool = False) -> None:
    """Refuse what is no name of a key in AWS KMS, as `kms_names.kms_key` does."""
    from ptb_s3._keys.kms_names import kms_key  # noqa: PLC0415 - where it is configured

    kms_key(name, label, opens=opens)


def _of_kms(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the two settings of a sealing key where AWS KMS keeps it, or the error in its place.

    Args:
        given: Values of all settings, by name.
    """
    both = [variable_of(name) for name in ("key", "key_file") if given.get(name) is not None]
    if not both:
        return {"key": None}
    return {
        "key": None,
        "kms_key_id": SettingsError(
            f"{variable_of('kms_key_id')} is set, and {both[0]} as well: in the environment, or in "
            f"the file of variables. One key seals: take {both[0]} out, and put that key into "
            f"{variable_of('retired_keys')} if it has sealed anything."
        ),
    }


def _in_file(name: str, given: Mapping[str, Any]) -> str | list[str] | SettingsError:
    """Return the keys that a file holds, or the error that says what is wrong with it.

    Args:
        name: Setting whose keys the file holds.
        given: Values of all settings, by name.
    """
    variable, path = variable_of(_FILES[name]), str(given[_FILES[name]]).strip()
    if name in given:
        return SettingsError(
            f"{variable} is set, and {variable_of(name)} as well: in the environment, or in the "
            "file of variables. Take one of the two out."
        )
    try:
        return read_key(path, variable) if name == "key" else read_keys(path, variable)
    except SettingsError as error:
        return error.with_traceback(None)  # whose frames hold the keys


def _parsed(key: SecretStr) -> Key:
    return Key.parse(key.get_secret_value())


def _all_parsed(keys: Iterable[SecretStr]) -> list[Key]:
    return [_parsed(key) for key in keys]
