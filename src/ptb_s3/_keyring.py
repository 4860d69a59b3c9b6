"""Keys, their ids, and the sources that objects are sealed and opened with.

A key is 32 random bytes written ``ptbs3k1_<base64url>``. Nothing is encrypted with those bytes
themselves: what is needed is derived from them, so that an id shown in a log says nothing about
the key it names.

No message, repr, pickle or copy made here holds any part of a key; `Key.reveal` is the one way to
see it.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol, Self

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ptb_s3.errors import KeyFormatError, UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PREFIX = "ptbs3k1_"
SECRET_BYTES = 32
BODY_CHARS = 43  # 32 bytes in base64 without padding; the last character carries four bits
ID_BYTES = 8
SEAL_KEY_BYTES = 32  # Cobblestone-256

_ID_INFO = b"ptb-s3/1 key id"
_SEAL_INFO = b"ptb-s3/1 seal"

_MAKE_ONE = "Make a key with: ptb-s3 keys new"
_NOT_BASE64URL = re.compile(r"[^A-Za-z0-9_-]")
_LOOKALIKES = (
    (
        re.compile(rf"=\s*[\"'`]?{PREFIX}"),
        "has its variable's name in front of it. Give only what follows the '='.",
    ),
    (
        re.compile(r"^[\"'`]|[\"'`]$"),
        "is in quotes. Remove them.",
    ),
    (
        re.compile(r"^[0-9a-fA-F]{16}$"),
        f"looks like a key's id, which opens nothing. The key itself begins with {PREFIX!r}.",
    ),
)


class _KeptInMemory:
    """Refuses to be pickled or copied: either would put the secret where nobody looks for one."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not pickled or copied: it holds a secret.")


class Key(_KeptInMemory):
    """A key, which shows nothing but its id. Immutable, and comparable in constant time.

    Args:
        secret: 32 bytes, from a source fit for keys. See `parse` and `generate`.

    Attributes:
        id: What the key is called in headers, logs and messages: 16 hex digits.
        seal_key: The 32 bytes that objects are sealed with.

    Raises:
        KeyFormatError: Not 32 bytes.
    """

    __slots__ = ("_secret", "id", "seal_key")

    id: str
    seal_key: bytes
    _secret: bytes

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise KeyFormatError(f"A key is made of {SECRET_BYTES} bytes, not {len(secret)}.")
        # Past our own __setattr__, which refuses.
        object.__setattr__(self, "_secret", secret)
        object.__setattr__(self, "id", _derive(secret, _ID_INFO, ID_BYTES).hex())
        object.__setattr__(self, "seal_key", _derive(secret, _SEAL_INFO, SEAL_KEY_BYTES))

    @classmethod
    def parse(cls, text: str, *, label: str = "The key") -> Self:
        """Read a key as `reveal` and ``ptb-s3 keys new`` write it.

        White space around it is dropped: secret stores and shells like to add a line break.

        Args:
            text: The key.
            label: What messages call it, at the start of a sentence.

        Raises:
            KeyFormatError: It is not a key. The message says why, and shows no part of it.
        """
        fault = _fault(text)
        if fault:
            raise KeyFormatError(f"{label} {fault}")
        return cls(base64.urlsafe_b64decode(text.strip().removeprefix(PREFIX) + "="))

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = secrets.token_bytes) -> Self:
        """Make a new key.

        Args:
            random: Returns as many random bytes as it is asked for.
        """
        return cls(random(SECRET_BYTES))

    def reveal(self) -> str:
        """Return the key as text: the one place that shows it."""
        return PREFIX + _body(self._secret)

    def __repr__(self) -> str:
        return f"<Key {self.id}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.id)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A key cannot be changed ({name!r}).")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A key cannot be changed ({name!r}).")


class Sealed(Protocol):
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


