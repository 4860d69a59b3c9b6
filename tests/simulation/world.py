"""One run: a storage, bots on it that come and go, and the model that they are held against."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from telegram.ext import ContextTypes
from tests.simulation import loop, values
from tests.simulation.audit import Audit, Commit
from tests.simulation.bot import Bot, workers
from tests.simulation.delivery import Deliveries, Instance
from tests.simulation.excuses import DISPUTED, NEWER, Excuses
from tests.simulation.features import FEATURES, draw_features, draw_mode
from tests.simulation.limits import having, scaled
from tests.simulation.loop import Process, StuckError
from tests.simulation.model import Excused, Model, Violation, Write
from tests.simulation.on_demand import read_on_demand
from tests.simulation.outsiders import Outsider
from tests.simulation.storage import Line, Weather, draw_weather
from tests.simulation.values import Fields
from tests.support import BOT_ID, Persistence, make_persistence

from ptb_s3 import Keyring, merge_values
from ptb_s3._engine.repository import Repository
from ptb_s3._format import words as _word_format
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Key
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._storage.threads import Worker
from ptb_s3.errors import PersistenceError

KEYS = [Key(bytes([number]) * 32) for number in range(1, 4)]
EPOCH = datetime(2026, 11, 25, tzinfo=UTC)
# Virtual seconds for which bots come and go.
DURATION = 60.0
# Virtual seconds within which all that is on its way has arrived.
CALM = 200.0
# Bytes beyond a blob's size that have to be carried along before it pays.
SLACK = 400
# Tries of a bot to settle, at the end, in fair weather.
TRIES = 4
# What keeps an update from taking effect as a whole, or takes it back after it was answered.
NOT_DELIVERED = {"huge", "refusals", "versions", "types", "outsiders"}
# How far a clock is off, in minutes.
SKEWS = (0, 0, -10, -3, 2, 10)


class Draws:
    """Randomness of a process: the same as another one's until it has loaded.

    Args:
        shared: Seed of what it draws before.
        own: Gives what it draws afterwards.

    Attributes:
        persistence: What loads.
    """

    def __init__(self, shared: int, own: Callable[[int], bytes]) -> None:
        self.persistence: Persistence | None = None
        self._shared = random.Random(shared)  # noqa: S311 - to be repeatable is the point
        self._own = own

    def __call__(self, count: int) -> bytes:
        loaded = self.persistence is not None and self.persistence._loader.repository is not None
        return self._own(count) if loaded else self._shared.randbytes(count)


class World:
    """One run.

    Args:
        seed: Decides everything.
        features: What happens besides; None: the seed decides.

    Attributes:
        features: The same.
        tally: What happened, to see that a run is worth its time.
    """

    def __init__(self, seed: int, features: Collection[str] | None = None) -> None:
        self.tally: Counter[str] = Counter()
        self._rng = random.Random(seed)  # noqa: S311 - as above
        drawn = draw_features(self._rng) | draw_mode(seed)
        self.features = drawn if features is None else frozenset(features)
        if "deliver" in self.features:
            self.features -= NOT_DELIVERED
        self._weather = draw_weather(self._rng)
        self._storage = MemoryStore(versioned=self._rng.random() < 0.8, clock=self.now)
        self._model = Model()
        self._tokens = map(str, itertools.count(1))
        self._excuses = Excuses(self.features)
        self._audit = Audit(
            self._storage,
            self._model,
            keys=Keyring(KEYS[0], KEYS[1:]),
            bot=BOT_ID,
            excuses=self._excuses,
            now=self.now,
        )
        self._types = (
            _own_types() if self.features & {"types", "deliver"} == {"types"} else ContextTypes()
        )
        self.randomness = random.Random(self._rng.random())  # noqa: S311 - as above
        self._drops = self.features.isdisjoint({"nested", "sets"}) or self._rng.random() < 0.5
        self._audit.rewrites = "outsiders" in self.features and self._rng.random() < 0.3
        self._forked: list[int] = []
        self._lines: list[Line] = []
        self._carried_out: list[tuple[str, int]] = []
        # One at a time: of two at once the model cannot tell which state came of it.
        self._restoring = False

    def now(self) -> datetime:
        """Return the storage's time."""
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())

    def clock(self) -> datetime:
        """Return the time by the clock of the process that asks."""
        process = loop.current()
        return self.now() + (process.skew if process is not None else timedelta())

    def draw(self, count: int) -> bytes:
        """Return random bytes for the process that asks."""
        process = loop.current()
        own = process.randomness if process is not None else None
        return (own or self.randomness.randbytes)(count)

    # What happens -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let bots come and go for a while; then see that all that was acknowledged is there.

        Raises:
            Violation: Something is not as it must be.
        """
        writers = self._rng.choice([1, 2, 2, 3])
        end = asyncio.get_running_loop().time() + DURATION
        outsider = Outsider(
            self._storage,
            self._audit,
            self._excuses,
            self._model,
            self._rng,
            keys=Keyring(KEYS[0], KEYS[1:]),
        )
        self._audit.thorough = "outsiders" in self.features
        others = [outsider.run(end)] if "outsiders" in self.features else []
        if self.features.isdisjoint({"outsiders", "clocks"}):  # they need all that there was
            others.append(self._expire(end))
        if "deliver" in self.features:
            self._audit.with_model = False
            work = [Deliveries(self._audit, self._excuses, self._rng, self._instance).run(end)]
            others += [self._clear_up(end)]
        else:
            work = [self._writer(end) for _ in range(writers)]
        await asyncio.gather(*work, *others)
        await asyncio.sleep(CALM)
        self._weather = Weather()
        self._raise()
        outsider.mend()
        if not self._excuses.spoiled:
            await self._last_look()
        self.tally += self._audit.tally
        self._raise()

    async def _clear_up(self, end: float) -> None:
        """Let the weather become fair when the time is up."""
        await asyncio.sleep(end - asyncio.get_running_loop().time())
        for line in self._lines:
            line.weather = Weather()
        self._weather = Weather()

    def _instance(self) -> Instance:
        process, rng = self._process(), random.Random(self._rng.random())  # noqa: S311 - as above
        persistence, newer = self._persistence(rng, self._weather)
        if isinstance(process.randomness, Draws):
            process.randomness.persistence = persistence
        return Instance(process, persistence, rng, knows_plan=newer)

    async def _writer(self, end: float) -> None:
        """Run one bot after another, until the time is up; the last one ends well."""
        while (now := asyncio.get_running_loop().time()) < end and self._audit.violation is None:
            process = self._process()
            stays = now + self._rng.uniform(1, DURATION / 2)
            task = process.spawn(self._incarnation(min(stays, end)))
            died = asyncio.ensure_future(process.died.wait())
            await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
            self.tally["killed" if process.dead else "ended"] += 1
            died.cancel()
            if not process.dead:
                process.kill()  # what it has left behind ends with it
                task.result()
            await asyncio.sleep(self._rng.choice([0.0, 0.1, 2.0]))

    def _process(self) -> Process:
        rng = self._rng
        mortal = rng.random() < 0.6
        process = Process(rng.randint(1, 1500) if mortal else None)
        if "clocks" in self.features:
            process.skew = timedelta(minutes=rng.choice(SKEWS))
        if "forks" in self.features:
            if not self._forked or rng.random() < 0.3:
                self._forked.append(rng.randrange(10**6))
            process.randomness = Draws(self._forked[-1], self.randomness.randbytes)
        if "cancel" in self.features:
            rate, own = rng.choice([0.003, 0.03, 0.1]), random.Random(rng.random())  # noqa: S311
            process.cancels = lambda: (
                own.choice([0, own.randrange(40)]) if own.random() < rate else None
            )
        return process

    async def _incarnation(self, until: float) -> None:
        with self._watched():
            bot = await self._started()
            if bot is None:
                return
            while await self._works_until(bot, until):
                again = await self._started(bot.persistence)
                if again is None:
                    return
                bot = again

    async def _works_until(self, bot: Bot, until: float) -> bool:
        """Let a bot work; tell whether it is started again by the same process then."""
        clock, restarts = asyncio.get_running_loop().time, "loads" in self.features
        at_once = not self.features.isdisjoint({"together", "on_demand"})
        count = self._rng.choice([1, 2, 3]) if at_once else 1
        until = min(until, clock() + self._rng.uniform(1, 20)) if restarts else until
        await self._work(bot, count, lambda: clock() >= until or self._is_over)
        if clock() >= until and self._rng.random() < 0.4:
            await self._settle(bot)
        if self._rng.random() > 0.8:
            return False
        saved = await bot.shut_down()
        self._count(bot)
        return saved and restarts and not self._is_over and self._rng.random() < 0.5

    @property
    def _is_over(self) -> bool:
        return self._audit.violation is not None

    async def _work(self, bot: Bot, count: int, until: Callable[[], bool]) -> None:
        tasks = workers(bot, count, lambda: until() or not self._holds(bot))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _holds(self, bot: Bot) -> bool:
        """See that what a bot has in memory is what was committed."""
        commits = bot.persistence._commits
        if commits is not None:
            self._audit.check_base(commits.repository.base)
        return True

    async def _settle(self, bot: Bot) -> None:
        """See that in fair weather a bot saves all, and gets all that there is."""
        process = loop.current()
        assert process is not None
        lines: Any = bot.persistence._loader.store
        weather, lines.weather = lines.weather, Weather()
        process.cancels = lambda: None
        try:
            for _ in range(TRIES):
                if await bot.settle():
                    break
                await asyncio.sleep(15)
            else:
                if not (bot.refused or self._excuses.meddled):
                    raise Violation("a bot cannot save, though all is well")
                return
            if bot.mended and not bot.refused:
                self._compare(bot)
        finally:
            lines.weather = weather

    def _compare(self, bot: Bot) -> None:
        commits: Any = bot.persistence._commits
        base = commits.repository.base
        held, there = bot.fields(), self._audit.fields(base.entities, base.head.words)
        ours = {field: value for field, value in held.items() if field[0] != "callback_data"}
        theirs = {field: value for field, value in there.items() if field[0] != "callback_data"}
        for field in ours.keys() | theirs.keys():
            if field[0] in bot.demanded and field[1] not in bot.held(field[0]):
                continue  # nobody has asked for it
            if field[:2] == ("user_data", NEWER) and "versions" in self.features:
                continue  # which an older version cannot read
            if ours.get(field) != theirs.get(field):
                raise Violation(
                    f"a live object was never refreshed: {field} is {ours.get(field)!r}, and "
                    f"{theirs.get(field)!r} is committed"
                )
        self.tally["settled"] += 1
        self._compare_all(bot)

    def _compare_all(self, bot: Bot) -> None:
        """See that what a bot reads on demand is what was committed, where it can be read."""
        commits: Any = bot.persistence._commits
        if not bot.demanded or self._rng.random() < 0.5 or not commits.repository.base.etag:
            return
        head = commits.repository.base.head
        there = self._audit.commits.get(head.commit)
        if there is None:
            raise Violation("a bot goes by a head that nobody else can read")
        try:
            held = bot.all_fields()
        except PersistenceError as error:
            self._excuses.judge(error)
            return
        for field, value in self._audit.fields(there.state, there.words).items():
            if field[:2] == ("user_data", NEWER) and "versions" in self.features:
                continue
            if field[0] in bot.demanded and held.get(field) != value:
                raise Violation(f"{field} was read as {held.get(field)!r}, and {value!r} is there")
        self.tally["read on demand"] += 1

    async def _started(self, persistence: Persistence | None = None) -> Bot | None:
        """Start a bot, perhaps with a persistence that one was shut down with; None: it failed."""
        restore = None if persistence else self._restore_point()
        seen = self._audit.commits[self._audit.current].revision
        if persistence is not None:
            bot = self._bot_with(persistence)
            self.tally["started again"] += 1
        else:
            bot = self._bot(self._weather, restore[0] if restore else None)
        write = self._begin_restore(restore)
        done = restore in self._carried_out
        try:
            fields = await bot.start()
        except BaseException as error:
            if not self._excuses.of_a_start(error):
                raise
            self.tally["could not start"] += 1
            return None
        self._check_load(bot, fields, seen, restored=write is not None)
        if write is not None and self._end_restore(write) and restore is not None:
            if done and "pages" not in self.features:
                raise Violation(f"the request {restore[0]} was carried out again")
            self._carried_out.append(restore)
        if restore is not None:
            self._restoring = False
        self.tally["started"] += 1
        return bot

    def _bot(self, weather: Weather, restore: str | None = None, load: str | None = None) -> Bot:
        rng = random.Random(self._rng.random())  # noqa: S311 - as above
        persistence, newer = self._persistence(rng, weather, restore, load)
        process = loop.current()
        if process is not None and isinstance(process.randomness, Draws):
            process.randomness.persistence = persistence
        return self._bot_with(persistence, newer=newer)

    def _bot_with(self, persistence: Persistence, *, newer: bool = False) -> Bot:
        return Bot(
            persistence,
            self._model,
            random.Random(self._rng.random()),  # noqa: S311 - as above
            lambda: next(self._tokens),
            features=self.features,
            excuses=self._excuses,
            committed=lambda head: _state_of(self._audit.commits[head.commit]),
            knows_plan=newer,
            drops=self._drops,
        )

    def _persistence(
        self,
        rng: random.Random,
        weather: Weather,
        restore: str | None = None,
        load: str | None = None,
    ) -> tuple[Persistence, bool]:
        """Make a persistence; tell whether it is one of the newer version."""
        keys = rng.sample(KEYS, len(KEYS))
        older = "versions" in self.features and rng.random() < 0.4
        written = self._audit.written
        load = load or self._load(rng)
        line = Line(self._storage, rng, weather, written, "listing" in self.features)
        self._lines.append(line)
        persistence = make_persistence(
            line,
            keyring=Keyring(keys[0], keys[1:])
            if rng.random() < (0.6 if "keys" in self.features else 0.2)
            else Keyring(KEYS[0], KEYS[1:]),
            compression_level=1,
            sync=rng.choice(["auto", "auto", 0.0, 5.0, None]),
            flush_timeout=rng.choice([0.5, 8.0]),
            restore=restore,
            load=load,
            trusted=values.TRUSTED[: 1 if older else 2],
            context_types=self._types,
            merge=_disputing(rng) if "refusals" in self.features else None,
            on_loss="rewrite" if self._audit.rewrites else "wait",
        )
        if load == "on_demand":
            read_on_demand(persistence, line, rng)
        return persistence, not older

    def _load(self, rng: random.Random) -> str:
        """Draw what a bot reads at its start."""
        if "on_demand" not in self.features or self._audit.rewrites:
            return "all"
        return "on_demand" if rng.random() < 0.7 else "all"

    async def _expire(self, end: float) -> None:
        """Do as a lifecycle rule: versions that are not current go, any of them, at any time."""
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self._rng.uniform(1, 20))
            # Of a commit that has gone, a time names the one before: the model cannot tell which.
            heads = () if "clocks" in self.features else (HEAD,)
            for name in (*heads, *Kind):
                versions = self._storage._history.get(name, [])[:-1]
                for stored in self._rng.sample(versions, len(versions) // 2):
                    self._storage.lose(name, stored.written.version_id)
                    self.tally["expired"] += 1

    # Restoring ----------------------------------------------------------------------------------

    def _restore_point(self) -> tuple[str, int] | None:
        """Draw what to go back to; return the request, and the revision that answers to it."""
        newest = self._audit.commits[self._audit.current].revision
        often = 0.1
        if not self._storage.versioned or newest < 2 or self._rng.random() > often:
            return None
        if self._restoring:
            return None
        if "outsiders" in self.features:
            return None
        if self._carried_out and self._rng.random() < 0.3:
            return self._rng.choice(self._carried_out)
        revision = self._rng.randint(max(1, newest - 20), newest)
        if "clocks" not in self.features:
            return str(revision), revision
        by_revision = {commit.revision: commit for commit in self._audit.commits.values()}
        at = by_revision[revision].at
        assert at is not None
        return (at + timedelta(microseconds=1)).isoformat(), revision

    def _begin_restore(self, restore: tuple[str, int] | None) -> Write | None:
        if restore is None:
            return None
        _, revision = restore
        self._restoring = True
        commit = next(c for c in self._audit.commits.values() if c.revision == revision)
        old = self._audit.fields(commit.state, commit.words)
        self._audit.forget_past()
        return self._model.begin_restore(old, asyncio.get_running_loop().time())

    def _end_restore(self, write: Write) -> bool:
        """Note what became of a restore; tell whether it was carried out."""
        # Not by what the bot counts: where an answer was lost, it finds that all was done before.
        began = EPOCH + timedelta(seconds=write.began)
        if any(c.restores and c.at and c.at >= began for c in self._audit.commits.values()):
            write.ended = asyncio.get_running_loop().time()
            self.tally["restored"] += 1
            return True
        self._model.forget_restore(write)  # the same request had been carried out before
        return False

    # What must be true --------------------------------------------------------------------------

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Take what is no matter of the weather for a violation."""
        try:
            yield
        except Violation as violation:
            self._audit.violation = self._audit.violation or violation
        except Exception as error:  # noqa: BLE001 - judged there
            try:
                self._excuses.judge(error)
            except Violation as violation:
                self._audit.violation = self._audit.violation or violation
            self.tally["gave up"] += 1

    def _raise(self) -> None:
        if self._audit.violation is not None:
            raise self._audit.violation

    def _check_load(self, bot: Bot, fields: Fields, seen: int, *, restored: bool) -> None:
        commits: Any = bot.persistence._commits
        base = commits.repository.base
        self._audit.check_base(base)
        if base.head.revision < seen and not self._excuses.meddled:
            raise Violation(f"revision {base.head.revision} was loaded, and {seen} was there")
        there = self._audit.fields(base.entities, base.head.words)
        there = {field: value for field, value in there.items() if field[0] not in bot.demanded}
        if fields != there and not restored:
            raise Violation("live objects are not what was loaded")

    def _count(self, bot: Bot) -> None:
        stats = bot.persistence.stats
        self.tally["refused"] += len(bot.refused)
        for name in ("conflicts", "merged", "overridden", "compactions", "failures"):
            self.tally[name] += getattr(stats, name)

    async def _last_look(self) -> None:
        bot = self._bot(Weather(), load="all")
        with self._watched():
            fields = await bot.start()
            seen = self._audit.commits[self._audit.current].revision
            self._check_load(bot, fields, seen, restored=False)
            if self._audit.with_model:
                self._model.check(fields, "at the end")
            if "on_demand" in self.features and not self._audit.rewrites:
                await self._last_look_on_demand(fields)

    async def _last_look_on_demand(self, fields: Fields) -> None:
        """See that one who asks for everything is given what one has that reads everything."""
        bot = self._bot(Weather(), load="on_demand")
        found = {**await bot.start(), **bot.all_fields()}
        if found != fields:
            raise Violation("what is read on demand is not what there is")


