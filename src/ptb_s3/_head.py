"""The head: references to the blobs and the differential, and how one head follows another. Pure.

Its pages are FORMAT.md's, section 8. A `Head` is never changed once made, so that an attempt to
commit whose outcome is unknown can be kept, and become the base for the next one, as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, NamedTuple

import msgspec

from ptb_s3._container import Changed
from ptb_s3._erasure import DIGEST_BYTES, SECRET_BYTES, Erasures
from ptb_s3._state import KEY_TYPES, Changes, Key, Kind, is_full, page_of, pages
from ptb_s3.errors import DamagedObjectError

# Writers whose last commit a head lists. An outcome is settled within seconds of the attempt; so
# many other processes do not start and commit in between.
MAX_WRITERS = 64
# Bytes of entries that go into one page of the differential: the most that a commit packs anew.
PAGE = 256 * 1024
# So many full pages become one, which compresses better, and holds an entity but once.
MERGED = 4
# Ids of updates whose effects a head is known to hold. Telegram sends an update again for a day, to
# one bot over at most 100 connections (Bot API, "setWebhook"); a retry comes within minutes.
MAX_UPDATES = 256
# Bytes that a kind's differential may cost, beyond its blob's size, before the blob is written
# anew. To write when the cost so far equals the price is within a factor of two of the best
# schedule there is, whatever the future brings ("ski rental"); the slack keeps tiny blobs from
# being written all the time.
COMPACTION_SLACK = 64 * 1024


class Ref(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which blob a kind's differential builds on.

    Attributes:
        revision: Whose state the blob holds.
        version_id: Its version, or None in a bucket without versioning.
        size: Bytes of the whole object.
        entities: How many it holds.
        key: Id of the key that sealed it.
    """

    revision: int
    version_id: str | None
    size: int
    entities: int
    key: str


class Entry(NamedTuple):
    """One entity in the differential: when it last changed, and its bytes (None: deleted)."""

    revision: int
    value: bytes | None


class Writer(NamedTuple):
    """The last commit of one process."""

    writer: str
    commit: str
    revision: int


class Conditions(NamedTuple):
    """What a storage was found to make of conditional PUT.

    Attributes:
        place: Which bucket of which storage: a copy of it elsewhere proves nothing there.
        kept: Whether it refuses to replace an object that is not the one it was told.
    """

    place: str
    kept: bool


class Page(NamedTuple):
    """A full page of the differential, which goes into every head as it is.

    Attributes:
        entries: What is in it.
        newest: The newest revision of these.
        size: Bytes of the same, packed.
        frame: These, compressed.
    """

    entries: Mapping[Key, Entry]
    newest: int
    size: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """What a head says of one kind.

    The differential is cut into pages, and only the last one is packed anew with each commit: so
    what a commit costs does not grow with how much has changed before.

    Attributes:
        ref: Its blob, or None where there is none yet.
        cost: Bytes that its differential has taken in heads since that blob was written.
        recent: What has changed last, and is in no full page yet.
        full: The pages before.
    """

    ref: Ref | None = None
    cost: int = 0
    recent: Mapping[Key, Entry] = field(default_factory=dict)
    full: tuple[Page, ...] = ()

    @property
    def differential(self) -> Mapping[Key, Entry]:
        """Every entity changed since the blob, with its last change."""
        entries: dict[Key, Entry] = {}
        for page in self.full:
            entries.update(page.entries)
        return {**entries, **self.recent}

    @property
    def has_changed(self) -> bool:
        """Whether the differential holds anything."""
        return bool(self.recent or self.full)


@dataclass(frozen=True, slots=True)
class Head:
    """One commit.

    Attributes:
        revision: Grows by one with every commit.
        commit: Id of the attempt that made it.
        bot: Id of the bot whose state it is.
        writers: The last commit of each recent writer, oldest first.
        restored: The last restore request carried out.
        keys: By key id, the newest revision that needs the key.
        erasures: Who was erased; None as long as nobody was.
        conditions: Whether the storage keeps to conditions; None as long as nobody has tried.
        updates: Ids of the updates that were delivered last, where that is noted; oldest first.
        parts: One for each kind.
    """

    revision: int
    commit: str
    bot: int
    writers: tuple[Writer, ...] = ()
    restored: str | None = None
    keys: Mapping[str, int] = field(default_factory=dict)
    erasures: Erasures | None = None
    conditions: Conditions | None = None
    updates: tuple[int, ...] = ()
    parts: Mapping[Kind, Part] = field(default_factory=lambda: {kind: Part() for kind in Kind})

    @property
    def entries(self) -> int:
        """Number of entries in the differential, all kinds and pages together."""
        return sum(
            len(part.recent) + sum(len(page.entries) for page in part.full)
            for part in self.parts.values()
        )

    @property
    def changed(self) -> Changed:
        """How many entities of each kind this very commit changed."""
        return Changed(
            **{
                kind.value: sum(
                    entry.revision == self.revision
                    for entries in (
                        part.recent,
                        *(page.entries for page in part.full if page.newest == self.revision),
                    )
                    for entry in entries.values()
                )
                for kind, part in self.parts.items()
            }
        )

    @property
    def refs_alone(self) -> Head:
        """This head without its differential, where tens of thousands are to be held."""
        return replace(self, parts={kind: Part(part.ref) for kind, part in self.parts.items()})

    def last_commit(self, writer: str) -> str | None:
        """Return the id of a writer's last commit, as far as this head knows."""
        return next((w.commit for w in self.writers if w.writer == writer), None)

    def follows(self, base: Head) -> bool:
        """Tell whether this head came after another, rather than from an older state brought back.

        As far as it can be known: a writer that has not committed for long is not listed any more.
        """
        if base.revision == 0:
            return True
        last = base.writers[-1]
        noted = next((w for w in self.writers if w.writer == last.writer), None)
        if noted is None:
            return self.revision > base.revision and len(self.writers) == MAX_WRITERS
        return self.revision > base.revision and (
            noted.revision > last.revision or noted.commit == last.commit
        )


