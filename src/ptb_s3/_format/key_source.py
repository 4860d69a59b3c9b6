"""Key source: protocol of what supplies the keys that objects are sealed and opened with.

A protocol, so that a key service is another class and not another code path. No message, repr,
pickle or copy made here holds any part of a key.

How keys get where they are used::

    seal     source.sealing_key()          ->  SealingKey(key_id, secret, wrapped_key)
                                               key_id and wrapped_key go into the object's header
    open     source.opening_key(header)    ->  the 32 bytes; header holds key_id and wrapped_key

A source that has to ask somebody first is a `KeyService`: its coroutines are awaited ahead of these
two, which then answer from memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from ptb_s3.errors import KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Callable

SEAL_KEY_BYTES = 32
"""Bytes of the key that an object is sealed with (Cobblestone-256)."""
MAX_WRAPPED_KEY = 16 * 1024
"""Characters of a wrapped key: a header has 64 KiB, and JSON takes two bytes for some of these."""

_ID = re.compile(r"[0-9a-f]{16}")
_PRINTABLE = re.compile(rf"[\x20-\x7e]{{0,{MAX_WRAPPED_KEY}}}")


class KeptInMemory:
    """Mixin that refuses pickling and copying: both would put a secret where nobody looks."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not pickled or copied: it holds a secret.")


class SealedHeader(Protocol):
    """Part of an object's readable header that a key source sees.

    It is not authenticated yet when a source is asked: whoever can write the bucket can write
    anything here. Use it to choose a key, and believe nothing else of it. More members may be added
    in later versions.
    """

    @property
    def object(self) -> str:
        """Return the object's name, without the prefix: for an error's text."""
        ...

    @property
    def key(self) -> str:
        """Return the id of the key that it is sealed with: 16 digits out of 0-9 and a-f."""
        ...

    @property
    def wrapped_key(self) -> str | None:
        """Return the data key as a key service wrapped it, or None where none did."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class SealingKey(KeptInMemory):
    """Key to seal the next object with, and what its header says of it. Immutable.

    One of another form than described here is refused when the state is loaded, before anything is
    written.

    Attributes:
        key_id: Id of the key, written to the header for `KeySource.opening_key` to find: 16 digits
            out of 0-9 and a-f. Of a longer name, take the first digits of its SHA-256.
        secret: 32 bytes, uniformly random (Cobblestone-256).
        wrapped_key: Secret as a key service wrapped it, written to the header as well: up to 16,384
            printable characters of ASCII, such as base64. None where no service did.
    """

    key_id: str
    secret: bytes
    wrapped_key: str | None = None

    def __repr__(self) -> str:
        return f"<SealingKey {getattr(self, 'key_id', 'refused')}>"


class KeySource(Protocol):
    """Source of keys: a `Keyring`, or a class of your own in front of a key service.

    What is promised today:

    * Both methods are plain functions; neither is awaited. Most calls come from a worker thread,
      but those for ``head`` may come from the event loop, which a slow answer holds up: a source
      that asks a key service has to keep what it was given.
    * `sealing_key` is called for every object that is sealed, and to learn the current key's id. It
      may return another key each time.
    * `opening_key` is called for every object that is opened, those that were just sealed included:
      each is opened again before it is sent. So a source must open what it seals.

    A source with keys that open older versions alone, and nothing current, has a further method
    ``for_history()``, which returns the source to ask for older versions. One that asks a service
    over the network has the methods of `KeyService` as well.
    """

    def sealing_key(self) -> SealingKey:
        """Return the key to seal the next object with."""
        ...

    def opening_key(self, header: SealedHeader) -> bytes:
        """Return the 32 bytes that open an object.

        Args:
            header: Part of the object's header, not authenticated.

        Raises:
            UnknownKeyError: There is no such key.
        """
        ...


class KeyService(KeySource, Protocol):
    """Source of keys that asks a service over the network, such as AWS KMS, and keeps its answers.

    Its coroutines are awaited on the event loop, before a plain method needs what they fetch. They
    may be called at any time and at once, also on another loop than before.
    """

    async def prepare_sealing(self) -> None:
        """Fetch the sealing key, unless that is done.

        Called before each object is sealed, and while the state is read.

        Raises:
            PersistenceError: There is none to be had.
        """
        ...

    async def prepare_opening(self, header: SealedHeader) -> None:
        """Fetch the key that opens an object, unless that is done.

        A fault of the object, such as a key that is not at hand, is left to `opening_key`.

        Args:
            header: Part of the object's header, not authenticated. It may be anybody's, so that
                what is asked for it has to be bounded.

        Raises:
            PersistenceError: The service cannot be asked, which says nothing of the object.
        """
        ...

    async def close(self) -> None:
        """Release connections. A later call opens them again."""
        ...


def key_service(keys: KeySource) -> KeyService | None:
    """Return the source as a key service, or None where it has its keys already."""
    return cast("KeyService", keys) if hasattr(keys, "prepare_opening") else None


def for_history(keys: KeySource) -> KeySource:
    """Return the source to ask for older versions, which most often is the same."""
    widen: Callable[[], KeySource] | None = getattr(keys, "for_history", None)
    return keys if widen is None else widen()


def sealing_key(source: KeySource) -> SealingKey:
    """Return a source's sealing key, checked.

    Raises:
        KeyFormatError: It is of another form than `SealingKey` says: no reader would take an object
            that is sealed with it.
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
    """Return the fault of a key's id or wrapped form as a sentence, or None."""
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
