"""Any bytes give a value or an error of ours, and take no more memory than the format allows.

The targets are those that `python -m tests.fuzzing` runs for as long as one likes. Here each gets
the same few hundred inputs every time: what is found at random is for that program to find.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import itertools
import os
import pickle
import struct
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import Chat
from tests.fuzzing import cuts, ranges, targets
from tests.fuzzing.__main__ import LONGEST, main
from tests.fuzzing.effects import EscapedError, none_allowed
from tests.fuzzing.seeds import seeds
from tests.fuzzing.targets import (
    BOT,
    CODEC,
    OBJECTS,
    READER,
    TARGETS,
    changed,
    is_within_limits,
    joined,
    sealed_pages,
    sealed_segments,
)
from tests.vectors import reference

from ptb_s3._format.container import HEAD, MAX_PAGE
from ptb_s3._format.entities import Entries
from ptb_s3._format.entities import encode_segment as encode
from ptb_s3._values.loading import load_all
from ptb_s3._values.pickling.markers import TheBot
from ptb_s3._values.pickling.unpickler import Reading
from ptb_s3.errors import DamagedObjectError

quickly = settings(max_examples=100, deadline=None, database=None, derandomize=True)

# Bytes that an object of a few hundred may take to refuse, whatever it says of its size.
LITTLE = 1024 * 1024


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=300))
@quickly
def test_any_bytes(name: str, data: bytes) -> None:
    """Bytes that nobody made on purpose find nothing, whatever they are taken for."""
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@quickly
def test_changed_seeds(name: str, data: st.DataObject) -> None:
    """Nor do bytes that are almost right."""
    seed = data.draw(st.sampled_from(seeds(name)))
    TARGETS[name](changed(seed, data.draw(st.binary(min_size=4, max_size=16))))


@pytest.mark.parametrize("name", TARGETS)
def test_cut_seeds(name: str, pytestconfig: pytest.Config) -> None:
    """Whole seeds find nothing, and neither do seeds that end too early, at a boundary or not.

    With ``--long`` they are cut at ten times as many places.
    """
    places = cuts.many if pytestconfig.getoption("--long") else cuts.chosen
    for seed in seeds(name):
        for size in places(name, seed):
            TARGETS[name](seed[:size])


@pytest.mark.parametrize("name", TARGETS)
def test_cuts_are_chosen(name: str) -> None:
    """Each seed is tried whole and empty, and intact ones are cut at boundaries within."""
    for seed in seeds(name):
        assert {0, len(seed)} <= set(cuts.chosen(name, seed)) <= set(cuts.many(name, seed))
    assert any(
        0 < place < len(seed) for seed in seeds(name) for place in cuts.boundaries(name, seed)
    )


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_fit_into_an_input(name: str) -> None:
    """All but a few that are large on purpose: what is cut off leads to the first check alone."""
    assert sum(len(seed) > LONGEST for seed in seeds(name)) <= 3


def test_seeds_of_segments_get_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of intact blobs open, so that fuzzing starts behind all checks."""
    ends = []

    def noted(found: Entries) -> bytes:
        ends.append(len(found))
        return encode(found)

    monkeypatch.setattr(targets, "encode_segment", noted)
    for seed in seeds("sealed_segments"):
        sealed_segments(seed)
    assert max(ends) == 6
    assert len(ends) >= 10


@pytest.mark.parametrize("first_bytes", [700, 100_000])
@pytest.mark.parametrize("told", ranges.BEARABLE)
def test_answers_that_a_reader_copes_with(first_bytes: int, told: ranges.Told) -> None:
    """Not every fault ends a read, so that fuzzing sees what comes out behind one."""
    assert ranges.all_read(first_bytes, itertools.repeat(told))


def message_pack() -> st.SearchStrategy[bytes]:
    """Anything that MessagePack can say, as the pages of an object are more likely to."""
    objects: st.SearchStrategy[object] = st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-5, 10),
            st.integers(-(2**63), 2**64 - 1),
            st.floats(),
            st.text(max_size=4),
            st.binary(max_size=4),
            st.sampled_from(OBJECTS),
        ),
        lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=4), parts),
        max_leaves=12,
    )
    return objects.map(reference.pack)


@given(
    number=st.integers(0, len(OBJECTS) - 1),
    count=st.integers(0, 3),
    first=st.sampled_from([b"", reference.pack(reference.record())]),
    pages=st.lists(message_pack(), max_size=3),
)
@quickly
def test_any_messagepack(number: int, count: int, first: bytes, pages: list[bytes]) -> None:
    """Pages of something else than entities, in a sealed object, find nothing."""
    sealed_pages(bytes([number, count]) + joined([first, *pages] if first else pages))
    sealed_segments(bytes([number, count]) + joined([reference.pack([[1, 1, 1, 1]]), *pages]))


