"""Restore on demand: choose a snapshot, plan the changes that bring it back, commit them.

A restore rolls forward: the older state becomes a new commit on top of the current one, so that it
can be undone by another restore. (A restore that a bot's settings ask for is
`Repository.restore`, which does so once.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.past_jobs import JudgePastJob, PastJobs, judge_past_jobs
from ptb_s3._engine.repository import Repository
from ptb_s3._format.committed import Base
from ptb_s3._format.container import Header
from ptb_s3._format.entities import Changes, Entities, EntityKey, Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._format.words import spell_out_all
from ptb_s3._history.history import Snapshot
from ptb_s3.errors import ForeignStoreError, SettingsError


class Counts(NamedTuple):
    """Counts of the entities of one kind that a restore changes."""

    added: int
    changed: int
    removed: int


class RestorePlan(NamedTuple):
    """Plan of a restore.

    Attributes:
        header: The commit to go back to.
        before: The revision to go back to if the restore is to be undone.
        changes: The changes that turn the current state into the older one.
        counts: How many entities of each kind those add, change and remove.
        whole: Whether the current state could not be read, so that a commit is needed even without
            any changes.
        jobs: Which overdue jobs of the older state it has found, and what becomes of them.
    """

    header: Header
    before: int
    changes: Changes
    counts: dict[Kind, Counts]
    whole: bool
    jobs: PastJobs

    @property
    def is_needed(self) -> bool:
        """Return whether there is anything to commit."""
        return self.whole or any(self.changes.values())


async def snapshot_of(
    repository: Repository, other: Repository, point: RestorePoint | None, store_id: str | None
) -> Snapshot:
    """Return the state to bring back: one of the current store's, or of one that lay here before.

    Args:
        repository: The current state, loaded or recovered.
        other: Another repository of the same place, not loaded: for another store's state.
        point: The commit; None: the newest one of its store.
        store_id: The store; None: the current one.

    Raises:
        RestorePointError: No commit that history still holds answers to the point.
        NothingThereError: No version of the other store opens.
        ForeignStoreError: The other store's state belongs to another bot.
        SettingsError: Its values were made by another serializer.
    """
    if store_id is None or store_id == repository.base.identity.store:
        newest = RestorePoint.parse(str(repository.revision))
        return await repository.restorable(point or newest)
    found = (await other.recover(store_id=store_id)).found
    _require_same_owner(found.head.bot, found.header, repository.base)
    snapshot = Snapshot(found.header, found.head, found.entities)
    if point is not None:
        snapshot = await other.history.state_at(point)
    return _spelled_out(snapshot)


def _require_same_owner(bot: int, header: Header, base: Base) -> None:
    if bot != base.head.bot:
        raise ForeignStoreError(
            f"The state of store {header.store} belongs to another bot. Nothing was changed. "
            "Export it (ptb-s3 export --store), and import it where that bot's state is to lie."
        )
    if header.serializer != base.identity.serializer:
        raise SettingsError(
            f"The values of store {header.store} were made by serializer {header.serializer!r}, "
            "and today's by another one. Nothing was changed."
        )


def _spelled_out(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot whose values do not refer to words: the current head has other ones."""
    spelled = spell_out_all(
        {kind: {**values} for kind, values in snapshot.entities.items()}, snapshot.head.words
    )
    return snapshot._replace(entities=cast("dict[Kind, Entities]", spelled))


def plan_restore(
    repository: Repository,
    snapshot: Snapshot,
    *,
    kind: Kind | None = None,
    key: EntityKey | None = None,
    whole: bool = False,
    judge: JudgePastJob | None = None,
    overdue_jobs: bool = False,
) -> RestorePlan:
    """Plan to bring back a snapshot, or a part of it.

    Args:
        repository: The current state, loaded or recovered.
        snapshot: The state to bring back.
        kind: Only this kind; None: all.
        key: Only this entity of the kind; None: all.
        whole: Whether the current state could not be read.
        judge: Says which of its jobs are overdue; None: nobody can.
        overdue_jobs: Whether those are brought back all the same, as they were.
    """
    wanted = _wanted(repository.base, snapshot, kind, key)
    jobs = judge_past_jobs(repository.base, wanted, judge)
    changes = repository.changes_to(wanted if overdue_jobs else jobs.entities)
    counts = count_changes(repository.base, changes)
    return RestorePlan(snapshot.header, repository.revision, changes, counts, whole, jobs)


async def restore(repository: Repository, plan: RestorePlan) -> None:
    """Commit a plan.

    Raises:
        ConflictError: Another writer has committed since. Nothing was changed.
    """
    await repository.commit_only(plan.changes, Operation() if plan.whole else None)


def count_changes(base: Base, changes: Changes) -> dict[Kind, Counts]:
    """Count the entities of each kind that changes add to, change in and remove from a state."""
    counted = {}
    for kind, changed in changes.items():
        entities = base.entities[kind]
        removed = sum(value is None for value in changed.values())
        added = sum(key not in entities for key in changed)
        counted[kind] = Counts(added, len(changed) - added - removed, removed)
    return counted


def _wanted(
    base: Base, snapshot: Snapshot, kind: Kind | None, key: EntityKey | None
) -> Mapping[Kind, Entities]:
    """Return the entities that kinds are to have: of all, of one, or of one with one changed."""
    if kind is None:
        return snapshot.entities
    if key is None:
        return {kind: snapshot.entities[kind]}
    wanted = {**base.entities[kind]}
    wanted.pop(key, None)
    if key in snapshot.entities[kind]:
        wanted[key] = snapshot.entities[kind][key]
    return {kind: wanted}