@dataclass(frozen=True, slots=True)
class SealingKey(_KeptInMemory):
    """What the next object is sealed with.

    Attributes:
        key_id: Goes into the header, for `KeySource.opening_key` to find.
        secret: 32 bytes, for Cobblestone-256.
        wrapped_key: Goes into the header as well, where a key service made the secret.
    """

    key_id: str
    secret: bytes = field(repr=False)
    wrapped_key: str | None = None


class KeySource(Protocol):
    """Where keys come from: a `Keyring`, or a key service."""

    def sealing_key(self) -> SealingKey:
        """Return what to seal the next object with."""
        ...

    def opening_key(self, header: Sealed) -> bytes:
        """Return the 32 bytes that open an object.

        Raises:
            UnknownKeyError: They are not to be had.
        """
        ...


class Keyring:
    """One key that seals and opens, and retired ones that only open.

    To rotate, give the new key as `key` and the old one among `retired`; what the old key has
    sealed is sealed anew by the commits that follow.

    Args:
        key: Seals everything written from now on.
        retired: Keys that earlier objects may be sealed with. One that is `key` too is no fault.

    Attributes:
        ids: Ids of all keys, the sealing one's first.

    Raises:
        KeyFormatError: A text is not a key.
    """

    def __init__(self, key: str | Key, retired: Iterable[str | Key] = ()) -> None:
        if isinstance(retired, str | Key):
            # A str is iterable: its characters would be taken for keys.
            raise KeyFormatError(
                "Retired keys are given as a list, even a single one: retired=[old_key]."
            )
        self._sealing = _as_key(key, "The key")
        keys = [_as_key(old, f"Retired key {n}") for n, old in enumerate(retired, start=1)]
        self._keys = {known.id: known for known in (self._sealing, *keys)}
        self.ids = tuple(self._keys)

    def sealing_key(self) -> SealingKey:
        """Return the sealing key."""
        return SealingKey(self._sealing.id, self._sealing.seal_key)

    def opening_key(self, header: Sealed) -> bytes:
        """Return the key that an object's header names.

        Raises:
            UnknownKeyError: It is not on the ring.
        """
        known = self._keys.get(header.key)
        if known is None:
            raise UnknownKeyError(header.object, header.key, self.ids)
        return known.seal_key

    def __repr__(self) -> str:
        return f"<Keyring {' '.join(self.ids)}>"


def _as_key(key: str | Key, label: str) -> Key:
    return key if isinstance(key, Key) else Key.parse(key, label=label)


def _derive(secret: bytes, info: bytes, length: int) -> bytes:
    # Expand alone, without Extract: the secret is uniformly random already (RFC 5869, section 3.3).
    return HKDFExpand(algorithm=SHA512(), length=length, info=info).derive(secret)


def _body(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


def _fault(text: object) -> str | None:
    """Return what keeps a text from being a key, as the end of a sentence; None if nothing."""
    if not isinstance(text, str):
        return f"is not text but {type(text).__name__}. {_MAKE_ONE}"
    text = text.strip()
    if not text:
        return f"is empty. {_MAKE_ONE}"
    if text.startswith(PREFIX):
        return _body_fault(text.removeprefix(PREFIX))
    for pattern, fault in _LOOKALIKES:
        if pattern.search(text):
            return fault
    return f"does not begin with {PREFIX!r}. {_MAKE_ONE}"


def _body_fault(body: str) -> str | None:
    strange = len(_NOT_BASE64URL.findall(body))
    if strange:
        return (
            f"holds {strange} character(s) that no key has: after {PREFIX!r} there are only "
            "letters, digits, '-' and '_'. Copy it again, without quotes, padding or line breaks."
        )
    if len(body) != BODY_CHARS:
        return (
            f"has {len(body)} characters after {PREFIX!r} instead of {BODY_CHARS}. "
            "Copy it again, whole."
        )
    if _body(base64.urlsafe_b64decode(body + "=")) != body:
        # The last character has two bits that say nothing, and that we write as zeros.
        return "ends in a character that no key ends in: it was changed on the way. Copy it again."
    return None
