"""How one head follows another."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from tests.support import changes

from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.head import COMPACTION_SLACK, MAX_WRITERS, Entry, Head, Part, Ref, due, follow
from ptb_s3._format.head_pages import PAGE, decode, encode

NEW = Head(revision=0, commit="", bot=1)
KEY_ID = "0123456789abcdef"
WRITER = "fedcba9876543210"
COMMIT = "0123456789abcdef" * 2
REF = Ref(revision=2, version_id="v", size=1000, entities=1, key=KEY_ID, commit=COMMIT)


def after(base: Head, changed: Changes, refs: dict[Kind, Ref] | None = None) -> Head:
    return follow(base, changed, commit=f"c{base.revision}", writer=WRITER, refs=refs or {})


def follow_with_blob(base: Head, values: dict[EntityKey, bytes | None]) -> Head:
    """Return the head after one whose blob is written and referred to, once it is encoded."""
    base, _ = encode(base, lambda page: page, KEY_ID)
    ref = Ref(base.revision, "v", 1000, 1, KEY_ID, COMMIT)
    head = after(base, changes(user_data=values), {Kind.USER_DATA: ref})
    return encode(head, lambda page: page, KEY_ID)[0]


def test_the_differential_is_cumulative() -> None:
    """A head carries every entity changed since the blob, with its last change."""
    head = after(NEW, changes(user_data={1: b"a", 2: b"b"}))
    head = after(head, changes(user_data={1: None}))
    assert head.revision == 2
    assert head.parts[Kind.USER_DATA].differential == {1: Entry(2, None), 2: Entry(1, b"b")}


def test_a_newer_blob_empties_the_differential() -> None:
    """What the blob holds need not be carried; what came after it must."""
    head = after(NEW, changes(user_data={1: b"a"}, chat_data={5: b"c"}))
    head = after(head, changes(user_data={2: b"b"}))
    head = after(head, changes(user_data={3: b"c"}), {Kind.USER_DATA: REF})
    part = head.parts[Kind.USER_DATA]
    assert part == Part(REF, 0, {3: Entry(3, b"c")})
    assert head.parts[Kind.CHAT_DATA].differential == {5: Entry(1, b"c")}


def test_a_base_is_never_changed() -> None:
    """An attempt that fails leaves nothing behind in what it was built on."""
    head = after(NEW, changes(user_data={1: b"a"}))
    before = dict(head.parts[Kind.USER_DATA].differential)
    after(head, changes(user_data={1: b"b", 2: b"c"}))
    assert head.parts[Kind.USER_DATA].differential == before


def test_writers_are_listed_by_their_last_commit() -> None:
    """The head tells each recent writer's last commit, and forgets the oldest writers."""
    head = NEW
    own: dict[str, str] = {}
    for number in range(MAX_WRITERS + 10):
        commit, writer = f"c{number}", f"w{number % 70}"
        head = follow(head, {}, commit=commit, writer=writer, refs={}, own=own.get(writer))
        own[writer] = commit
    assert len(head.writers) == MAX_WRITERS
    assert head.lists("c73")
    assert not head.lists("c3")
    assert not head.lists("c5")
    assert not head.lists("stranger")


def test_a_clone_of_a_writer_stays_listed() -> None:
    """By its commit it will know that a lost reply was a success, though another has its id."""
    head = follow(NEW, {}, commit="the clone's", writer=WRITER, refs={})
    head = follow(head, {}, commit="ours", writer=WRITER, refs={}, own=None)
    assert head.lists("the clone's")
    head = follow(head, {}, commit="our next", writer=WRITER, refs={}, own="ours")
    assert [writer.commit for writer in head.writers] == ["the clone's", "our next"]


SMALL = st.dictionaries(st.integers(-5, 5), st.none() | st.binary(max_size=20), max_size=5)


@given(SMALL, SMALL, st.none() | st.text(min_size=1, max_size=5))
def test_a_head_comes_back_from_its_pages(
    users: dict[int, bytes | None], chats: dict[int, bytes | None], restored: str | None
) -> None:
    """Encoding and decoding are each other's inverse."""
    head = after(NEW, changes(user_data={**users}, chat_data={**chats}))
    head = follow(
        head,
        changes(conversations={("c", (1, "x")): b"s"}),
        commit="c",
        writer=WRITER,
        refs={Kind.BOT_DATA: Ref(1, None, 5, 6, KEY_ID, COMMIT)},
        restored=restored,
    )
    written, pages = encode(head, lambda page: page, KEY_ID)
    read = decode(iter(pages), revision=head.revision, commit=head.commit, count=head.entries)
    assert read == written


