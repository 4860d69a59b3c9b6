"""A second writer of the format, from FORMAT.md alone, and the vectors that it makes.

It shares no code with the package: what it writes, the package must read; and it can write what the
package never would. `python -m tests.vectors.reference` writes the corpus anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

FOLDER = Path(__file__).parent
SECRET = bytes(range(100, 132))
STORE = "6f1d3c52-9a0b-4c1e-8d75-2b8a4e9f0c11"
OTHER_STORE = "11111111-2222-4333-8444-555555555555"
BOT = 4711
WRITER = "00112233445566aa"
LINE = "11aa22bb33cc44dd"
OLD_LINE = "99aa22bb33cc44dd"
COMMIT = "c0ffee00c0ffee00c0ffee00c0ffee00"
KINDS = ("user_data", "chat_data", "bot_data", "callback_data", "conversations", "jobs")

MAGIC = b"ptb-s3/1\n"

pack = msgspec.msgpack.encode
Header = dict[str, Any]
Entity = list[Any]


def derive(info: bytes, length: int, secret: bytes = SECRET) -> bytes:
    return HKDFExpand(algorithm=SHA512(), length=length, info=info).derive(secret)


KEY_ID = derive(b"ptb-s3/1 key id", 8).hex()
SEAL_KEY = derive(b"ptb-s3/1 seal", 32)


def padme(length: int) -> int:
    exponent = length.bit_length() - 1
    low_bits = exponent - (exponent.bit_length() - 1) - 1
    mask = (1 << max(low_bits, 0)) - 1
    return (length + mask) & ~mask


def frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def page(data: bytes) -> bytes:
    compressed = frame(data)
    return struct.pack("<I", len(compressed)) + compressed


def plaintext(*pages: bytes) -> bytes:
    body = b"".join(pages) + b"\0\0\0\0"
    return body.ljust(max(4096, padme(len(body))), b"\0")


def sealed(size: int) -> int:
    return size + 16 * (size // 16384 + 1) + 56


def padding_after(length: int) -> bytes:
    """The padding after messages of so many bytes, found by trying one length after another."""
    without = length + sealed(0)
    least = max(8192, padme(without))
    size = max(0, least - without - 16 * ((least - without) // 16384 + 1))
    while length + sealed(size) < least:
        size += 1
    return bytes(size)


class Piece(NamedTuple):
    """A segment: its entry in the index, and what is sealed for it."""

    entry: list[Any]
    text: bytes


def piece(entities: list[Entity], newest: int = 7, **lies: Any) -> Piece:
    """A segment of these entities, as they are; `lies` are what its entry has in their place."""
    text = frame(pack(entities))
    told = {"first": entities[0][0], "size": len(text), "count": len(entities), **lies}
    return Piece([told["first"], told["size"], told["count"], newest], text)


def place(entity: Entity) -> Any:
    """What entities are ordered by."""
    return entity[0] if isinstance(entity[0], int) else pack(entity[0])


def header(name: str, **changes: object) -> Header:
    fields: Header = {
        "object": name,
        "store": STORE,
        "revision": 7,
        "commit": COMMIT,
        "created": "2026-11-23T14:30:00.250000Z",
        "writer": WRITER,
        "line": LINE,
        "key": KEY_ID,
        "serializer": "pickle5",
        "entities": 0,
        "size": 0,
        "rest": 0,
    }
    return fields | changes


def head_header(**changes: object) -> Header:
    """A head's header has one member more before the size, and none after it."""
    fields = without(header("head", changed={}), "rest")
    fields["size"] = fields.pop("size")
    return fields | changes


def line(fields: Header) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def sealed_under(context: bytes, text: bytes) -> bytes:
    encryptor = Cobblestone256Encryptor(SEAL_KEY, hashlib.sha256(context).digest())
    return encryptor.update(text) + encryptor.finalize()


def seal(preamble: bytes, text: bytes) -> bytes:
    return preamble + sealed_under(preamble, text)


def build(fields: Header, text: bytes, magic: bytes = MAGIC) -> bytes:
    """An object up to the end of its first message."""
    return seal(magic + line({**fields, "size": len(text)}), text)


