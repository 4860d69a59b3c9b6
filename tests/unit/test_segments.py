"""Blobs: an index and segments, each of which opens by itself; and what their index knows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import accumulate, chain, pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import KEY
from tests.vectors import reference

from ptb_s3._format import container, segments
from ptb_s3._format import index as index_module
from ptb_s3._format.container import Header, padding_of, read_header, sealed_size
from ptb_s3._format.entities import MAX_ENTRIES, Entities, Entries, Kind, order
from ptb_s3._format.head import Entry, Page, Part
from ptb_s3._format.index import Ages, Index, Segment
from ptb_s3._format.segments import BlobSealer, BlobUnsealer
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3.errors import DamagedObjectError

USER = Kind.USER_DATA
KEYS = Keyring(KEY)
DAMAGED = reference.damaged()
REFERENCE_KEYS = Keyring(Key(reference.SECRET))
CHUNK = 16 * 1024  # of Cobblestone, without its tag
HEADER = Header(
    object="user_data",
    store=reference.STORE,
    revision=7,
    commit="c0ffee00" * 4,
    created=datetime(2026, 11, 23, 14, 30, tzinfo=UTC),
    writer=reference.WRITER,
    line=reference.LINE,
    key="",
    serializer="pickle5",
    entities=0,
    size=0,
)
INTS = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=60))
PARTS = st.lists(st.integers(-300, 300) | st.text(max_size=3), max_size=3).map(tuple)
PAIRS = st.dictionaries(st.tuples(st.text(max_size=3), PARTS), st.binary(max_size=60))
quickly = settings(max_examples=60, deadline=None)


@contextmanager
def small(size: int = 100, **limits: int) -> Iterator[None]:
    """Have segments of a few entities: each counts for 32 bytes and its value."""
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in {"SEGMENT_SIZE": size, **limits}.items():
            patch.setattr(segments if hasattr(segments, name) else index_module, name, limit)
        yield


def blob_of(
    entities: Any,
    kind: Kind = USER,
    *,
    revision: int = 7,
    known: Index | None = None,
    part: Part | None = None,
) -> tuple[bytes, Index]:
    """Seal a blob; return it and its index."""
    written: list[bytes] = []
    header = msgspec.structs.replace(HEADER, object=kind.value, revision=revision)
    sealer = BlobSealer(header, KEYS.sealing_key(), level=3, write=written.append)
    ages = Ages(known, part or Part(), revision)
    entries = sorted(entities.items(), key=lambda entry: order(entry[0]))
    sealer.add(entries)
    beginning, index = sealer.finish(ages)
    return beginning + b"".join(written), index


def feed(unsealer: BlobUnsealer, data: bytes, size: int, given: list[Entries]) -> None:
    """Feed a blob as it would arrive in pieces of a size, to its end; add what it gives."""
    for at in range(0, len(data), size):
        given += unsealer.feed(data[at : at + size])
    assert unsealer.finish() == unsealer.header


def in_pieces(
    data: bytes, size: int, kind: Kind = USER, keys: Keyring = KEYS
) -> tuple[BlobUnsealer, list[Entries]]:
    """Open a blob that arrives in pieces of a size."""
    unsealer = BlobUnsealer(kind, len(data), keys)
    given: list[Entries] = []
    feed(unsealer, data, size, given)
    return unsealer, given


def ends_of(data: bytes, index: Index) -> list[int]:
    """Where the messages of a blob end: the index, each segment, and the padding."""
    header, start = read_header("user_data", data)
    sizes = [sealed_size(header.size), *(sealed_size(s.size) for s in index.segments)]
    return [*(start + end for end in accumulate(sizes)), len(data)]


def noise(size: int) -> bytes:
    return Random(size).randbytes(size)  # noqa: S311 - incompressible is enough


@contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fail if Python's memory, buffers of libraries included, grows by more in between."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= limit


# Sealing and opening ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "strategy"), [(USER, INTS), (Kind.CONVERSATIONS, PAIRS)])
@given(data=st.data())
@quickly
def test_what_is_sealed_opens_to_the_same(kind: Kind, strategy: Any, data: st.DataObject) -> None:
    """Any entities, in order; and each where the index says, whatever pieces they arrive in."""
    entities = data.draw(strategy)
    with small():
        blob, index = blob_of(entities, kind)
    unsealer, given = in_pieces(blob, data.draw(st.integers(50, 10_000)), kind)
    flat = [entry for entries in given for entry in entries]
    assert flat == sorted(entities.items(), key=lambda entry: order(entry[0]))
    assert unsealer.index is not None
    assert unsealer.index.segments == index.segments
    assert index.entities == len(entities)
    for number, entries in enumerate(given):
        assert {index.number_of(key) for key, _ in entries} == {number}


@given(INTS)
@quickly
def test_two_writers_write_alike(entities: Entities) -> None:
    """The second encoder, from the document alone, makes the same header, index and segments."""
    with small():
        blob, index = blob_of(entities)
    header, start = read_header("user_data", blob)
    rest = sorted(map(list, entities.items()))
    pieces = []
    for segment in index.segments:
        pieces.append(reference.piece(rest[: segment.entities], segment.newest))
        rest = rest[segment.entities :]
    fields: Any = {"commit": header.commit, "key": KEY.id, "created": "2026-11-23T14:30:00Z"}
    other = reference.of_pieces(pieces, **fields)
    assert blob[:start] == other[: other.index(b"\n", 9) + 1]
    assert len(blob) == len(other)


def test_a_large_blob_is_cut_into_segments() -> None:
    """A segment holds about 128 KiB, and an entity of any size is whole."""
    limit = segments.SEGMENT_SIZE
    entities: Entities = {**{n: noise(10_000 + n) for n in range(35)}, 99: noise(3 * limit)}
    blob, index = blob_of(entities)
    assert [segment.size // 10_000 for segment in index.segments] == [14, 14, 46]
    assert dict(chain(*in_pieces(blob, 2**20)[1])) == entities


def test_an_index_has_as_many_pages_as_it_takes() -> None:
    """A page of the index is full at its limit of entries, like any other."""
    entities: Entities = dict.fromkeys(range(10), b"x" * 70)
    with small(MAX_ENTRIES=3):
        blob, index = blob_of(entities)
    assert len(index.segments) == 10
    pages: list[bytes] = []

    def noted(name: str, frame: bytes) -> bytes:
        pages.append(container.decompress(name, frame))
        return pages[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ptb_s3._format.unsealer.decompress", noted)
        assert dict(chain(*in_pieces(blob, 999)[1])) == entities
    assert [len(msgspec.msgpack.decode(page)) for page in pages] == [3, 3, 3, 1]


def three_segments(size: int = 20_000) -> tuple[bytes, Index, list[Entries]]:
    """Return a blob of three segments, longer than a chunk, and what it gives."""
    entities: Entities = {n: noise(size + n) for n in range(-1, 2)}
    with small(size):
        blob, index = blob_of(entities)
    assert len(index.segments) == 3
    return blob, index, [[entry] for entry in entities.items()]


def test_pieces_of_any_size_open_to_the_same() -> None:
    """Whole, byte by byte, and cut at and beside the ends of chunks and of messages."""
    blob, index, expected = three_segments()
    ends = ends_of(blob, index)
    sizes = {1, 2, 7, 700, CHUNK, CHUNK + 16, *ends, *(b - a for a, b in pairwise(ends))}
    for size in {size + by for size in sizes for by in (-1, 0, 1)} - {0, -1}:
        assert in_pieces(blob, size)[1] == expected


def test_a_piece_may_end_at_any_byte() -> None:
    """In two pieces, wherever the first one ends."""
    blob, index, expected = three_segments(10)
    ends = ends_of(blob, index)
    for at in [*range(0, len(blob), 50), *range(ends[0] - 20, ends[3] + 20)]:
        unsealer = BlobUnsealer(USER, len(blob), KEYS)
        assert unsealer.feed(blob[:at]) + unsealer.feed(blob[at:]) == expected
        unsealer.finish()


def test_a_segment_is_given_when_its_last_byte_is_there() -> None:
    """And not before."""
    blob, index, expected = three_segments()
    unsealer = BlobUnsealer(USER, len(blob), KEYS)
    ends = ends_of(blob, index)
    given: list[Entries] = []
    for at in range(len(blob)):
        assert (unsealer.index is not None) == (at >= ends[0])
        given += unsealer.feed(blob[at : at + 1])
        assert len(given) == sum(end <= at + 1 for end in ends[1:4])
    assert given == expected


# What is refused ----------------------------------------------------------------------------------


def refused(data: bytes, size: int, piece: int, keys: Keyring = KEYS) -> list[Entries]:
    """Check that a blob is refused, and return what was given before."""
    given: list[Entries] = []
    with pytest.raises(DamagedObjectError):
        feed(BlobUnsealer(USER, size, keys), data, piece, given)
    return given


@pytest.mark.parametrize("told", [False, True], ids=["the storage knows", "the transfer ends"])
def test_a_blob_that_was_cut_is_refused(told: bool) -> None:  # noqa: FBT001 - a case
    """At any length; what was given before is what was written."""
    blob, index, expected = three_segments(10)
    ends = ends_of(blob, index)
    for length in range(len(blob)):
        given = refused(blob[:length], len(blob) if told else length, 5000)
        assert given == (expected[: sum(end <= length for end in ends[1:4])] if told else [])


def test_a_blob_with_more_behind_it_is_refused() -> None:
    """Whether the storage says so or not."""
    blob, _, expected = three_segments(10)
    assert refused(blob + b"\0", len(blob) + 1, 5000) == []
    unsealer = BlobUnsealer(USER, len(blob), KEYS)
    assert unsealer.feed(blob) == expected
    with pytest.raises(DamagedObjectError, match="added to"):
        unsealer.feed(b"\0")


def test_any_flipped_byte_is_an_error() -> None:
    """Promise 5: never another value; and nothing of the message that it is in."""
    blob, index, expected = three_segments(10)
    ends = ends_of(blob, index)
    _, start = read_header("user_data", blob)
    for at in range(start, len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 1 << at % 8
        given = refused(bytes(changed), len(blob), 1000)
        before = expected[: sum(end <= at for end in ends[1:4])]
        assert given == before[: len(given)]


@pytest.mark.parametrize("name", [name for name in DAMAGED if name.startswith("user_data.")])
def test_a_faulty_blob_is_refused_in_pieces(name: str) -> None:
    """Each fault, however it arrives, and before `finish` has returned."""
    data = DAMAGED[name]
    for piece in (61, 4096, len(data) or 1):
        refused(data, len(data), piece, REFERENCE_KEYS)


@pytest.mark.parametrize("name", reference.damaged_indexes())
def test_an_index_is_checked_when_it_is_there(name: str) -> None:
    """Before any segment is: whoever fetches it to find one entity believes it as it is."""
    data = DAMAGED[name]
    kind = Kind(name.partition(".")[0])
    header, start = read_header(kind.value, data)
    unsealer = BlobUnsealer(kind, len(data), REFERENCE_KEYS)
    with pytest.raises(DamagedObjectError):
        unsealer.feed(data[: start + sealed_size(header.size)])


def test_an_index_page_that_is_too_long_is_refused() -> None:
    """As many segments as no page may have. (It would be a vector of 3 MB.)"""
    fields = reference.header("user_data", entities=MAX_ENTRIES + 1)
    pieces = [reference.piece([[0, b""]])] * (MAX_ENTRIES + 1)
    pieces = [one._replace(entry=[number, *one.entry[1:]]) for number, one in enumerate(pieces)]
    for some, reason in ((pieces, "not as the format says"), (pieces[1:], "and should have 32769")):
        index = reference.index_of(some)
        rest = sealed_size(len(pieces[0].text)) * len(some)
        padding = sealed_size(len(reference.padding_after(sealed_size(len(index)) + rest)))
        data = reference.build(fields | {"rest": rest + padding}, index)
        unsealer = BlobUnsealer(USER, len(data) + rest + padding, REFERENCE_KEYS)
        with pytest.raises(DamagedObjectError, match=reason):
            unsealer.feed(data)


# Memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (reference.framed(reference.TEN_GIB), "declares 10737418240 bytes; at most 268435456"),
        (reference.raw(reference.plaintext(reference.sized(reference.TEN_GIB))), "10737418240"),
        (DAMAGED["user_data.entry-size-huge"], "its index and its header differ in its length"),
        (DAMAGED["user_data.header-rest-more"], "cut short or added to"),
    ],
    ids=["segment", "index", "entry", "header"],
)
def test_a_size_is_believed_only_within_the_limit(blob: bytes, reason: str) -> None:
    """A frame or an entry that lies is refused before anything is allocated for it."""
    with at_most(2**20), pytest.raises(DamagedObjectError, match=reason):
        in_pieces(blob, 1000, keys=REFERENCE_KEYS)


def test_a_blob_takes_no_more_memory_than_a_segment() -> None:
    """However many there are: what has been given is not kept, and neither is what arrived."""
    blob, index = blob_of({n: noise(30_000 + n) for n in range(300)})
    pieces = [blob[at : at + 2**16] for at in range(0, len(blob), 2**16)]
    assert len(index.segments) > 50
    unsealer = BlobUnsealer(USER, len(blob), KEYS)
    with at_most(12 * segments.SEGMENT_SIZE):
        for piece in pieces:
            unsealer.feed(piece)
    unsealer.finish()


# The index ----------------------------------------------------------------------------------------


def naive_ranges(index: Index) -> list[tuple[float, float, Segment]]:
    """Each segment with the first key of its range, and the first one after it."""
    firsts: list[Any] = [segment.first for segment in index.segments]
    bounds = [-float("inf"), *firsts[1:], float("inf")]
    return [(*bounds[n : n + 2], segment) for n, segment in enumerate(index.segments)]


INDEXES = st.dictionaries(st.integers(-9, 9), st.integers(1, 99), max_size=8).map(
    lambda newest: Index(tuple(Segment(key, 1, 1, newest[key]) for key in sorted(newest)))
)


@given(INDEXES, st.integers(-12, 12))
@settings(max_examples=300)
def test_each_key_has_its_segment(index: Index, key: int) -> None:
    """Or the first, if it is before all others; or none, where there is none."""
    naive = [n for n, (low, high, _) in enumerate(naive_ranges(index)) if low <= key < high]
    assert [index.number_of(key)] == (naive or [-1])


@given(INDEXES, st.none() | st.integers(-12, 12), st.none() | st.integers(1, 9))
@settings(max_examples=500)
def test_newest_is_that_of_all_segments_in_a_range(
    index: Index, low: int | None, length: int | None
) -> None:
    """Of each that has a key of the range, also one before all segments."""
    first = -float("inf") if low is None else low
    high = None if length is None else (low or 0) + length
    end = float("inf") if high is None else high
    naive = [s.newest for start, stop, s in naive_ranges(index) if start < end and first < stop]
    assert index.newest(low, high) == max(naive, default=0)


CHANGES = st.dictionaries(st.integers(0, 40), st.none() | st.binary(max_size=60), max_size=12)
STEPS = st.lists(st.tuples(CHANGES, st.sampled_from(["commit", "blob", "blob, late head"])))


class History:
    """Commits and blobs of one kind, and a naive record of what was changed when."""

    def __init__(self) -> None:
        self.entities: dict[int, bytes] = {}
        self.changed: dict[int, int] = {}
        self.differential: dict[Any, Entry] = {}
        self.revision = 0
        self.index: Index | None = None

    def commit(self, changes: dict[int, bytes | None]) -> None:
        self.revision += 1
        for key, value in changes.items():
            self.changed[key] = self.revision
            self.differential[key] = Entry(self.revision, value)
            self.entities.pop(key, None)
            if value is not None:
                self.entities[key] = value

    def write_blob(self) -> Index:
        part = Part(recent=self.differential)
        known, revision = self.index, self.revision
        _, self.index = blob_of(self.entities, revision=revision, known=known, part=part)
        return self.index


@given(STEPS)
@quickly
def test_a_segment_is_as_new_as_its_last_change(steps: list[tuple[Any, str]]) -> None:
    """Of any key in its range, deletions included, over any number of blobs.

    So whoever has the state of that revision needs nothing of it.
    """
    history = History()
    with small():
        for changes, step in steps:
            history.commit(changes)
            if step == "commit":
                continue
            index = history.write_blob()
            if step == "blob":  # else no head refers to it yet, so the differential stays
                history.differential = {}
            for low, high, segment in naive_ranges(index):
                within = [at for key, at in history.changed.items() if low <= key < high]
                assert max(within) <= segment.newest <= history.revision


def test_what_did_not_change_is_no_newer() -> None:
    """One user of a thousand makes one segment new, and a deletion does."""
    history = History()
    history.commit(dict.fromkeys(range(0, 2000, 2), b"x" * 50))
    with small(1000):
        assert {segment.newest for segment in history.write_blob().segments} == {1}
        for key, value in ((100, b"y" * 50), (101, b"new"), (700, None), (701, None)):
            history.differential = {}
            history.commit({key: value})
            index = history.write_blob()
            new = [n for n, s in enumerate(index.segments) if s.newest == history.revision]
            assert index.number_of(key) in new
            if key in (100, 701):  # the others move each later segment's bounds
                assert len(new) == 1


def test_of_very_many_changes_all_is_new() -> None:
    """To sort them would hold up the event loop; and so it is where no index is known."""
    history = History()
    history.commit(dict.fromkeys(range(9), b"x" * 50))
    with small(MANY_CHANGES=2):
        history.write_blob()
        for changes, expected in (({1: b"", 2: b""}, {1, 2}), ({1: b"", 2: b"", 3: b""}, {3})):
            history.differential = {}
            history.commit({**changes})
            assert {segment.newest for segment in history.write_blob().segments} <= expected
        history.differential, history.index = {}, None
        history.commit({})
        assert {segment.newest for segment in history.write_blob().segments} == {4}


def test_a_change_in_several_pages_counts_by_its_last() -> None:
    """A differential keeps full pages as they are, with changes that later ones replace."""
    old = Page({1: Entry(2, b"a")}, 2, 1, b"")
    part = Part(recent={1: Entry(5, b"b")}, full=(old,))
    known = Index((Segment(1, 1, 1, 1),))
    assert Ages(known, part, 9).newest(None, None) == 5


# Padding ------------------------------------------------------------------------------------------


def test_the_padding_is_the_least_that_will_do() -> None:
    """For lengths of small blobs, and around those at which one chunk more is needed."""

    def least(length: int) -> int:
        target = max(8192, reference.padme(length))
        size = max(0, target - length - 16 * ((target - length) // CHUNK + 1))
        while length + sealed_size(size) - sealed_size(0) < target:
            size += 1
        return size

    random = Random(1)  # noqa: S311 - lengths to try
    lengths = [*range(200, 9000, 7), *(random.randrange(2**24) + 200 for _ in range(2000))]
    # Those that lack a part of a chunk's tag, which no padding makes up for alone.
    edges = [n for n in range(2**20 + 1, 2**20 + 40_000) if _is_at_an_edge(n)]
    assert len(edges) == 16
    for length in (*lengths, *edges):
        assert padding_of(length) == least(length), length


def _is_at_an_edge(length: int) -> bool:
    return (reference.padme(length) - length) % (CHUNK + 16) >= CHUNK


def test_small_blobs_look_alike() -> None:
    """Whatever they hold, up to some thousands of bytes; and none is as large as Padmé forbids."""
    states: list[Entities] = [{}, {1: b""}, {n: noise(100 + n) for n in range(15)}]
    with small(500):
        lengths = {len(data) - read_header("user_data", data)[1] for data in map(_blob, states)}
    assert lengths == {8192}
    for size in (4000, 10_000, 300_000):
        data = _blob({1: noise(size)})
        length = len(data) - read_header("user_data", data)[1]
        assert max(size, 8192) <= length <= max(size + 5000, 8192) * 1.12
        near = _blob({1: noise(size + 3)})
        assert len(near) == len(data)


def _blob(entities: Entities) -> bytes:
    return blob_of(entities)[0]
