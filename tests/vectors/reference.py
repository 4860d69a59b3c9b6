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
from typing import Any

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

pack = msgspec.msgpack.encode
Header = dict[str, Any]


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
    }
    return fields | changes


def head_header(**changes: object) -> Header:
    """A head's header has one member more, before the last."""
    fields = header("head", changed={})
    fields["size"] = fields.pop("size")
    return fields | changes


def line(fields: Header) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def seal(preamble: bytes, text: bytes) -> bytes:
    encryptor = Cobblestone256Encryptor(SEAL_KEY, hashlib.sha256(preamble).digest())
    return preamble + encryptor.update(text) + encryptor.finalize()


def build(fields: Header, text: bytes, magic: bytes = b"ptb-s3/1\n") -> bytes:
    return seal(magic + line({**fields, "size": len(text)}), text)


def blob(kind: str, entries: list[Any], **changes: object) -> bytes:
    text = plaintext(page(pack(entries))) if entries else plaintext()
    return build(header(kind, **{"entities": len(entries), **changes}), text)


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
        "kinds": {kind: {"ref": None, "cost": 0} for kind in KINDS},
        **changes,
    }


def head(rec: dict[str, Any], *diffs: list[Any], **changes: object) -> bytes:
    text = plaintext(page(pack(rec)), *(page(pack(diff)) for diff in diffs))
    count = sum(len(diff[1]) for diff in diffs)
    return build(head_header(**{"entities": count, **changes}), text)


def head_of(*pages: bytes) -> bytes:
    """A head whose pages are given as they are."""
    return build(head_header(), plaintext(*map(page, pages)))


def _costly(cost: int) -> dict[str, Any]:
    rec = record()
    rec["kinds"]["user_data"] = {"ref": None, "cost": cost}
    return rec


def raw(text: bytes, **changes: object) -> bytes:
    """An object whose plaintext is given as it is."""
    return build(header("user_data", **{"entities": 1, **changes}), text)


REF = {
    "revision": 5,
    "version_id": "v1",
    "size": 500,
    "entities": 3,
    "key": KEY_ID,
    "commit": COMMIT[::-1],
}
ONE = [[1, b"one"]]
ONE_PAGE = page(pack(ONE))
DIFF = ["user_data", [[1, 7, b"one"], [2, 6, None]]]
DIGEST = hmac.new(SECRET, b"1", hashlib.sha256).digest()[:16]
OTHER_DIGEST = hmac.new(SECRET, b"-1001", hashlib.sha256).digest()[:16]
# zstd: single segment, eight bytes of content size (10 GiB), one empty last block.
TEN_GIB = bytes.fromhex("28b52ffd e0") + struct.pack("<Q", 10 * 2**30) + bytes.fromhex("010000")


def with_ref(**changes: object) -> dict[str, Any]:
    return _with_ref(REF | changes)


def _with_ref(ref: dict[str, Any]) -> dict[str, Any]:
    rec = record()
    rec["kinds"]["user_data"] = {"ref": ref, "cost": 12}
    return rec


def _lines(count: int) -> list[list[Any]]:
    return [[f"{number:016x}", number + 1] for number in range(count)]


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def _filled(length: int) -> bytes:
    """Pages up to the last byte: there is no end, and no padding."""
    for size in range(length):
        text = page(pack([[1, hashlib.shake_128(b"").digest(size)]]))
        if len(text) == length:
            return text
    raise AssertionError("no page is as long as that")