def part_context(fields: Header, number: int, magic: bytes = MAGIC) -> bytes:
    zeros = {name: 0 for name in ("entities", "size", "rest") if name in fields}
    return magic + line(fields | zeros) + struct.pack("<Q", number)


def part(fields: Header, number: int, text: bytes, magic: bytes = MAGIC) -> bytes:
    """A message after the first one."""
    return sealed_under(part_context(fields, number, magic), text)


def index_of(pieces: list[Piece]) -> bytes:
    return plaintext(page(pack([piece.entry for piece in pieces]))) if pieces else plaintext()


def parts_of(
    fields: Header, pieces: list[Piece], index: bytes, magic: bytes = MAGIC
) -> list[bytes]:
    """All messages after the first: the segments, and the padding."""
    parts = [part(fields, number, one.text, magic) for number, one in enumerate(pieces, 1)]
    padding = padding_after(sealed(len(index)) + sum(map(len, parts)))
    return [*parts, part(fields, len(parts) + 1, padding, magic)]


def joined(fields: Header, index: bytes, parts: list[bytes], magic: bytes = MAGIC) -> bytes:
    """A blob of these messages; its header says how long they are, where it says so at all."""
    rest = b"".join(parts)
    told = {**fields, "rest": len(rest)} if "rest" in fields else fields
    return build(told, index, magic) + rest


def of_pieces(
    pieces: list[Piece], kind: str = "user_data", index: bytes | None = None, **changes: Any
) -> bytes:
    """A blob of these segments, and of an index that says so or that is given as it is."""
    fields = header(kind, **{"entities": sum(one.entry[2] for one in pieces), **changes})
    text = index_of(pieces) if index is None else index
    return joined(fields, text, parts_of(fields, pieces, text))


def blob(kind: str, entities: list[Entity], /, **changes: Any) -> bytes:
    """A blob as it should be, in one segment."""
    pieces = [piece(sorted(entities, key=place))] if entities else []
    return of_pieces(pieces, kind, **changes)


def record(**changes: object) -> dict[str, Any]:
    return {
        "bot": BOT,
        "writers": [[WRITER, COMMIT, 7]],
        "lines": [[OLD_LINE, 1], [LINE, 6]],
        "restored": [],
        "keys": {KEY_ID: 1},
        "erasures": None,
        "conditions": None,
        "updates": [],
        "words": [],
        "kinds": {kind: {"ref": None, "cost": 0, "entities": 0} for kind in KINDS},
        **changes,
    }


def head(rec: dict[str, Any], *diffs: list[Any], **changes: object) -> bytes:
    text = plaintext(page(pack(rec)), *(page(pack(diff)) for diff in diffs))
    count = sum(len(diff[1]) for diff in diffs)
    return build(head_header(**{"entities": count, **changes}), text)


def head_without(name: str) -> bytes:
    """A head whose header lacks a member."""
    return build(without(head_header(), name), plaintext(page(pack(record()))))


def head_of(*pages: bytes) -> bytes:
    """A head whose pages are given as they are."""
    return build(head_header(), plaintext(*map(page, pages)))


def _costly(cost: int) -> dict[str, Any]:
    rec = record()
    rec["kinds"]["user_data"] = {"ref": None, "cost": cost, "entities": 0}
    return rec


def raw(text: bytes, **changes: Any) -> bytes:
    """A blob whose first message has a plaintext that is given as it is."""
    return of_pieces([piece(ONE)], index=text, **changes)


def framed(text: bytes) -> bytes:
    """A blob of one segment, whose frame is given as it is."""
    return of_pieces([Piece([1, len(text), 1, 7], text)])


REF = {
    "revision": 5,
    "version_id": "v1",
    "size": 500,
    "entities": 3,
    "key": KEY_ID,
    "commit": COMMIT[::-1],
}
ONE = [[1, b"one"]]
ONE_PAGE = page(pack([piece(ONE).entry]))
DIFF = ["user_data", [[1, 7, b"one"], [2, 6, None]]]
DIGEST = hmac.new(SECRET, b"1", hashlib.sha256).digest()[:16]
OTHER_DIGEST = hmac.new(SECRET, b"-1001", hashlib.sha256).digest()[:16]
# zstd: single segment, eight bytes of content size (10 GiB), one empty last block.
TEN_GIB = bytes.fromhex("28b52ffd e0") + struct.pack("<Q", 10 * 2**30) + bytes.fromhex("010000")


