"""The container: what is sealed opens to the same pages, and nothing else opens at all.

Of heads, which are one message; a blob has more of them (`test_segments`).
"""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import KEY, OTHER_KEY
from tests.vectors import reference

from ptb_s3._format import container
from ptb_s3._format.container import (
    MAX_HEADER,
    MIN_PLAINTEXT,
    Changed,
    Header,
    compress,
    padded,
    read_header,
    seal,
)
from ptb_s3._format.unsealer import Unsealer, open_sealed
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._storage.buffers import empty_stream
from ptb_s3.errors import DamagedObjectError, PersistenceError, UnknownKeyError

KEYS = Keyring(KEY)
CHUNK = 16 * 1024  # of Cobblestone
PAGE = reference.page(bytes(range(256)))
HEADER = Header(
    object="head",
    store="6f1d3c52-9a0b-4c1e-8d75-2b8a4e9f0c11",
    revision=7,
    commit="c0ffee00" * 4,
    created=datetime(2026, 11, 23, 14, 30, tzinfo=UTC),
    writer="00112233445566aa",
    line="11aa22bb33cc44dd",
    key="",
    serializer="pickle5",
    entities=2,
    changed=Changed(),
    size=0,
)


def sealed(*pages: bytes) -> bytes:
    return bytes(seal(HEADER, [compress(page, 3) for page in pages], KEYS.sealing_key()))


def opened(data: bytes, keys: Keyring = KEYS) -> list[bytes]:
    return list(open_sealed("head", data, keys)[1])


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_what_is_sealed_opens_to_the_same(pages: list[bytes]) -> None:
    """Any pages come back as they were, in order."""
    assert opened(sealed(*pages)) == pages


