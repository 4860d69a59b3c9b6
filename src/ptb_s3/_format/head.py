"""Head: references to the blobs and the differential, and how one head follows another. Pure.

Its pages are FORMAT.md's, section 8. A `Head` is immutable, so that an attempt to commit whose
outcome is unknown can be kept, and become the base of the next one, as it is.

Two ideas are explained here, since `Head.takes` and `Head.follows` decide by them.

**Range rule.** A head at revision 9 whose blob was written at revision 5 carries every change since
5 in its differential. A blob that holds the state of any revision from 5 to 9 gives the same state
under it, since the differential is cumulative::

    revision       1 ... 4    5    6    7    8    9
    ref                       blob
    differential                   [--------------]     every change after 5, the last one counts
    valid bases               ^----^----^----^----^     one of 7 holds 6 and 7 already
    refused        1 ... 4: lacks changes up to 5       10 and later: not committed

So a blob may be written before the head that refers to it, and a crash in between loses nothing.

**Lines.** A revision number alone does not name a state: where a store was rolled back to an older
head and went on, revision 7 exists twice. A *line* is a stretch of revisions without a load in
between, with a random id. A head lists its lines, a blob bears the one of its revision, and only a
blob of head's own line at that revision is taken::

    line a   1  2  3  4  5  6  7        rolled back to 4; 5 to 7 were given up
    line b               5  6  7  8     lists a from 1 and b from 5: its 6 is of line b
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from ptb_s3._format.container import Changed, Header, Hex16, Hex32
from ptb_s3._format.delivered import Delivered
from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.erasure import Erasures
from ptb_s3._format.words import MAX_WORDS

MAX_WRITERS = 64
"""Writers whose last commit a head lists (section 8).

The outcome of an attempt is settled within seconds; 64 other processes do not start and commit in
between.
"""
MAX_LINES = 64
"""Lines that a head lists (section 8). A blob of an older line is still known by its commit id."""
MAX_RESTORED = 128
"""Restore requests that a head lists (section 8), so that none of them is carried out twice."""
MAX_REQUEST = 1024
"""Characters of a restore request (section 8).

A version id has at most 1,024 bytes (Amazon S3 User Guide, "How S3 Versioning works").
"""
COMPACTION_SLACK = 64 * 1024
"""Bytes that a kind's differential may cost, beyond its blob's size, before the blob is rewritten.

Rewriting when the cost so far equals the price is within a factor of two of the best possible
schedule, whatever the future brings ("ski rental"). The slack keeps tiny blobs from being rewritten
all the time.
"""
DWARFING = 2
"""Multiple of that price at which a differential has its blob rewritten at once, whatever it cost.

The blob has doubled then, so that all such blobs together are less than twice the last one.
"""


class Ref(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reference to the blob that a kind's differential builds on.

    Attributes:
        revision: Revision whose state the blob holds.
        version_id: Id of its version, or None in a bucket without versioning.
        size: Bytes of the whole object.
        entities: Number of entities in it.
        key: Id of the key that sealed it.
        commit: Id of the attempt that wrote it, which tells it from others of its revision.
    """

    revision: int
    version_id: str | None
    size: int
    entities: int
    key: Hex16
    commit: Hex32


class Entry(NamedTuple):
    """Entry of the differential: the revision of an entity's last change, and its bytes or None.

    None is a tombstone: the entity was deleted.
    """

    revision: int
    value: bytes | None


class Writer(NamedTuple):
    """Last commit of one writer: of one process, in one run of it."""

    writer: str
    commit: str
    revision: int


class Line(NamedTuple):
    """Stretch of revisions that follow one another without a load in between.

    A process begins one with its first commit after a load; see the module's docstring.

    Attributes:
        line: Id of the line: that of the writer who began it.
        revision: First of its revisions.
    """

    line: Hex16
    revision: int


class Conditions(NamedTuple):
    """Record of a trial of conditional PUT on a storage.

    Attributes:
        place: Identifier of the bucket and its storage (`Store.place`): a copy of the state
            elsewhere proves nothing about that place.
        kept: Whether the storage refused to replace an object on a condition that did not hold.
    """

    place: str
    kept: bool