def with_ref(**changes: object) -> dict[str, Any]:
    return _with_ref(REF | changes)


def _with_ref(ref: dict[str, Any]) -> dict[str, Any]:
    rec = record()
    rec["kinds"]["user_data"] = {"ref": ref, "cost": 12, "entities": 3}
    return rec


def _lines(count: int) -> list[list[Any]]:
    return [[f"{number:016x}", number + 1] for number in range(count)]


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def _without_end() -> bytes:
    """An index of one page up to its last byte: there is no end, and no padding."""
    for size in range(3000, 5000):
        one = piece([[["q", hashlib.shake_128(b"").hexdigest(size)], b""]])
        text = page(pack([one.entry]))
        if len(text) == 4096:
            return of_pieces([one], "callback_data", index=text)
    raise AssertionError("no page is as long as that")


def sized(frame_bytes: bytes) -> bytes:
    return struct.pack("<I", len(frame_bytes)) + frame_bytes


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cut(entities: list[Entity], *numbers: int) -> list[Piece]:
    """Entities in segments, as they should be; each number is that of entities in one of them."""
    rest = sorted(entities, key=place)
    pieces = []
    for newest, number in enumerate(numbers, 1):
        pieces.append(piece(rest[:number], newest))
        rest = rest[number:]
    assert not rest
    return pieces


def noise(size: int) -> bytes:
    return hashlib.shake_128(b"noise").digest(size)


USERS: list[Entity] = [[1, b"one"], [-5, b""], [2**40, b"x" * 1000]]
CALLBACKS: list[Entity] = [[["k", "uuid"], b"k"], [["q", "5"], b"q"], [["k", "b"], b""]]
CONVERSATIONS: list[Entity] = [
    [["order", [1, -1001, "inline"]], b"state"],
    [["b", [2]], b""],  # before the next one: MessagePack has lengths first
    [["aa", [2]], b"one"],
    [["aa", [-1]], b"two"],  # after the one before: 255 as a byte, and so after 2
    [["aa", []], b"three"],
]
JOBS: list[Entity] = [
    [["5a1f", [-1001, 1]], b"job"],
    [["daily", []], b""],
    [["timeout:order", [1, 2]], b"timeout"],
]
INTS = sorted([*USERS, [2, b"two"], [3, b"three"], [-(2**40), b""]])


def intact() -> dict[str, bytes]:
    return intact_blobs() | {
        "head.ok": head(with_ref(), DIFF, changed={"user_data": 1}),
        "head.ok-erasures": head(record(erasures=[SECRET, [[DIGEST, 3], [OTHER_DIGEST, 7]]])),
        "head.ok-pages": head(record(), DIFF, ["user_data", [[2, 7, b"two"], [3, 7, b"three"]]]),
        "head.ok-updates": head(
            record(conditions=["http://s3/b", True], updates=[[9, 9], [11, 40]])
        ),
        "head.ok-words": head(record(words=["cart", "straße", "w" * 32])),
        "head.ok-padme": head(record(), ["user_data", [[1, 7, noise(9000)]]]),
        "head.ok-lines-lost": head(
            record(lines=[[f"{n:016x}", n + 10] for n in range(64)]), revision=80, line=f"{63:016x}"
        ),
        "head.ok-first": head(_first(), revision=1),
    }