DEEP = b"\x91" * 100_000 + b"\xc0"
ODD_PAGES = {
    "head: no UTF-8 in a kind": (HEAD, b"\x92\xa1\xff\x90"),
    "head: deep": (HEAD, b"\x92\xa9user_data" + DEEP),
    "callback_data: no UTF-8 in a key": ("callback_data", b"\x91\x92\x92\xa1\xff\xa1a\xc4\0"),
    "conversations: no UTF-8 in a key": ("conversations", b"\x91\x92\x92\xa1\xff\x90\xc4\0"),
    "jobs: no UTF-8 in a key of an index": ("jobs", b"\x91\x94\x92\xa1\xff\x90\1\1\1"),
    "conversations: deep": ("conversations", b"\x91\x92\x92\xa1a" + DEEP),
    "user_data: deep": ("user_data", DEEP),
}


FIRST = {"callback_data": ["k", "1"], "conversations": ["order", [1]], "jobs": ["1", [1]]}


def holding(name: str, frame: bytes) -> list[bytes]:
    """Return objects with a frame, correctly sealed: in a head, it comes behind the record.

    In a blob, it is once in the place of the index, and once in that of a segment.
    """
    if name == HEAD:
        record = reference.page(reference.pack(reference.record()))
        text = reference.plaintext(record, reference.sized(frame))
        return [reference.build(reference.head_header(entities=1), text)]
    first = FIRST.get(name, 1)
    one = reference.piece([[first, b""]])
    return [
        reference.of_pieces([one], name, reference.plaintext(reference.sized(frame))),
        reference.of_pieces([reference.Piece([first, len(frame), 1, 7], frame)], name),
    ]


@pytest.mark.parametrize(("name", "page"), ODD_PAGES.values(), ids=ODD_PAGES.keys())
def test_odd_pages(name: str, page: bytes) -> None:
    """What the library that reads MessagePack reports in its own way is damage as well."""
    for data in holding(name, reference.frame(page)):
        with pytest.raises(DamagedObjectError, match="is not as the format says"):
            READER.open(name, data)


def test_record_that_is_no_text() -> None:
    """So is the first page of a head."""
    record = reference.pack(reference.record()).replace(b"c0ff", b"\xff0ff")
    text = reference.plaintext(reference.page(record))
    with pytest.raises(DamagedObjectError, match="a page is not as the format says"):
        READER.open(HEAD, reference.build(reference.head_header(), text))


@contextlib.contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fail if Python's memory, buffers of libraries included, grows by more in between."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= limit


def declaring(size: int) -> bytes:
    """Return a frame that declares so many bytes, and has none."""
    # A single segment with eight bytes of content size, and an empty block that is the last.
    return bytes.fromhex("28b52ffde0") + struct.pack("<Q", size) + b"\1\0\0"


@given(size=st.integers(MAX_PAGE + 1, 2**64 - 1))
@quickly
def test_a_page_takes_no_more_than_it_may(size: int) -> None:
    """A frame that declares more than the limit is refused before any of it is allocated."""
    for data in holding("user_data", declaring(size)):
        with at_most(LITTLE), pytest.raises(DamagedObjectError):
            READER.open("user_data", data)


def test_a_page_that_lies_takes_what_it_may() -> None:
    """One that declares as much as the limit, and has less, takes that much and no more."""
    for data in holding("user_data", declaring(MAX_PAGE)):
        with at_most(MAX_PAGE + LITTLE), pytest.raises(DamagedObjectError):
            READER.open("user_data", data)


# MessagePack's strings, arrays and maps of 2**32 - 1 bytes, elements or pairs.
HUGE = [bytes([kind]) + b"\xff" * 4 for kind in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)]


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_declared_inside_a_page(name: str) -> None:
    """A length is not believed before there are as many bytes, wherever in a page it stands."""
    pairs = (b"\x91\x92", b"\x91\x92\1", b"\x91\x92\x92")
    entries = (b"\x91\x94", b"\x91\x94\1", b"\x91\x94\x92")
    places = (b"", b"\x91", *pairs, *entries, b"\x92\xa9user_data")
    frames = [reference.frame(place + huge) for huge in HUGE for place in places]
    objects = [data for frame in frames for data in holding(name, frame)]
    with at_most(LITTLE):
        for data in objects:
            with pytest.raises(DamagedObjectError):
                READER.open(name, data)


