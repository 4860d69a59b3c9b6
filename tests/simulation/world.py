"""One run: a storage, bots on it that come and go, and the model that they are held against."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from tests.simulation import loop
from tests.simulation.bot import BAD_WEATHER, Bot
from tests.simulation.loop import Process
from tests.simulation.model import Field, Fields, Model, Violation, Write, fields_of
from tests.simulation.storage import Line, Weather, draw_weather
from tests.support import BOT_ID, make_persistence

from ptb_s3 import Keyring, PickleSerializer, _callback_data, _codec
from ptb_s3._base import Reader, overlay
from ptb_s3._container import HEAD, read_header
from ptb_s3._head import Head
from ptb_s3._keyring import Key
from ptb_s3._repository import Repository
from ptb_s3._state import Entities, Kind
from ptb_s3._store import MemoryStore
from ptb_s3._words import MAX_WORDS
from ptb_s3.errors import ConflictError, PersistenceError, RestorePointError

KEYS = [Key(bytes([number]) * 32) for number in range(1, 4)]
EPOCH = datetime(2026, 11, 25, tzinfo=UTC)
# Virtual seconds for which bots come and go.
DURATION = 60.0
# Virtual seconds within which all that is on its way has arrived.
CALM = 200.0

State = dict[Kind, Entities]


class World:
    """One run.

    Args:
        seed: Decides everything.

    Attributes:
        tally: What happened, to see that a run is worth its time.
    """

    def __init__(self, seed: int) -> None:
        self.tally: Counter[str] = Counter()
        self._rng = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._weather = draw_weather(self._rng)
        self._storage = MemoryStore(versioned=self._rng.random() < 0.8, clock=self.now)
        self._model = Model()
        self._tokens = map(str, itertools.count(1))
        self._opened: dict[str, tuple[str, Any]] = {}
        self._committed: dict[int, State] = {0: {kind: {} for kind in Kind}}
        self._reader = Reader(Keyring(KEYS[0], KEYS[1:]), BOT_ID, "pickle5")
        self._serializer = PickleSerializer().sharing(self._words)
        self._violation: Violation | None = None

    def _words(self) -> tuple[str, ...]:
        """The current head's will do for all values that were ever committed."""
        head = self._open(HEAD)
        return head.words if head is not None else ()

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())

    # What happens -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let bots come and go for a while; then see that all that was acknowledged is there.

        Raises:
            Violation: Something is not as it must be.
        """
        writers = self._rng.choice([1, 2, 2, 3])
        end = asyncio.get_running_loop().time() + DURATION
        await asyncio.gather(*(self._writer(end) for _ in range(writers)), self._expire(end))
        await asyncio.sleep(CALM)
        self._weather = Weather()
        self._raise()
        await self._last_look()
        self._raise()

    async def _writer(self, end: float) -> None:
        """Run one bot after another, until the time is up; the last one ends well."""
        while (now := asyncio.get_running_loop().time()) < end and self._violation is None:
            mortal = self._rng.random() < 0.6
            process = Process(self._rng.randint(1, 1500) if mortal else None)
            stays = now + self._rng.uniform(1, DURATION / 2)
            task = process.spawn(self._incarnation(min(stays, end)))
            died = asyncio.ensure_future(process.died.wait())
            await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
            self.tally["killed" if process.dead else "ended"] += 1
            died.cancel()
            if not process.dead:
                task.result()
            await asyncio.sleep(self._rng.choice([0.0, 0.1, 2.0]))

    async def _incarnation(self, until: float) -> None:
        clock = asyncio.get_running_loop().time
        with self._watched():
            bot = await self._started()
            while bot is not None and clock() < until and self._violation is None:
                await bot.work()
            if bot is not None and self._rng.random() < 0.8:
                await bot.save()
                await bot.flush()
                self._count(bot)

    async def _started(self) -> Bot | None:
        restore = self._restore_point()
        bot = self._bot(self._weather, restore)
        write = self._begin_restore(restore)
        try:
            fields = await bot.start()
        except (*BAD_WEATHER, RestorePointError):
            self.tally["could not start"] += 1
            return None
        self._check_load(bot, fields, restored=write is not None)
        if write is not None:
            self._end_restore(bot, write)
        self.tally["started"] += 1
        return bot

    def _bot(self, weather: Weather, restore: str | None = None) -> Bot:
        rng = random.Random(self._rng.random())  # noqa: S311 - as above
        keys = rng.sample(KEYS, len(KEYS))
        persistence = make_persistence(
            Line(self._storage, rng, weather, self._written),
            keyring=Keyring(keys[0], keys[1:])
            if rng.random() < 0.2
            else Keyring(KEYS[0], KEYS[1:]),
            compression_level=1,
            sync=rng.choice(["auto", "auto", 0.0, 5.0, None]),
            flush_timeout=rng.choice([0.5, 8.0]),
            restore=restore,
        )
        return Bot(persistence, self._model, rng, lambda: next(self._tokens))

    async def _expire(self, end: float) -> None:
        """Do as a lifecycle rule: versions that are not current go, any of them, at any time."""
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self._rng.uniform(1, 20))
            for name in (HEAD, *Kind):
                versions = self._storage._history.get(name, [])[:-1]
                for stored in self._rng.sample(versions, len(versions) // 2):
                    self._storage.lose(name, stored.written.version_id)
                    self.tally["expired"] += 1

    # Restoring ----------------------------------------------------------------------------------

    def _restore_point(self) -> str | None:
        newest = max(self._committed)
        if not self._storage.versioned or newest < 2 or self._rng.random() > 0.1:
            return None
        return str(self._rng.randint(max(1, newest - 20), newest))

    def _begin_restore(self, restore: str | None) -> Write | None:
        if restore is None:
            return None
        old = self._fields(self._committed[int(restore)])
        return self._model.begin_restore(old, asyncio.get_running_loop().time())

    def _end_restore(self, bot: Bot, write: Write) -> None:
        commits: Any = bot.persistence._commits
        if commits.repository.counters.commits:
            write.ended = asyncio.get_running_loop().time()
            self.tally["restored"] += 1
        else:  # the same request had been carried out before
            self._model.forget_restore(write)

    # What must be true --------------------------------------------------------------------------

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Take what is no matter of the weather for a violation."""
        try:
            yield
        except Violation as violation:
            self._violation = self._violation or violation
        except BAD_WEATHER:
            self.tally["gave up"] += 1
        except ConflictError as error:
            self._violation = self._violation or Violation(f"a conflict: {error}")

    def _raise(self) -> None:
        if self._violation is not None:
            raise self._violation

    def _written(self, name: str) -> None:
        """Look at the storage after each write: by its own reader, on its own account."""
        try:
            head = self._open(HEAD)
            if head is not None:
                if name == HEAD:
                    self._check_commit(head)
                self._check_blobs(head)
        except Violation as violation:
            self._violation = self._violation or violation

    def _open(self, name: str) -> Any:
        found = self._storage._current.get(name)
        if found is None:
            return None
        etag, opened = self._opened.get(name, ("", None))
        if etag != found.written.etag:
            opened = self._reader.open(name, found.body)[1]
            self._opened[name] = found.written.etag, opened
        return opened

    def _check_commit(self, head: Head) -> None:
        newest = max(self._committed)
        if head.revision != newest + 1:
            raise Violation(f"revision {head.revision} came after {newest}")
        state = {kind: dict(entities) for kind, entities in self._committed[newest].items()}
        for kind, part in head.parts.items():
            for key, entry in part.differential.items():
                if entry.revision == head.revision:
                    _set(state[kind], key, entry.value)
        self._committed[head.revision] = state
        self._model.check(self._fields(state), f"revision {head.revision}")
        self.tally["commits"] += 1
        self.tally["words"] += len(head.words) > 0

    def _check_blobs(self, head: Head) -> None:
        for kind, part in head.parts.items():
            blob = self._open(kind)
            if blob is None:
                if part.ref is not None:
                    raise Violation(f"{kind} is gone")
                continue
            header, _ = read_header(kind, self._storage._current[kind].body)
            oldest = part.ref.revision if part.ref else 0
            if not oldest <= header.revision <= head.revision:
                raise Violation(
                    f"{kind} is of revision {header.revision}, not {oldest} to {head.revision}"
                )
            entities = dict(blob)
            overlay(entities, part)
            if entities != self._committed.get(head.revision, {}).get(kind):
                raise Violation(f"{kind} does not load as revision {head.revision} was committed")

    def _check_load(self, bot: Bot, fields: Fields, *, restored: bool) -> None:
        commits: Any = bot.persistence._commits
        base = commits.repository.base
        if base.entities != self._committed.get(base.head.revision):
            raise Violation(f"what was loaded is not revision {base.head.revision}")
        if fields != self._fields(base.entities) and not restored:
            raise Violation("live objects are not what was loaded")

    def _fields(self, state: State) -> Fields:
        fields: list[tuple[Field, object]] = []
        for kind, entities in state.items():
            try:
                values: Any = _codec.load_all(self._serializer, kind, entities.items())
            except PersistenceError as error:
                raise Violation(f"values of {kind} do not load: {error}") from None
            if kind is Kind.CALLBACK_DATA:
                keyboards, _ = _callback_data.join(values)
                values = {uuid: (time, data) for uuid, time, data in keyboards}
            if kind is Kind.CONVERSATIONS:
                values = {key: state for (name, key), state in values.items()}
            fields += fields_of(kind.value, values)
        return dict(fields)

    def _count(self, bot: Bot) -> None:
        stats = bot.persistence.stats
        for name in ("conflicts", "merged", "overridden", "compactions", "failures"):
            self.tally[name] += getattr(stats, name)

    async def _last_look(self) -> None:
        bot = self._bot(Weather())
        with self._watched():
            fields = await bot.start()
            self._check_load(bot, fields, restored=False)
            self._model.check(fields, "at the end")