def intact_blobs() -> dict[str, bytes]:
    ints = cut(INTS, 2, 1, 3)
    pages = plaintext(*(page(pack([one.entry for one in some])) for some in (ints[:2], ints[2:])))
    return {
        "user_data.ok": blob("user_data", USERS),
        "user_data.ok-segments": of_pieces(ints),
        "user_data.ok-index-pages": of_pieces(ints, index=pages),
        "user_data.ok-padme": of_pieces(cut([[1, noise(9000)], [2, noise(20_000)]], 1, 1)),
        "user_data.ok-wrapped-key": _wrapped(),
        "chat_data.ok-empty": blob("chat_data", []),
        "bot_data.ok": blob("bot_data", [[0, b"bot"]], created="2026-11-23T14:30:00Z"),
        "callback_data.ok": blob("callback_data", CALLBACKS),
        "callback_data.ok-segments": of_pieces(cut(CALLBACKS, 1, 2), "callback_data"),
        "conversations.ok": blob("conversations", CONVERSATIONS),
        "conversations.ok-segments": of_pieces(cut(CONVERSATIONS, 1, 2, 2), "conversations"),
        "jobs.ok": blob("jobs", JOBS),
        "jobs.ok-segments": of_pieces(cut(JOBS, 1, 1, 1), "jobs"),
    }


def _first() -> dict[str, Any]:
    return record(restored=["5"], lines=[[LINE, 1]])


def _wrapped() -> bytes:
    fields: Header = {}
    for name, value in header("user_data", entities=1).items():
        fields[name] = value
        if name == "key":
            fields["wrapped_key"] = "AQID"
    return _one(fields)


def _one(fields: Header, magic: bytes = MAGIC) -> bytes:
    """A blob of `ONE` under a header and a magic that are given as they are."""
    pieces = [piece(ONE)]
    text = index_of(pieces)
    return joined(fields, text, parts_of(fields, pieces, text, magic), magic)


def _beginning(preamble: bytes) -> bytes:
    """A blob of `ONE` under a preamble that no header encodes to."""
    pieces = [piece(ONE)]
    text = index_of(pieces)
    return seal(preamble, text) + b"".join(parts_of(header("user_data"), pieces, text))


def _with_changed(fields: Header) -> Header:
    before = without(without(fields, "size"), "rest")
    return {**before, "changed": {}, "size": fields["size"], "rest": 0}


def damaged_preambles() -> dict[str, bytes]:
    good = blob("user_data", ONE)
    fields = header("user_data", entities=1)
    sizes = json.loads(good[len(MAGIC) : good.index(b"\n", len(MAGIC))])
    spaced = MAGIC + json.dumps(sizes).encode() + b"\n"
    twice = MAGIC + line(sizes).replace(b"{", b'{"revision":1,', 1)
    text = index_of([piece(ONE)])
    return {
        "user_data.empty": b"",
        "user_data.magic": _one(fields, magic=b"ptb-s4/1\n"),
        "user_data.version-2": _one(fields, magic=b"ptb-s3/2\n"),
        "user_data.header-no-end": MAGIC + b"{" + b" " * 70_000,
        "user_data.header-too-long": _one({**fields, "wrapped_key": "A" * 70_000}),
        "user_data.header-not-json": _beginning(MAGIC + b"hello\n"),
        "user_data.header-not-utf8": _beginning(MAGIC + b'{"object":"\xff"}\n'),
        "user_data.header-unknown-member": _one({**fields, "extra": 1}),
        "user_data.header-missing-member": _one(without(fields, "writer")),
        "user_data.header-repeated-member": _beginning(twice),
        "user_data.header-wrong-type": _one({**fields, "revision": "7"}),
        "user_data.header-white-space": _beginning(spaced),
        "user_data.header-other-order": _one(dict(reversed(fields.items()))),
        "user_data.header-revision-0": _one({**fields, "revision": 0}),
        "user_data.header-local-time": _one({**fields, "created": "2026-11-23T15:30:00+01:00"}),
        "user_data.header-line-missing": _one(without(fields, "line")),
        "user_data.header-line-not-hex": _one({**fields, "line": "line"}),
        "user_data.header-upper-case-id": _one({**fields, "commit": COMMIT.upper()}),
        "user_data.header-changed": good.replace(b'"revision":7', b'"revision":8'),
        "user_data.header-rest-missing": _one(without(fields, "rest")),
        "user_data.header-rest-negative": _beginning(MAGIC + line(sizes | {"rest": -1})),
        "user_data.header-rest-more": _beginning(MAGIC + line(sizes | {"rest": sizes["rest"] + 1})),
        "user_data.header-rest-less": _beginning(MAGIC + line(sizes | {"rest": sizes["rest"] - 1})),
        "user_data.header-size-more": _beginning(MAGIC + line(sizes | {"size": len(text) + 1})),
        "user_data.changed-in-blob": _one(_with_changed(fields)),
        "user_data.of-chat-data": blob("chat_data", ONE),
        "user_data.renamed": blob("chat_data", ONE).replace(b'"chat_data"', b'"user_data"'),
    }