def test_what_is_declared_outside_of_pages() -> None:
    """Nor are an object's size in its header, and a page's before its frame."""
    fields = reference.header("user_data", size=2**53 - 1)
    text = struct.pack("<I", 2**32 - 1) + bytes(60)
    with at_most(LITTLE):
        for data in (
            reference.seal(b"ptb-s3/1\n" + reference.line(fields), text),
            reference.raw(text),
        ):
            with pytest.raises(DamagedObjectError):
                READER.open("user_data", data)


class Cyclic:
    """What Python frees only by its collector."""

    def __init__(self) -> None:
        self.itself = self


def test_one_value_after_another_leaves_nothing_behind() -> None:
    """To load single values, however often, does not keep the cyclic collector from its work."""
    data = CODEC.dumps(["fine"])
    gone = weakref.ref(Cyclic())
    loaded = [load_all(CODEC, "user_data", [(key, data)]) for key in range(5_000)]
    assert gone() is None
    assert len(loaded) == 5_000


def test_a_reader_that_gives_up_is_not_kept() -> None:
    """One that meets a bot inside of what it makes gives up, and goes with all that it has read."""
    chat = Chat(1, "private", api_kwargs={"bot": BOT})
    chat.set_bot(BOT)
    data = CODEC.dumps(chat)
    gc.collect()
    for _ in range(10):
        load_all(CODEC, "user_data", [(1, data)])
    gc.collect()
    assert not [True for left in gc.get_objects() if isinstance(left, Reading)]


class Named:
    """Pickles as a call, as a forger would write it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduction = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduction


def test_what_is_declared_beside_a_bot() -> None:
    """The reader written in Python, which pickles with bots get, believes a length no earlier."""
    bot = pickle.dumps(Named(TheBot, True), 5)[:-1]  # noqa: FBT003 - the mark's own argument
    data = bot + pickle.POP + pickle.BYTEARRAY8 + struct.pack("<Q", 2**30) + b"abc."
    with at_most(LITTLE), pytest.raises(DamagedObjectError):
        load_all(CODEC, "user_data", [(1, data)])


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_bytearray_beside_a_bot(size: int) -> None:
    """It reads those that are there."""
    loaded = CODEC.loads(CODEC.dumps([BOT, bytearray(size)]))
    assert loaded == [BOT, bytearray(size)]


EFFECTS = {
    "os.system": Named(os.system, "true"),
    "eval": Named(eval, "1"),
    "open": Named(open, os.devnull, "w"),
}


@pytest.mark.parametrize("gadget", EFFECTS.values(), ids=EFFECTS.keys())
def test_an_effect_would_be_seen(gadget: Named) -> None:
    """The targets are not blind: an effect is stopped, and a finding whatever catches the error."""
    data = pickle.dumps(gadget)
    with pytest.raises(EscapedError), none_allowed(), contextlib.suppress(Exception):
        pickle.loads(data)  # noqa: S301 - that is the test


def test_what_is_left_out() -> None:
    """Of pickles only those are left out that ask for what no reader can refuse."""
    assert all(map(is_within_limits, seeds("any_pickle")))
    assert is_within_limits(pickle.dumps([Named(bytes, 10), list]))
    assert is_within_limits(pickle.dumps([10**10, list]))
    for data in (
        b"Nr\xff\xff\xff\x0f.",
        b"Np999999999\n.",
        b"S'broken\nNr\xff\xff\xff\x0f.",
        pickle.dumps(Named(bytes, 10**10)),
        pickle.dumps(Named(list, range(10**10))),
    ):
        assert not is_within_limits(data)


def test_a_bare_value_that_ends_within_an_operation_is_left_out() -> None:
    """What follows it where it is loaded completes the number, which was 778 million here."""
    with at_most(LITTLE):
        TARGETS["any_pickle"](pickle.EMPTY_SET + pickle.LONG_BINPUT + b"am")


def test_without_atheris(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program says in one line how to get what it needs."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["fuzzing"])
    assert main() == 2
    assert capsys.readouterr().err.splitlines() == [
        "atheris is not installed. Install it with: pip install -e '.[fuzz]'"
    ]


def test_an_input_is_run_once_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was found can be seen again, without atheris."""
    (tmp_path / "input").write_bytes(b"found")
    arguments = ["fuzzing", "--target", "any_object", "--input", str(tmp_path / "input")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 0
    monkeypatch.setattr(targets, "READER", None)
    with pytest.raises(AttributeError):
        main()
