"""The head: references to the blobs and the differential, and how one head follows another. Pure.

Its pages are FORMAT.md's, section 8. A `Head` is never changed once made, so that an attempt to
commit whose outcome is unknown can be kept, and become the base for the next one, as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from ptb_s3._format.container import Changed, Header, Hex16, Hex32
from ptb_s3._format.delivered import Delivered
from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.erasure import Erasures
from ptb_s3._format.words import MAX_WORDS

# Writers whose last commit a head lists. An outcome is settled within seconds of the attempt; so
# many other processes do not start and commit in between.
MAX_WRITERS = 64
# Lines that a head lists. A blob of a line that has left the list is still known by its commit id.
MAX_LINES = 64
# Restore requests that a head lists, so that none of them is carried out twice.
MAX_RESTORED = 128
# Characters of a restore request: a version id has at most 1,024 bytes (Amazon S3 User Guide,
# "How S3 Versioning works").
MAX_REQUEST = 1024
# Bytes that a kind's differential may cost, beyond its blob's size, before the blob is written
# anew. To write when the cost so far equals the price is within a factor of two of the best
# schedule there is, whatever the future brings ("ski rental"); the slack keeps tiny blobs from
# being written all the time.
COMPACTION_SLACK = 64 * 1024
# How many times that price the differential takes where the blob is written anew before it has cost
# anything. It has doubled then, so that all such blobs together are less than twice the last one.
DWARFING = 2


class Ref(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which blob a kind's differential builds on.

    Attributes:
        revision: Whose state the blob holds.
        version_id: Its version, or None in a bucket without versioning.
        size: Bytes of the whole object.
        entities: How many it holds.
        key: Id of the key that sealed it.
        commit: Id of the attempt that wrote it, by which it is known among others of its revision.
    """

    revision: int
    version_id: str | None
    size: int
    entities: int
    key: Hex16
    commit: Hex32


class Entry(NamedTuple):
    """One entity in the differential: when it last changed, and its bytes (None: deleted)."""

    revision: int
    value: bytes | None


class Writer(NamedTuple):
    """The last commit of one run of a process."""

    writer: str
    commit: str
    revision: int