def sized(frame_bytes: bytes) -> bytes:
    return struct.pack("<I", len(frame_bytes)) + frame_bytes


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def intact() -> dict[str, bytes]:
    conversation = [["order", [1, -1001, "inline"]], b"state"]
    return {
        "user_data.ok": blob("user_data", [[1, b"one"], [-5, b""], [2**40, b"x" * 1000]]),
        "chat_data.ok-empty": blob("chat_data", []),
        "bot_data.ok": blob("bot_data", [[0, b"bot"]], created="2026-11-23T14:30:00Z"),
        "callback_data.ok": blob("callback_data", [[["k", "uuid"], b"k"], [["q", "5"], b"q"]]),
        "conversations.ok": blob("conversations", [conversation]),
        "jobs.ok": blob("jobs", [[["5a1f", [-1001, 1]], b"job"], [["daily", []], b""]]),
        "user_data.ok-pages": raw(plaintext(ONE_PAGE, page(pack([[2, b"two"]]))), entities=2),
        "user_data.ok-wrapped-key": _wrapped(),
        "head.ok": head(with_ref(), DIFF, changed={"user_data": 1}),
        "head.ok-erasures": head(record(erasures=[SECRET, [[DIGEST, 3], [OTHER_DIGEST, 7]]])),
        "head.ok-pages": head(record(), DIFF, ["user_data", [[2, 7, b"two"], [3, 7, b"three"]]]),
        "head.ok-updates": head(
            record(conditions=["http://s3/b", True], updates=[[9, 9], [11, 40]])
        ),
        "head.ok-words": head(record(words=["cart", "straße", "w" * 32])),
        "head.ok-padme": head(
            record(), ["user_data", [[1, 7, hashlib.shake_128(b"").digest(9000)]]]
        ),
        "head.ok-lines-lost": head(
            record(lines=[[f"{n:016x}", n + 10] for n in range(64)]), revision=80, line=f"{63:016x}"
        ),
        "head.ok-first": head(_first(), revision=1),
    }


def _first() -> dict[str, Any]:
    return record(restored=["5"], lines=[[LINE, 1]])


def _wrapped() -> bytes:
    fields: Header = {}
    for name, value in header("user_data", entities=1).items():
        fields[name] = value
        if name == "key":
            fields["wrapped_key"] = "AQID"
    return build(fields, plaintext(ONE_PAGE))


def _with_changed(fields: Header) -> Header:
    return {**without(fields, "size"), "changed": {}, "size": fields["size"]}


def damaged_preambles() -> dict[str, bytes]:
    good = blob("user_data", ONE)
    text = plaintext(ONE_PAGE)
    fields = header("user_data", entities=1, size=len(text))
    magic = b"ptb-s3/1\n"
    spaced = magic + json.dumps({**fields, "size": len(text)}).encode() + b"\n"
    twice = magic + line({**fields, "size": len(text)}).replace(b"{", b'{"revision":1,', 1)
    return {
        "user_data.empty": b"",
        "user_data.magic": build(fields, text, magic=b"ptb-s4/1\n"),
        "user_data.version-2": build(fields, text, magic=b"ptb-s3/2\n"),
        "user_data.header-no-end": magic + b"{" + b" " * 70_000,
        "user_data.header-too-long": build({**fields, "wrapped_key": "A" * 70_000}, text),
        "user_data.header-not-json": seal(magic + b"hello\n", text),
        "user_data.header-not-utf8": seal(magic + b'{"object":"\xff"}\n', text),
        "user_data.header-unknown-member": build({**fields, "extra": 1}, text),
        "user_data.header-missing-member": build(without(fields, "writer"), text),
        "user_data.header-repeated-member": seal(twice, text),
        "user_data.header-wrong-type": build({**fields, "revision": "7"}, text),
        "user_data.header-white-space": seal(spaced, text),
        "user_data.header-other-order": build(dict(reversed(fields.items())), text),
        "user_data.header-revision-0": build({**fields, "revision": 0}, text),
        "user_data.header-local-time": build(
            {**fields, "created": "2026-11-23T15:30:00+01:00"}, text
        ),
        "user_data.header-line-missing": build(without(fields, "line"), text),
        "user_data.header-line-not-hex": build({**fields, "line": "line"}, text),
        "user_data.header-upper-case-id": build({**fields, "commit": COMMIT.upper()}, text),
        "user_data.header-changed": good.replace(b'"revision":7', b'"revision":8'),
        "user_data.changed-in-blob": build(_with_changed(fields), text),
        "user_data.of-chat-data": blob("chat_data", ONE),
        "user_data.renamed": blob("chat_data", ONE).replace(b'"chat_data"', b'"user_data"'),
    }


