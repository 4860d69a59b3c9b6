"""What is fuzzed: functions of bytes. One that raises has found something.

They let only our own errors pass. The suite runs them on bytes that Hypothesis makes
(`tests/unit/test_fuzz.py`), and the program on bytes that lead to code not seen before.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import fractions
import pickletools
import re
import struct
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec
from telegram import Chat, User
from telegram.constants import ChatType
from telegram.ext import ExtBot
from tests.fuzzing.effects import none_allowed
from tests.fuzzing.ranges import any_ranges
from tests.fuzzing.spools import any_spool
from tests.vectors import reference

from ptb_s3._format.container import HEAD, MAGIC, read_header
from ptb_s3._format.entities import Kind, decode_segment, encode_segment, order
from ptb_s3._format.head import Head
from ptb_s3._format.index import Index, decode_page, encode_index
from ptb_s3._format.reader import Reader
from ptb_s3._format.words import is_bare
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._values.loading import load_all
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import PersistenceError

OBJECTS = (HEAD, *map(str, Kind))
READER = Reader(Keyring(Key(reference.SECRET)))
_VECTORS = {path.stem: path.read_bytes() for path in reference.FOLDER.glob("*.bin")}
# What somebody sealed: the vectors, and those whose fault can be undone without the key as they
# were before it.
_SEALED = {
    *_VECTORS.values(),
    _VECTORS["user_data.trailing"][:-1],
    _VECTORS["user_data.header-changed"].replace(b'"revision":8', b'"revision":7'),
    _VECTORS["user_data.renamed"].replace(b'"user_data"', b'"chat_data"'),
}
BOT: ExtBot[None] = ExtBot("123:ABC")

# The highest entry of its memo that a pickle may name here, and the highest number that it may
# hand to a class which makes as much of something as it is told: see `is_within_limits`.
_MAX_MEMO = 100_000
_MAX_NUMBER = 1 << 20
_AMPLIFIER = re.compile(r"\b(bytearray|bytes|range|Decimal|Fraction|IPv[46]\w+)\Z")
_LARGE_TEXT = re.compile(r"[eE]\+?\d{5}|/\d|\d{7}")
# A high entry of the memo where `pickletools` gives up, which the reader may not.
_LARGE_MEMO = re.compile(rb"(?s)r..(?:[^\0].|.[^\0])|p\d{6}")

# What follows a bare value where it is loaded: an operation that ends within it goes on there.
_AFTER_BARE = b"l."

# One change to bytes, as `changed` takes it.
_CHANGE = struct.Struct("<HBB")
_LENGTH = struct.Struct("<H")
# First bytes of a frame.
_ZSTD = bytes.fromhex("28b52ffd")


@dataclass
class Sample:
    """A user's class: of all that this module holds, what a pickle may name."""

    name: str = ""
    place: object = None


PLAIN: Final = PickleSerializer(trusted=("__main__", __name__), bot=lambda: BOT)
CODEC: Final = PLAIN.sharing(lambda: ("name", "cart", "text", "b"))


class _Careful:
    """The reader that pickles with bots get, for all of them."""

    id = CODEC.id

    def dumps(self, value: object) -> bytes:
        return CODEC.dumps(value)

    def loads(self, data: bytes) -> object:
        CODEC._take_words()
        if is_bare(data):
            data = CODEC._reader.words.complete([data])
        return CODEC._reader.load_carefully(data)


def _chat() -> Chat:
    chat = Chat(1, ChatType.PRIVATE, title="here")
    chat.set_bot(BOT)
    return chat


SAMPLES: Final = tuple(
    codec.dumps(value)
    for codec in (PLAIN, CODEC)
    for value in (
        {"name": "Ada", "cart": [1, 2.5, None, True, 10**30], "text": "ä" * 300},
        [Sample("a", ChatType.GROUP), {1, 2}, frozenset({3}), b"bytes", bytearray(b"b"), Sample],
        [dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.timedelta(1), uuid.UUID(int=5)],
        [decimal.Decimal("1.10"), fractions.Fraction(1, 3), range(1, 9, 2), 1 + 2j],
        [OrderedDict(b=1), defaultdict(list, {1: [2]}), deque([1], maxlen=3)],
        [_chat(), User(7, "Ada", is_bot=False)],
        {"bot": BOT, "chat": _chat(), "shared": [[]] * 3, "raw": bytearray(b"raw")},
    )
)


def any_header(data: bytes) -> None:
    """Any bytes as the first ones of an object. What parses is what would be written for it."""
    for name in OBJECTS:
        with contextlib.suppress(PersistenceError):
            header, start = read_header(name, data)
            assert header.object == name
            assert MAGIC + msgspec.json.encode(header) + b"\n" == data[:start]


def any_object(data: bytes) -> None:
    """Any bytes as an object. What opens was sealed by one who has the key."""
    for name in OBJECTS:
        with contextlib.suppress(PersistenceError):
            READER.open(name, data)
            assert data in _SEALED


def sealed_plaintext(data: bytes) -> None:
    """Any bytes, correctly sealed: the object's number, how many entities, the plaintext.

    Of a blob, this is the index. It has no segments, so that none is right but an empty one.
    """
    if len(data) > 1:
        _open_sealed(OBJECTS[data[0] % len(OBJECTS)], data[1], data[2:])


def sealed_pages(data: bytes) -> None:
    """Any bytes as pages, correctly compressed and sealed: as above, then pages by `joined`."""
    if len(data) > 1:
        pages = map(reference.page, parted(data[2:]))
        _open_sealed(OBJECTS[data[0] % len(OBJECTS)], data[1], reference.plaintext(*pages))