class Line(NamedTuple):
    """A stretch of revisions that follow one another without a load in between.

    A process begins one with its first commit after a load. So where a store was rolled back and
    went on, the same revision is of one line in the branch that was given up, and of another here.

    Attributes:
        line: Id of the line: that of the writer who began it.
        revision: The first of its revisions.
    """

    line: Hex16
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

    entries: Mapping[EntityKey, Entry]
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
        cost: Bytes that its differential has been carried along in heads since that blob was
            written: what a commit changes itself has to be sent either way.
        recent: What has changed last, and is in no full page yet.
        full: The pages before.
        size: Bytes that all of it takes in this head, where this process has made it.
    """

    ref: Ref | None = None
    cost: int = 0
    recent: Mapping[EntityKey, Entry] = field(default_factory=dict)
    full: tuple[Page, ...] = ()
    size: int = field(default=0, compare=False)

    @property
    def differential(self) -> Mapping[EntityKey, Entry]:
        """Every entity changed since the blob, with its last change."""
        entries: dict[EntityKey, Entry] = {}
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
        lines: The newest lines, oldest first.
        restored: The restore requests carried out last, oldest first.
        keys: By key id, the newest revision that needs the key.
        erasures: Who was erased; None as long as nobody was.
        conditions: Whether the storage keeps to conditions; None as long as nobody has tried.
        updates: Ids of the updates that were delivered, where that is noted.
        words: What values refer to by number: those of the head before, and new ones after them.
        parts: One for each kind.
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

    @property
    def line(self) -> str | None:
        """The line of this commit; None in a new store."""
        return self.lines[-1].line if self.lines else None

    def line_at(self, revision: int) -> str | None:
        """Return the line that a revision is of; None: it has left the list, or never was."""
        of = (line.line for line in reversed(self.lines) if line.revision <= revision)
        return next(of, None) if revision <= self.revision else None

    def lists(self, commit: str) -> bool:
        """Tell whether a commit is the last one of its writer, as far as this head knows."""
        return any(writer.commit == commit for writer in self.writers)

    def takes(self, kind: Kind, blob: Header) -> bool:
        """Tell whether a blob is a base for this head's differential (FORMAT.md, section 9)."""
        ref = self.parts[kind].ref
        if ref is not None and blob.commit == ref.commit:
            return True
        oldest = ref.revision if ref else 0
        within = oldest <= blob.revision <= self.revision
        return within and self.has(blob.revision, blob.line, blob.writer)

    def has(self, revision: int, line: str, writer: str) -> bool:
        """Tell whether a commit is this head's, or one that it came after.

        A writer leaves a branch as another one: all commits of one id are of one branch.

        Args:
            revision: The commit's.
            line: Its line.
            writer: Its writer.
        """
        if self.line_at(revision) != line:
            return False
        noted = [w.revision for w in self.writers if w.writer == writer]
        return max(noted) >= revision if noted else len(self.writers) == MAX_WRITERS

    def follows(self, base: Head) -> bool:
        """Tell whether this head came after another, rather than from an older state brought back.

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
        """Tell whether this is an older commit of the line that another is of."""
        known = base.line_at(self.revision)
        return self.revision < base.revision and known in (self.line, None)


def follow(
    base: Head,
    changes: Changes,
    *,
    commit: str,
    writer: str,
    refs: Mapping[Kind, Ref],
    begins_line: bool = False,
    own: str | None = None,
    restored: str | None = None,
    erasures: Erasures | None = None,
    conditions: Conditions | None = None,
    updates: Sequence[int] = (),
    words: Sequence[str] = (),
) -> Head:
    """Make the head that commits changes on top of a base.

    Args:
        base: The head to follow; at revision 0 for the first commit of a store.
        changes: What is committed.
        commit: Id of this attempt.
        writer: Id of this run of this process.
        refs: The newest blob of each kind that has one: the base's, or one written since.
        begins_line: Whether this is the writer's first commit after a load.
        own: Id of the last commit that is known to be this writer's; it need not be listed any
            more.
        restored: The restore request that this commit carries out, if it does.
        erasures: What is to be recorded of the erased, if this commit adds to it.
        conditions: What the storage makes of conditional PUT, if it was tried for this commit.
        updates: Ids of the updates whose effects are committed.
        words: What values are to refer to from the next commit on. None of those of this one does:
            if it is not the one that takes effect, there are other words by then.
    """
    revision = base.revision + 1
    # One of the same id that is not ours is of a clone of this process, which may yet look for it.
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
            kind: _follow_part(part, changes.get(kind, {}), revision, refs.get(kind))
            for kind, part in base.parts.items()
        },
    )


def due(part: Part) -> bool:
    """Tell whether writing a kind's blob anew has paid for itself, or is sure to.

    Where the differential dwarfs the blob, as after a first bulk of data, it is: one commit would
    carry more along than the next blob takes, and a start that reads it from head takes longer.
    """
    if part.ref is None:
        return part.has_changed
    price = part.ref.size + COMPACTION_SLACK
    return part.cost >= price or part.size >= DWARFING * price


def _follow_part(
    part: Part, changes: Mapping[EntityKey, bytes | None], revision: int, ref: Ref | None
) -> Part:
    if ref is not None and (part.ref is None or ref.revision > part.ref.revision):
        # A newer blob holds what changed up to its revision; only what came after is left.
        left = {k: e for k, e in part.differential.items() if e.revision > ref.revision}
        part = Part(ref, 0, left)
    if changes:
        new = {key: Entry(revision, value) for key, value in changes.items()}
        part = replace(part, recent={**part.recent, **new})
    return replace(part, ref=ref)