def damaged_bytes() -> dict[str, bytes]:
    """Blobs that somebody without the key has changed."""
    fields, pieces = header("user_data", entities=6), cut(INTS, 2, 1, 3)
    index = index_of(pieces)
    parts = parts_of(fields, pieces, index)
    good = joined(fields, index, parts)
    start = good.index(b"\n", len(MAGIC)) + 1
    ends = [start + sealed(len(index))]
    for one in parts:
        ends.append(ends[-1] + len(one))
    return {
        "user_data.truncated": good[:-1],
        "user_data.cut-to-preamble": good[:start],
        "user_data.cut-to-index": good[: ends[0]],
        "user_data.cut-to-segments": good[: ends[-2]],
        "user_data.trailing": good + b"\0",
        "user_data.flipped-first": flipped(good, start),
        "user_data.flipped-in-index": flipped(good, start + 100),
        "user_data.flipped-first-of-segment": flipped(good, ends[0]),
        "user_data.flipped-in-segment": flipped(good, ends[1] + 60),
        "user_data.flipped-last-of-segment": flipped(good, ends[3] - 1),
        "user_data.flipped-in-padding": flipped(good, ends[3] + 100),
        "user_data.flipped-last": flipped(good, len(good) - 1),
    }


def damaged_indexes() -> dict[str, bytes]:
    """Blobs whose first message holds no index."""
    one = piece(ONE)
    entry = one.entry
    body = ONE_PAGE + b"\0\0\0\0"
    short = zstandard.ZstdCompressor(write_content_size=False).compress(pack([entry]))
    lying = bytearray(frame(pack([entry])))
    lying[5] += 1
    return {
        "user_data.page-past-end": raw(struct.pack("<I", 10_000) + plaintext(ONE_PAGE)[4:]),
        "callback_data.no-end": _without_end(),
        "user_data.index-padding-missing": raw(body),
        "user_data.index-padding-as-padme-alone": raw(body.ljust(padme(len(body)), b"\0")),
        "user_data.index-padding-too-long": raw(plaintext(ONE_PAGE) + b"\0" * 64),
        "user_data.index-padding-not-zero": raw(body.ljust(4096, b"\1")),
        "user_data.frame-garbage": raw(plaintext(sized(b"garbage"))),
        "user_data.frame-no-size": raw(plaintext(sized(short))),
        "user_data.frame-10-gib": raw(plaintext(sized(TEN_GIB))),
        "user_data.frame-wrong-size": raw(plaintext(sized(bytes(lying)))),
        "user_data.frame-and-more": raw(plaintext(sized(frame(pack([entry])) + b"more"))),
        "user_data.frame-twice": raw(plaintext(sized(frame(pack([entry])) * 2))),
        "user_data.page-not-messagepack": raw(plaintext(page(b"\xc1"))),
        "user_data.page-and-more": raw(plaintext(page(pack([entry]) + b"\0"))),
        "user_data.page-empty": raw(plaintext(ONE_PAGE, page(pack([])))),
        "user_data.entry-key-of-other-type": of_pieces([piece(ONE, first="1")]),
        "user_data.entry-size-0": of_pieces([piece(ONE, size=0)]),
        "user_data.entry-size-huge": of_pieces([piece(ONE, size=2**53 - 1)]),
        "user_data.entry-entities-0": of_pieces([piece(ONE, count=0)], entities=1),
        "user_data.entry-revision-0": of_pieces([piece(ONE, 0)]),
        "user_data.entry-revision-after-header": of_pieces([piece(ONE, 8)]),
        "user_data.entry-member-missing": of_pieces([Piece(entry[:3], one.text)]),
        "user_data.entry-member-more": of_pieces([Piece([*entry, 7], one.text)]),
        "user_data.count": blob("user_data", ONE, entities=2),
        "user_data.segments-descend": of_pieces([piece([[2, b"two"]]), piece(ONE)]),
        "user_data.segments-alike": of_pieces([piece(ONE), piece(ONE)]),
    }