def sealed_segments(data: bytes) -> None:
    """Any bytes as segments, correctly sealed: the kind's number, how many entities; by `joined`.

    What comes first is the index. It gets the right sizes, as far as it is one, so that it does not
    hide what comes behind it. Of that, what is no frame is compressed.
    """
    if len(data) > 1:
        index, *segments = parted(data[2:]) or [b""]
        frames = [part if part.startswith(_ZSTD) else reference.frame(part) for part in segments]
        text = reference.plaintext(reference.page(with_sizes(index, frames)))
        _open_sealed([*Kind][data[0] % len(Kind)].value, data[1], text, frames)


def any_index(data: bytes) -> None:
    """Any bytes as a page of an index: the kind's number, then the page. It finds its segments."""
    if data:
        kind = [*Kind][data[0] % len(Kind)]
        with contextlib.suppress(PersistenceError):
            index = Index(tuple(decode_page(kind, data[1:])))
            (page,) = encode_index(index)
            assert (*decode_page(kind, page),) == index.segments
            _find_each(index)


def any_segment(data: bytes) -> None:
    """Any bytes as a segment: the kind's number, then the segment. It can be written again."""
    if data:
        kind = [*Kind][data[0] % len(Kind)]
        with contextlib.suppress(PersistenceError):
            entries = decode_segment(kind, data[1:])
            assert decode_segment(kind, encode_segment(entries)) == entries


def any_pickle(data: bytes) -> None:
    """Any bytes as a value, by both readers. They give one or an error, and have no effect."""
    if is_within_limits(data) and is_within_limits(data + _AFTER_BARE):
        for serializer in (CODEC, _Careful()):
            with none_allowed(), contextlib.suppress(PersistenceError):
                load_all(serializer, "user_data", [(1, data)])


def mutated_pickle(data: bytes) -> None:
    """A value that we saved, with changes: the number of a sample, then what `changed` takes."""
    if data:
        any_pickle(changed(SAMPLES[data[0] % len(SAMPLES)], data[1:]))


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (
        any_header,
        any_object,
        sealed_plaintext,
        sealed_pages,
        sealed_segments,
        any_index,
        any_segment,
        any_pickle,
        mutated_pickle,
        any_ranges,
        any_spool,
    )
}


def joined(pages: list[bytes]) -> bytes:
    """Write pages one behind the other, each after its length in two bytes."""
    return b"".join(_LENGTH.pack(len(page)) + page for page in pages)


def with_sizes(index: bytes, frames: list[bytes]) -> bytes:
    """Write the sizes of frames into the entries of an index, as far as it has any."""
    try:
        entries = msgspec.msgpack.decode(index, type=list[list[object]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return index
    for entry, frame in zip(entries, frames, strict=False):
        entry[1:2] = [len(frame)]
    return reference.pack(entries)


def changed(sample: bytes, changes: bytes) -> bytes:
    """Make changes to bytes, four bytes each: where (2), what goes, and the byte that comes.

    How many bytes go is half of the number, up to three; where it is even, no byte comes.
    """
    result = bytearray(sample)
    for place, out, byte in _CHANGE.iter_unpack(changes[: len(changes) // 4 * 4]):
        start = place % (len(result) + 1)
        result[start : start + out // 2 % 4] = bytes([byte] * (out % 2))
    return bytes(result)


def is_within_limits(data: bytes) -> bool:
    """Tell whether a pickle stays clear of what the allow-list cannot bound (`_values.pickling`).

    Python before 3.14 allocates, and writes, as many entries as the highest index that a pickle
    names: gigabytes for six bytes. And some classes on the list make as much of something as they
    are told to: `bytes(10**10)`, or `list` of a `range`. No test is to hit either; and so what
    else needs that much is a finding.
    """
    place, amplifies, large = 0, False, False
    try:
        for operation, argument, at in pickletools.genops(data):
            place = at or 0
            if operation.name in {"PUT", "LONG_BINPUT"} and int(str(argument)) > _MAX_MEMO:
                return False
            if isinstance(argument, int):
                large = large or argument > _MAX_NUMBER
            elif isinstance(argument, str):
                amplifies = amplifies or _AMPLIFIER.search(argument) is not None
                large = large or _LARGE_TEXT.search(argument) is not None
    except Exception:  # noqa: BLE001 - the bytes may be anything
        return not (amplifies and large) and _LARGE_MEMO.search(data, place) is None
    return not (amplifies and large)


def _find_each(index: Index) -> None:
    """Look up each segment of an index by its first key, if they ascend as those of a blob do."""
    places = [*(order(segment.first) for segment in index.segments), None]
    if all(low < high for low, high in pairwise(places[:-1])):
        for number, segment in enumerate(index.segments):
            assert index.number_of(segment.first) == number
            assert index.newest(places[number], places[number + 1]) == segment.newest


def parted(data: bytes) -> list[bytes]:
    """Read what `joined` has written, as far as it goes."""
    pages = []
    while len(data) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data)
        pages.append(data[_LENGTH.size : _LENGTH.size + length])
        data = data[_LENGTH.size + length :]
    return pages


def _open_sealed(name: str, count: int, text: bytes, frames: list[bytes] | None = None) -> None:
    with contextlib.suppress(PersistenceError):
        if name == HEAD:
            _, head = READER.open(
                name, reference.build(reference.head_header(entities=count), text)
            )
            assert isinstance(head, Head)
            assert head.entries <= count  # an entity may stand in several pages
            return
        pieces = [reference.Piece([0, 0, 0, 0], frame) for frame in frames or []]
        blob = reference.of_pieces(pieces, name, text, entities=count)
        _, opened = READER.open(name, blob)
        assert isinstance(opened, dict)
        assert len(opened) == count
        if entities := [*opened.items()]:  # and they can be written again, as they come
            assert decode_segment(Kind(name), encode_segment(entities)) == entities