_Secret = Annotated[bytes, msgspec.Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class _PartRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ref: Ref | None
    cost: _Count


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bot: int
    writers: Annotated[list[Writer], msgspec.Meta(min_length=1, max_length=MAX_WRITERS)]
    restored: str | None
    keys: dict[str, int]
    erasures: tuple[_Secret, list[tuple[_Digest, int]]] | None
    conditions: Conditions | None
    updates: Annotated[list[int], msgspec.Meta(max_length=MAX_UPDATES)]
    kinds: dict[Kind, _PartRecord]


_encode = msgspec.msgpack.Encoder().encode
_record_decoder = msgspec.msgpack.Decoder(_Record)
_page_decoder = msgspec.msgpack.Decoder(tuple[Kind, msgspec.Raw])
_entry_decoders: Mapping[Kind, msgspec.msgpack.Decoder[list[tuple[Key, int, bytes | None]]]] = {
    kind: msgspec.msgpack.Decoder(page_of(key_type, int, bytes | None))
    for kind, key_type in KEY_TYPES.items()
}


def follow(
    base: Head,
    changes: Changes,
    *,
    commit: str,
    writer: str,
    refs: Mapping[Kind, Ref],
    restored: str | None = None,
    erasures: Erasures | None = None,
    conditions: Conditions | None = None,
    updates: Sequence[int] = (),
) -> Head:
    """Make the head that commits changes on top of a base.

    Args:
        base: The head to follow; at revision 0 for the first commit of a store.
        changes: What is committed.
        commit: Id of this attempt.
        writer: Id of this process.
        refs: The newest blob of each kind that has one: the base's, or one written since.
        restored: The restore request that this commit carries out, if it does.
        erasures: What is to be recorded of the erased, if this commit adds to it.
        conditions: What the storage makes of conditional PUT, if it was tried for this commit.
        updates: Ids of the updates whose effects are committed.
    """
    revision = base.revision + 1
    others = [w for w in base.writers if w.writer != writer]
    return replace(
        base,
        revision=revision,
        commit=commit,
        writers=(*others, Writer(writer, commit, revision))[-MAX_WRITERS:],
        restored=restored or base.restored,
        erasures=erasures or base.erasures,
        conditions=conditions or base.conditions,
        updates=(*base.updates, *updates)[-MAX_UPDATES:],
        parts={
            kind: _follow_part(part, changes.get(kind, {}), revision, refs.get(kind))
            for kind, part in base.parts.items()
        },
    )


def encode(head: Head, compress: Callable[[bytes], bytes], key_id: str) -> tuple[Head, list[bytes]]:
    """Make a head's frames.

    Args:
        head: The head.
        compress: Makes a frame of a page.
        key_id: Id of the key that is going to seal them.

    Returns:
        The head, each kind's cost increased by what its differential takes, its full pages kept,
        and the keys that it needs noted; and the frames.
    """
    parts: dict[Kind, Part] = {}
    frames: list[bytes] = []
    for kind, part in head.parts.items():
        parts[kind], own = _pack(kind, part, compress)
        frames += own
    needed = {key_id, *(part.ref.key for part in parts.values() if part.ref)}
    keys = {**head.keys, **dict.fromkeys(sorted(needed), head.revision)}
    head = replace(head, parts=parts, keys=keys)
    record = _Record(
        bot=head.bot,
        writers=list(head.writers),
        restored=head.restored,
        keys=dict(keys),
        erasures=_encode_erasures(head.erasures),
        conditions=head.conditions,
        updates=list(head.updates),
        kinds={kind: _PartRecord(part.ref, part.cost) for kind, part in parts.items()},
    )
    return head, [compress(_encode(record)), *frames]


def decode(head_pages: Iterator[bytes], *, revision: int, commit: str, count: int) -> Head:
    """Read a head's pages; the rest comes from its header.

    Raises:
        DamagedObjectError: They are not what the format says.
    """
    try:
        record = _record_decoder.decode(next(head_pages, b""))
        differentials, entries = _decode_differentials(head_pages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _damaged("a page is not as the format says") from None
    if record.kinds.keys() != set(Kind):
        raise _damaged("its record does not name each kind once")
    head = Head(
        revision=revision,
        commit=commit,
        bot=record.bot,
        writers=tuple(record.writers),
        restored=record.restored,
        keys=record.keys,
        erasures=_decode_erasures(record, revision),
        conditions=record.conditions,
        updates=tuple(record.updates),
        parts={
            kind: Part(record.kinds[kind].ref, record.kinds[kind].cost, differentials[kind])
            for kind in Kind
        },
    )
    if entries != count:
        raise _damaged(f"its differential has {entries} entries and should have {count}")
    _check(head)
    return head


def due(part: Part) -> bool:
    """Tell whether writing a kind's blob anew has paid for itself."""
    if part.ref is None:
        return part.has_changed
    return part.cost >= part.ref.size + COMPACTION_SLACK


def _follow_part(
    part: Part, changes: Mapping[Key, bytes | None], revision: int, ref: Ref | None
) -> Part:
    if ref is not None and (part.ref is None or ref.revision > part.ref.revision):
        # A newer blob holds what changed up to its revision; only what came after is left.
        left = {k: e for k, e in part.differential.items() if e.revision > ref.revision}
        part = Part(ref, 0, left)
    if changes:
        new = {key: Entry(revision, value) for key, value in changes.items()}
        part = replace(part, recent={**part.recent, **new})
    return replace(part, ref=ref)


def _pack(kind: Kind, part: Part, compress: Callable[[bytes], bytes]) -> tuple[Part, list[bytes]]:
    """Pack what is in no full page yet; return the part as it is then, and all its frames."""

    def page(entries: Mapping[Key, Entry]) -> Page:
        packed = _encode((kind, [(key, *entry) for key, entry in entries.items()]))
        newest = max(entry.revision for entry in entries.values())
        return Page(entries, newest, len(packed), compress(packed))

    full, recent, last = list(part.full), {}, []
    for entries, complete in _cut(part.recent):
        if not complete:
            recent, last = entries, [page(entries).frame]
            continue
        full.append(page(entries))
        if _may_be_merged(full[-MERGED:]):
            changes = [entry for one in full[-MERGED:] for entry in one.entries.items()]
            full[-MERGED:] = [page(dict(changes))]
    frames = [one.frame for one in full] + last
    return Part(part.ref, part.cost + sum(map(len, frames)), recent, tuple(full)), frames


def _may_be_merged(last: Sequence[Page]) -> bool:
    # Neither those that were, nor one of a single huge entity: a page may hold only so much.
    return len(last) == MERGED and all(page.size < 2 * PAGE for page in last)


def _cut(recent: Mapping[Key, Entry]) -> Iterator[tuple[dict[Key, Entry], bool]]:
    """Cut entries into pages, and tell of each whether it is full."""
    for page in pages(((key, *entry) for key, entry in recent.items()), PAGE):
        entries = {key: Entry(revision, value) for key, revision, value in page}
        yield entries, is_full(page, PAGE)


def _decode_differentials(
    head_pages: Iterator[bytes],
) -> tuple[dict[Kind, dict[Key, Entry]], int]:
    differentials: dict[Kind, dict[Key, Entry]] = {kind: {} for kind in Kind}
    count = 0
    for page in head_pages:
        kind, raw = _page_decoder.decode(page)
        entries = _entry_decoders[kind].decode(raw)
        if not entries:
            raise _damaged("a page is empty")
        page_entries = {key: Entry(revision, value) for key, revision, value in entries}
        if len(page_entries) != len(entries):
            raise _damaged("a page of its differential names an entity twice")
        known = differentials[kind]
        if any(
            known[key].revision >= page_entries[key].revision
            for key in known.keys() & page_entries.keys()
        ):
            raise _damaged("its differential names an older change after a newer one")
        known.update(page_entries)
        count += len(entries)
    return differentials, count


def _encode_erasures(erasures: Erasures | None) -> tuple[bytes, list[tuple[bytes, int]]] | None:
    return None if erasures is None else (erasures.secret, list(erasures.revisions.items()))


def _decode_erasures(record: _Record, newest: int) -> Erasures | None:
    if record.erasures is None:
        return None
    secret, entries = record.erasures
    erasures = Erasures(secret, dict(entries))
    if len(erasures.revisions) != len(entries):
        raise _damaged("it records an erasure twice")
    if not all(0 < revision <= newest for revision in erasures.revisions.values()):
        raise _damaged("it records an erasure of no revision that fits")
    return erasures


def _check(head: Head) -> None:
    if len(set(head.updates)) != len(head.updates):
        raise _damaged("it names an update twice")
    if any(revision > head.revision for revision in head.keys.values()):
        raise _damaged("it says that a key is needed by a later one")
    for part in head.parts.values():
        after = part.ref.revision if part.ref else 0
        if after > head.revision:
            raise _damaged("it refers to a blob newer than itself")
        if any(not after < entry.revision <= head.revision for entry in part.differential.values()):
            raise _damaged("an entry of its differential is of no revision that fits")


def _damaged(reason: str) -> DamagedObjectError:
    return DamagedObjectError("head", reason)
