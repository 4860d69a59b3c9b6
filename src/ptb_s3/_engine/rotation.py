"""Rotation of the sealing key on demand: which objects need it, whom it would lock out, doing it.

A bot rotates by itself, with its next commits after a restart with the new key in PTB_S3_KEY. A
command does it at once, for a key that may have leaked. Beside a running bot that lacks the new
key, any command that seals head is a rotation, too: the bot could not save from then on.
"""

from __future__ import annotations

from collections.abc import Callable

from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind


def locks_out(repository: Repository) -> bool:
    """Tell whether a commit would seal head with another key while another writer is at work.

    Args:
        repository: The state, loaded. One without any commit locks nobody out.
    """
    exchanged = bool(repository.revision) and HEAD in repository.sealed_otherwise()
    return exchanged and repository.in_company


async def rotate(repository: Repository, advance: Callable[[int, int], None]) -> None:
    """Seal everything current with the sealing key, head last and in any case.

    May end anywhere: objects that are sealed anew stay so, and the rest follows the next time.

    Args:
        repository: The state, loaded.
        advance: Called with how many objects are sealed, and of how many.

    Raises:
        ConflictError: Another writer has committed.
    """
    names = repository.sealed_otherwise()
    await seal_anew(repository, [kind for kind in Kind if kind.value in names], advance)


async def seal_anew(
    repository: Repository, kinds: list[Kind], advance: Callable[[int, int], None]
) -> None:
    """Write these kinds' blobs anew, and a head that refers to them, and report progress.

    Args:
        repository: The state, loaded.
        kinds: Which blobs.
        advance: Called with how many objects are written, and of how many.
    """
    written: list[str] = []

    def done(name: str) -> None:
        written.append(name)
        advance(len(written), len(kinds) + 1)

    await repository.seal_anew(kinds, done)
