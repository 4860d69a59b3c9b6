"""Key source: where the keys come from that objects are sealed and opened with.

A protocol, so that a key service is another class and not another code path. No message, repr,
pickle or copy made here holds any part of a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

from ptb_s3.errors import KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Callable

SEAL_KEY_BYTES = 32  # Cobblestone-256
# Characters. A header has 64 KiB, of which JSON takes two bytes for some of these.
MAX_WRAPPED_KEY = 16 * 1024

_ID = re.compile(r"[0-9a-f]{16}")
_PRINTABLE = re.compile(rf"[\x20-\x7e]{{0,{MAX_WRAPPED_KEY}}}")


class KeptInMemory:
    """Refuses to be pickled or copied: either would put the secret where nobody looks for one."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not pickled or copied: it holds a secret.")


class SealedHeader(Protocol):
    """What a key source sees of an object's header."""

    @property
    def object(self) -> str:
        """The object's name, without the prefix."""
        ...

    @property
    def key(self) -> str:
        """Id of the key that it is sealed with."""
        ...

    @property
    def wrapped_key(self) -> str | None:
        """The object's data key as a key service wrapped it; None where none did."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey(KeptInMemory):
    """What the next object is sealed with.

    One of another form is refused when the state is loaded, before anything is written.

    Attributes:
        key_id: Goes into the header, for `KeySource.opening_key` to find: 16 digits out of 0-9 and
            a-f. Of a longer name, take the digits of a hash.
        secret: 32 bytes, for Cobblestone-256.
        wrapped_key: Goes into the header as well, where a key service made the secret: up to 16,384
            printable characters of ASCII.
    """

    key_id: str
    secret: bytes
    wrapped_key: str | None = None

    def __repr__(self) -> str:
        return f"<SealingKey {getattr(self, 'key_id', 'refused')}>"


class KeySource(Protocol):
    """Where keys come from: a `Keyring`, or a key service.

    One that has keys which open older versions alone, and nothing current, has a further method
    ``for_history()``: it returns the source to ask for older versions.
    """

    def sealing_key(self) -> SealingKey:
        """Return what to seal the next object with."""
        ...

    def opening_key(self, header: SealedHeader) -> bytes:
        """Return the 32 bytes that open an object.

        Raises:
            UnknownKeyError: They are not to be had.
        """
        ...


def for_history(keys: KeySource) -> KeySource:
    """Return the source to ask for older versions; the same, where it makes no difference."""
    widen: Callable[[], KeySource] | None = getattr(keys, "for_history", None)
    return keys if widen is None else widen()


def sealing_key(source: KeySource) -> SealingKey:
    """Return what a source gives to seal with.

    Raises:
        KeyFormatError: What is sealed with it, no reader would take.
    """
    key = source.sealing_key()
    fault = _sealing_fault(key.key_id, key.wrapped_key)
    secret_type: type = type(key.secret)  # anybody's, so perhaps another
    if secret_type is not bytes or len(key.secret) != SEAL_KEY_BYTES:
        fault = f"Objects are sealed with {SEAL_KEY_BYTES} bytes, as an object of type bytes."
    if fault:
        del key
        raise KeyFormatError(fault)
    return key


def _sealing_fault(key_id: object, wrapped_key: object) -> str | None:
    if not (isinstance(key_id, str) and _ID.fullmatch(key_id)):
        return (
            "A key's id is text of 16 digits out of 0-9 and a-f. Of a longer name, take the first "
            "16 digits of its SHA-256."
        )
    if wrapped_key is None or (isinstance(wrapped_key, str) and _PRINTABLE.fullmatch(wrapped_key)):
        return None
    return (
        f"A wrapped key is text of up to {MAX_WRAPPED_KEY:,} printable characters of ASCII, such "
        "as base64."
    )
