"""Opening of commits, one after the other: what only whole heads tell, and one user's life.

A user's entities as of a commit are those of the head's differential, on top of those of the blob
that it builds on. Blobs are few, and each is read once; of it, that user's entities are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._format.erasure import subjects
from ptb_s3._format.head import Head, Part
from ptb_s3._format.reader import Reader
from ptb_s3._history.blobs import BlobVersions
from ptb_s3._history.order import Commit
from ptb_s3._history.scan import Advance, Opened, open_all
from ptb_s3._storage.contract import Store
from ptb_s3.cli._report.facts import Deep, Life
from ptb_s3.cli._report.life import Unfolding
from ptb_s3.cli._view import State
from ptb_s3.cli._wording import when_json
from ptb_s3.errors import DamagedObjectError, UnknownKeyError

RANKS = 5
"""Entities whose changes are counted one by one, the most-changed ones of each kind."""
_Entities = dict[EntityKey, bytes]


class Tally:
    """Builder for the facts from opened heads, one after the other, the oldest first."""

    def __init__(self) -> None:
        self._changes: Counter[tuple[Kind, EntityKey]] = Counter()
        self._restores: list[int] = []
        self._restored: frozenset[str] | None = None
        self._unreadable = 0

    def skip(self) -> None:
        """Note a commit that could not be opened."""
        self._unreadable += 1

    def add(self, head: Head) -> None:
        """Add an opened commit."""
        for kind, part in head.parts.items():
            for key, entry in part.differential.items():
                self._changes[kind, key] += entry.revision == head.revision
        restored = frozenset(head.restored)
        if self._restored is not None and restored - self._restored:
            self._restores.append(head.revision)
        self._restored = restored

    def result(self) -> Deep:
        """Return the facts, once all commits were added."""
        counts: dict[Kind, list[int]] = {kind: [] for kind in Kind}
        for (kind, _), number in self._changes.most_common():
            counts[kind] += [number] if number else []
        ranks = {kind: tuple(numbers[:RANKS]) for kind, numbers in counts.items()}
        distinct = {kind: len(numbers) for kind, numbers in counts.items()}
        return Deep(ranks, distinct, tuple(self._restores), self._unreadable)


class Follower:
    """Follower of one user or chat through opened heads and the blobs beneath them.

    Args:
        store: Where the objects lie.
        reader: Opens older versions.
        base: The current state, which knows who was erased.
        subject: Id of the user or chat.
        values: Whether to show values.
    """

    def __init__(
        self, store: Store, reader: Reader, base: Base, subject: int, *, values: bool
    ) -> None:
        self._blobs = BlobVersions(store, reader, base.identity.store)
        self._erasures = base.head.erasures
        self._subject = subject
        self._unfolding = Unfolding(subject, values=values)
        self._read: dict[tuple[Kind, str], _Entities | None] = {}

    def skip(self) -> None:
        """Note a commit that could not be opened."""
        self._unfolding.skip()

    def result(self) -> Life:
        """Return the life, once all commits were added."""
        return self._unfolding.result()

    async def add(self, commit: Commit, head: Head) -> None:
        """Add an opened commit."""
        touched: dict[tuple[Kind, EntityKey], bytes] = {}
        for kind, part in head.parts.items():
            entities = await self._of_blob(kind, part, head)
            if entities is None:
                self.skip()
                return
            for key, entry in part.differential.items():
                if self._concerns(kind, key):
                    entities.pop(key, None)
                    if entry.value is not None:
                        entities[key] = entry.value
            if self._erasures is not None:
                self._erasures.apply(kind, entities, head.revision)
            touched |= {(kind, key): value for key, value in entities.items()}
        header = commit.known_header
        created = when_json(header.created)
        state = State(head.revision, created, header.serializer, head.words, {})
        self._unfolding.add(commit, state, touched)

    def _concerns(self, kind: Kind, key: EntityKey) -> bool:
        return self._subject in subjects(kind, key)

    async def _of_blob(self, kind: Kind, part: Part, head: Head) -> _Entities | None:
        """Return the user's entities in the blob that a head builds on, or None without one."""
        if part.ref is None:
            return {}
        place = (kind, part.ref.commit)
        if place not in self._read:
            try:
                blob = await self._blobs.at(kind, part, head)
            except (DamagedObjectError, UnknownKeyError):
                blob = None
            self._read[place] = blob and {k: v for k, v in blob.items() if self._concerns(kind, k)}
        found = self._read[place]
        return None if found is None else dict(found)


async def open_commits(
    store: Store,
    reader: Reader,
    commits: Sequence[Commit],
    follower: Follower | None,
    advance: Advance,
) -> Deep:
    """Open commits, the oldest first, and return what they tell.

    Args:
        store: Where they lie.
        reader: Opens them.
        commits: The commits, newest first.
        follower: Follows one user or chat through them; None: nobody is followed.
        advance: Called with how many are done, and of how many.
    """
    tally, by_id = Tally(), {commit.version.version_id: commit for commit in commits}
    listing = {HEAD: [commit.version for commit in reversed(commits)]}
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            if not isinstance(opened.content, Head):
                _skip(tally, follower)
                continue
            tally.add(opened.content)
            if follower is not None:
                await follower.add(_commit(opened, by_id), opened.content)
    return tally.result()


def _skip(tally: Tally, follower: Follower | None) -> None:
    tally.skip()
    if follower is not None:
        follower.skip()


def _commit(opened: Opened, by_id: dict[str, Commit]) -> Commit:
    return by_id[opened.version.version_id]