def damaged_segments() -> dict[str, bytes]:
    """Blobs with an index, and a segment that is none or not the one that the index says."""
    short = zstandard.ZstdCompressor(write_content_size=False).compress(pack(ONE))
    lying = bytearray(frame(pack(ONE)))
    lying[5] += 1
    more = [*ONE, [2, b"two"]]
    in_text_order = [[["aa", []], b""], [["b", []], b""]]
    return {
        "user_data.segment-garbage": framed(b"garbage"),
        "user_data.segment-no-size": framed(short),
        "user_data.segment-10-gib": framed(TEN_GIB),
        "user_data.segment-wrong-size": framed(bytes(lying)),
        "user_data.segment-and-more": framed(frame(pack(ONE)) + b"more"),
        "user_data.segment-twice": framed(frame(pack(ONE)) * 2),
        "user_data.segment-as-page": framed(page(pack(ONE))),
        "user_data.segment-not-messagepack": framed(frame(b"\xc1")),
        "user_data.segment-and-more-inside": framed(frame(pack(ONE) + b"\0")),
        "user_data.segment-empty": framed(frame(pack([]))),
        "user_data.segment-too-long": of_pieces([piece([[i, b""] for i in range(32_769)])]),
        "user_data.key-of-other-type": of_pieces([piece([*ONE, ["2", b"two"]])]),
        "user_data.value-of-other-type": blob("user_data", [[1, "one"]]),
        "jobs.key-without-ids": of_pieces([piece([*JOBS[:1], ["5a1f", b"job"]])], "jobs"),
        "user_data.key-twice": of_pieces([piece([*ONE, *ONE])]),
        "user_data.keys-descend": of_pieces([piece([[1, b""], [3, b""], [2, b""]])]),
        "user_data.keys-in-order-of-bytes": of_pieces([piece([[1, b""], [-5, b""]])]),
        "conversations.keys-in-order-of-text": of_pieces([piece(in_text_order)], "conversations"),
        "user_data.key-in-two-segments": of_pieces([piece(more), piece([*more[1:], [3, b""]])]),
        "user_data.segments-overlap": of_pieces([piece([*ONE, [5, b""]]), piece([[4, b""]])]),
        "user_data.first-before-index": of_pieces([piece([[1, b""], [3, b""]], first=2)]),
        "user_data.first-after-index": of_pieces([piece([[3, b""]], first=2)]),
        "user_data.entities-more-than-index": of_pieces([piece(more, count=1)]),
        "user_data.entities-less-than-index": of_pieces([piece(ONE, count=2)]),
    }


def misplaced() -> dict[str, bytes]:
    """Blobs with a message of another place, object or attempt, or with too many or too few."""
    pieces = [piece([[number, b"of one size"]]) for number in range(3)]
    fields, index = header("user_data", entities=3), index_of(pieces)
    one, two, three, padding = parts_of(fields, pieces, index)
    whole = joined(fields, index, [one, two, three, padding])
    preamble = whole[: whole.index(b"\n", len(MAGIC)) + 1]
    text = pieces[0].text

    def beginning_with(*parts: bytes) -> bytes:
        return joined(fields, index, [*parts, two, three, padding])

    return {
        "user_data.segments-exchanged": joined(fields, index, [two, one, three, padding]),
        "user_data.segment-again": beginning_with(two),
        "user_data.segment-of-other-attempt": beginning_with(
            part({**fields, "commit": COMMIT[::-1]}, 1, text)
        ),
        "user_data.segment-of-other-revision": beginning_with(
            part({**fields, "revision": 6}, 1, text)
        ),
        "user_data.segment-of-chat-data": beginning_with(
            part({**fields, "object": "chat_data"}, 1, text)
        ),
        "user_data.segment-of-number-0": beginning_with(part(fields, 0, text)),
        "user_data.segment-as-first-message": beginning_with(sealed_under(preamble, text)),
        "user_data.segment-of-whole-header": beginning_with(
            sealed_under(preamble + struct.pack("<Q", 1), text)
        ),
        "user_data.index-as-segment": preamble
        + part(fields, 0, index)
        + b"".join((one, two, three, padding)),
        "user_data.segment-missing": beginning_with(),
        "user_data.segment-more": joined(
            {**fields, "entities": 2}, index_of(pieces[:2]), [one, two, three, padding]
        ),
        "user_data.sizes-exchanged": of_pieces(_with_sizes_exchanged()),
        **_with_other_padding(fields, index, [one, two, three]),
        "user_data.padding-of-other-number": joined(
            fields, index, [one, two, three, part(fields, 5, bytes(len(padding) - sealed(0)))]
        ),
    }