def simulate(seed: int, features: Collection[str] | None = None) -> Counter[str]:
    """Run one schedule; return what happened in it.

    Args:
        seed: Decides everything.
        features: What happens besides bots that come and go; None: the seed decides.

    Raises:
        Violation: Something is not as it must be.
    """
    world = World(seed, features)
    randomness = world.randomness

    async def offload(work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Take a while, as a thread would, and do the work before or after it."""
        wait = randomness.choice([0.0, 0.001, 0.2])
        if randomness.random() < 0.5:
            await asyncio.sleep(wait)
            return work(*args, **kwargs)
        result = work(*args, **kwargs)
        await asyncio.sleep(wait)
        return result

    async def work_inline(_: Worker, work: Callable[..., Any], /, *a: Any, **options: Any) -> Any:
        return await offload(work, *a, **options)

    effects = {
        "offload": offload,
        "randomness": world.draw,
        "clock": world.clock,
        "pause": asyncio.sleep,
    }
    words = randomness.choice([_no_words, _many_words])
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(mock.patch.dict(Repository.__init__.__kwdefaults__ or {}, effects))
        enter(mock.patch.object(Worker, "__call__", work_inline))
        # A takeover reads on demand where others have written a blob anew: so that they do.
        slack = randomness.choice([0, SLACK]) if "on_demand" in world.features else SLACK
        enter(mock.patch("ptb_s3._format.head.COMPACTION_SLACK", slack))
        for module in having("common_words"):
            enter(mock.patch.object(module, "common_words", words))
        enter(scaled(randomness, world.features))
        try:
            loop.run(world.run())
        except Excused:
            world.tally["excused"] += 1
        except StuckError:
            raise Violation("everything waits for something that nobody is going to do") from None
    world.tally.update(f"with {name}" for name in world.features & FEATURES.keys())
    return world.tally


def _state_of(commit: Commit) -> tuple[Any, Any]:
    return commit.state, commit.words


def _no_words(_: Any) -> list[str]:
    return []


def _many_words(some: list[Any]) -> list[str]:
    """Take whatever there is: each writer finds others, so that their numbers clash."""
    fields = (vars(value) if isinstance(value, values.Desk) else value for value in some)
    items = (field for value in fields if isinstance(value, dict) for field in value.items())
    parts = (part for field in items for part in field)
    return [part for part in parts if isinstance(part, str)][: _word_format.MAX_WORDS]


def _own_types() -> ContextTypes[Any, Any, Any, Any]:
    return ContextTypes(user_data=values.Shop, chat_data=values.Slots, bot_data=values.Desk)


def _disputing(rng: random.Random) -> Callable[..., Any]:
    def merge(kind: str, key: Any, base: Any, ours: Any, theirs: Any) -> Any:
        if (kind, key) == ("user_data", DISPUTED) and rng.random() < 0.5:
            raise ValueError(kind)
        return merge_values(base, ours, theirs)

    return merge