def simulate(seed: int) -> Counter[str]:
    """Run one schedule; return what happened in it.

    Raises:
        Violation: Something is not as it must be.
    """
    world = World(seed)
    randomness = random.Random(seed)  # noqa: S311 - as above

    async def offload(work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Take a while, as a thread would, and do the work before or after it."""
        wait = randomness.choice([0.0, 0.001, 0.2])
        if randomness.random() < 0.5:
            await asyncio.sleep(wait)
            return work(*args, **kwargs)
        result = work(*args, **kwargs)
        await asyncio.sleep(wait)
        return result

    effects = {
        "offload": offload,
        "randomness": randomness.randbytes,
        "clock": world.now,
        "pause": asyncio.sleep,
    }
    with (
        mock.patch.dict(Repository.__init__.__kwdefaults__ or {}, effects),
        mock.patch("ptb_s3._workers.Worker.__call__", staticmethod(offload)),
        mock.patch("ptb_s3._head.COMPACTION_SLACK", 400),
        mock.patch("ptb_s3._blobs.common_words", randomness.choice([_no_words, _many_words])),
    ):
        loop.run(world.run())
    return world.tally


def _no_words(_: Any) -> list[str]:
    return []


def _many_words(values: list[Any]) -> list[str]:
    """Take whatever there is: each writer finds others, so that their numbers clash."""
    return [part for value in values for field in value.items() for part in field][:MAX_WORDS]


def _set(entities: Entities, key: Any, value: bytes | None) -> None:
    if value is None:
        entities.pop(key, None)
    else:
        entities[key] = value
