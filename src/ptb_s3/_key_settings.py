"""Settings of the keys: the part of the settings that commands need before there is a bucket.

Each of three settings is given by its variable or by a file that another variable names, and not by
both: it would not be known which one is meant. Files are read while the settings are validated, so
that one start tells their faults with those of all other settings. A key of AWS KMS takes the place
of the sealing key in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ptb_s3._environment import is_blank, variable_of
from ptb_s3._key_files import ExposedFile, exposure, read_key, read_keys
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._setting_fields import setting, text, texts
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    import aioboto3

    from ptb_s3._keys.ring import Ring

_FILES: Final = {name: f"{name}_file" for name in ("key", "retired_keys", "history_keys")}
"""Settings that name a file of keys, by the setting whose place the file takes."""


def _key(given: str, name: str) -> Key:
    """Refuse a key that does not parse, without showing any of it."""
    return Key.parse(given, label=variable_of(name))


def _keys(given: str, name: str) -> tuple[Key, ...]:
    """Refuse further keys that do not parse, named by their number."""
    numbered = enumerate(texts(given, name), start=1)
    return tuple(Key.parse(key, label=f"{variable_of(name)}: key {n}") for n, key in numbered)


def _kms_key(given: str, name: str) -> str:
    """Refuse what is no name of a key in AWS KMS, without showing it."""
    _check_kms_name(given, variable_of(name))
    return given


def _kms_keys(given: str, name: str) -> tuple[str, ...]:
    """Refuse names that are none, or aliases, by their number."""
    names = texts(given, name)
    for number, one in enumerate(names, start=1):
        _check_kms_name(one, f"{variable_of(name)}: key {number}", opens=True)
    return names


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """Settings of the keys alone: enough to make or list keys, before there is a bucket."""

    key: Key | None = setting(
        _key, "Key that seals all state, made by `ptb-s3 keys new`. Lose it, lose the state."
    )
    key_file: str | None = setting(
        text,
        "File with that key, in its place: a secret of Docker, Kubernetes or systemd.",
        default=None,
    )
    kms_key_id: str | None = setting(
        _kms_key,
        "ARN, id or alias of a key in AWS KMS, which seals in the place of that key.",
        default=None,
    )
    retired_keys: tuple[Key, ...] = setting(
        _keys,
        "Earlier keys, separated by commas: they open what is there, and seal nothing.",
        default=(),
    )
    retired_keys_file: str | None = setting(
        text,
        "File with those keys, in their place, apart by commas, white space or lines.",
        default=None,
    )
    history_keys: tuple[Key, ...] = setting(
        _keys,
        "Keys that may have leaked: they open older versions, and nothing current.",
        default=(),
    )
    history_keys_file: str | None = setting(
        text,
        "File with those keys, in their place, apart by commas, white space or lines.",
        default=None,
    )
    retired_kms_key_ids: tuple[str, ...] = setting(
        _kms_keys,
        "ARNs or ids of earlier keys in AWS KMS, separated by commas; no aliases.",
        default=(),
    )

    def keyring(self, session: aioboto3.Session | None = None) -> Ring:
        """Return the keyring of these keys.

        Args:
            session: An `aioboto3.Session` to ask AWS KMS with, where it keeps one of them.
        """
        if self.key is not None and not self.retired_kms_key_ids:
            return Keyring(self.key, self.retired_keys, self.history_keys)
        from ptb_s3._keys.kms_keyring import KmsKeyring  # noqa: PLC0415 - where it is configured

        return KmsKeyring(
            self.kms_key_id,
            key=self.key,
            retired=self.retired_keys,
            history=self.history_keys,
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


def with_keys_of_files(given: Mapping[str, str]) -> dict[str, Any]:
    """Return texts of settings without blank ones, and with the keys of files for the keys.

    Compose files and CI pass on empty variables. Except for `sync`, where empty is one way to write
    none. What is wrong with a file stands in its place, as an error, to be told with all else.

    Args:
        given: Texts of all settings, by name.
    """
    kept: dict[str, Any] = {k: v for k, v in given.items() if k == "sync" or not is_blank(v)}
    in_files = {name: _in_file(name, kept) for name, file in _FILES.items() if file in kept}
    sealing = _of_kms(kept) if "kms_key_id" in kept else {}
    return kept | in_files | sealing


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


def _in_file(name: str, given: Mapping[str, Any]) -> str | SettingsError:
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
        return read_key(path, variable) if name == "key" else ",".join(read_keys(path, variable))
    except SettingsError as error:
        return error.with_traceback(None)  # whose frames hold the keys
