"""Keys, their ids, and the keyring: the key source that needs nothing but its configuration.

A key is 32 random bytes written ``ptbs3k1_<base64url>``, with a checksum (FORMAT.md, section 3).
Nothing is encrypted with those bytes themselves: key id and seal key are derived from them, so that
an id shown in a log says nothing about the key it names.

The checksum tells a mistyped key from another key, before anything is read or written. Without it,
a bot with a mistyped key would begin a new state under a key that nobody has noted down, or say of
the right objects that their key is missing. It adds nothing to what a thief knows: it stands where
the whole key does.

No message, repr, pickle or copy made here holds any part of a key; `Key.reveal` is the one way to
see it. Nor does a local variable of ours, in the traceback of an error: error trackers send these.
That is why arguments are deleted before something is raised.

========================= ======= ============= ===============
setting                   seals   opens current opens older
========================= ======= ============= ===============
PTB_S3_KEY                yes     yes           yes
PTB_S3_RETIRED_KEYS       no      yes           yes
PTB_S3_HISTORY_KEYS       no      no            yes
========================= ======= ============= ===============
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import traceback
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn, Self

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ptb_s3._format.key_source import SEAL_KEY_BYTES, KeptInMemory, SealedHeader, SealingKey
from ptb_s3.errors import KeyFormatError, UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "ptbs3k1_"
"""First characters of a written key, by which secret scanners know one."""
SECRET_BYTES = 32
"""Bytes of a key."""
CHECKSUM_BYTES = 4
"""Bytes of the checksum after the key's: CRC-32, little-endian.

