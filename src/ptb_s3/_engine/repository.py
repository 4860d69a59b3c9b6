"""Load, commit, compact and restore: the rules of DESIGN, on a `Store`.

What is committed, as far as this process knows, is its *base*; what is not yet is *staged*. How a
commit is made safe is `_engine.commit`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from ptb_s3._engine import compaction
from ptb_s3._engine.commit import Committer, Occasion
from ptb_s3._engine.compaction import Compactor
from ptb_s3._engine.context import LOAD_PAUSE, LOAD_TRIES, Counters, EngineContext
from ptb_s3._engine.loading import Ahead, Arrivals
from ptb_s3._engine.mending import base_of, continued, is_lost, nothing_newer, place, transplanted
from ptb_s3._engine.rebase import Resolve
from ptb_s3._engine.run import Run, notice_resumes
from ptb_s3._engine.settling import build_base, fetch_head
from ptb_s3._engine.staging import Staged
from ptb_s3._format import entities as _state
from ptb_s3._format.committed import Arrived, Base, MovedError, Reader
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Changes, Entities, EntityKey, Kind, counted
from ptb_s3._format.erasure import subjects
from ptb_s3._format.key_source import KeySource
from ptb_s3._format.sealer import Sealer
from ptb_s3._history.current import Current, read_current
from ptb_s3._history.history import History, Snapshot
from ptb_s3._history.order import put_back
from ptb_s3._history.recovery import Found, find_newest
from ptb_s3._storage.conditional import ConditionalStore
from ptb_s3._storage.contract import Fetched, Received, Store
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import (
    ConflictError,
    HeadLostError,
    NothingThereError,
    PersistenceError,
    RestorePointError,
    UnknownKeyError,
)

_LOGGER = logging.getLogger("ptb_s3")

_NOBODY_TELLS = (
    "PTB_S3_ON_LOSS=rewrite does not help here: no version tells whether anybody has committed "
    "since. With PTB_S3_SINGLE_WRITER=true, set beforehand, nobody can have."
)


class Recovery(NamedTuple):
    """What a repository was recovered from: the current objects, and the newest state found."""

    current: dict[str, Current]
    found: Found


class Repository:
    """The state of one bot in one store.

    Args:
        store: Where the objects lie.
        keys: Seals and opens them.
        bot: Id of the bot whose state it is; None: whosever there is.
        serializer: Id of the serializer of the values; None: whichever made them.
        level: zstd compression level.
        clock: Gives the time, with time zone.
        randomness: Returns as many random bytes as it is asked for.
        pause: Waits for so many seconds.
        offload: Runs compression and encryption, which would hold up the event loop.
        offload_blobs: Does so for blobs, so that no commit waits for one; None: `offload` does.
        counters: Counts on from these.
        resolve: Merges what another writer has changed as well; None: such a commit is refused.
        single_writer: Whether the user vouches that there is no other writer, where the storage
            could not tell.

    Attributes:
        counters: What happened so far.
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
        counters: Counters | None = None,
        resolve: Resolve | None = None,
        single_writer: bool = False,
        begin_anew: str | None = None,
        rewrites_lost: bool = False,
    ) -> None:
        self.counters = counters or Counters()
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
        )
        self._compactor = Compactor(self._context, offload_blobs or offload)
        self._run = Run(sealer.new_writer)
        self._committer: Committer | None = None
        self._recovered: Found | None = None
        self._unwritten = False

    @property
    def revision(self) -> int:
        """The revision last known to be committed; 0 in a new store."""
        return self.base.head.revision

    @property
    def base(self) -> Base:
        """What is committed; to be looked at, and not touched."""
        return self.staged.base

    @property
    def staged(self) -> Staged:
        """What is committed, and what is to follow."""
        return self._begun.staged

    @property
    def _begun(self) -> Committer:
        if self._committer is None:
            raise RuntimeError("The state is not loaded: call load() first.")
        return self._committer

    @property
    def dirty(self) -> bool:
        """Whether anything is staged that is not known to be committed."""
        return not self.staged.clean

    def take_faults(self) -> list[ConflictError]:
        """Return, once, why entities could not be merged and were left out of a commit."""
        return self._begun.take_faults()

    @property
    def stuck(self) -> list[Kind]:
        """The kinds of which a change could not be merged with another writer's, and waits."""
        return sorted({kind for kind, _ in self.staged.stuck})

    @property
    def transactional(self) -> bool:
        """Whether what is staged is one update's, to be taken back where others were first.

        Then a commit whose entities others have changed since, in a way that neither fields nor
        ``merge=`` settle, takes over theirs, discards all that is staged and raises
        `OvertakenError`.
        """
        return self._begun.transactional

    @transactional.setter
    def transactional(self, value: bool) -> None:
        self._begun.transactional = value

    def discard(self) -> None:
        """Take back all that is staged, ids of updates included, even where it was sent already."""
        self._begun.discard()

    def note_delivered(self, update: int) -> None:
        """Note with the next commit that it holds the effects of an update."""
        self.staged.updates.append(update)

    def has_delivered(self, update: int) -> bool:
        """Tell whether the effects of an update are committed, or staged to be."""
        return self.base.head.updates.holds(update) or update in self.staged.updates

    @property
    def has_committed(self) -> bool:
        """Whether this process has made a commit that head knows of."""
        return self._begun.has_committed

    @property
    def in_company(self) -> bool:
        """Whether another writer has been at work within the last ten minutes."""
        return self._begun.in_company

    @property
    def words(self) -> tuple[str, ...]:
        """Words that values may refer to by number; there may be more each time."""
        return self._begun.words

    def suggest(self, words: Iterable[str]) -> None:
        """Have words go with the next commit, if there is one; see `_values.shared_strings`."""
        self.staged.words += tuple(words)

    def stage(self, kind: Kind, key: EntityKey, value: bytes | None) -> None:
        """Note what an entity has become (None: deleted), to go with the next commit.

        Raises:
            ConflictError: Another writer has changed it since the caller saw it, and the two values
                cannot be merged. What is committed stays.
        """
        self._begun.stage(kind, key, value)

    # Loading ------------------------------------------------------------------------------------

    async def load(self, ahead: Ahead | None = None) -> None:
        """Read the committed state: once, before anything else.

        Args:
            ahead: Makes values of it while it arrives.

        Raises:
            PersistenceError: It cannot be read. Nothing was changed, here or in the store.
        """
        notice_resumes()
        self._context.sealer.sealing_key_id()  # or its fault is heard of at the first commit
        for number in range(1, LOAD_TRIES + 1):
            arrivals = Arrivals(self._context.reader, self._context.offload, ahead)
            objects = await self._fetch_all(arrivals)
            arrived = await arrivals.opened()
            try:
                build, last = partial(self._assemble, arrived), number == LOAD_TRIES
                base = await build_base(self._context, objects, build, last=last)
                break
            except NothingThereError:
                await self._context.require_new()
                raise
            except MovedError as moved:
                if number == LOAD_TRIES:
                    raise moved.fault from None
            await self._context.pause(LOAD_PAUSE * number)
        if not base.head.revision:
            await self._context.require_new()
        _warn_of_put_back(base, objects)
        self._committer = Committer(self._context, Staged(base), self._run)
        self.counters.committed_at = self._context.clock()
        await self._committer.trial.recall()

    async def recover(
        self, *, store_id: str | None = None, advance: Callable[[int], None] = lambda _: None
    ) -> Recovery:
        """Begin with the newest state that versions give, whatever the current objects hold.

        What is committed then goes on top of it, once what is misplaced has been written anew.

        Args:
            store_id: The store whose state it is to be; None: the newest one's.
            advance: Called with how many versions have been listed.

        Raises:
            NothingThereError: No version opens.
        """
        context = self._context
        current = await read_current(context.store, context.reader, context.offload)
        found = await find_newest(
            context.store,
            context.reader.for_history,
            current,
            context.offload,
            store_id=store_id,
            advance=advance,
        )
        self._committer = Committer(context, Staged(base_of(found, current)), self._run)
        self._recovered, self._unwritten = found, True
        await self._committer.trial.recall()
        return Recovery(current, found)

    def begin_from(self, base: Base) -> None:
        """Begin with the state of another place, to be written here whole."""
        self._committer = Committer(self._context, Staged(transplanted(base)), self._run)
        self._unwritten = True

    async def restore_lost(self, request: str) -> bool:
        """Restore as `restore` does where the current state cannot be read; tell whether it did.

        Raises:
            NothingThereError: No version of the state opens, or none answers to the request.
        """
        await self.recover()
        return await self.restore(request)

    async def mend(self, done: Callable[[str], None] = lambda _: None) -> None:
        """Write the blobs that a recovered state needs anew, ahead of a commit on top of it.

        May end anywhere: the current state could not be read before, either.

        Args:
            done: Called with the name of each object that is written.
        """
        if not self._unwritten:
            return
        base = self.base
        for kind in sorted(base.misplaced):
            await self.compact(kind)
            base.misplaced.discard(kind)
            done(kind)
        if self._recovered is not None:
            base.head = continued(base.head, self._recovered, self._context.sealer.new_writer())
        self._recovered, self._unwritten = None, False

    def _assemble(
        self,
        arrived: Arrived,
        objects: Mapping[str, Fetched | Received | None],
        others: Collection[Kind],
    ) -> Base:
        blobs = {kind: one for kind, one in arrived.blobs.items() if kind not in others}
        given = Arrived(arrived.head, blobs)
        return self._context.reader.assemble(objects, self._context.randomness, given)

    async def close(self) -> None:
        """Release the store's connections."""
        await self._context.store.close()

    async def _fetch_all(self, arrivals: Arrivals) -> dict[str, Received | None]:
        names, stream = [HEAD, *Kind], self._context.store.stream
        blobs = (stream(kind, arrivals.into(kind)) for kind in Kind)

        async def stream_head() -> Received | None:
            fetched = await fetch_head(self._context)
            if fetched is None:
                return None
            received, opening = fetched
            await arrivals.take_head(opening)
            return received

        answers = await asyncio.gather(stream_head(), *blobs, return_exceptions=True)
        found: dict[str, Received | None] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[name] = answer
        return found

    # Committing ---------------------------------------------------------------------------------

    async def commit(self, *, publish: bool = False, occasion: Occasion | None = None) -> None:
        """Commit everything staged; see `ptb_s3._engine.commit.Committer.commit`."""
        with self._saving(occasion), self._in_a_rotation():
            try:
                await self._begun.commit(publish=publish, occasion=occasion)
            except HeadLostError as lost:
                if not await self._rewrite(lost):
                    raise
                await self._begun.commit(publish=True, occasion=occasion or Occasion())

    async def _rewrite(self, lost: HeadLostError) -> bool:
        """Write what is in memory in place of what is lost; tell whether that may be done.

        Only where the user has said so beforehand, and where nobody has committed since: a bot
        that slept would undo that. Where no version is left to tell, there must be nobody else.
        """
        context, base = self._context, self.base
        if not context.rewrites_lost:
            return False
        for _ in range(2):  # what broke off on its way is not lost
            current = await read_current(context.store, context.reader, context.offload)
            if not is_lost(current[HEAD]):
                return False
        try:
            found = await find_newest(
                context.store, context.reader.for_history, current, context.offload
            )
        except NothingThereError as nothing:
            if nothing.unread > (current[HEAD].found is not None):
                return False  # versions that do not open, and may be newer
            if not context.single_writer:
                lost.add_note(_NOBODY_TELLS)
                return False
        else:
            if not nothing_newer(found, base, current[HEAD]):
                return False
        _LOGGER.warning(
            "The current state is lost, and the versions give nothing newer than what is in "
            "memory: it is written anew (PTB_S3_ON_LOSS=rewrite)."
        )
        self._run.renew()
        place(base, current, list(Kind))
        for kind in sorted(base.misplaced):
            await self.compact(kind)
            base.misplaced.discard(kind)
        return True

    async def sync(self) -> None:
        """Take over what other writers have committed, unless a commit, which does, is under way.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        with self._in_a_rotation():
            await self._begun.sync()

    @contextmanager
    def _saving(self, occasion: Occasion | None) -> Iterator[None]:
        """Say of a bot's commit that failed that it was to save, and how much waits for the next.

        Nothing waits of an update that is a transaction, which is taken back.
        """
        try:
            yield
        except PersistenceError as failure:
            of_one_entity = isinstance(failure, ConflictError) and failure.kind is not None
            if self._context.resolve is None or occasion is not None or of_one_entity:
                raise
            if self.dirty:
                failure.while_saving("" if self.transactional else counted(self.staged.dirty))
            raise

    @contextmanager
    def _in_a_rotation(self) -> Iterator[None]:
        """Say of a key that was exchanged beside a running bot how to lose nothing."""
        try:
            yield
        except UnknownKeyError as error:
            if self._context.resolve is None:  # a command, which keeps nothing
                raise
            raise error.while_running() from None

    def require_conditions(self) -> None:
        """Refuse a storage that is known to overwrite unseen, unless the user vouches for it.

        Raises:
            NoConditionalPutError: It is one.
        """
        self._begun.trial.require()

    # Compacting ---------------------------------------------------------------------------------

    def due(self) -> list[Kind]:
        """Return the kinds whose blobs should be written anew: it pays, or the key is retired."""
        key = self._context.sealer.key_id or self.sealing_key_id
        return compaction.due(self.base, key, alone=not self._begun.has_met_another)

    def due_by_size(self) -> list[tuple[int, Kind]]:
        """Return the same, each after about how many bytes have to be packed for it."""
        return compaction.by_size(self.base, self.due())

    async def compact(self, kind: Kind) -> None:
        """Write a kind's blob anew; the next head refers to it.

        Raises:
            ConflictError: Another writer has written it.
            StorageError: It is not known to be written. The state is as safe as before.
        """
        size = await self._compactor.compact(self.base, kind)
        self.counters.compactions += 1
        self.counters.bytes_sent += size

    # Going back ---------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The commits that the bucket still holds."""
        base, reader = self.base, self._context.reader.for_history
        return History(self._context.store, reader, base.identity.store, base.head)

    async def restore(self, request: str) -> bool:
        """Bring back an older state as a new commit, unless this request was carried out before.

        Args:
            request: A revision, a time (ISO 8601; UTC unless it says otherwise), or the version id
                of a head.

        Returns:
            Whether it was carried out now.

        Raises:
            RestorePointError: No commit that history still holds answers to it.
        """
        while request not in self.base.head.restored:
            snapshot = await self.restorable(request)
            changes = self.changes_to(snapshot.entities)
            try:
                await self.commit_only(changes, Occasion(restored=request))
            except ConflictError:
                if self._context.resolve is None:
                    raise
                await self.sync()  # and see what there is to restore then, if anything
            else:
                _LOGGER.warning(
                    "Restored revision %d as revision %d", snapshot.head.revision, self.revision
                )
                return True
        return False

    async def restorable(self, request: str) -> Snapshot:
        """Return the whole state as of the commit that a request names, to be committed again.

        Raises:
            RestorePointError: No commit that history still holds, and that can be, answers to it.
        """
        snapshot = await self.history.state_at(request)
        words = snapshot.head.words
        if self.base.head.words[: len(words)] != words:
            raise RestorePointError(
                f"Cannot go back to {request!r}: its values refer to words that the current head "
                "has not, since an older head was put back after it. Write it to a file (ptb-s3 "
                "export --at), and import that. Nothing was changed."
            )
        return snapshot

    def changes_to(self, entities: Mapping[Kind, Entities]) -> Changes:
        """Return what turns the committed state of the kinds given into these entities."""
        return {
            kind: _state.difference(self.base.entities[kind], wanted)
            for kind, wanted in entities.items()
        }

    async def commit_only(self, changes: Changes, occasion: Occasion | None = None) -> None:
        """Commit these changes, where nothing else is staged; if that fails, nothing is again."""
        await self.mend()
        self.staged.dirty = {kind: dict(changes.get(kind, {})) for kind in Kind}
        try:
            await self.commit(occasion=occasion)
        except BaseException:
            self.staged.dirty = {kind: {} for kind in Kind}
            raise

    # Sealing anew -------------------------------------------------------------------------------

    @property
    def sealing_key_id(self) -> str:
        """Id of the key that the next object is sealed with."""
        return self._context.sealer.sealing_key_id()

    def sealed_otherwise(self) -> list[str]:
        """Return the names of the current objects that another than the sealing key has sealed."""
        key, base = self.sealing_key_id, self.base
        head = [HEAD] if base.objects[HEAD].header.key != key else []
        return [*head, *(kind for kind, blob in base.blobs.items() if blob.ref.key != key)]

    def written_kinds(self) -> list[Kind]:
        """Return the kinds of which a blob or the head holds anything."""
        base = self.base
        return [
            kind for kind, part in base.head.parts.items() if kind in base.blobs or part.has_changed
        ]

    async def seal_anew(
        self, kinds: Iterable[Kind], done: Callable[[str], None] = lambda _: None
    ) -> None:
        """Write these kinds' blobs anew, and a head that refers to them.

        May end anywhere: a blob that no head refers to yet is as good as the one before.

        Args:
            kinds: Which blobs.
            done: Called with the name of each object that is written.
        """
        for kind in kinds:
            await self.compact(kind)
            done(kind)
        await self.commit(publish=True, occasion=Occasion())
        done(HEAD)

    async def erase(self, subject: int) -> Changes:
        """Delete all that is a user's or chat's, and record that, in one commit.

        What is current still holds it until it is sealed anew; call `seal_anew` for all kinds.

        Returns:
            What was deleted.
        """
        base = self.base
        changes: Changes = {
            kind: {key: None for key in entities if subject in subjects(kind, key)}
            for kind, entities in base.entities.items()
        }
        await self.commit_only(changes, Occasion(erased=subject))
        return changes


def _warn_of_put_back(base: Base, objects: Mapping[str, Received | None]) -> None:
    """Say at a start that objects are older than their place: it costs no request to know."""
    names = [
        str(name)
        for name, stored in base.objects.items()
        if (found := objects.get(name)) is not None
        and found.modified is not None
        and put_back(stored.header, found.modified)
    ]
    if names:
        _LOGGER.warning(
            "Written long before the storage took them: %s. They were copied, or put back to an "
            "older state. If nobody did that on purpose, whoever can write to the bucket may have; "
            "ptb-s3 history lists what else there is.",
            ", ".join(names),
        )
