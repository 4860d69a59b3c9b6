"""The container of every object: a readable header, then sealed pages. Pure: bytes in, bytes out.

`FORMAT.md` is the specification; sections are cited where a rule binds.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import msgspec
import zstandard
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from ptb_s3._format.key_source import KeySource, SealingKey
from ptb_s3._storage.buffers import empty_stream
from ptb_s3.errors import DamagedObjectError

HEAD = "head"
MAGIC = b"ptb-s3/1\n"
MAX_HEADER = 64 * 1024
# The first bytes of any object that are sure to hold its preamble.
MAX_PREAMBLE = len(MAGIC) + MAX_HEADER
# Bytes of entities that go into one page: enough to compress well, little to hold in passing.
PAGE_SIZE = 1024 * 1024
# A page holds at least one entity, whole; so this bounds an entity too.
MAX_PAGE = 256 * 1024 * 1024

# Plaintext bytes of the smallest objects. Up to here, sizes tell nothing of values; a PUT of 4 KiB
# costs what one of 400 bytes does (Amazon S3 pricing: by request).
MIN_PLAINTEXT = 4096

# Cobblestone works in pieces of this size, so that a worker thread lets others run in between.
_PIECE = 1024 * 1024
_LENGTH = struct.Struct("<I")
_END = _LENGTH.pack(0)

# C2SP chunked-encryption@v1: 24 bytes of salt, 32 of commitment, then 16 KiB chunks, each tagged.
_SEALED_OVERHEAD = 56
_CHUNK = 16 * 1024
_TAG = 16

Hex16 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Uuid = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{1,32}\Z")]


class Changed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many entities of each kind a commit changed, added or deleted."""

    user_data: _Count = 0
    chat_data: _Count = 0
    bot_data: _Count = 0
    callback_data: _Count = 0
    conversations: _Count = 0


