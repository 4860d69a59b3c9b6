"""Container of every object: a readable header, then sealed messages. Pure: bytes in, bytes out.

FORMAT.md is the specification; its sections are cited where a rule binds. In outline::

    object     = magic  header            readable; both are authenticated with the first message
                 message 0                Cobblestone-256, its context is a hash of magic and header
                 messages 1, 2, ...       only in a blob: its segments, and padding (`segments`)
    plaintext  = (length frame)*          of message 0: one zstd frame for each page
                 zero length  padding     up to a size that tells little (Padmé)

Here is what both directions share, and sealing; `unsealer` opens.
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

from ptb_s3._format.key_source import SealingKey
from ptb_s3._storage.buffers import empty_stream
from ptb_s3.errors import DamagedObjectError

HEAD = "head"
"""Name of the object that is the commit point."""
MAGIC = b"ptb-s3/1\n"
"""First bytes of every object: the format and its version (section 1)."""
MAX_HEADER = 64 * 1024
"""Bytes of a header, its line end included, at most (section 1)."""
MAX_PREAMBLE = len(MAGIC) + MAX_HEADER
"""Bytes from the start of any object that are sure to hold its magic and header."""
PAGE_SIZE = 1024 * 1024
"""Bytes of entries in one page of a differential: enough to compress well, little to hold."""
MAX_PAGE = 256 * 1024 * 1024
"""Bytes of one page, decompressed, at most (section 5).

A page holds at least one entity, whole; so this bounds an entity, too.
"""
MIN_PLAINTEXT = 4096
"""Bytes of plaintext in the smallest first messages (section 5).

Up to here, sizes tell nothing of values, and a PUT of 4 KiB costs what one of 400 bytes does
(Amazon S3 pricing: by request).
"""
MIN_BLOB = 8192
"""Bytes of the messages of the smallest blobs (section 7): of an index, a segment and padding."""
PIECE = 1024 * 1024
"""Bytes that are sealed or opened in one call: in between, other threads get the GIL."""
LENGTH = struct.Struct("<I")
"""Length of a frame, in front of it (section 5)."""
_END = LENGTH.pack(0)

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
    """Number of entities of each kind that a commit changed, added or deleted."""

    user_data: _Count = 0
    chat_data: _Count = 0
    bot_data: _Count = 0
    callback_data: _Count = 0
    conversations: _Count = 0
    jobs: _Count = 0


class Header(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Readable header of an object (section 2), to be believed only once the object was opened.

    Attributes:
        object: Name of the object: ``head`` or a kind.
        store: Store id.
        revision: Of the commit, or of the state that a blob holds.
        commit: Id of this attempt to write the object.
        created: Time of sealing by the writer's clock, UTC.
        writer: Id of the run of a process that made the commit.
        line: Line of the revision (`ptb_s3._format.head.Line`).
        key: Id of the key that sealed it.
        wrapped_key: Data key as a key service wrapped it; None where none did.
        serializer: Id of the serializer of the values.
        entities: Number of entities in a blob, or of entries in a head's differential.
        changed: Numbers of entities that the commit changed, so that a history can be listed from
            headers alone; None in a blob.
        size: Bytes of the first message's plaintext, padding included; set by `seal`.
        rest: Bytes of all further messages; None in a head, which has none.
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
    rest: _Count | None = None


_encode_header = msgspec.json.Encoder().encode
_header_decoder = msgspec.json.Decoder(Header, strict=True)


def padded(length: int) -> int:
    """Return the padded length of a plaintext of this many bytes: Padmé (section 5)."""
    if length <= MIN_PLAINTEXT:
        return MIN_PLAINTEXT
    exponent = length.bit_length() - 1
    step = 1 << max(exponent - exponent.bit_length(), 0)
    return -(-length // step) * step


def sealed_size(size: int) -> int:
    """Return the bytes of ciphertext that `size` bytes of plaintext make (section 4)."""
    return size + _TAG * (size // _CHUNK + 1) + _SEALED_OVERHEAD


def padding_of(length: int) -> int:
    """Return the bytes of a blob's padding (section 7).

    Args:
        length: Bytes of all of its messages, if the one of the padding is empty.
    """
    chunks, left = divmod(max(padded(length), MIN_BLOB) - length, _CHUNK + _TAG)
    return _CHUNK * chunks + min(left, _CHUNK)


def compress(page: bytes, level: int) -> bytes:
    """Compress a page to a zstd frame, which declares its content size (section 5)."""
    frame = zstandard.ZstdCompressor(level=level).compress(page)
    # A copy: the result of zstandard keeps the buffer for the worst case, five times as large.
    return bytes(memoryview(frame))


def seal_part(header: Header, number: int, plaintext: bytes, key: SealingKey) -> bytes:
    """Seal one of a blob's further messages (section 4).

    Args:
        header: Header of the object, of which its key and all that is not a size must be right.
        number: Number of the message, from 1 on.
        plaintext: What to seal.
        key: Key to seal with.
    """
    encryptor = Cobblestone256Encryptor(key.secret, _context_of_part(header, number))
    return b"".join((encryptor.update(plaintext), encryptor.finalize()))


def open_part(header: Header, number: int, message: bytes | memoryview, key: bytes) -> bytes:
    """Authenticate one of a blob's further messages, and return its plaintext (section 4).

    Raises:
        DamagedObjectError: It is not what was written in this place.
    """
    decryptor = Cobblestone256Decryptor(key, _context_of_part(header, number))
    with authentication(header.object):
        return b"".join((decryptor.update(message), decryptor.finalize()))


def seal(header: Header, frames: list[bytes], key: SealingKey) -> bytes:
    """Seal frames under a header, and return the object up to the end of its first message.

    Args:
        header: Header of the object, whose key id and size are filled in here.
        frames: Frames of its pages, in order. The list is emptied: each frame is freed as soon as
            it is sealed, so that no second copy of the object is held.
        key: Key to seal with.
    """
    length = sum(LENGTH.size + len(frame) for frame in frames) + len(_END)
    size = padded(length)
    header = msgspec.structs.replace(header, key=key.key_id, wrapped_key=key.wrapped_key, size=size)
    preamble = MAGIC + _encode_header(header) + b"\n"
    encryptor = Cobblestone256Encryptor(key.secret, context_of(preamble))
    out = empty_stream(len(preamble) + sealed_size(size))
    out.write(preamble)
    for piece in _plaintext(frames, size - length):
        out.write(encryptor.update(piece))
    out.write(encryptor.finalize())
    return out.getvalue()  # which copies nothing


def has_preamble(beginning: bytes | bytearray, size: int) -> bool:
    """Tell whether an object's preamble is complete, or can no longer become a valid one.

    Args:
        beginning: First bytes of the object.
        size: Bytes of all of it.
    """
    ends = beginning.find(b"\n", len(MAGIC), MAX_PREAMBLE) >= 0
    return ends or len(beginning) >= min(MAX_PREAMBLE, size)


def read_header(name: str, data: bytes) -> tuple[Header, int]:
    """Parse the header of an object.

    A header is refused unless it encodes to the same bytes again: so there is one form of it only.

    Args:
        name: Name that the object was fetched under.
        data: The object, or its first `MAX_PREAMBLE` bytes.

    Returns:
        The header, not yet authenticated, and the offset of the ciphertext.

    Raises:
        DamagedObjectError: It is not of the format, or it is another object's.
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
    if (header.rest is None) != (name == HEAD):
        raise DamagedObjectError(name, "its header says how long its segments are, or fails to")
    return header, end + 1


