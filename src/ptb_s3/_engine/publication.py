"""Publication of a whole state: write what a repository holds in memory, and read it back.

For a state that did not come from the current objects: recovered from versions, copied from another
place, or imported. Blobs are written first, then the head that refers to them: only with the head
is there a state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.repository import Repository
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3.errors import ConflictError, DamagedObjectError, NothingThereError


async def publish(repository: Repository, done: Callable[[str], None]) -> None:
    """Write the blobs that a recovered or copied state lacks, then its head.

    May end anywhere: without the head, nothing of it counts.

    Args:
        repository: The state, from `Repository.recover` or `Repository.begin_from`.
        done: Called with the name of each object that is written.

    Raises:
        ConflictError: Another writer has committed.
    """
    await repository.mend(done)
    await repository.commit(publish=True, operation=Operation())
    done(HEAD)


async def require_empty(load: Callable[[], Awaitable[Repository]], name: str) -> None:
    """Check that there is no state at a place.

    Args:
        load: Loads the state of the place.
        name: The place, for the error.

    Raises:
        ConflictError: There is a state.
        NothingThereError: There is no bucket, or a state that was deleted, whose versions a new one
            would be mixed with.
    """
    try:
        repository = await load()
    except NothingThereError as error:
        if type(error) is not NothingThereError:
            raise
        return
    raise ConflictError(
        f"There is a state at {name}, at revision {repository.revision}. Nothing was changed. "
        "Give an empty place."
    )


def require_same(written: Base, read: Base, done: str) -> None:
    """Check that a state that was read back has the entities that were written.

    Args:
        written: The state in memory.
        read: The state that was read back.
        done: The past participle of the work, for the error, such as ``copied``.

    Raises:
        DamagedObjectError: It is another one.
    """
    if read.entities != written.entities:
        raise DamagedObjectError(HEAD, f"what was {done} is not what is read back")
