"""Working copy: the state of a bot in a store, as a running bot reads, stages and commits it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from ptb_s3._engine import compaction
from ptb_s3._engine.commit import Committer
from ptb_s3._engine.compaction import Compactor
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.failure_notes import noting_rotation, noting_unsaved
from ptb_s3._engine.fetching import Fetcher
from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.loading import Loader, preparing
from ptb_s3._engine.rewriting import prepare_rewrite
from ptb_s3._engine.run import Run, notice_resumes
from ptb_s3._engine.staging import Staged
from ptb_s3._engine.stats import Stats
from ptb_s3._engine.streamed_load import Preloader
from ptb_s3._format import entities as _state
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Entities, EntityKey, Kind, Resolve
from ptb_s3._format.key_source import KeySource
from ptb_s3._format.reader import Reader
from ptb_s3._format.sealer import Sealer
from ptb_s3._keys.unwrapping import unwrapping
from ptb_s3._storage.blocking import Blocking
from ptb_s3._storage.conditional import ConditionalStore
from ptb_s3._storage.contract import Store
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import ConflictError, HeadLostError


class WorkingCopy:
    """Working copy of the state of one bot in one store.

    Invariant: before `load` it knows nothing, and all else raises `RuntimeError`.

    Args:
        store: Where the objects lie.
        keys: Seals and opens them.
        bot: Telegram id of the bot whose state it is; None: any bot's.
        serializer: Id of the serializer of the values; None: any.
        level: zstd compression level.
        clock: Gives the time, with time zone.
        randomness: Returns as many random bytes as it is asked for.
        pause: Waits for so many seconds.
        offload: Runs compression and encryption, which would hold up the event loop.
        offload_blobs: Does so for blobs, so that no commit waits for one; None: `offload` does.
        counters: Counts on from these.
        resolve: Merges values that another writer has changed as well; None: such a commit is
            refused, as commands want it.
        single_writer: Whether the user vouches that there is no other writer, where the storage
            could not tell.
        begin_anew: See `EngineContext`.
        rewrites_lost: See `EngineContext`.
        on_demand: See `EngineContext`.
        blocking: See `EngineContext`.

    Attributes:
        counters: Stats of this process.
    """

    def __init__(
        self,
        store: Store,
        keys: KeySource,
        *,
        bot: int | None = None,
        serializer: str | None = None,
        level: int = 3,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        randomness: Callable[[int], bytes] = os.urandom,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        offload: Offload = asyncio.to_thread,
        offload_blobs: Offload | None = None,
        counters: Stats | None = None,
        resolve: Resolve | None = None,
        single_writer: bool = False,
        begin_anew: str | None = None,
        rewrites_lost: bool = False,
        on_demand: Iterable[Kind] = (),
        blocking: Blocking | None = None,
    ) -> None:
        self.counters = counters or Stats()
        store = unwrapping(store, keys)
        conditional_store, reader = ConditionalStore(store), Reader(keys, bot, serializer)
        sealer = Sealer(keys, level=level, clock=clock, randomness=randomness)
        self._context = EngineContext(
            store,
            conditional_store,
            reader,
            sealer,
            clock,
            randomness,
            pause,
            offload,
            self.counters,
            resolve,
            single_writer,
            begin_anew,
            rewrites_lost,
            frozenset(on_demand),
            blocking,
        )
        self._fetcher = Fetcher(self._context, lambda: self.base, self.sync)
        self._loader = Loader(self._context, self._fetcher)
        self._compactor = Compactor(self._context, offload_blobs or offload, self._fetcher)
        self._run = Run(sealer.new_writer)
        self._committer: Committer | None = None

    # Looking ------------------------------------------------------------------------------------

    @property
    def _begun(self) -> Committer:
        if self._committer is None:
            raise RuntimeError("The state is not loaded: call load() first.")
        return self._committer

    @property
    def base(self) -> Base:
        """Return the committed state, as far as this process knows: to be looked at."""
        return self.staged.base

    @property
    def staged(self) -> Staged:
        """Return the base, and what is staged to follow it."""
        return self._begun.staged

    @property
    def revision(self) -> int:
        """Return the revision last known to be committed, or 0 in a new store."""
        return self.base.head.revision

    @property
    def dirty(self) -> bool:
        """Return whether anything is staged that is not known to be committed."""
        return not self.staged.clean

    @property
    def unmerged_kinds(self) -> list[Kind]:
        """Return the kinds of which a change waits that could not be merged with another's."""
        return self.staged.unmerged.kinds

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words that values may refer to by number.

        There may be more of them each time; see `_engine.vocabulary`.
        """
        return self.staged.vocabulary.known

    @property
    def has_committed(self) -> bool:
        """Return whether this process has made a commit that head lists."""
        return self._begun.has_committed

    @property
    def in_company(self) -> bool:
        """Return whether another writer has committed lately (see `active_writers.ACTIVE_FOR`)."""
        return self._begun.others.active

    # Staging ------------------------------------------------------------------------------------

    @property
    def transactional(self) -> bool:
        """Return whether what is staged is one update's, to be taken back where others were first.

        Then a commit whose entities others have changed since, in a way that neither fields nor
        ``merge=`` settle, takes over theirs, discards all that is staged and raises
        `OvertakenError`.
        """
        return self._begun.merger.transactional

    @transactional.setter
    def transactional(self, value: bool) -> None:
        self._begun.merger.transactional = value

    def stage(self, kind: Kind, key: EntityKey, value: bytes | None) -> None:
        """Stage an entity (None: deleted), to go with the next commit.

        Raises:
            ConflictError: Another writer has changed it since the caller saw it, and the two values
                cannot be merged. What is committed stays.
        """
        self._begun.merger.stage(kind, key, value)

    def discard(self) -> None:
        """Take back all that is staged, ids of updates included, even where it was sent already."""
        self._begun.merger.discard()

    def take_faults(self) -> list[ConflictError]:
        """Return, once, the errors of entities that could not be merged and were left out."""
        return self._begun.merger.take_faults()

    def note_delivered(self, update: int) -> None:
        """Note with the next commit that it holds the effects of an update, by its id."""
        self.staged.note_update(update)

    def has_delivered(self, update: int) -> bool:
        """Tell whether the effects of an update are committed, or staged to be."""
        return self.base.head.updates.holds(update) or update in self.staged.updates

    def suggest(self, words: Iterable[str]) -> None:
        """Have words go with the next commit, if there is one (see `_values.shared_strings`)."""
        self.staged.vocabulary.suggest(words)

    # Loading and committing ---------------------------------------------------------------------

    async def load(self, preloader: Preloader | None = None) -> None:
        """Read the committed state: once, before anything else.

        Args:
            preloader: Makes values of it while it arrives.

        Raises:
            PersistenceError: It cannot be read. Nothing was changed, here or in the store.
        """
        notice_resumes()
        async with preparing(self._context.sealer):
            base = await self._loader.load(preloader)
        self._begin(base)
        self.counters.committed_at = self._context.clock()
        await self._begun.probe.recall()

    def _begin(self, base: Base) -> None:
        self._committer = Committer(self._context, Staged(base), self._run, self._fetcher)

    async def close(self) -> None:
        """Release the store's connections."""
        await self._context.store.close()

    async def commit(self, *, publish: bool = False, operation: Operation | None = None) -> None:
        """Commit everything staged (see `ptb_s3._engine.commit.Committer.commit`)."""
        committer = self._begun
        with noting_unsaved(self._context, committer, operation), noting_rotation(self._context):
            try:
                await committer.commit(publish=publish, operation=operation)
            except HeadLostError as lost:
                if not await self._rewrite(lost):
                    raise
                await committer.commit(publish=True, operation=operation or Operation())

    async def _rewrite(self, lost: HeadLostError) -> bool:
        """Write the blobs in place of a lost state, and tell whether that may be done."""
        if not await prepare_rewrite(self._context, self.base, lost):
            return False
        self._run.renew()
        for kind in sorted(self.base.misplaced):
            await self.compact(kind)
            self.base.note_rewritten(kind)
        return True

    async def sync(self) -> None:
        """Take over what other writers have committed, unless a commit, which does, is under way.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        with noting_rotation(self._context):
            await self._begun.sync()

    def require_conditions(self) -> None:
        """Refuse a storage that is known to overwrite unseen, unless there is a single writer.

        Raises:
            NoConditionalPutError: It is one, and nobody vouches for a single writer.
        """
        self._begun.probe.require()

    # Reading on demand --------------------------------------------------------------------------

    async def fetch(self, wanted: Mapping[Kind, Collection[EntityKey]]) -> None:
        """Read entities that are not known yet (see `ptb_s3._engine.fetching.Fetcher.fetch`)."""
        await self._fetcher.fetch(wanted)

    def fetch_now(self, kind: Kind, keys: Collection[EntityKey]) -> None:
        """Read entities that are not known yet, and block until they are known."""
        self._fetcher.fetch_now(kind, keys)

    async def fetch_all(self, kind: Kind) -> Entities:
        """Return all entities of a kind, as they are staged. Of those read, none is kept.

        Raises:
            PersistenceError: They cannot be read.
        """
        if kind not in self.base.partial:
            return self.staged.entities(kind)
        entities = await self._fetcher.all_of(kind)
        _state.apply(entities, self.staged.dirty[kind])
        return entities

    def keys_now(self, kind: Kind) -> Iterator[EntityKey]:
        """Iterate over the keys of all entities of a kind, as they are staged.

        Entities may become known, come and go meanwhile: those that do not are met, and once.
        """
        staged, known = self.staged, self.staged.known(kind)
        yield from known
        if kind in self.base.partial:
            met = set(known)
            for key in self._fetcher.keys_now(kind):
                if key not in met and not (
                    staged.knows(kind, key) and staged.get(kind, key) is None
                ):
                    yield key

    # Compacting ---------------------------------------------------------------------------------

    def due(self) -> list[Kind]:
        """Return the kinds whose blobs should be written anew (see `compaction.due`)."""
        key = self._context.sealer.key_id or self.sealing_key_id
        return compaction.due(self.base, key, alone=not self._begun.others.met_lately)

    def due_by_size(self) -> list[tuple[int, Kind]]:
        """Return the same kinds, each behind the bytes that are packed for its blob, about."""
        return compaction.by_size(self.base, self.due())

    async def compact(self, kind: Kind) -> None:
        """Write a kind's blob anew, for the next head to refer to.

        Raises:
            ConflictError: Another writer has written it.
            StorageError: It is not known to be written. The state is as safe as before.
            MissingObjectError: What it would be made from is gone: of a kind read on demand.
        """
        size = await self._compactor.compact(self.base, kind)
        self.counters.compactions += 1
        self.counters.bytes_sent += size

    @property
    def sealing_key_id(self) -> str:
        """Return the id of the key that the next object is sealed with."""
        return self._context.sealer.sealing_key_id()