class Header(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What anybody can read of an object (FORMAT.md, section 2); true once it has been opened.

    Attributes:
        object: Name of the object: ``head`` or a kind.
        store: Store id.
        revision: Of the commit, or of the state that a blob holds.
        commit: Id of this attempt to write.
        created: By the writer's clock, UTC.
        writer: Id of the run of a process that made the commit.
        line: Line of the revision (`ptb_s3._format.head.Line`).
        key: Id of the key that sealed it.
        wrapped_key: What a key service needs to give the key again.
        serializer: Id of the serializer of the values.
        entities: Entities in a blob, entries of the differential in a head.
        changed: What a commit changed, so that history can be told from headers; None in a blob.
        size: Bytes of plaintext, padding included; set by `seal`.
    """

    object: _Name
    store: _Uuid
    revision: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    commit: Hex32
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    writer: Hex16
    line: Hex16
    key: Hex16
    wrapped_key: str | None = None
    serializer: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9._-]{1,32}\Z")]
    entities: _Count
    changed: Changed | None = None
    size: _Count


_encode_header = msgspec.json.Encoder().encode
_header_decoder = msgspec.json.Decoder(Header, strict=True)


def padded(length: int) -> int:
    """Return the padded length of a plaintext of so many bytes (FORMAT.md, section 5)."""
    if length <= MIN_PLAINTEXT:
        return MIN_PLAINTEXT
    exponent = length.bit_length() - 1
    step = 1 << max(exponent - exponent.bit_length(), 0)
    return -(-length // step) * step


def sealed_size(size: int) -> int:
    """Return the bytes of ciphertext that `size` bytes of plaintext make (FORMAT.md, section 4)."""
    return size + _TAG * (size // _CHUNK + 1) + _SEALED_OVERHEAD


def compress(page: bytes, level: int) -> bytes:
    """Make a page's zstd frame, which declares its content size."""
    frame = zstandard.ZstdCompressor(level=level).compress(page)
    # A copy: what it gives holds the memory that the worst case would have taken, five times that.
    return bytes(memoryview(frame))


def seal(header: Header, frames: list[bytes], key: SealingKey) -> bytes:
    """Seal frames under a header, whose key and size are filled in here; uses the frames up."""
    length = sum(_LENGTH.size + len(frame) for frame in frames) + len(_END)
    size = padded(length)
    header = msgspec.structs.replace(header, key=key.key_id, wrapped_key=key.wrapped_key, size=size)
    preamble = MAGIC + _encode_header(header) + b"\n"
    encryptor = Cobblestone256Encryptor(key.secret, _context(preamble))
    out = empty_stream(len(preamble) + sealed_size(size))
    out.write(preamble)
    for piece in _plaintext(frames, size - length):
        out.write(encryptor.update(piece))
    out.write(encryptor.finalize())
    return out.getvalue()  # which copies nothing


def read_header(name: str, data: bytes) -> tuple[Header, int]:
    """Parse the header of an object, whole or its first `MAX_PREAMBLE` bytes.

    Returns:
        The header, not yet authenticated, and where the ciphertext starts.
    """
    if not data.startswith(MAGIC):
        raise DamagedObjectError(name, "it does not begin like an object of ptb-s3, format 1")
    end = data.find(b"\n", len(MAGIC), MAX_PREAMBLE)
    if end < 0:
        raise DamagedObjectError(name, f"its header does not end within {MAX_HEADER} bytes")
    line = data[len(MAGIC) : end]
    try:
        header = _header_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DamagedObjectError(name, "its header is not as the format says") from None
    if _encode_header(header) != line or header.created.utcoffset():
        raise DamagedObjectError(name, "its header is not in the format's one form")
    if header.object != name:
        raise DamagedObjectError(
            name, f"it is an object {header.object!r}, put in this one's place"
        )
    if (header.changed is None) == (name == HEAD):
        raise DamagedObjectError(name, "its header says what a commit changed, or fails to")
    return header, end + 1


def open_sealed(name: str, data: bytes, keys: KeySource) -> tuple[Header, Iterator[bytes]]:
    """Authenticate an object that is there as a whole, and give its pages.

    All of it is authenticated before the first page is decompressed, one page at a time.

    Raises:
        DamagedObjectError: It is not what was written; while iterating, too.
        UnknownKeyError: It is sealed with a key that is not at hand.
    """
    unsealer = Unsealer(name, len(data), keys)
    unsealer.feed(data)
    return unsealer.finish(), unsealer.pages()


class Unsealer:
    """Opens an object piece by piece, as it arrives.

    Each chunk is authenticated before anything in it is decompressed. Whether these are all of them
    shows at the end: nothing that is made of what `pages` gives may be handed on before `finish`
    has returned (FORMAT.md, section 4).

    Args:
        name: Of the object.
        size: Bytes that all of it is said to have.
        keys: Opens it.

    Attributes:
        header: As soon as it has arrived; true once `finish` has returned.
    """

    def __init__(self, name: str, size: int, keys: KeySource) -> None:
        self.header: Header | None = None
        self._name, self._size, self._keys = name, size, keys
        self._beginning = bytearray()  # until the preamble is there
        self._begun: tuple[Header, Cobblestone256Decryptor] | None = None
        self._sealed = 0  # bytes of ciphertext
        self._plaintext = bytearray()  # authenticated, and not cut into pages yet
        self._cut = 0  # bytes of plaintext that were
        self._ended = self._finished = False

    def feed(self, data: bytes | memoryview) -> None:
        """Authenticate what is complete with these further bytes, but for the last chunk.

        Raises:
            DamagedObjectError: It is not what was written.
            UnknownKeyError: It is sealed with a key that is not at hand.
        """
        view = memoryview(data)
        for at in range(0, len(data), _PIECE):
            self._take(view[at : at + _PIECE])

    def finish(self) -> Header:
        """Authenticate the end, and so the whole.

        Raises:
            DamagedObjectError: It is not what was written.
        """
        header, decryptor = self._begun or self._begin()  # which refuses half a preamble
        with _authentication(self._name):
            self._plaintext += decryptor.finalize()
        self._finished = True
        return header

    def pages(self) -> Iterator[bytes]:
        """Give the pages that are complete, each once; at the end, see to the padding.

        Raises:
            DamagedObjectError: They are not as the format says.
        """
        for frame in self.frames():
            yield decompress(self._name, frame)

    def frames(self) -> Iterator[bytearray]:
        """Give the frames of the pages that are complete, as `pages` does.

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
            if not self._has_preamble():
                return
            self._begun = self._begin()
            piece, self._beginning = memoryview(self._beginning), bytearray()
        header, decryptor = self._begun
        self._sealed += len(piece)
        if self._sealed > sealed_size(header.size):
            _check_length(header, self._sealed)
        with _authentication(self._name):
            self._plaintext += decryptor.update(piece)

    def _has_preamble(self) -> bool:
        """Tell whether the preamble is there, or what is there cannot become one."""
        ends = self._beginning.find(b"\n", len(MAGIC), MAX_PREAMBLE) >= 0
        return ends or len(self._beginning) >= min(MAX_PREAMBLE, self._size)

    def _begin(self) -> tuple[Header, Cobblestone256Decryptor]:
        self.header, start = read_header(self._name, bytes(self._beginning))
        _check_length(self.header, self._size - start)
        key = self._keys.opening_key(self.header)
        decryptor = Cobblestone256Decryptor(key, _context(self._beginning[:start]))
        del self._beginning[:start]
        return self.header, decryptor

    def _next_frame(self) -> bytearray | None:
        """Cut off the next frame, which is empty at the end of pages; None: it is not there yet."""
        if self.header is None or len(self._plaintext) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._plaintext)
        end = _LENGTH.size + length
        if end > self.header.size - self._cut:
            raise DamagedObjectError(self._name, "a page runs past the end")
        if end > len(self._plaintext):
            return None
        frame = self._plaintext[_LENGTH.size : end]
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
    try:
        yield
    except InvalidTag:
        raise DamagedObjectError(
            name, "it fails authentication: it was changed after it was written"
        ) from None


def _check_length(header: Header, sealed: int) -> None:
    expected = sealed_size(header.size)
    if sealed != expected:
        reason = f"its sealed part has {sealed} bytes, not {expected}: it was cut short or added to"
        raise DamagedObjectError(header.object, reason)


def _context(preamble: bytes | bytearray) -> bytes:
    return hashlib.sha256(preamble).digest()


def _plaintext(frames: list[bytes], padding: int) -> Iterator[bytes | memoryview]:
    frames.reverse()
    while frames:  # each is let go of as soon as it is sealed
        frame = frames.pop()
        yield _LENGTH.pack(len(frame))
        view = memoryview(frame)
        for at in range(0, len(frame), _PIECE):
            yield view[at : at + _PIECE]
    yield _END
    for at in range(0, padding, _PIECE):
        yield bytes(min(_PIECE, padding - at))


def decompress(name: str, frame: bytes | bytearray) -> bytes:
    """Decompress one frame, no larger than it declares and than `MAX_PAGE`.

    `max_output_size` is no cap where a frame declares its size, so that size is looked at first.
    """
    try:
        declared = zstandard.frame_content_size(frame)
        if not 0 <= declared <= MAX_PAGE:
            raise DamagedObjectError(
                name, f"a page declares {declared} bytes; at most {MAX_PAGE} are taken"
            )
        page = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise DamagedObjectError(name, "a page does not decompress") from None
    if len(page) != declared:
        raise DamagedObjectError(name, "a page has another size than it declares")
    return page
