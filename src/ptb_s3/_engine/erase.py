"""Erase one user or chat from the current objects.

An erasure is recorded in head, so that the entities do not come back with an older state. Then
every object is sealed anew: the one that was current holds them still, as a noncurrent version.
Those versions are purged separately, see `ptb_s3._history.purge`.
"""

from __future__ import annotations

from collections.abc import Callable

from ptb_s3._engine.repository import Repository
from ptb_s3._engine.rotation import seal_anew
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Kind
from ptb_s3._format.erasure import subjects


def count_held(base: Base, subject: int) -> dict[Kind, int]:
    """Count the entities of each kind that belong to a user or chat.

    Args:
        base: The current state.
        subject: Id of the user or chat.
    """
    return {
        kind: sum(subject in subjects(kind, key) for key in entities)
        for kind, entities in base.entities.items()
    }


async def erase(repository: Repository, subject: int, advance: Callable[[int, int], None]) -> None:
    """Erase a user or chat from everything current. May end anywhere, and be done again.

    Args:
        repository: The state, loaded.
        subject: Id of the user or chat.
        advance: Called with how many objects are sealed anew, and of how many.

    Raises:
        ConflictError: Another writer has committed.
    """
    await repository.erase(subject)
    await seal_anew(repository, repository.written_kinds(), advance)
