"""What the engine works with: all effects come in from outside, and so do the counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from ptb_s3._engine.rebase import Resolve
from ptb_s3._engine.stats import Stats
from ptb_s3._format.committed import Reader
from ptb_s3._format.container import HEAD
from ptb_s3._format.sealer import Sealer
from ptb_s3._storage.conditional import ConditionalStore
from ptb_s3._storage.contract import Store
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import DeletedStateError

# Another writer may commit and compact between two of our reads; so often is the whole read again.
LOAD_TRIES = 4
LOAD_PAUSE = 0.2  # seconds, times the number of the try


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What the engine works with: all effects come in from outside.

    Attributes:
        store: Where the objects lie.
        conditional_store: The same, to write to.
        reader: Opens objects.
        sealer: Makes them.
        clock: Gives the time, with time zone.
        randomness: Returns as many random bytes as it is asked for.
        pause: Waits for so many seconds.
        offload: Runs what would hold up the event loop.
        counters: What happened so far.
        resolve: Merges what another writer has changed as well; None: such a commit is refused.
        single_writer: Whether the user vouches that there is no other writer.
        begin_anew: Id of the deleted head, or of its delete marker, above which a new store may be
            begun.
        rewrites_lost: Whether what is in memory may be written in place of what is lost.
    """

    store: Store
    conditional_store: ConditionalStore
    reader: Reader
    sealer: Sealer
    clock: Callable[[], datetime]
    randomness: Callable[[int], bytes]
    pause: Callable[[float], Awaitable[None]]
    offload: Offload
    counters: Stats
    resolve: Resolve | None
    single_writer: bool
    begin_anew: str | None = None
    rewrites_lost: bool = False

    async def require_new(self) -> None:
        """Refuse to begin a new store where one was deleted.

        Raises:
            DeletedStateError: There was one, and it is not the one to be replaced.
        """
        remains = await self.store.remains(HEAD)
        if remains is None or self.begin_anew in (remains.version_id, remains.marker):
            return
        raise DeletedStateError(
            remains.version_id, remains.deleted, remains.versions, more=remains.more
        )