def _with_sizes_exchanged() -> list[Piece]:
    one, two = [[1, noise(50)]], [[2, noise(60)]]
    sizes = [len(piece(entities).text) for entities in (one, two)]
    return [piece(one, size=sizes[1]), piece(two, size=sizes[0])]


def _with_other_padding(fields: Header, index: bytes, parts: list[bytes]) -> dict[str, bytes]:
    length = sealed(len(index)) + sum(map(len, parts))
    right = padding_after(length)
    alone = bytes(padme(length + sealed(0)) - length - sealed(0))  # as if nothing had a least size

    def padded(*paddings: bytes) -> bytes:
        tail = [part(fields, number, text) for number, text in enumerate(paddings, 4)]
        return joined(fields, index, [*parts, *tail])

    return {
        "user_data.more-than-messages": joined(
            fields, index, [*parts, part(fields, 4, right), bytes(16)]
        ),
        "user_data.padding-missing": padded(),
        "user_data.padding-empty": padded(b""),
        "user_data.padding-as-padme-alone": padded(alone),
        "user_data.padding-too-short": padded(right[:-1]),
        "user_data.padding-too-long": padded(right + b"\0"),
        "user_data.padding-not-zero": padded(right[:-1] + b"\1"),
        "user_data.padding-begins-not-zero": padded(b"\1" + right[1:]),
        "user_data.padding-twice": padded(right, right),
    }


