"""Where fuzzing starts: for each target inputs that get far, most of them from the test vectors."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator, Mapping

import msgspec
from tests.fuzzing import ranges, spools
from tests.fuzzing.targets import OBJECTS, READER, SAMPLES, joined, parted
from tests.vectors import reference

from ptb_s3._format import container
from ptb_s3._format.entities import Kind
from ptb_s3._format.unsealer import Unsealer, open_sealed
from ptb_s3.errors import PersistenceError

# Functions, by all ways there are to name one: no random bytes would get as far.
_GADGETS = (
    b"cos\nsystem\n(S'true'\ntR.",
    b"(S'true'\nios\nsystem\n.",
    b"cpathlib\nos.system\n(S'true'\ntR.",
    b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
    b"\x80\x04\x8c\x08__main__\x8c\x04main\x93)R.",
    b"\x80\x05ctelegram._chat\nChat\n)\x81}b.",
    pickle.dumps(functools.partial(os.system, "true")),
    pickle.dumps(operator.attrgetter("__class__.__base__")),
    pickle.dumps([subprocess.Popen, eval]),
)


# Bytes of a page whose length takes more than the two bytes that `joined` has for it.
_LONG = 2**16


def seeds(target: str) -> list[bytes]:
    """Return the inputs that a target starts with."""
    if target == "any_pickle":
        return [*SAMPLES, *_GADGETS]
    if target == "mutated_pickle":
        return [bytes([number, 9, 0, 3, 0x80]) for number in range(len(SAMPLES))]
    if target in _MADE:
        return _MADE[target]()
    vectors = {path.stem: path.read_bytes() for path in sorted(reference.FOLDER.glob("*.bin"))}
    # But for the vectors whose fault is a long header: a start that is slow leads nowhere.
    vectors = {name: data for name, data in vectors.items() if len(data) < container.MAX_HEADER}
    if target in {"any_header", "any_object"}:
        return list(vectors.values())
    as_input = _AS_INPUT[target]
    return [
        made
        for stem, data in vectors.items()
        for made in as_input(stem.split(".", maxsplit=1)[0], data)
    ]


def _as_plaintext(name: str, data: bytes) -> Iterator[bytes]:
    with contextlib.suppress(PersistenceError):
        unsealer = Unsealer(name, len(data), READER.keys)
        unsealer.feed(data)
        yield _start(name, unsealer.finish()) + unsealer._plaintext


def _as_pages(name: str, data: bytes) -> Iterator[bytes]:
    with contextlib.suppress(PersistenceError):
        header, opened = open_sealed(name, data, READER.keys)
        pages = list(opened)
        if all(len(page) < _LONG for page in pages):
            yield _start(name, header) + joined(pages)


def _as_segments(name: str, data: bytes) -> Iterator[bytes]:
    if name == container.HEAD:
        return
    with contextlib.suppress(PersistenceError, msgspec.DecodeError, IndexError):
        unsealer = Unsealer(name, len(data), READER.keys)
        rest = bytes(unsealer.feed(data))
        header = unsealer.finish()
        entries = [entry for page in unsealer.pages() for entry in msgspec.msgpack.decode(page)]
        parts = [reference.pack(entries)]
        for number, entry in enumerate(entries, 1):
            size = reference.sealed(entry[1])
            parts.append(container.open_part(header, number, rest[:size], unsealer.key))
            rest = rest[size:]
        if all(len(part) < _LONG for part in parts):
            yield bytes([[*Kind].index(Kind(name)), header.entities % 256]) + joined(parts)


def _as_index(name: str, data: bytes) -> Iterator[bytes]:
    for made in _as_segments(name, data):
        yield made[:1] + parted(made[2:])[0]


def _as_segment(name: str, data: bytes) -> Iterator[bytes]:
    for made in _as_segments(name, data):
        for frame in parted(made[2:])[1:]:
            with contextlib.suppress(PersistenceError):
                yield made[:1] + container.decompress(name, frame)


_MADE: Mapping[str, Callable[[], list[bytes]]] = {
    "any_ranges": ranges.seeds,
    "any_spool": spools.seeds,
}
_AS_INPUT = {
    "sealed_plaintext": _as_plaintext,
    "sealed_pages": _as_pages,
    "sealed_segments": _as_segments,
    "any_index": _as_index,
    "any_segment": _as_segment,
}


def _start(name: str, header: container.Header) -> bytes:
    return bytes([OBJECTS.index(name), header.entities % 256])
