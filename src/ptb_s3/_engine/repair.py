"""Repair a state that cannot be read: find the fault, plan the repair, tell the losses.

The newest state that the versions give (`ptb_s3._history.recovery`) becomes a new commit on top of
whatever lies there; `ptb_s3._engine.publication.publish` writes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.loading import Recovery
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Kind
from ptb_s3._history.current import Current
from ptb_s3._history.recovery import Found
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    DeletedStateError,
    ForeignStoreError,
    NothingThereError,
    PersistenceError,
    UnknownKeyError,
)

UNREADABLE = (DamagedObjectError, DeletedStateError, ForeignStoreError, UnknownKeyError)
"""Faults of a current state that say nothing of its older versions."""


async def find_fault(
    load: Callable[[], Awaitable[Repository]], other: Repository
) -> PersistenceError | None:
    """Return why the current state cannot be read, or is not the newest one, else None.

    Args:
        load: Loads the current state.
        other: Another repository of the same place, not loaded: to look for a newer state.

    Raises:
        UnknownKeyError: The key is at hand for older versions alone. It may have leaked, and its
            thief written the newest version.
        PersistenceError: The storage cannot be asked, or there is no state.
    """
    try:
        base = (await load()).base
    except UNREADABLE as fault:
        if isinstance(fault, UnknownKeyError) and fault.in_history:
            raise
        return fault
    try:
        header = (await other.recover()).found.header
    except NothingThereError:  # nothing but what is current
        return None
    if header.store != base.identity.store or base.head.has(
        header.revision, header.line, header.writer
    ):
        return None
    reason = f"it is revision {base.head.revision} again, after revision {header.revision} was made"
    return DamagedObjectError(HEAD, reason)


class ObjectRepair(NamedTuple):
    """Repair of one object.

    Attributes:
        name: The object.
        fault: Why its current version is no part of the state, as a clause; empty: it is.
        is_written: Whether it is written anew; else it stays.
        revision: The revision that its data is of; None: no version of it is left.
    """

    name: str
    fault: str
    is_written: bool
    revision: int | None


def plan_repair(recovery: Recovery) -> list[ObjectRepair]:
    """Return the repair of each object, head first."""
    current, found = recovery
    return [_repair_head(current[HEAD], found), *(_repair(current[k], k, found) for k in Kind)]


def _repair_head(current: Current, found: Found) -> ObjectRepair:
    fault = _fault(current)
    if not fault and current.header is not None and current.header != found.header:
        fault = f"revision {current.header.revision}, and not the newest there is"
    return ObjectRepair(HEAD, fault, is_written=True, revision=found.header.revision)


def _repair(current: Current, kind: Kind, found: Found) -> ObjectRepair:
    revision = found.of[kind]
    expected = current.found is not None or found.head.parts[kind].ref is not None
    fault = _fault(current) if expected else ""
    if not fault and current.header is not None and not _fits(current.header, kind, found):
        fault = "of another state"
    is_written = bool(fault) or revision != found.header.revision
    return ObjectRepair(kind, fault, is_written, revision)


def _fits(header: Header, kind: Kind, found: Found) -> bool:
    return header.store == found.header.store and found.head.takes(kind, header)


def _fault(current: Current) -> str:
    if current.found is None:
        return "gone"
    fault = current.fault
    return fault.reason if isinstance(fault, DamagedObjectError) else str(fault or "")


class Losses(NamedTuple):
    """Losses of a repair: what the newest state has not, and no version gives.

    Attributes:
        revisions: Newer commits of the same store that do not open.
        unknown: How many newer versions of head have no readable header.
        kinds: The kinds whose data is not of that commit: the revision that it is of; None: no
            version of it is left.
        fault: Why the newest of the versions that do not open does not; None: all open.
    """

    revisions: set[int]
    unknown: int
    kinds: dict[Kind, int | None]
    fault: PersistenceError | None


def losses(found: Found) -> Losses:
    """Return the losses of a repair with the state that was found."""
    return Losses(
        revisions={
            one.header.revision
            for one in found.unread
            if one.header is not None and one.header.store == found.header.store
        },
        unknown=sum(one.header is None for one in found.unread),
        kinds={kind: of for kind, of in found.of.items() if of != found.header.revision},
        fault=found.unread[0].fault if found.unread else None,
    )


async def begin_after(repository: Repository) -> None:
    """Begin an empty state in place of a deleted one, by a first commit.

    Args:
        repository: One that was made with the version id of the deleted head (``begin_anew=``).

    Raises:
        ConflictError: There is a state.
        DeletedStateError: The version id is not that of the deleted head.
    """
    await repository.load()
    if repository.revision:
        raise ConflictError(
            f"There is a state here, at revision {repository.revision}. Nothing was changed."
        )
    await repository.commit(operation=Operation())
