"""Engine context: clock, randomness, threads and network, injected.

The engine imports none of them, so that all of it runs in a seeded simulation (`tests/simulation`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from ptb_s3._engine.stats import Stats
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind, Resolve
from ptb_s3._format.reader import Reader
from ptb_s3._format.sealer import Sealer
from ptb_s3._storage.blocking import Blocking
from ptb_s3._storage.conditional import ConditionalStore
from ptb_s3._storage.contract import Store
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import DeletedStateError


@dataclass(frozen=True, slots=True)
class EngineContext:
    """Bundle of what the engine works with, so that every effect comes from outside.

    Attributes:
        store: Where the objects lie: all reads, and the writes that probe it.
        conditional_store: The same store, for all other writes.
        reader: Opens objects.
        sealer: Seals objects.
        clock: Gives the time, with time zone.
        randomness: Returns as many random bytes as it is asked for.
        pause: Waits for so many seconds.
        offload: Runs a function in a thread, where it would hold up the event loop.
        counters: Counters of this process.
        resolve: Merges values that another writer has changed as well; None: such a commit is
            refused. Bots have one, and commands have none.
        single_writer: Whether the user vouches that there is no other writer.
        begin_anew: Version id of the deleted head, or of its delete marker, above which a new store
            may be begun; None: nothing that was deleted may be replaced.
        on_demand: Kinds of which single entities are read when they are asked for.
        blocking: Asks the store for code that cannot await; None: there is no such code.
        rewrites_lost: Whether memory may be written in place of a current state that is lost
            (``PTB_S3_ON_LOSS=rewrite``).
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
    on_demand: frozenset[Kind] = frozenset()
    blocking: Blocking | None = None

    async def require_new(self) -> None:
        """Refuse to begin a new store where one was deleted.

        Raises:
            DeletedStateError: There was one, and it is not the one to be replaced (`begin_anew`).
        """
        remains = await self.store.remains(HEAD)
        if remains is None or self.begin_anew in (remains.version_id, remains.marker):
            return
        raise DeletedStateError(
            remains.version_id, remains.deleted, remains.versions, more=remains.more
        )
