"""The container of every object: a readable header, then sealed pages. Pure: bytes in, bytes out.

`FORMAT.md` is the specification; sections are cited where a rule binds.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import msgspec
import zstandard
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from ptb_s3._keyring import KeySource, SealingKey
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

# Cobblestone works in pieces of this size, so that a worker thread lets others run in between.
_PIECE = 1024 * 1024
_LENGTH = struct.Struct("<I")
_END = _LENGTH.pack(0)

# C2SP chunked-encryption@v1: 24 bytes of salt, 32 of commitment, then 16 KiB chunks, each tagged.
_SEALED_OVERHEAD = 56
_CHUNK = 16 * 1024
_TAG = 16

_Hex16 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
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
        writer: Id of the process that wrote it.
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
    commit: _Hex32
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    writer: _Hex16
    key: _Hex16
    wrapped_key: str | None = None
    serializer: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9._-]{1,32}\Z")]
    entities: _Count
    changed: Changed | None = None
    size: _Count


_encode_header = msgspec.json.Encoder().encode
_header_decoder = msgspec.json.Decoder(Header, strict=True)


def padded(length: int) -> int:
    """Return the Padmé length of a plaintext of so many bytes (FORMAT.md, section 5)."""
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


def seal(header: Header, frames: list[bytes], key: SealingKey) -> bytearray:
    """Seal frames under a header, whose key and size are filled in here; uses the frames up."""
    length = sum(_LENGTH.size + len(frame) for frame in frames) + len(_END)
    size = padded(length)
    header = msgspec.structs.replace(header, key=key.key_id, wrapped_key=key.wrapped_key, size=size)
    preamble = MAGIC + _encode_header(header) + b"\n"
    out = bytearray(len(preamble) + sealed_size(size))
    out[: len(preamble)] = preamble
    encryptor = Cobblestone256Encryptor(key.secret, _context(preamble))
    view = memoryview(out)
    at = len(preamble)
    for piece in _plaintext(frames, size - length):
        at += encryptor.update_into(piece, view[at:])
    view[at:] = encryptor.finalize()
    return out


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
    """Authenticate an object and give its pages.

    All of it is authenticated before the first page is decompressed, one page at a time.

    Raises:
        DamagedObjectError: It is not what was written; while iterating, too.
        UnknownKeyError: It is sealed with a key that is not at hand.
    """
    header, start = read_header(name, data)
    length, expected = len(data) - start, sealed_size(header.size)
    if length != expected:
        reason = f"its sealed part has {length} bytes, not {expected}: it was cut short or added to"
        raise DamagedObjectError(name, reason)
    plaintext = _decrypt(name, memoryview(data), start, keys.opening_key(header))
    return header, _pages(name, plaintext)


def _context(preamble: bytes | memoryview) -> bytes:
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


def _decrypt(name: str, data: memoryview, start: int, key: bytes) -> memoryview:
    decryptor = Cobblestone256Decryptor(key, _context(data[:start]))
    out = memoryview(bytearray(len(data) - start))
    done = 0
    try:
        for at in range(start, len(data), _PIECE):
            done += decryptor.update_into(data[at : at + _PIECE], out[done:])
        rest = decryptor.finalize()
    except InvalidTag:
        raise DamagedObjectError(
            name, "it fails authentication: it was changed after it was written"
        ) from None
    out[done : done + len(rest)] = rest
    return out[: done + len(rest)]


def _pages(name: str, plaintext: memoryview) -> Iterator[bytes]:
    at = 0
    while length := _page_length(name, plaintext, at):
        at += _LENGTH.size
        if length > len(plaintext) - at:
            raise DamagedObjectError(name, "a page runs past the end")
        yield _decompress(name, plaintext[at : at + length])
        at += length
    at += len(_END)
    if padded(at) != len(plaintext) or bytes(plaintext[at:]).strip(b"\0"):
        raise DamagedObjectError(name, "its padding is not as the format says")


def _page_length(name: str, plaintext: memoryview, at: int) -> int:
    if len(plaintext) - at < _LENGTH.size:
        raise DamagedObjectError(name, "its pages do not end")
    (length,) = _LENGTH.unpack_from(plaintext, at)
    return int(length)


def _decompress(name: str, frame: memoryview) -> bytes:
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