def test_a_full_page_goes_on_as_it_is() -> None:
    """What a commit packs and compresses is one page, however much has changed before."""
    compressed: list[int] = []

    def compress(page: bytes) -> bytes:
        compressed.append(len(page))
        return page

    head = NEW
    for number in range(30):
        changed: dict[EntityKey, bytes | None] = {
            -1 - number % 7: None,
            **{100 * number + i: bytes(PAGE // 40) for i in range(10)},
        }
        head, frames = encode(after(head, {Kind.USER_DATA: changed}), compress, KEY_ID)
        assert head.changed.user_data == 11
    part = head.parts[Kind.USER_DATA]
    assert [round(page.size / PAGE) for page in part.full] == [4, 1, 1, 1]
    assert frames[1:5] == [page.frame for page in part.full]
    assert sum(size > 1.3 * PAGE for size in compressed) == 1
    assert sum(compressed) < 30 * 0.9 * PAGE
    read = decode(iter(frames), revision=30, commit=head.commit, count=head.entries)
    differential = read.parts[Kind.USER_DATA].differential
    assert differential == part.differential
    assert head.entries > len(differential) == 307
    assert differential[-7] == Entry(28, None)


def test_huge_entities_stay_in_pages_of_their_own() -> None:
    """A page that was made of several could hold more than a reader takes."""
    head = NEW
    for number in range(6):
        changed: dict[EntityKey, bytes | None] = {number: bytes(3 * PAGE)}
        head, _ = encode(after(head, {Kind.USER_DATA: changed}), len_of_it, KEY_ID)
    assert [len(page.entries) for page in head.parts[Kind.USER_DATA].full] == [1] * 6


def len_of_it(page: bytes) -> bytes:
    return str(len(page)).encode()


def test_cost_counts_what_is_carried_along() -> None:
    """A kind's cost grows with every head that carries its differential, by what is older of it."""

    def encoded(head: Head) -> tuple[Head, list[bytes]]:
        return encode(head, lambda page: page, KEY_ID)

    value = b"a" * 984  # and 16 beside it
    head, pages = encoded(after(NEW, changes(user_data={1: value})))
    assert head.parts[Kind.USER_DATA].cost == 0
    head, _ = encoded(after(head, changes(chat_data={1: b"a"})))
    first = head.parts[Kind.USER_DATA].cost
    assert first == len(pages[1])
    head, _ = encoded(after(head, changes(user_data={1: value})))
    assert head.parts[Kind.USER_DATA].cost == first
    head, pages = encoded(after(head, changes(user_data={2: value, 3: value})))
    assert head.parts[Kind.USER_DATA].cost == first + len(pages[1]) // 3
    assert head.parts[Kind.BOT_DATA].cost == 0


def test_full_pages_are_carried_whole_dead_entries_included() -> None:
    """What was changed again since still takes its bytes in the page that it was in."""
    value = os.urandom(PAGE)
    head, _ = encode(after(NEW, changes(user_data={1: value})), lambda page: page, KEY_ID)
    head, pages = encode(after(head, changes(user_data={1: b"b"})), lambda page: page, KEY_ID)
    assert head.parts[Kind.USER_DATA].cost == len(pages[1]) > PAGE


def test_compaction_is_due_once_it_has_paid() -> None:
    """A kind without a blob gets one at once; then when the differential has cost as much."""
    entry: dict[EntityKey, Entry] = {1: Entry(1, b"a")}
    assert due(Part(None, 10, entry))
    assert not due(Part(None, 0, {}))
    assert not due(Part(REF, REF.size + COMPACTION_SLACK - 1, entry))
    assert due(Part(REF, REF.size + COMPACTION_SLACK, entry))


def test_a_differential_that_dwarfs_its_blob_is_due_at_once() -> None:
    """A first bulk of data is not carried along first; one large value that changes stays so."""
    price = REF.size + COMPACTION_SLACK
    entry: dict[EntityKey, Entry] = {1: Entry(3, b"a")}
    assert not due(Part(REF, 0, entry, (), 2 * price - 1))
    assert due(Part(REF, 0, entry, (), 2 * price))
    small = after(NEW, changes(user_data={0: b"a"}))
    grown = follow_with_blob(small, {number: os.urandom(100) for number in range(2_000)})
    assert due(grown.parts[Kind.USER_DATA])