def damaged_bodies() -> dict[str, bytes]:
    good = blob("user_data", ONE)
    body = ONE_PAGE + b"\0\0\0\0"
    short = zstandard.ZstdCompressor(write_content_size=False).compress(pack(ONE))
    lying = bytearray(frame(pack(ONE)))
    lying[5] += 1
    return {
        "user_data.truncated": good[:-1],
        "user_data.cut-to-preamble": good[: good.index(b"\n", 9) + 1],
        "user_data.trailing": good + b"\0",
        "user_data.flipped-first": flipped(good, good.index(b"\n", 9) + 1),
        "user_data.flipped-last": flipped(good, len(good) - 1),
        "user_data.page-past-end": raw(struct.pack("<I", 10_000) + plaintext(ONE_PAGE)),
        "user_data.no-end": raw(_filled(4096)),
        "user_data.padding-missing": raw(body),
        "user_data.padding-as-padme-alone": raw(body.ljust(padme(len(body)), b"\0")),
        "user_data.padding-too-long": raw(plaintext(ONE_PAGE) + b"\0" * 64),
        "user_data.padding-not-zero": raw(body.ljust(4096, b"\1")),
        "user_data.frame-garbage": raw(plaintext(sized(b"garbage"))),
        "user_data.frame-no-size": raw(plaintext(sized(short))),
        "user_data.frame-10-gib": raw(plaintext(sized(TEN_GIB))),
        "user_data.frame-wrong-size": raw(plaintext(sized(bytes(lying)))),
        "user_data.frame-and-more": raw(plaintext(sized(frame(pack(ONE)) + b"more"))),
        "user_data.frame-twice": raw(plaintext(sized(frame(pack(ONE)) * 2))),
        "user_data.page-not-messagepack": raw(plaintext(page(b"\xc1"))),
        "user_data.page-and-more": raw(plaintext(page(pack(ONE) + b"\0"))),
        "user_data.page-empty": raw(plaintext(page(pack([]))), entities=0),
        "user_data.key-of-other-type": blob("user_data", [["1", b"one"]]),
        "user_data.value-of-other-type": blob("user_data", [[1, "one"]]),
        "jobs.key-without-ids": blob("jobs", [["5a1f", b"job"]]),
        "user_data.key-twice": blob("user_data", [*ONE, *ONE]),
        "user_data.page-too-long": blob("user_data", [[i, b""] for i in range(32_769)]),
        "user_data.count": blob("user_data", ONE, entities=2),
    }


def damaged_heads() -> dict[str, bytes]:
    unknown = record()
    unknown["kinds"]["secrets"] = {"ref": None, "cost": 0}
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
        "head.changed-missing": build(header("head"), plaintext(page(pack(record())))),
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
    stranger = header("user_data", entities=1, key="ffffffffffffffff")
    return {
        "user_data.unknown-key": build(stranger, plaintext(ONE_PAGE)),
        "user_data.other-store": blob("user_data", ONE, store=OTHER_STORE),
        "head.other-bot": head(record(bot=1)),
        "head.other-serializer": head(record(), serializer="json"),
    }


def corpus() -> dict[str, tuple[str | None, bytes]]:
    """Return every vector: the error a reader must report (None: it is intact), and the object."""
    damaged = {**damaged_preambles(), **damaged_bodies(), **damaged_heads()}
    errors = {
        "user_data.unknown-key": "UnknownKeyError",
        "user_data.other-store": "ForeignStoreError",
        "head.other-bot": "ForeignStoreError",
        "head.other-serializer": "SettingsError",
    }
    return {
        **{name: (None, data) for name, data in intact().items()},
        **{name: ("DamagedObjectError", data) for name, data in damaged.items()},
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
