"""Ways to break the engine, one for each kind of fault that the simulation can see.

Most undo what once mended a fault. Each is found by schedules with the features that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ptb_s3._engine import compaction, rebase, rewriting, staging, unmerged
from ptb_s3._engine.compaction import Compactor
from ptb_s3._engine.fetching import Fetcher
from ptb_s3._engine.loading import Loader
from ptb_s3._engine.merging import Merger
from ptb_s3._engine.rebase import Rebased
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.run import Run
from ptb_s3._engine.settling import Settler
from ptb_s3._engine.staging import Staged
from ptb_s3._format import head, head_pages
from ptb_s3._format.blobs import Blob
from ptb_s3._format.committed import Base, Stored, ref_of
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.delivered import Delivered, Range
from ptb_s3._format.entities import Kind, Resolution
from ptb_s3._format.head import Head, Ref
from ptb_s3._format.openers import BlobOpener
from ptb_s3._format.reader import Reader
from ptb_s3._format.sealer import Sealer
from ptb_s3._history import recovery_search
from ptb_s3._history.commit_search import CommitSearch
from ptb_s3._history.order import Commit
from ptb_s3._ptb import refresh
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.live_objects import LiveObjects
from ptb_s3._ptb.on_demand import OnDemandData
from ptb_s3._ptb.state_loader import StateLoader
from ptb_s3._storage.conditional import ConditionalStore
from ptb_s3._storage.contract import Fetched, PreconditionFailed, Written
from ptb_s3._values.three_way_merge import ThreeWayMerge
from ptb_s3.errors import ConflictError


class Mutant(NamedTuple):
    """One way to break the engine.

    Attributes:
        features: With what its schedules are run.
        patches: What is replaced: of what, by which name, by what.
        first: Seed to begin with: some break rarely, and the first to find it may be far.
    """

    features: tuple[str, ...]
    patches: tuple[tuple[object, str, object], ...]
    first: int = 0


def _mutant(features: str, *patches: tuple[object, str, object], first: int = 0) -> Mutant:
    return Mutant(tuple(features.split()), patches, first)


# The commit -----------------------------------------------------------------------------------


async def _without_condition(self: ConditionalStore, name: str, body: bytes, **_: Any) -> Written:
    return await self._store.overwrite(name, body)


async def _412_is_success(
    self: ConditionalStore, name: str, body: bytes, *, if_match: str | None
) -> Written:
    try:
        return await self._store.put(name, body, if_match=if_match)
    except PreconditionFailed:
        found = await self._store.get(name)
        assert found is not None
        return Written(found.etag, found.version_id)


_FOLLOW_PART: Callable[..., Any] = head._follow_part
_FOLLOW: Callable[..., Any] = head.follow


def _without_tombstones(part: Any, changes: Any, revision: int, ref: Ref | None) -> Any:
    kept = {key: value for key, value in changes.items() if value is not None}
    return _FOLLOW_PART(part, kept, revision, ref)


def _words_at_once(self: Repository) -> tuple[str, ...]:
    vocabulary = self.staged.vocabulary
    return tuple(dict.fromkeys((*vocabulary.known, *vocabulary.suggested)))


def _copy_is_another(*_: Any) -> None:
    raise ConflictError("head has another ETag")


def _one_for_all(entities: Any, ours: Any, theirs: Any, resolve: Any) -> Rebased:
    rebased = _REBASE(entities, ours, theirs, resolve)
    if rebased.unmerged:
        raise rebased.unmerged[0].fault
    return rebased


_REBASE: Callable[..., Rebased] = rebase.rebase


def _size_unseen(resolve: Any, kind: Any, key: Any, sides: Any) -> Resolution:
    try:
        resolution: Resolution = resolve(kind, key, *sides)
    except ConflictError as error:
        error.kind, error.key = kind.value, key
        raise
    return resolution


# Pages and blobs ------------------------------------------------------------------------------


def _any_pages(last: Any) -> bool:
    return len(last) == head_pages.MERGED and all(p.size < 2 * head_pages.PAGE for p in last)


def _unchecked(*_: Any) -> None:
    """Send what was sealed without reading it again."""


async def _compact_ahead(self: Repository, kind: Kind) -> None:
    base = self.base
    entities = {**base.entities, kind: self.staged.entities(kind)}
    ahead = Base(base.identity, base.head, base.etag, blobs=base.blobs, entities=entities)
    await self._compactor.compact(ahead, kind)
    if kind in ahead.blobs:
        base.note_blob(kind, ahead.blobs[kind])


async def _fetch_older(self: Loader, _: Any) -> tuple[dict[str, Fetched | None], dict[Any, Any]]:
    found: dict[str, Fetched | None] = {HEAD: await self._context.store.get(HEAD)}
    for kind in Kind:
        versions = [version async for version in self._context.store.versions(kind)]
        older = versions[1].version_id if len(versions) > 1 else None
        found[kind] = await self._context.store.get(
            kind, version_id=older if older != "null" else None
        )
    return found, {}


def _place_any(
    _: Reader, base: Base, kind: Kind, __: Any, fetched: Fetched | None, opener: BlobOpener | None
) -> None:
    if fetched is not None:
        opener = opener or _._opened(kind, fetched.body)
        header, entities = opener.result(base.identity.store)
        ref = ref_of(header, fetched.version_id, 1)
        base.lay_blob(kind, entities, Stored(header, 1), Blob(fetched.etag, ref))


def _takes_any_branch(self: Head, kind: Kind, blob: Header) -> bool:
    ref = self.parts[kind].ref
    return (ref.revision if ref else 0) <= blob.revision <= self.revision


def _takes_older(self: Head, _: Kind, blob: Header) -> bool:
    return blob.revision <= self.revision


_DUE: Callable[..., list[Kind]] = compaction.due


def _by_time(commits: Any) -> list[list[Commit]]:
    """Take the version that the storage took last for the newest commit."""
    readable = [commit for commit in commits if commit.header is not None]
    return [[c] for c in sorted(readable, key=lambda one: one.version.modified, reverse=True)]


def _due_in_company(base: Base, sealing: str | None, **_: Any) -> list[Kind]:
    return _DUE(base, sealing, alone=True)


# Values ---------------------------------------------------------------------------------------


def _equal_is_same(_: ThreeWayMerge, one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))


def _whole_lists(self: ThreeWayMerge, _: object, ours: object, theirs: object) -> object:
    return self._clash(ours, theirs)


def _never_untouched(
    self: LiveObjects, kind: Kind, key: Any, live: object, pristine: object
) -> bool:
    return not _holds_set(live) and _UNTOUCHED(self, kind, key, live, pristine)


def _holds_set(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(part, set) for part in value.values())


_UNTOUCHED: Callable[..., bool] = LiveObjects.untouched


def _replace_parts(live: Any, fresh: Any) -> None:
    if isinstance(live, dict):
        live.clear()
        live.update(fresh)
    if hasattr(live, "__dict__"):
        vars(live).clear()
        vars(live).update(vars(fresh))


def _replacing(*_: Any) -> Any:
    return _replace_parts


def _seen_unseen(self: LiveObjects, kind: Kind, key: Any, *_: Any) -> None:
    self._staged.catch_up(kind, [key])


# Read on demand ---------------------------------------------------------------------------------


def _only_known(self: OnDemandData, commits: GroupCommit, key: Any) -> bool:
    staged = commits.repository.staged
    return staged.knows(self._kind, key) and staged.get(self._kind, key) is not None


_KNOWN_OF: Callable[..., Any] = Fetcher.known_of


async def _none_is_newer(self: Fetcher, source: Any, keys: Any, newer: int | None) -> Any:
    return {} if newer is not None else await _KNOWN_OF(self, source, keys, newer)


_LEARN: Callable[..., Any] = Base.learn


def _learn_what_is_there(self: Base, kind: Kind, found: Any) -> None:
    deleted = {k for k, e in self.head.parts[kind].differential.items() if e.value is None}
    if deleted and deleted <= found.keys() and not self.entities[kind]:  # a load, or a takeover
        found = {key: value for key, value in found.items() if key not in deleted}
    _LEARN(self, kind, found)


def _count_again(self: Base, kind: Kind, changes: Any) -> int:
    count = self.head.parts[kind].entities if kind in self.partial else len(self.entities[kind])
    known = self.entities[kind]
    for key, value in changes.items():
        count += value is not None and (kind in self.partial or key not in known)
        count -= value is None and key in known
    return count


_MERGE: Callable[..., Any] = Compactor._merge


async def _merge_without_tombstones(
    self: Compactor, source: Any, differential: Any, blob: Any
) -> None:
    kept = {key: entry for key, entry in differential.items() if entry.value is not None}
    await _MERGE(self, source, kept, blob)


# Instances, and what they are asked at run time -----------------------------------------------


def _one_id(self: Run) -> None:
    """Go on under an id that another process may have as well."""


def _init_with_id(self: Run, draw: Callable[[], str]) -> None:
    _RUN_INIT(self, draw)
    self._id = draw()


_RUN_INIT: Callable[..., None] = Run.__init__
_ENTITIES: Callable[..., Any] = Staged.entities
_OPEN: Callable[..., Any] = StateLoader.open


def _entities_seen(self: Staged, kind: Kind) -> Any:
    self._overtaken[kind].clear()
    return _ENTITIES(self, kind)


async def _open_anew(self: Any, *, start: bool = False) -> GroupCommit:
    if self.commits is not None and self.commits.repository.dirty:
        self.commits = None
    opened: GroupCommit = await _OPEN(self, start=start)
    return opened


def _not_salvaged(self: GroupCommit) -> None:
    """Wait for a commit that never began."""


def _no_transaction(self: Merger, value: bool) -> None:  # noqa: FBT001 - a property's
    """Merge what an update changed with what others have changed since."""


def _forget_updates(_: Delivered, updates: Any) -> Delivered:
    return Delivered(Range(one, one) for one in updates)


def _held_never(_: GroupCommit) -> bool:
    return False


def _is_transactional(_: Merger) -> bool:
    return False


def _newer_unseen(*_: object) -> bool:
    return True


def _any_branch(_: CommitSearch, commit: Commit, revision: int) -> bool:
    return commit.header is not None and commit.header.revision == revision


MUTANTS: Mapping[str, Mutant] = {
    "skip the precondition": _mutant("", (ConditionalStore, "put", _without_condition)),
    "treat 412 as success": _mutant("", (ConditionalStore, "put", _412_is_success)),
    "forget a tombstone": _mutant("", (head, "_follow_part", _without_tombstones)),
    "use words before they are committed": _mutant(
        "", (Repository, "words", property(_words_at_once))
    ),
    "write a blob ahead of its commit": _mutant(
        "together", (Repository, "compact", _compact_ahead)
    ),
    "take an older blob": _mutant(
        "", (Loader, "_fetch_all", _fetch_older), (Reader, "_place_blob", _place_any)
    ),
    # A
    "merge pages past what a reader takes": _mutant(
        "pages", (head_pages, "_may_be_merged", _any_pages)
    ),
    "send what no reader takes": _mutant(
        "pages", (head_pages, "_may_be_merged", _any_pages), (Sealer, "_check_head", _unchecked)
    ),
    "merge two values past the limit of one": _mutant(
        "huge",
        (rebase, "resolved", _size_unseen),
        (staging, "resolved", _size_unseen),
        (unmerged, "resolved", _size_unseen),
    ),
    "mix two branches": _mutant("outsiders", (Head, "takes", _takes_any_branch)),
    # B
    "take what is equal for the same": _mutant(
        "objects", (ThreeWayMerge, "_alike", _equal_is_same)
    ),
    "never refresh what holds a set": _mutant("sets", (LiveObjects, "untouched", _never_untouched)),
    "count what was not brought in as seen": _mutant("", (LiveObjects, "refresh", _seen_unseen)),
    "replace what a handler holds": _mutant("nested together", (refresh, "way", _replacing)),
    "take a getter's values for the live ones": _mutant(
        "getters", (Staged, "entities", _entities_seen)
    ),
    "merge what an update counted": _mutant(
        "deliver", (Merger, "transactional", property(_is_transactional, _no_transaction))
    ),
    "let one side's lists and sets win": _mutant(
        "nested sets", (ThreeWayMerge, "_combine_elements", _whole_lists)
    ),
    "share an id after a fork": _mutant(
        "forks", (Run, "renew", _one_id), (Run, "__init__", _init_with_id)
    ),
    "stage what was handed over after it was refreshed": _mutant(
        "together", (GroupCommit, "_is_held", _held_never)
    ),
    # C
    "stop for one that cannot be merged": _mutant("refusals", (rebase, "rebase", _one_for_all)),
    "wait for a commit that never began": _mutant(
        "cancel", (GroupCommit, "_salvage", _not_salvaged)
    ),
    "take a copy for another commit": _mutant(
        "outsiders", (Settler, "_take_copy", _copy_is_another)
    ),
    "forget which updates were delivered": _mutant(
        "deliver", (Delivered, "adding", _forget_updates)
    ),
    "bring back what was put back": _mutant(
        "outsiders", (recovery_search, "newest_first", _by_time)
    ),
    "write memory over what others have committed": _mutant(
        "outsiders", (rewriting, "nothing_newer", _newer_unseen)
    ),
    "restore a revision of another branch": _mutant(
        "outsiders", (CommitSearch, "_is_it", _any_branch), first=500
    ),
    # D
    "hand out nothing for what is not loaded": _mutant(
        "on_demand", (OnDemandData, "_exists", _only_known)
    ),
    "leave out what others have changed before their blob": _mutant(
        "on_demand", (Fetcher, "known_of", _none_is_newer)
    ),
    "forget what was deleted since the blob": _mutant(
        "on_demand", (Base, "learn", _learn_what_is_there)
    ),
    "count anew what was there": _mutant("on_demand", (Base, "count_after", _count_again)),
    "bring back what was deleted, in a blob": _mutant(
        "on_demand", (Compactor, "_merge", _merge_without_tombstones)
    ),
    # What once survived
    "load anew after a flush, though something is dirty": _mutant(
        "getters", (StateLoader, "open", _open_anew)
    ),
    "build on an older blob that was put back": _mutant("outsiders", (Head, "takes", _takes_older)),
    "exchange keys beside another instance": _mutant("keys", (compaction, "due", _due_in_company)),
}
