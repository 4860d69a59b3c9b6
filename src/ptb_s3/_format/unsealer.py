"""Opening of sealed objects: authentication chunk by chunk, then frames, pages and padding. Pure.

Sections are FORMAT.md's. Order of checks, from outside to inside, each before the next one trusts
anything:

1. the preamble, by its form (section 2), and the object's length, by what the header says of it
2. each chunk, by its tag (section 4), before anything in it is decompressed
3. each frame, by its declared size (section 5), before anything is allocated for it
4. the last chunk, and with it that these are all of them, in `Unsealer.finish`
5. the padding (section 5)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from ptb_s3._format.container import (
    LENGTH,
    PIECE,
    Header,
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
    """Authenticate an object that is in memory as a whole, and return its header and pages.

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
    """Incremental opener of one object: bytes are fed as they arrive, and pages come out.

    Each chunk is authenticated before anything in it is decompressed. That the chunks are complete
    is known only at the end: nothing that is made of a page may be handed on before `finish` has
    returned (section 4), and all of it must be dropped if `finish` fails.

    Args:
        name: Name that the object was fetched under.
        size: Bytes that the storage says it has.
        keys: Source of the key.

    Attributes:
        header: The header, once it has arrived; None before. To be believed once `finish` has
            returned.
    """

    def __init__(self, name: str, size: int, keys: KeySource) -> None:
        self.header: Header | None = None
        self._name, self._size, self._keys = name, size, keys
        self._beginning = bytearray()  # bytes before the preamble is complete
        self._begun: tuple[Header, Cobblestone256Decryptor] | None = None
        self._sealed = 0  # bytes of ciphertext
        self._plaintext = bytearray()  # bytes authenticated, and not cut into frames yet
        self._cut = 0  # bytes of plaintext that were cut into frames
        self._ended = self._finished = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take further bytes, and authenticate every chunk that is complete but the last one.

        Raises:
            DamagedObjectError: It is not what was written.
            UnknownKeyError: It is sealed with a key that is not at hand.
        """
        view = memoryview(data)
        for at in range(0, len(data), PIECE):
            self._take(view[at : at + PIECE])

    def finish(self) -> Header:
        """Authenticate the last chunk, and with it the whole object. Return its header.

        Raises:
            DamagedObjectError: It is not what was written.
        """
        header, decryptor = self._begun or self._begin()  # which refuses half a preamble
        with _authentication(self._name):
            self._plaintext += decryptor.finalize()
        self._finished = True
        return header

    def pages(self) -> Iterator[bytes]:
        """Yield the pages that are complete by now, each once. After `finish`, check the padding.

        Raises:
            DamagedObjectError: They are not as the format says.
        """
        for frame in self.frames():
            yield decompress(self._name, frame)

    def frames(self) -> Iterator[bytearray]:
        """Yield the frames that are complete by now, as `pages` does, without decompressing them.

        Raises:
            DamagedObjectError: They are not as the format says.
        """
        while not self._ended and (frame := self._next_frame()) is not None:
            self._ended = not frame
            if frame:
                yield frame
        if self._finished:
            self._check_end()

    def _take(self, piece: memoryview) -> None:
        if self._begun is None:
            self._beginning += piece
            if not has_preamble(self._beginning, self._size):
                return
            self._begun = self._begin()
            piece, self._beginning = memoryview(self._beginning), bytearray()
        header, decryptor = self._begun
        self._sealed += len(piece)
        if self._sealed > sealed_size(header.size):
            _check_length(header, self._sealed)
        with _authentication(self._name):
            self._plaintext += decryptor.update(piece)

    def _begin(self) -> tuple[Header, Cobblestone256Decryptor]:
        self.header, start = read_header(self._name, bytes(self._beginning))
        _check_length(self.header, self._size - start)
        key = self._keys.opening_key(self.header)
        decryptor = Cobblestone256Decryptor(key, context_of(self._beginning[:start]))
        del self._beginning[:start]
        return self.header, decryptor

    def _next_frame(self) -> bytearray | None:
        """Cut off the next frame: empty at the end of pages, None if it has not arrived yet."""
        if self.header is None or len(self._plaintext) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._plaintext)
        end = LENGTH.size + length
        if end > self.header.size - self._cut:
            raise DamagedObjectError(self._name, "a page runs past the end")
        if end > len(self._plaintext):
            return None
        frame = self._plaintext[LENGTH.size : end]
        del self._plaintext[:end]
        self._cut += end
        return frame

    def _check_end(self) -> None:
        if not self._ended:
            raise DamagedObjectError(self._name, "its pages do not end")
        padding = len(self._plaintext)
        if padded(self._cut) != self._cut + padding or self._plaintext.count(0) != padding:
            raise DamagedObjectError(self._name, "its padding is not as the format says")


@contextmanager
def _authentication(name: str) -> Iterator[None]:
    """Report a failed tag as damage."""
    try:
        yield
    except InvalidTag:
        raise DamagedObjectError(
            name, "it fails authentication: it was changed after it was written"
        ) from None


def _check_length(header: Header, sealed: int) -> None:
    """Refuse a ciphertext of another length than the header's size implies (section 4)."""
    expected = sealed_size(header.size)
    if sealed != expected:
        reason = f"its sealed part has {sealed} bytes, not {expected}: it was cut short or added to"
        raise DamagedObjectError(header.object, reason)
