"""Opening of sealed objects: authentication chunk by chunk, then frames, pages and padding. Pure.

Sections are FORMAT.md's. Order of checks, from outside to inside, each before the next one trusts
anything:

1. the preamble, by its form (section 2), and the object's length, by what the header says of it
2. each chunk, by its tag (section 4), and by the last one that these are all of the message
3. each frame, by its declared size (section 5), before anything is allocated for it
4. the padding (section 5)

Of a blob, this is the index. `segments` opens the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.cobblestone import Cobblestone256Decryptor

from ptb_s3._format.container import (
    LENGTH,
    PIECE,
    Header,
    authentication,
    context_of,
    decompress,
    has_preamble,
    padded,
    read_header,
    sealed_size,
)
from ptb_s3._format.key_source import KeySource
from ptb_s3.errors import DamagedObjectError


def open_sealed(name: str, data: bytes, keys: KeySource) -> tuple[Header, Iterator[bytes]]:
    """Authenticate the first message of an object, and return its header and pages.

    All of it is authenticated before the first page is decompressed. Pages are decompressed one at
    a time, as they are asked for.

    Args:
        name: Name that the object was fetched under.
        data: All of its bytes.
        keys: Source of the key.

    Raises:
        DamagedObjectError: It is not what was written; while iterating, too.
        UnknownKeyError: It is sealed with a key that is not at hand.
    """
    unsealer = Unsealer(name, len(data), keys)
    unsealer.feed(data)
    return unsealer.finish(), unsealer.pages()


class Unsealer:
    """Incremental opener of an object's first message: bytes are fed as they arrive.

    Each chunk is authenticated as soon as it is complete, so that garbage is refused at its first
    bytes. That the chunks are complete is known only at the end (section 4).

    Args:
        name: Name that the object was fetched under.
        size: Bytes that the storage says the object has, with all of its messages.
        keys: Source of the key.

    Attributes:
        header: The header, once it has arrived; None before. To be believed once `finish` has
            returned.
        key: The key that opens the object's messages, from then on.
        complete: Whether all of the message has arrived.
    """

    def __init__(self, name: str, size: int, keys: KeySource) -> None:
        self.header: Header | None = None
        self.key = b""
        self._name, self._size, self._keys = name, size, keys
        self._beginning = bytearray()  # bytes before the preamble is complete
        self._decryptor: Cobblestone256Decryptor | None = None
        self._fed = 0  # bytes of the object
        self._left = 0  # bytes of the message that have still to arrive
        self._plaintext = bytearray()

    @property
    def complete(self) -> bool:
        """Return whether all of the message has arrived."""
        return self._decryptor is not None and not self._left

    def feed(self, data: bytes | memoryview) -> memoryview:
        """Take further bytes, authenticate each complete chunk, and return what comes after.

        Returns:
            The bytes among them that are not of the first message.

        Raises:
            DamagedObjectError: It is not what was written.
            UnknownKeyError: It is sealed with a key that is not at hand.
        """
        view = memoryview(data)
        self._fed += len(view)
        if self._fed > self._size:
            raise DamagedObjectError(self._name, "it is longer than the storage says: added to")
        if self._decryptor is None:
            self._beginning += view
            if not has_preamble(self._beginning, self._size):
                return view[:0]
            self._begin()
            view, self._beginning = memoryview(self._beginning), bytearray()
        message, after = view[: self._left], view[self._left :]
        self._left -= len(message)
        for at in range(0, len(message), PIECE):
            self._take(message[at : at + PIECE])
        return after

    def finish(self) -> Header:
        """Authenticate the last chunk, and with it the whole message. Return the header.

        Raises:
            DamagedObjectError: It is not what was written.
        """
        if self._decryptor is None:
            self._begin()  # which refuses half a preamble
        assert self.header is not None and self._decryptor is not None  # noqa: PT018, S101 - for mypy
        with authentication(self._name):
            self._plaintext += self._decryptor.finalize()
        return self.header

    def pages(self) -> Iterator[bytes]:
        """Yield the pages of a message that `finish` has authenticated, then check its padding.

        Raises:
            DamagedObjectError: They are not as the format says.
        """
        for frame in self.frames():
            yield decompress(self._name, frame)

    def frames(self) -> Iterator[memoryview]:
        """Yield the frames, as `pages` does, without decompressing them.

        Raises:
            DamagedObjectError: They are not as the format says.
        """
        text = memoryview(self._plaintext)
        start = 0
        while length := self._length_at(start):
            start += LENGTH.size
            if start + length > len(text):
                raise DamagedObjectError(self._name, "a page runs past the end")
            yield text[start : start + length]
            start += length
        self._check_padding(start + LENGTH.size)

    def _begin(self) -> None:
        self.header, start = read_header(self._name, bytes(self._beginning))
        _check_length(self.header, self._size - start)
        self.key = self._keys.opening_key(self.header)
        self._decryptor = Cobblestone256Decryptor(self.key, context_of(self._beginning[:start]))
        self._left = sealed_size(self.header.size)
        del self._beginning[:start]

    def _take(self, piece: memoryview) -> None:
        assert self._decryptor is not None  # noqa: S101 - for mypy: the preamble is complete
        with authentication(self._name):
            self._plaintext += self._decryptor.update(piece)

    def _length_at(self, start: int) -> int:
        """Return the length of the frame that begins there, or 0 at the end of pages."""
        if start + LENGTH.size > len(self._plaintext):
            raise DamagedObjectError(self._name, "its pages do not end")
        length: int = LENGTH.unpack_from(self._plaintext, start)[0]
        return length

    def _check_padding(self, end: int) -> None:
        size = len(self._plaintext)
        if padded(end) != size or self._plaintext.count(0, end) != size - end:
            raise DamagedObjectError(self._name, "its padding is not as the format says")


def _check_length(header: Header, sealed: int) -> None:
    """Refuse messages of another length than the header's sizes imply (section 4)."""
    expected = sealed_size(header.size) + (header.rest or 0)
    if sealed != expected:
        reason = f"its sealed part has {sealed} bytes, not {expected}: it was cut short or added to"
        raise DamagedObjectError(header.object, reason)