def damaged_heads() -> dict[str, bytes]:
    unknown = record()
    unknown["kinds"]["secrets"] = {"ref": None, "cost": 0, "entities": 0}
    missing = record()
    del missing["kinds"]["bot_data"]
    return {
        "head.no-record": build(head_header(), plaintext()),
        "head.record-missing-member": head(without(record(), "bot")),
        "head.record-unknown-member": head(record(extra=1)),
        "head.record-unknown-kind": head(unknown),
        "head.record-missing-kind": head(missing),
        "head.ref-newer": head(with_ref(revision=8)),
        "head.entry-twice": head(record(), ["user_data", [[1, 7, b"a"], [1, 7, b"a"]]]),
        "head.entry-older-later": head(record(), DIFF, ["user_data", [[1, 6, b"a"]]]),
        "head.entry-again-later": head(record(), DIFF, ["user_data", [[1, 7, b"a"]]]),
        "head.entry-too-old": head(with_ref(), ["user_data", [[1, 5, b"a"]]]),
        "head.entry-too-new": head(with_ref(), ["user_data", [[1, 8, b"a"]]]),
        "head.entry-of-unknown-kind": head(record(), ["secrets", [[1, 7, b"a"]]]),
        "head.entry-key-of-other-type": head(record(), ["conversations", [[1, 7, b"a"]]]),
        "head.page-empty": head(record(), ["user_data", []]),
        "head.no-writer": head(record(writers=[])),
        "head.cost-too-large": head(_costly(2**64 - 1)),
        "head.kind-not-utf8": head_of(pack(record()), b"\x92\xa1\xff\x90"),
        "head.page-too-long": head(record(), ["user_data", [[i, 7, b""] for i in range(32_769)]]),
        "head.count": head(record(), DIFF, entities=3),
        "head.changed-missing": head_without("changed"),
        "head.rest": build(head_header(rest=0), plaintext(page(pack(record())))),
        "head.changed-unknown-kind": head(record(), changed={"secrets": 1}),
        "head.changed-other-order": head(record(), changed={"chat_data": 1, "user_data": 1}),
        "head.changed-none": head(record(), changed={"user_data": 0}),
        "head.key-needed-later": head(record(keys={KEY_ID: 8})),
        "head.erasure-twice": head(record(erasures=[SECRET, [[DIGEST, 3], [DIGEST, 4]]])),
        "head.erasure-too-new": head(record(erasures=[SECRET, [[DIGEST, 8]]])),
        "head.erasure-digest-short": head(record(erasures=[SECRET, [[DIGEST[:-1], 3]]])),
        "head.conditions-of-other-type": head(record(conditions=["http://s3/b", 1])),
        "head.updates-too-many": head(record(updates=[[2 * i, 2 * i] for i in range(257)])),
        "head.updates-overlap": head(record(updates=[[9, 12], [12, 14]])),
        "head.updates-touch": head(record(updates=[[13, 14], [9, 12]])),
        "head.updates-backwards": head(record(updates=[[12, 9]])),
        "head.updates-negative": head(record(updates=[[-1, 9]])),
        "head.no-line": head(record(lines=[])),
        "head.lines-too-many": head(record(lines=_lines(65)), revision=70, line=f"{64:016x}"),
        "head.line-twice": head(record(lines=[[LINE, 1], [LINE, 6]])),
        "head.line-too-new": head(record(lines=[[OLD_LINE, 1], [LINE, 8]])),
        "head.lines-of-one-revision": head(record(lines=[[OLD_LINE, 6], [LINE, 6]])),
        "head.lines-backwards": head(record(lines=[[OLD_LINE, 6], [LINE, 1]])),
        "head.line-0": head(record(lines=[[LINE, 0]])),
        "head.line-not-hex": head(record(lines=[["g" * 16, 1], [LINE, 6]])),
        "head.line-other-than-header": head(record(), line=OLD_LINE),
        "head.restored-twice": head(record(restored=["5", "6", "5"])),
        "head.restored-empty": head(record(restored=[""])),
        "head.restored-too-long": head(record(restored=["5" * 1025])),
        "head.restored-too-many": head(record(restored=list(map(str, range(129))))),
        "head.ref-without-commit": head(_with_ref(without(REF, "commit"))),
        "head.ref-commit-not-hex": head(with_ref(commit="g" * 32)),
        "head.word-twice": head(record(words=["cart", "name", "cart"])),
        "head.word-empty": head(record(words=["cart", ""])),
        "head.word-too-long": head(record(words=["w" * 33])),
        "head.words-too-many": head(record(words=[str(number) for number in range(62)])),
        "head.erasure-secret-short": head(record(erasures=[SECRET[:-1], []])),
    }


def refused() -> dict[str, bytes]:
    return {
        "user_data.unknown-key": _one(header("user_data", entities=1, key="ffffffffffffffff")),
        "user_data.other-store": blob("user_data", ONE, store=OTHER_STORE),
        "head.other-bot": head(record(bot=1)),
        "head.other-serializer": head(record(), serializer="json"),
    }


def damaged() -> dict[str, bytes]:
    return {
        **damaged_preambles(),
        **damaged_bytes(),
        **damaged_indexes(),
        **damaged_segments(),
        **misplaced(),
        **damaged_heads(),
    }


def corpus() -> dict[str, tuple[str | None, bytes]]:
    """Return every vector: the error a reader must report (None: it is intact), and the object."""
    errors = {
        "user_data.unknown-key": "UnknownKeyError",
        "user_data.other-store": "ForeignStoreError",
        "head.other-bot": "ForeignStoreError",
        "head.other-serializer": "SettingsError",
    }
    return {
        **{name: (None, data) for name, data in intact().items()},
        **{name: ("DamagedObjectError", data) for name, data in damaged().items()},
        **{name: (errors[name], data) for name, data in refused().items()},
    }


def main() -> None:
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    index: dict[str, str | None] = {}
    for name, (error, data) in corpus().items():
        (FOLDER / f"{name}.bin").write_bytes(data)
        index[name] = error
    (FOLDER / "index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