class Page(NamedTuple):
    """Full page of the differential, which goes into every head without being packed again.

    Attributes:
        entries: Its entries.
        newest: Newest revision among them.
        size: Bytes of the page, packed and not compressed.
        frame: The page as a zstd frame.
    """

    entries: Mapping[EntityKey, Entry]
    newest: int
    size: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a head that is about one kind: its blob and its differential.

    The differential is cut into pages, and only the last one is packed anew with each commit. So
    the cost of a commit does not grow with how much has changed before.

    Attributes:
        ref: Reference to the kind's blob, or None where there is none yet.
        cost: Bytes by which heads grew for carrying the differential along, since the blob was
            written. The changes of a commit itself do not count: they have to be sent either way.
        recent: Newest entries, which are in no full page yet.
        full: Full pages, which come before.
        size: Bytes that the whole differential takes in this head, if this process has made it.
        entities: Number of the kind's entities in the state of this head.
    """

    ref: Ref | None = None
    cost: int = 0
    recent: Mapping[EntityKey, Entry] = field(default_factory=dict)
    full: tuple[Page, ...] = ()
    size: int = field(default=0, compare=False)
    entities: int = 0

    @property
    def differential(self) -> Mapping[EntityKey, Entry]:
        """Return every entity changed since the blob, with its last change."""
        entries: dict[EntityKey, Entry] = {}
        for page in self.full:
            entries.update(page.entries)
        return {**entries, **self.recent}

    @property
    def entries(self) -> int:
        """Return the number of entries in all pages, where an entity may stand in several."""
        return len(self.recent) + sum(len(page.entries) for page in self.full)

    @property
    def has_changed(self) -> bool:
        """Return whether the differential holds any entry."""
        return bool(self.recent or self.full)


@dataclass(frozen=True, slots=True)
class Head:
    """Snapshot of one commit: the content of object ``head``. Immutable.

    Attributes:
        revision: Number of the commit, one more than that of the head before; 0 in a new store.
        commit: Id of the attempt that made it.
        bot: Id of the bot whose state it is.
        writers: Last commit of each recent writer, oldest first.
        lines: Newest lines, oldest first.
        restored: Restore requests carried out last, oldest first.
        keys: Newest revision that needs each key, by key id.
        erasures: Record of erased users and chats; None as long as nobody was erased.
        conditions: Trial of the storage's conditional PUT; None as long as nobody has tried.
        updates: Ids of the Telegram updates whose effects are committed, where that is noted.
        words: Strings that values refer to by number: those of the head before, then new ones.
        parts: Part of each kind.
    """

    revision: int
    commit: str
    bot: int
    writers: tuple[Writer, ...] = ()
    lines: tuple[Line, ...] = ()
    restored: tuple[str, ...] = ()
    keys: Mapping[str, int] = field(default_factory=dict)
    erasures: Erasures | None = None
    conditions: Conditions | None = None
    updates: Delivered = field(default_factory=Delivered)
    words: tuple[str, ...] = ()
    parts: Mapping[Kind, Part] = field(default_factory=lambda: {kind: Part() for kind in Kind})

    @property
    def entries(self) -> int:
        """Number of entries in the differential, all kinds and pages together."""
        return sum(part.entries for part in self.parts.values())

    @property
    def changed(self) -> Changed:
        """Return the number of entities of each kind that this very commit changed."""
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
        """Return this head without its differential: small, to hold tens of thousands of them."""
        return replace(self, parts={kind: Part(part.ref) for kind, part in self.parts.items()})

    @property
    def line(self) -> str | None:
        """Return the id of this commit's line, or None in a new store."""
        return self.lines[-1].line if self.lines else None

    def line_at(self, revision: int) -> str | None:
        """Return the id of the line of a revision, or None if that line is not listed."""
        of = (line.line for line in reversed(self.lines) if line.revision <= revision)
        return next(of, None) if revision <= self.revision else None

    def lists(self, commit: str) -> bool:
        """Tell whether a commit is listed as the last one of its writer."""
        return any(writer.commit == commit for writer in self.writers)

    def takes(self, kind: Kind, blob: Header) -> bool:
        """Tell whether a blob is a valid base for this head's differential (section 9).

        Either it is the very blob that `ref` names, or its revision is in range and it is of this
        head's branch; see the module's docstring.
        """
        ref = self.parts[kind].ref
        if ref is not None and blob.commit == ref.commit:
            return True
        oldest = ref.revision if ref else 0
        within = oldest <= blob.revision <= self.revision
        return within and self.has(blob.revision, blob.line, blob.writer)

    def has(self, revision: int, line: str, writer: str) -> bool:
        """Tell whether a commit is this head or an ancestor of it.

        Lines alone do not tell: a line may have forked where a head was put back under a running
        process. But a process that goes on from an older head does so as another writer, so that
        all commits of one writer id are of one branch.

        Args:
            revision: Revision of the commit.
            line: Id of its line.
            writer: Id of its writer.
        """
        if self.line_at(revision) != line:
            return False
        noted = [w.revision for w in self.writers if w.writer == writer]
        return max(noted) >= revision if noted else len(self.writers) == MAX_WRITERS

    def follows(self, base: Head) -> bool:
        """Tell whether this head descends from another one, rather than from an older state.

        As far as it can be known: lines and writers that are no longer listed tell nothing.
        """
        if base.revision == 0:
            return True
        if self.revision <= base.revision or self.words[: len(base.words)] != base.words:
            return False
        if self.line_at(base.revision) not in (base.line, None):
            return False
        last = base.writers[-1]
        noted = next((w for w in reversed(self.writers) if w.writer == last.writer), None)
        if noted is None:
            return len(self.writers) == MAX_WRITERS
        return noted.revision > last.revision or noted.commit == last.commit

    def precedes(self, base: Head) -> bool:
        """Tell whether this is an ancestor of another head, as far as its lines tell."""
        known = base.line_at(self.revision)
        return self.revision < base.revision and known in (self.line, None)