def test_pages_larger_than_a_piece_come_back() -> None:
    """Sealing and opening in pieces joins them rightly, at and around the piece's size."""
    for size in (2**20 - 5, 2**20, 2**20 + 1, 5 * 2**20):
        page = bytes(size // 2) + _random_bytes(size - size // 2)
        assert opened(sealed(page, b"last")) == [page, b"last"]


def in_pieces(data: bytes, size: int, keys: Keyring = KEYS) -> list[bytes]:
    """Open an object as it would arrive in pieces of a size."""
    unsealer = Unsealer("head", len(data), keys)
    for at in range(0, len(data), size):
        assert not unsealer.complete
        assert not unsealer.feed(data[at : at + size])
    assert unsealer.finish() == unsealer.header
    assert unsealer.complete
    return list(unsealer.pages())


@given(st.lists(st.integers(0, 2 * CHUNK), max_size=5), st.integers(200, 3 * CHUNK))
def test_what_arrives_in_pieces_opens_to_the_same(sizes: list[int], piece: int) -> None:
    """Wherever pieces, chunks and pages begin and end."""
    pages = [_random_bytes(size) for size in sizes]
    assert in_pieces(sealed(*pages), piece) == pages


def test_a_chunk_that_was_changed_is_refused_when_it_is_there() -> None:
    """And not only when all has arrived, so that garbage of a gigabyte is not waited for."""
    data = sealed(*(_random_bytes(CHUNK // 2) for _ in range(20)))
    _, start = read_header("head", data)
    for at in range(start + 100, len(data) - 2 * CHUNK, CHUNK // 3):
        changed = bytearray(data)
        changed[at] ^= 1
        unsealer = Unsealer("head", len(data), KEYS)
        with pytest.raises(DamagedObjectError, match="fails authentication"):
            unsealer.feed(bytes(changed[: at + 2 * CHUNK]))


def test_what_comes_after_the_message_is_given_back() -> None:
    """A blob's segments are another's to open, wherever a piece of the transfer ends."""
    data = reference.blob("user_data", reference.ONE)
    header, start = read_header("user_data", data)
    end = start + container.sealed_size(header.size)
    for size in (1, 100, 5000, len(data)):
        unsealer = Unsealer("user_data", len(data), Keyring(Key(reference.SECRET)))
        after = b"".join(
            bytes(unsealer.feed(data[at : at + size])) for at in range(0, len(data), size)
        )
        assert after == data[end:]
        assert unsealer.finish() == header


def test_a_length_that_cannot_be_is_refused_when_the_header_is_there() -> None:
    """Before anything is allocated for the rest."""
    data = sealed(_random_bytes(CHUNK))
    for size in (len(data) - 1, len(data) + 1):
        unsealer = Unsealer("head", size, KEYS)
        with pytest.raises(DamagedObjectError, match="cut short or added to"):
            unsealer.feed(data[:1000])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (reference.plaintext(PAGE)[:-1] + b"\1", "its padding is not"),
        (reference.plaintext(PAGE) + bytes(32), "its padding is not"),
        (PAGE + bytes(3), "its pages do not end"),
        (bytes(3), "its pages do not end"),
        ((2**20).to_bytes(4, "little") + PAGE, "a page runs past the end"),
    ],
)
def test_a_plaintext_that_is_none_is_refused(text: bytes, reason: str) -> None:
    """Whoever has the key may have sealed anything."""
    data = reference.build(reference.head_header(), text)
    for piece in (1000, len(data)):
        with pytest.raises(DamagedObjectError, match=reason):
            in_pieces(data, piece, Keyring(Key(reference.SECRET)))


def test_what_was_cut_short_or_added_to_is_refused() -> None:
    """At the beginning, since a header says how much there is to be; and at the end."""
    data = sealed(*(_random_bytes(CHUNK) for _ in range(4)))
    for cut in (0, 5, 200, 5000, len(data) - 1):
        with pytest.raises(DamagedObjectError):
            in_pieces(data[:cut], 999)
        unsealer = Unsealer("head", len(data), KEYS)  # as it was said to be
        unsealer.feed(data[:cut])
        with pytest.raises(DamagedObjectError):
            unsealer.finish()
    unsealer = Unsealer("head", len(data), KEYS)
    unsealer.feed(data)
    with pytest.raises(DamagedObjectError, match="added to"):
        unsealer.feed(b"more")


def _random_bytes(size: int) -> bytes:
    return Random(size).randbytes(size)  # noqa: S311 - incompressible is enough


def test_any_flipped_bit_is_an_error() -> None:
    """Promise 5: one flipped bit anywhere in an object is an error, never a wrong value."""
    data = sealed(b"one", b"two")
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PersistenceError):
            opened(bytes(changed))


def test_a_frame_takes_no_more_memory_than_its_bytes() -> None:
    """A head's frames are all there at once, and what compression might have needed is not."""
    page = b"0123456789abcdef" * 65_536
    tracemalloc.start()
    try:
        frame = compress(page, 3)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(frame) < 10_000
    assert taken < 50_000


def test_a_size_is_believed_only_within_the_limit() -> None:
    """A frame that declares 10 GiB is refused for what it declares, before it is decompressed."""
    frame = bytes.fromhex("28b52ffde0") + (10 * 2**30).to_bytes(8, "little") + b"\1\0\0"
    data = bytes(seal(HEADER, [frame], KEYS.sealing_key()))
    with pytest.raises(DamagedObjectError, match="declares 10737418240 bytes; at most 268435456"):
        opened(data)


def test_any_other_length_is_an_error() -> None:
    """Cut short anywhere, or with anything after its end, an object is damaged."""
    data = sealed(b"one")
    for length in range(len(data)):
        with pytest.raises(DamagedObjectError):
            opened(data[:length])
    with pytest.raises(DamagedObjectError, match="cut short or added to"):
        opened(data + b"\0")


@given(st.binary(max_size=300))
def test_any_bytes_give_our_errors_only(data: bytes) -> None:
    """Whatever lies there is refused with an error that says so."""
    for junk in (data, container.MAGIC + data, container.MAGIC + b"{}\n" + data):
        with pytest.raises(DamagedObjectError):
            opened(junk)


def test_another_key_is_named() -> None:
    """A missing key is an error of its own, with the id that is needed and those at hand."""
    with pytest.raises(UnknownKeyError) as caught:
        opened(sealed(b"one"), Keyring(OTHER_KEY))
    assert caught.value.needed == KEY.id
    assert caught.value.at_hand == (OTHER_KEY.id,)
    assert KEY.id in str(caught.value)
    assert KEY.reveal() not in str(caught.value)


def test_a_retired_key_opens() -> None:
    """What a key sealed opens while that key is among the retired ones."""
    assert opened(sealed(b"one"), Keyring(OTHER_KEY, [KEY])) == [b"one"]


def test_the_same_twice_looks_unlike() -> None:
    """Each object is sealed with fresh randomness: equal contents do not show."""
    _, start = read_header("head", sealed(b"one"))
    assert sealed(b"one")[start:] != sealed(b"one")[start:]


def test_the_header_can_be_read_from_the_first_bytes() -> None:
    """History needs no more of an object than its beginning."""
    data = sealed(b"x" * 5000)
    header, start = read_header("head", data[: container.MAX_PREAMBLE])
    assert header.revision == 7
    assert start < MAX_HEADER
    assert data[start - 1 : start] == b"\n"


@given(st.integers(min_value=4, max_value=2**40))
def test_padding_hides_much_and_costs_little(length: int) -> None:
    """Padmé adds at most 12 %, and leaves few lengths that can be told apart; small ones none."""
    result = padded(length)
    if length <= MIN_PLAINTEXT:
        assert result == MIN_PLAINTEXT
    else:
        assert length <= result <= length * 1.12
    assert padded(result) == result
    assert bin(result).rstrip("0").count("1") <= result.bit_length().bit_length() + 1


def test_sealed_size_is_exact() -> None:
    """The length that a header implies is the length that sealing gives, at every chunk's edge."""
    for size in (0, 1, 16 * 1024 - 5, 16 * 1024 - 4, 16 * 1024, 40_000, 2**20):
        data = sealed(_random_bytes(size))
        header, start = read_header("head", data)
        assert len(data) - start == container.sealed_size(header.size)


def test_a_stream_for_an_object_is_filled_in_place() -> None:
    """Neither its memory nor what it gives in the end is a copy."""
    tracemalloc.start()
    try:
        stream = empty_stream(2**20)
        for _ in range(4):
            stream.write(b"x" * 2**18)
        assert stream.getvalue() == b"x" * 2**20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**20  # with the one compared to, and a piece
