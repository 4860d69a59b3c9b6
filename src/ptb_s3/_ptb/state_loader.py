"""Load the state of a persistence on first use, and again when its application starts again.

Nothing is opened before it is needed. All calls that need it wait for one load, and resume in one
iteration of the event loop, so that the updates among them stay one group.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

from telegram.ext import PersistenceInput

from ptb_s3._engine.loop_locks import SingleFlight
from ptb_s3._engine.past_jobs import JudgePastJob
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.stats import Stats
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import MANY_ALIKE, Kind, counted
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._keys.unwrapping import unwrapping
from ptb_s3._options import Options
from ptb_s3._ptb.due_runs import DueSource
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.participants import Participant
from ptb_s3._ptb.preload import Preload, preloading
from ptb_s3._ptb.save_watchdog import SaveWatchdog
from ptb_s3._ptb.shutdown_deadline import ShutdownDeadline
from ptb_s3._ptb.start_cycle import StartCycle
from ptb_s3._storage.blocking import BlockingStore
from ptb_s3._storage.contract import Store
from ptb_s3._storage.threads import Worker
from ptb_s3._values.merge import Merger, OwnMerges
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import (
    DamagedObjectError,
    DeletedStateError,
    NothingThereError,
    PersistenceError,
    RestorePointError,
)

_LOGGER = logging.getLogger("ptb_s3")


class HasLoader(Protocol):
    """Persistence of ours, as other modules see it: the way from there to what is loaded."""

    _loader: StateLoader


def loader_of(persistence: HasLoader) -> StateLoader:
    """Return the loader behind a persistence, which is no business of a user's."""
    return persistence._loader  # noqa: SLF001 - the one place that looks behind it