def follow(
    base: Head,
    changes: Changes,
    *,
    commit: str,
    writer: str,
    refs: Mapping[Kind, Ref],
    counts: Mapping[Kind, int] = MappingProxyType({}),
    begins_line: bool = False,
    own: str | None = None,
    restored: str | None = None,
    erasures: Erasures | None = None,
    conditions: Conditions | None = None,
    updates: Sequence[int] = (),
    words: Sequence[str] = (),
) -> Head:
    """Return the head that commits changes on top of a base.

    Args:
        base: Head to follow; at revision 0 for the first commit of a store.
        changes: Changes to commit.
        commit: Id of this attempt.
        writer: Id of this run of this process.
        refs: Newest blob of each kind that has one: the base's, or one written since.
        counts: Number of entities of each kind once the changes are made, where it is another.
        begins_line: Whether this is the writer's first commit after a load.
        own: Id of the last commit that is known to be this writer's: only that one may be dropped
            from the list for the new one. One of the same writer id that is not ours is of a clone
            of this process, which may yet look for it.
        restored: Restore request that this commit carries out, if any.
        erasures: Record of the erased, if this commit adds to it.
        conditions: Trial of conditional PUT, if one was made for this commit.
        updates: Ids of the Telegram updates whose effects are committed.
        words: Words for values to refer to from the next commit on. No value of this commit may:
            if another attempt takes effect, there are other words.
    """
    revision = base.revision + 1
    others = [w for w in base.writers if (w.writer, w.commit) != (writer, own)]
    begun = (Line(writer, revision),) if begins_line or not base.lines else ()
    done = [request for request in base.restored if request != restored]
    return replace(
        base,
        revision=revision,
        commit=commit,
        writers=(*others, Writer(writer, commit, revision))[-MAX_WRITERS:],
        lines=(*base.lines, *begun)[-MAX_LINES:],
        restored=tuple([*done, *([restored] if restored else [])][-MAX_RESTORED:]),
        erasures=erasures or base.erasures,
        conditions=conditions or base.conditions,
        updates=base.updates.adding(updates),
        words=tuple(dict.fromkeys((*base.words, *words)))[:MAX_WORDS],
        parts={
            kind: replace(
                _follow_part(part, changes.get(kind, {}), revision, refs.get(kind)),
                entities=counts.get(kind, part.entities),
            )
            for kind, part in base.parts.items()
        },
    )


def due(part: Part) -> bool:
    """Tell whether rewriting a kind's blob has paid for itself, or is sure to.

    It is sure where the differential dwarfs the blob, as after a first bulk of data: one commit
    would carry more along than the next blob takes, and a start would be slower.
    """
    if part.ref is None:
        return part.has_changed
    price = part.ref.size + COMPACTION_SLACK
    return part.cost >= price or part.size >= DWARFING * price


def _follow_part(
    part: Part, changes: Mapping[EntityKey, bytes | None], revision: int, ref: Ref | None
) -> Part:
    """Return a kind's part of the next head."""
    if ref is not None and (part.ref is None or ref.revision > part.ref.revision):
        # A newer blob holds what changed up to its revision; only what came after is left.
        left = {k: e for k, e in part.differential.items() if e.revision > ref.revision}
        part = Part(ref, 0, left)
    if changes:
        new = {key: Entry(revision, value) for key, value in changes.items()}
        part = replace(part, recent={**part.recent, **new})
    return replace(part, ref=ref)