Not a hash: over 32 bytes, a CRC finds any one or two wrong characters with certainty, so also any
two that are swapped (FORMAT.md, section 3); what a hash finds, it finds by chance.
"""
BODY_CHARS = 48
"""Characters after the prefix: 36 bytes in base64, which need no padding and leave no bit over."""
ID_BYTES = 8
"""Bytes of a key id, which is written as 16 hex digits."""

_ID_INFO = b"ptb-s3/1 key id"
_SEAL_INFO = b"ptb-s3/1 seal"

_NEAR_CHARS = 2
"""Wrong characters up to which a prefix counts as mistyped (our choice): those of one swap."""
_MAKE_ONE = "Make a key with: ptb-s3 keys new"
_MISTYPED = "a letter is wrong, or two are swapped. Copy it again."
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
        re.compile(r"^(~|\.{0,2})/"),
        "looks like the path of a file. Give that in the variable that ends in _FILE.",
    ),
    (
        re.compile(r"^[0-9a-fA-F]{16}$"),
        f"looks like a key's id, which opens nothing. The key itself begins with {PREFIX!r}.",
    ),
)


class Key(KeptInMemory):
    """Secret key that shows nothing but its id. Immutable, and compared in constant time.

    Args:
        secret: 32 bytes of a cryptographic random generator. See `parse` and `generate`.

    Attributes:
        id: Name of the key in headers, logs and messages: 16 hex digits.
        seal_key: The 32 bytes that objects are sealed with, derived from the secret.

    Raises:
        KeyFormatError: Not 32 bytes.
    """

    __slots__ = ("_secret", "id", "seal_key")

    id: str
    seal_key: bytes
    _secret: bytes

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            size = len(secret)
            del secret
            raise KeyFormatError(f"A key is made of {SECRET_BYTES} bytes, not {size}.")
        # Past our own __setattr__, which refuses.
        object.__setattr__(self, "_secret", secret)
        object.__setattr__(self, "id", _derive(secret, _ID_INFO, ID_BYTES).hex())
        object.__setattr__(self, "seal_key", _derive(secret, _SEAL_INFO, SEAL_KEY_BYTES))

    @classmethod
    def parse(cls, text: str, *, label: str = "The key") -> Self:
        """Parse a key as `reveal` and ``ptb-s3 keys new`` write it.

        White space around it is dropped: secret stores and shells like to add a line break.

        Args:
            text: The key.
            label: Name of the key at the start of an error's sentence.

        Raises:
            KeyFormatError: It is not a key. The message says why, and shows no part of it.
        """
        fault = _fault(text)
        if fault:
            del text
            raise KeyFormatError(f"{label} {fault}")
        return cls(base64.urlsafe_b64decode(text.strip().removeprefix(PREFIX))[:SECRET_BYTES])

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = secrets.token_bytes) -> Self:
        """Make a new key.

        Args:
            random: Returns the given number of random bytes.
        """
        return cls(random(SECRET_BYTES))

    def reveal(self) -> str:
        """Return the key as text. This is the one place that shows it: store it as a secret."""
        return PREFIX + _body(self._secret)

    def __repr__(self) -> str:
        return f"<Key {getattr(self, 'id', 'refused')}>"

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


class Keyring:
    """Key source with one key that seals and opens, and others that only open.

    To rotate, give the new key as `key` and the old one among `retired`; what the old key has
    sealed is sealed anew by the commits that follow. Until it is taken off that list, whoever has
    the old key is believed as much as whoever has the new one.

    Args:
        key: Key that seals everything written from now on.
        retired: Keys that current objects may be sealed with. `key` may be among them.
        history: Keys that older versions may be sealed with, and nothing current: for a key that
            has leaked, once everything current is sealed anew.

    Attributes:
        ids: Ids of the keys that open current objects, the sealing one's first.
        history_ids: Ids of the keys that open older versions alone.
        kms_ids: Ids of the keys that AWS KMS keeps, of which there are none here.
        is_named: Whether the id of the sealing key is known, which it always is here.

    Raises:
        KeyFormatError: A text is not a key, or a key that opens what is current is in `history`.
    """

    kms_ids: tuple[str, ...] = ()
    is_named = True

    def __init__(
        self,
        key: str | Key,
        retired: Iterable[str | Key] = (),
        history: Iterable[str | Key] = (),
    ) -> None:
        self.ids: tuple[str, ...] = ()  # set first: debuggers show a refused keyring, too
        self.history_ids: tuple[str, ...] = ()
        try:
            self._sealing = as_key(key, "The key")
            current = [self._sealing, *as_keys(retired, "Retired", "retired=[old_key]")]
            older = as_keys(history, "History", "history=[leaked_key]")
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            del key, retired, history
        self._keys = {known.id: known for known in current}
        self._history = {known.id: known for known in older}
        refuse_overlap(self._sealing.id, self._keys.keys() & self._history.keys())
        self.ids, self.history_ids = tuple(self._keys), tuple(self._history)

    def sealing_key(self) -> SealingKey:
        """Return the sealing key. No key service has wrapped it."""
        return SealingKey(self._sealing.id, self._sealing.seal_key)

    def opening_key(self, header: SealedHeader) -> bytes:
        """Return the key that the header of a current object names.

        Raises:
            UnknownKeyError: It is not on the ring, or it is a history key.
        """
        known = self._keys.get(header.key)
        if known is None:
            raise UnknownKeyError(
                header.object,
                header.key,
                self.ids,
                in_history=header.key in self._history,
                wrapped=header.wrapped_key is not None,
            )
        return known.seal_key

    def for_history(self) -> Keyring:
        """Return a keyring for older versions, on which every key opens."""
        return Keyring(self._sealing, [*self._keys.values(), *self._history.values()])

    def __repr__(self) -> str:
        older = f"; history: {' '.join(self.history_ids)}" if self.history_ids else ""
        return f"<Keyring {' '.join(self.ids) or 'refused'}{older}>"


def as_key(key: str | Key, label: str) -> Key:
    """Return a key, parsed where it is a text."""
    return key if isinstance(key, Key) else Key.parse(key, label=label)


def as_keys(keys: Iterable[str | Key], which: str, example: str) -> list[Key]:
    """Parse a list of keys. A single text is refused: its characters would be taken for keys."""
    if isinstance(keys, str | Key) or not isinstance(keys, Iterable):
        raise KeyFormatError(f"{which} keys are given as a list, even a single one: {example}.")
    return [as_key(key, f"{which} key {n}") for n, key in enumerate(keys, start=1)]


def refuse_overlap(sealing: str, both: set[str]) -> None:
    """Refuse a history key that opens current objects as well.

    Args:
        sealing: Id of the sealing key.
        both: Ids of keys that are on both lists.
    """
    if sealing in both:
        raise KeyFormatError(
            f"Key {sealing} seals, and is among the history keys, which open nothing current. Take "
            "it off them; if it has leaked, seal with a new one first (ptb-s3 keys new)."
        )
    if both:
        raise KeyFormatError(
            f"Key {min(both)} is among the retired keys and the history keys. Retired, it opens "
            "what is current; if it must not any more, take it off the retired ones."
        )


def _derive(secret: bytes, info: bytes, length: int) -> bytes:
    """Derive bytes from a secret by HKDF-Expand with SHA-512.

    Without Extract: the secret is uniformly random already (RFC 5869, section 3.3).
    """
    return HKDFExpand(algorithm=SHA512(), length=length, info=info).derive(secret)


def _body(secret: bytes) -> str:
    """Return what follows the prefix: the secret and its checksum in base64url."""
    checksum = zlib.crc32(secret).to_bytes(CHECKSUM_BYTES, "little")
    return base64.urlsafe_b64encode(secret + checksum).decode()


def _fault(text: object) -> str | None:
    """Return the fault of a text that should be a key as the end of a sentence, or None."""
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
    if _is_near_prefix(text):
        return f"does not begin with {PREFIX!r}, but almost: {_MISTYPED}"
    return f"does not begin with {PREFIX!r}. {_MAKE_ONE}"


def _is_near_prefix(text: str) -> bool:
    """Tell whether a text is as long as a key, and begins as one but for a slip of the hand."""
    wrong = sum(found != meant for found, meant in zip(text, PREFIX, strict=False))
    return len(text) == len(PREFIX) + BODY_CHARS and wrong <= _NEAR_CHARS


def _body_fault(body: str) -> str | None:
    """Return the fault of what follows the prefix as the end of a sentence, or None."""
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
    if _body(base64.urlsafe_b64decode(body)[:SECRET_BYTES]) != body:
        return f"has a checksum that does not fit: {_MISTYPED}"
    return None