def context_of(preamble: bytes | bytearray) -> bytes:
    """Return the context that binds a first message to its magic and header (section 4)."""
    return hashlib.sha256(preamble).digest()


def _context_of_part(header: Header, number: int) -> bytes:
    """Return the context of a further message. It is sealed before the sizes are known."""
    header = msgspec.structs.replace(header, entities=0, size=0, rest=0)
    return context_of(MAGIC + _encode_header(header) + b"\n" + number.to_bytes(8, "little"))


@contextmanager
def authentication(name: str) -> Iterator[None]:
    """Report a failed tag as damage."""
    try:
        yield
    except InvalidTag:
        raise DamagedObjectError(
            name, "it fails authentication: it was changed after it was written"
        ) from None


def _plaintext(frames: list[bytes], padding: int) -> Iterator[bytes | memoryview]:
    """Yield the plaintext in pieces, and use the frames up."""
    frames.reverse()
    while frames:  # each is let go of as soon as it is sealed
        frame = frames.pop()
        yield LENGTH.pack(len(frame))
        view = memoryview(frame)
        for at in range(0, len(frame), PIECE):
            yield view[at : at + PIECE]
    yield _END
    for at in range(0, padding, PIECE):
        yield bytes(min(PIECE, padding - at))


def decompress(name: str, frame: bytes | memoryview) -> bytes:
    """Decompress one frame, whose declared size is checked before anything is allocated for it.

    The check is ours: zstandard takes `max_output_size` for no limit where a frame declares its
    size, so that a few bytes could claim any amount of memory.

    Raises:
        DamagedObjectError: It declares no size or more than `MAX_PAGE`, or yields another size, or
            is followed by anything.
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