class StateLoader:
    """Lazy loader of one persistence's state: loads it once for all who ask at the same time.

    A load that fails leaves what was loaded before, closes its connections and can be repeated.

    Args:
        options: Options of the persistence.
        store: Store that the state lies in.
        serializer: Serializer of its values.
        bot_id: Returns the bot's id, which the state is bound to.
        cycle: Says whether a start has to read anew.
        shutdown: Bounds commits while the bot is being stopped.
        merges: Merges of the kinds that have one of their own.
        past_jobs: Returns what judges the jobs of an older state that is restored.

    Attributes:
        store: As above.
        commits: Group commit on the loaded state; None before the first load.
        repository: The state that is loaded, or being loaded; None before the first load.
        preload: Values that were made while the state arrived; None for a load that is no start's.
        stats: Statistics over all loads.
        workers: Threads that commits and blobs are prepared in.
        participants: What is saved besides PTB's maps.
        reads_on_demand: Whether the application reads what it lacks.
        application_starts: Whether that application is being initialised.
        due_sources: What has something to run at certain moments.
        options: As above.
        serializer: As above.
    """

    def __init__(
        self,
        options: Options,
        *,
        store: Store,
        serializer: Serializer,
        bot_id: Callable[[], int],
        cycle: StartCycle,
        shutdown: ShutdownDeadline,
        merges: OwnMerges | None = None,
        past_jobs: Callable[[], JudgePastJob | None] = lambda: None,
    ) -> None:
        self.store = store
        self.commits: GroupCommit | None = None
        self.repository: Repository | None = None
        self.preload: Preload | None = None
        self.stats = Stats()
        self.workers = Worker("ptb-s3-commit"), Worker("ptb-s3-blob")
        self.participants: list[Participant] = []
        self.due_sources: list[DueSource] = []
        self.reads_on_demand = False
        self.application_starts = False
        self.options = self._options = options
        self.serializer = self._serializer = serializer
        self._bot_id = bot_id
        self._cycle = cycle
        self._shutdown = shutdown
        self._watchdog = SaveWatchdog(options.update_interval)
        self._resolve = Merger(serializer, options.merge, options.born, merges)
        self._past_jobs = past_jobs
        self._loading = SingleFlight[GroupCommit]()
        self._blocking = BlockingStore(lambda: unwrapping(self.store.twin(), options.keyring))

    @property
    def under_way(self) -> bool:
        """Return whether a load is under way."""
        return self._loading.under_way

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words of the store, of which there are none before it is loaded."""
        return self.repository.words if self.repository else ()

    async def opened(self) -> GroupCommit:
        """Return the group commit, loaded. After a flush, it goes on from what is in memory.

        Raises:
            PersistenceError: The state cannot be read.
        """
        return self.commits or await self.open()

    async def open(self, *, start: bool = False) -> GroupCommit:
        """Load the state if it was never loaded, or if an application starts again.

        Args:
            start: Whether a start asks. Then the state is read anew, unless changes are unsaved.

        Raises:
            PersistenceError: The state cannot be read.
        """
        anew, commits = start and self._cycle.expected, self.commits
        if commits is None or (anew and not commits.repository.dirty):
            commits = await self._loading(lambda: self.load(start=start))
        if start:
            self._cycle.expected = False
        return commits

    def begin_start(self) -> None:
        """Note that an application begins to start: all that it asks for is its start's.

        Also what it was given by a start that was cancelled. Otherwise it would be told apart as
        somebody else, whose objects are read whole, and are not followed.
        """
        self._cycle.note_new_bot()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Have it known that it is an application's start which asks, in the body of a `with`."""
        self.application_starts = True
        try:
            yield
        finally:
            self.application_starts = False

    async def close(self) -> None:
        """Close connections, to the storage and to a key service. Both are opened again."""
        self._blocking.close()
        await unwrapping(self.store, self._options.keyring).close()

    async def load(self, *, start: bool = True) -> GroupCommit:
        """Load the state.

        Args:
            start: Whether all of its values are asked for next, to become live objects.

        Raises:
            PersistenceError: The state cannot be read. What was loaded before stays.
        """
        repository = self._new_repository()
        before = self.repository
        try:
            preload = await self._load_preloading(repository, start=start)
            self.repository = repository
            repository.require_conditions()
            if point := self._options.restore_point:
                repository = await self._whole_to_restore(repository, point)
                await repository.restore(point, self._past_jobs())
        except BaseException:
            self.repository = before
            await repository.close()
            raise
        await self._log_loaded(repository)
        self.preload, self.commits = preload, await self._begin(repository)
        self._cycle.expected = self._cycle.expected and not start
        if not self._loading.waiting:
            await repository.close()  # whoever asked for it has given up
        return self.commits

    async def _whole_to_restore(self, repository: Repository, point: RestorePoint) -> Repository:
        """Return a repository that has all of the state, if it is to go back and this one has not.

        It goes on so, for as long as the bot runs: a restore compares two states as a whole.
        """
        if not repository.base.partial or point.text in repository.base.head.restored:
            return repository
        self.repository = whole = self._new_repository(on_demand=())
        await whole.load()
        return whole

    async def _begin(self, repository: Repository) -> GroupCommit:
        """Return the group commit of a loaded repository, once all participants have begun with it.

        Raises:
            PersistenceError: One of them cannot read its part.
        """
        commits = self._new_commits(repository)
        try:
            for participant in self.participants:
                participant.begin(commits)
        except BaseException:
            await repository.close()
            raise
        return commits

    async def _load_preloading(self, repository: Repository, *, start: bool) -> Preload | None:
        """Load the state and, at a start, return values made while it arrives."""
        stores = self._options.store_data or PersistenceInput()
        wanted = [kind for kind in MANY_ALIKE if getattr(stores, kind)]
        with preloading(self._serializer, wanted) if start else nullcontext() as preload:
            await self._load_or_restore(repository, preload)
        return preload

    async def _load_or_restore(self, repository: Repository, preload: Preload | None) -> None:
        """Load the state, or restore a lost one to what `restore=` asks for.

        A state that is sealed with a missing key is not restored: it may have carried out the very
        same request, and a key that is missing from the settings is no loss.
        """
        point = self._options.restore_point
        try:
            await repository.load(preload)
        except (DamagedObjectError, DeletedStateError) as fault:
            if point is None:
                raise
            try:
                restored = await repository.restore_lost(point, self._past_jobs())
            except RestorePointError:
                raise
            except NothingThereError:
                restored = False
            if not restored:
                raise fault from None

    async def _log_loaded(self, repository: Repository) -> None:
        place = f"s3://{self._options.bucket}/{self._options.prefix}"
        if repository.revision:
            parts = repository.base.head.parts
            held = counted({kind: range(part.entities) for kind, part in parts.items()})
            held = held or "nothing"
            _LOGGER.info("Loaded revision %d at %s: %s.", repository.revision, place, held)
        else:
            await self._log_new(place)

    async def _log_new(self, place: str) -> None:
        """Log that there is no state yet, which is a warning if there is one under another prefix.

        With a prefix that was mistyped, there never is one.
        """
        try:
            beside = await self.store.neighbours(HEAD)
        except PersistenceError:
            beside = []  # listing is for this log line alone, and may not be allowed
        held = ", ".join(f"s3://{self._options.bucket}/{prefix}" for prefix in beside)
        _LOGGER.log(
            logging.WARNING if held else logging.INFO,
            "Beginning a new state at %s: there is none yet.%s",
            place,
            f" Beside it, there is one at {held}. If that is this bot's, stop it now, and mend "
            "PTB_S3_PREFIX."
            if held
            else "",
        )

    def _new_repository(self, on_demand: Collection[Kind] | None = None) -> Repository:
        """Return a repository that is not loaded.

        Args:
            on_demand: Kinds that are read on demand; None: those of the options.
        """
        options, (commits, blobs) = self._options, self.workers
        return Repository(
            self.store,
            options.keyring,
            bot=self._bot_id(),
            serializer=self._serializer.id,
            level=options.compression_level,
            counters=self.stats,
            resolve=self._resolve,
            single_writer=options.single_writer,
            begin_anew=options.begin_anew,
            rewrites_lost=options.on_loss == "rewrite",
            on_demand=options.on_demand if on_demand is None else on_demand,
            blocking=self._blocking,
            offload=commits,
            offload_blobs=blobs,
        )

    def _new_commits(self, repository: Repository) -> GroupCommit:
        return GroupCommit(
            repository,
            self._serializer,
            self._options.sync,
            self._shutdown,
            self._options.unsaved_keys,
            watchdog=self._watchdog,
            participants=self.participants,
        )
