"""A bot as PTB would run it: live objects, refreshed before a handler, copied and saved after."""

from __future__ import annotations

import asyncio
import copy
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

from telegram.ext._utils.trackingdict import TrackingDict
from tests.simulation import values
from tests.simulation.excuses import NEWER, Excuses
from tests.simulation.loop import PROTECTED
from tests.simulation.model import Model, Violation, Write
from tests.simulation.values import ABSENT, Change, Editor, Field, Fields, fields_of
from tests.support import BOT_ID, Persistence

from ptb_s3._format.entities import Kind
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.on_demand import OnDemandData, ensure, prefetch
from ptb_s3._ptb.takeover import bring_in
from ptb_s3.errors import ConflictError, PersistenceError

USERS, CHATS = range(1, 6), range(-3, 0)
# Users that come and go all at once, to fill pages.
CROWD = range(100, 170)
# Users of whom a bot that reads on demand does not know all before long.
MANY = range(100, 250)
CONVERSATION = "order"
# Seconds that a flush may take beyond its time, for what goes on in a thread.
FLUSH_SLACK = 1.5


class Bot:
    """One incarnation of a bot, with the persistence that it was given.

    Args:
        persistence: Its persistence.
        model: Takes note of what it writes.
        rng: Decides what it does.
        token: Returns a value that was never used before.
        features: What it does besides.
        committed: Gives the state, and the words, of a commit.
        excuses: Tells which failures are none of the engine's.
        knows_plan: Whether it is of the newer version.
        drops: Whether it drops users and chats.
    """

    def __init__(
        self,
        persistence: Persistence,
        model: Model,
        rng: random.Random,
        token: Callable[[], str],
        *,
        features: Collection[str],
        excuses: Excuses,
        committed: Callable[[Any], tuple[Any, Any]] = lambda _: ({}, ()),
        knows_plan: bool = True,
        drops: bool = True,
    ) -> None:
        self.persistence = persistence
        # As much of PTB's bot as says whether its application is being started, or shut down.
        self._bot: Any = SimpleNamespace(id=BOT_ID, _bot_initialized=True)
        persistence.bot = cast("Any", self._bot)
        self._model, self._rng, self._token = model, rng, token
        self._features, self._excuses = features, excuses
        self._committed = committed
        self._knows_plan, self._drops = knows_plan, drops
        self._editor = Editor(rng, token)
        self._demanded = {kind.value for kind in persistence._loader.options.on_demand}
        self._mended = rng.random() < 0.5 or bool(self._demanded)
        types: Any = persistence.context_types
        self._live: dict[str, defaultdict[Any, Any]] = {
            "user_data": self._mapping(Kind.USER_DATA, types.user_data),
            "chat_data": self._mapping(Kind.CHAT_DATA, types.chat_data),
        }
        self._bot_data: Any = types.bot_data()
        self._states: TrackingDict[Any, Any] = TrackingDict()
        self._keyboards: dict[str, Any] = {}
        self._touched: dict[str, set[Any]] = {"user_data": set(), "chat_data": set()}
        self._dropped: dict[str, set[Any]] = {"user_data": set(), "chat_data": set()}
        self._moved: set[Any] = set()
        self._unsaved: dict[Field, list[Write]] = {}
        self._refused: set[tuple[str, Any]] = set()
        self._heard: list[BaseException] = []
        self._saving = asyncio.Lock()

    def _mapping(self, kind: Kind, new: Callable[[], Any]) -> defaultdict[Any, Any]:
        if kind not in self._demanded:
            return defaultdict(new)
        return OnDemandData(kind, new, lambda: self.persistence._commits)

    def held(self, kind: str) -> Any:
        """Return the live objects of users or of chats, of which none is read for it."""
        data = self._live[kind]
        return data.live if isinstance(data, OnDemandData) else data

    # How it starts ------------------------------------------------------------------------------

    async def start(self) -> Fields:
        """Load everything; return it, field by field.

        Raises:
            PersistenceError: It cannot be read.
        """
        if "loads" in self._features and self._rng.random() < 0.4:
            await self._give_up_a_start()
        persistence = self.persistence
        if self._mended:
            persistence._loader.begin_start()
        self._live["user_data"].update(await persistence.get_user_data())
        self._live["chat_data"].update(await persistence.get_chat_data())
        self._bot_data = await persistence.get_bot_data()
        callback_data = await persistence.get_callback_data() or ([], {})
        self._keyboards = {uuid: (time, data) for uuid, time, data in callback_data[0]}
        self._states.update_no_track(await persistence.get_conversations(CONVERSATION))
        (await persistence._opened()).report.faults = []
        return self.fields()

    async def _give_up_a_start(self) -> None:
        """Do as a host whose patience ends in the middle of a start, and that tries again."""
        start = asyncio.ensure_future(self.persistence.get_user_data())
        await asyncio.wait([start], timeout=self._rng.choice([0.0, 0.01, 0.1, 1.0]))
        start.cancel()
        with suppress(asyncio.CancelledError, *self._excuses.weather):
            await start

    def _load_keyboards(self, data: Any) -> None:
        """Do as `CallbackDataCache.load_persistence_data`."""
        self._keyboards |= {uuid: (time, buttons) for uuid, time, buttons in data[0]}

    async def _look(self) -> None:
        """Do as `PersistentApplication` before an update, if this is one."""
        if not self._mended:
            return
        commits = await self.persistence._opened()
        await commits.peers.look()
        self._bring_in(commits)

    def _bring_in(self, commits: Any) -> None:
        types: Any = self.persistence.context_types
        commits.peers.refresh(Kind.BOT_DATA, 0, self._bot_data, types.bot_data)
        cache = SimpleNamespace(load_persistence_data=self._load_keyboards)
        application: Any = SimpleNamespace(
            _user_data=self._live["user_data"],
            _chat_data=self._live["chat_data"],
            _conversation_handler_conversations={CONVERSATION: self._states},
            _user_ids_to_be_updated_in_persistence=set(),
            _chat_ids_to_be_updated_in_persistence=set(),
            _user_ids_to_be_deleted_in_persistence=set(),
            _chat_ids_to_be_deleted_in_persistence=set(),
            bot_data=self._bot_data,
            bot=SimpleNamespace(callback_data_cache=cache),
            _raise_system_exit=None,
            _add_ch_to_persistence=None,
            persistence=self.persistence,
            context_types=self.persistence.context_types,
        )
        internals = Internals(application)
        for kind in map(Kind, sorted(self._demanded)):
            internals.read_on_demand(kind, cast("Any", self._live[kind]))
        bring_in(internals, commits.objects)

    def fields(self) -> Fields:
        """Return what its live objects hold."""
        held = [
            *fields_of("user_data", self.held("user_data")),
            *fields_of("chat_data", self.held("chat_data")),
            *fields_of("bot_data", {0: self._bot_data}),
            *fields_of("conversations", self._states.data),
            *fields_of("callback_data", self._keyboards),
        ]
        return dict(held)

    # What updates do ----------------------------------------------------------------------------

    async def work(self) -> None:
        """Do one thing, at random."""
        rng = self._rng
        acts: list[tuple[Callable[[], Awaitable[Any]], int]] = [
            (self._handle, 40),
            (self._drop, 4 if self._drops else 0),
            (self._move, 10),
            (self._press, 6),
            (self.save, 25),
            (self._flush, 3),
            (self._peek, 8 if "getters" in self._features else 0),
            (self._broadcast, 16 if self._demanded else 0),
            (self._compact, 8 if "on_demand" in self._features else 0),
            (self._come_and_go, 8 if "pages" in self._features else 0),
            (self._plan, 3 if "versions" in self._features and self._knows_plan else 0),
        ]
        act = rng.choices([act for act, _ in acts], weights=[weight for _, weight in acts])[0]
        if act != self._broadcast:  # which is no update's, and takes over what there is itself
            await self._unless_cancelled(self._look())
        await act()
        await asyncio.sleep(rng.choice([0.0, 0.05, 0.5, 3.0]))

    async def _handle(self) -> None:
        kind, key = self._whoever()
        persistence = self.persistence
        await self._unless_cancelled(persistence.refresh_bot_data(self._bot_data))
        if key in self._dropped[kind] and not self._mended:
            return  # PTB would lose it: what comes back within an interval is dropped alone
        if not await self._has_read(kind, [key]):
            return
        data = self._live[kind][key]
        refresh: Any = getattr(persistence, f"refresh_{kind}")
        await self._unless_cancelled(refresh(key, data))
        if self.held(kind).get(key) is not data:
            return  # dropped meanwhile
        name = self._rng.choice(values.names_of(self._features, data, kind))
        held = values.held_by(data, name)
        if self._rng.random() < 0.3:
            await asyncio.sleep(self._rng.random())
            if self.held(kind).get(key) is not data:
                return
        if key in self._dropped[kind] and not self._mended:
            return
        if self._model.was_replaced(kind, key):
            held = None  # what holds it may have been deleted, and be another one by now
        self._touched[kind].add(key)
        self._note(kind, key, self._editor.change(data, name, held))
        if self._rng.random() < 0.5:
            name = self._rng.choice(values.names_of(self._features, data, kind))
            self._note(kind, key, self._editor.change(data, name))
        if self._rng.random() < 0.2:
            name = self._rng.choice(values.names_of(self._features, self._bot_data, "bot_data"))
            self._note("bot_data", 0, self._editor.change(self._bot_data, name))

    def _whoever(self) -> tuple[str, int]:
        """Draw a user or a chat: where some are read on demand, one of many, every other time."""
        kind, keys = self._rng.choice([("user_data", USERS), ("chat_data", CHATS)])
        if "on_demand" in self._features and self._rng.random() < 0.5:
            return "user_data", self._rng.choice(MANY)
        return kind, self._rng.choice(keys)

    async def _has_read(self, kind: str, keys: Collection[int]) -> bool:
        """Read what an update is about, ahead or then and there; tell whether that was possible."""
        if kind not in self._demanded:
            return True
        commits = await self.persistence._opened()
        subjects: list[Any] = [(Kind(kind), key) for key in keys]
        try:
            if self._rng.random() < 0.7:
                await self._unless_cancelled(prefetch(commits, subjects))
                self._bring_in(commits)
            for key in keys:
                _ = key in self._live[kind]  # reads what was cancelled, or not asked for before
        except Exception as error:  # noqa: BLE001 - judged there
            self._excuses.judge(error)
            return False
        return True

    async def _plan(self) -> None:
        if not await self._has_read("user_data", [NEWER]):
            return
        data = self._live["user_data"][NEWER]
        if NEWER in self._dropped["user_data"] and not self._mended:
            return
        self._touched["user_data"].add(NEWER)
        self._note("user_data", NEWER, [values.put_plan(data, self._token)])

    async def _drop(self) -> None:
        kind, keys = self._rng.choice([("user_data", USERS), ("chat_data", CHATS)])
        await self._drop_all(kind, [self._rng.choice(keys)])

    async def _drop_all(self, kind: str, keys: Collection[Any]) -> None:
        if self._mended:
            await self.persistence._opened()
        for key in keys:
            seen = self.held(kind).pop(key, None)
            self._touched[kind].discard(key)
            known = self._knows(kind, key)
            was_there = known and self._is_there((kind, key, ()))
            if self._mended and known:
                commits: Any = self.persistence._commits
                commits.withdraw(Kind(kind), key)
                commits.repository.staged.drop(Kind(kind), key)
            else:
                self._dropped[kind].add(key)
            now = asyncio.get_running_loop().time()
            self._unsaved.setdefault((kind, key, ("*",)), []).append(
                self._model.begin_drop(kind, key, now)
            )
            gone = [Change(path, ABSENT, unique=False) for path, _ in values.parts_of(seen)]
            if not known:  # it stays marked, and the next save drops it
                continue
            self._note(kind, key, gone if seen is not None else [], there=was_there)

    def _knows(self, kind: str, key: int) -> bool:
        """Have it known whether there is an entity, as a drop does; tell whether that succeeded."""
        if kind not in self._demanded:
            return True
        commits: Any = self.persistence._commits
        try:
            ensure(commits, Kind(kind), key)
        except Exception as error:  # noqa: BLE001 - judged there
            self._excuses.judge(error)
            return False
        return True

    async def _come_and_go(self) -> None:
        """Many users come, or go, in one interval."""
        if self._rng.random() < 0.4:
            await self._drop_all("user_data", sorted(self._crowd()))
            return
        if not await self._has_read("user_data", CROWD):
            return
        for key in CROWD:
            if key not in self._dropped["user_data"] or self._mended:
                data = self._live["user_data"][key]
                self._touched["user_data"].add(key)
                self._note("user_data", key, self._editor.change(data, "a"))

    def _crowd(self) -> set[int]:
        """Return those of the crowd that there are, or those that are live."""
        if not self._demanded or self._rng.random() < 0.5:
            return {*self.held("user_data")} & {*CROWD}
        try:
            return {*self._live["user_data"]} & {*CROWD}
        except Exception as error:  # noqa: BLE001 - judged there
            self._excuses.judge(error)
            return set()

    async def _move(self) -> None:
        key = (self._rng.choice(USERS),)
        self._moved.add(key)
        if self._rng.random() > 0.3:
            self._states[key] = self._token()
            self._note("conversations", key, [Change((), self._states[key])])
        else:
            was = self._states.pop(key, None) is not None
            self._note("conversations", key, [Change((), ABSENT, unique=False, was=was)])

    async def _press(self) -> None:
        if self._keyboards and self._rng.random() < 0.4:
            uuid = self._rng.choice(sorted(self._keyboards))
            del self._keyboards[uuid]
            self._note("callback_data", uuid, [Change((), ABSENT, unique=False)])
        else:
            uuid = self._token()
            self._keyboards[uuid] = (1.0, {"button": uuid})
            content = values.content(self._keyboards[uuid])
            self._note("callback_data", uuid, [Change((), content)])

    def _note(
        self, kind: str, key: Any, changes: Collection[Change], *, there: bool | None = None
    ) -> None:
        """Note what a handler did.

        What may have been the same before it was saved, or is deleted and was not there, need not
        take effect: this bot may then have nothing to say to what another one has made of it.
        """
        now = asyncio.get_running_loop().time()
        for change in changes:
            field = (kind, key, change.path)
            pending = self._unsaved.setdefault(field, [])
            sure = change.unique or (not pending and change.was)
            if change.value is ABSENT:
                sure = sure and (self._is_there(field) if there is None else there)
            pending.append(self._model.begin(field, change.value, now, sure=sure))

    def _is_there(self, field: Field) -> bool:
        """Tell whether there is such a field, as far as the persistence knows by now."""
        kind, key, path = field
        at = {"conversations": (CONVERSATION, key), "callback_data": ("k", key)}.get(kind, key)
        commits: Any = self.persistence._commits
        data = commits and commits.repository.staged.get(Kind(kind), at)
        if data is None or not path:
            return data is not None
        serializer = values.serializer().sharing(lambda: commits.repository.words)
        return path in {known for known, _ in values.parts_of(serializer.loads(data))}

    async def _peek(self) -> None:
        """Do as a broadcast, or an admin's command: ask for what there is, at run time."""
        persistence = self.persistence
        getters: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            persistence.get_user_data,
            persistence.get_chat_data,
            persistence.get_bot_data,
            persistence.get_callback_data,
            lambda: persistence.get_conversations(CONVERSATION),
        ]
        at = self._rng.randrange(len(getters))
        try:
            found = await self._unless_cancelled(getters[at]())
        except Exception as error:  # noqa: BLE001 - judged there
            self._excuses.judge(error)
            return
        kind = ("user_data", "chat_data", "")[min(at, 2)]
        if kind in self._demanded and "cancel" not in self._features:
            self._check_got(Kind(kind), found)

    async def _broadcast(self) -> None:
        """Read many ahead, while what others have committed is taken over."""
        commits = await self.persistence._opened()
        users = self._rng.sample([*USERS, *MANY], 12)
        subjects: list[Any] = [(Kind(kind), key) for kind in self._demanded for key in users]
        work = prefetch(commits, sorted(subjects)), commits.peers.catch_up()
        for done in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(done, BaseException):
                self._excuses.judge(done)

    async def _compact(self) -> None:
        """Write a blob anew, as somebody does whose differential has grown."""
        commits, self._excuses.asked = await self.persistence._opened(), True
        kind = self._rng.choice([Kind.USER_DATA, Kind.CHAT_DATA])
        try:
            await self._unless_cancelled(commits.repository.compact(kind))
        except ConflictError:
            pass  # another has been quicker
        except Exception as error:  # noqa: BLE001 - judged there
            self._excuses.judge(error)

    def _check_got(self, kind: Kind, found: dict[Any, Any]) -> None:
        """See that all that was read is of one revision: the one that the bot is at now."""
        commits: Any = self.persistence._commits
        repository = commits.repository
        there, _ = self._committed(repository.base.head)
        entities = {**there[kind], **repository.staged.dirty[kind]}
        wanted = {key: data for key, data in entities.items() if data is not None}
        serializer = values.serializer().sharing(lambda: repository.words)
        fresh = {key: serializer.loads(data) for key, data in wanted.items()}
        if dict(fields_of(kind, found)) != dict(fields_of(kind, fresh)):
            raise Violation(f"all of {kind} was read, and is of several revisions")

    # What saves them ----------------------------------------------------------------------------

    async def save(self) -> bool:
        """Do as `Application.update_persistence`: all calls at once, on copies.

        Returns:
            Whether all of it, but for what was refused, is durable.
        """
        async with self._saving:
            saved = await self._unless_cancelled(self._save())
        return bool(saved)

    async def _save(self) -> bool:
        idle, commits = self._is_idle(), self.persistence.stats.commits
        unsaved = {field: list(writes) for field, writes in self._unsaved.items()}
        marks = self._take_marks()
        try:
            calls = await self._calls(*marks)
        except BaseException:
            self._put_back(*marks)
            raise
        for write in (write for writes in unsaved.values() for write in writes):
            write.handed_over = True
        tasks = [asyncio.ensure_future(call) for call in calls]
        for task in tasks:
            task.add_done_callback(self._hear)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if not self._judge(failures):
            return False
        self._acknowledge(unsaved, but=self._refusals())
        alone = "together" not in self._features  # nobody else flushes meanwhile
        # After an outsider, blobs are written anew, and a flush has head refer to them.
        alone = alone and not self._excuses.meddled
        if idle and alone and self._is_idle() and self.persistence.stats.commits > commits:
            raise Violation("nothing had changed, and it was committed")
        return True

    def _take_marks(self) -> tuple[dict[str, set[Any]], dict[str, set[Any]], set[Any]]:
        marks = self._dropped, self._touched, self._moved
        self._dropped, self._touched = ({kind: set() for kind in self._live} for _ in range(2))
        self._moved = set()
        return marks

    def _put_back(
        self, dropped: dict[str, set[Any]], touched: dict[str, set[Any]], moved: set[Any]
    ) -> None:
        for kind in self._live:
            self._dropped[kind] |= dropped[kind]
            self._touched[kind] |= touched[kind]
        self._moved |= moved

    async def _calls(
        self, dropped: dict[str, set[Any]], touched: dict[str, set[Any]], moved: set[Any]
    ) -> list[Awaitable[None]]:
        persistence = self.persistence
        keyboards = [(uuid, time, data) for uuid, (time, data) in self._keyboards.items()]
        calls: list[Awaitable[None]] = [
            (await persistence._opened()).join(),
            persistence.update_bot_data(copy.deepcopy(self._bot_data)),
            persistence.update_callback_data(copy.deepcopy((keyboards, {}))),
        ]
        for kind in ("user_data", "chat_data"):
            drop, update = (getattr(persistence, f"{verb}_{kind}") for verb in ("drop", "update"))
            calls += map(drop, sorted(dropped[kind]))
            calls += [
                update(key, copy.deepcopy(self.held(kind)[key]))
                for key in sorted(touched[kind] & self.held(kind).keys())
            ]
        calls += [
            persistence.update_conversation(CONVERSATION, key, self._states.get(key))
            for key in sorted(moved)
        ]
        return calls

    def _is_idle(self) -> bool:
        commits: Any = self.persistence._commits
        marks = any((*self._touched.values(), *self._dropped.values(), self._moved))
        pending = self._unsaved or marks or self._refused
        if pending or commits is None or commits.repository.dirty:
            return False
        return not commits.repository.words  # a value that has words by now has other bytes

    def _hear(self, call: asyncio.Future[None]) -> None:
        """Hear what a call says, also where whoever gathers the calls is cancelled meanwhile."""
        if not call.cancelled() and (failure := call.exception()):
            failures = [failure, *getattr(failure, "others", ())]
            self._heard += failures
            self._judge(failures)

    def _judge(self, failures: Collection[BaseException]) -> bool:
        """Tell whether all was saved but for what was refused; see `Excuses.judge`."""
        saved = True
        for failure in failures:
            refused = self._excuses.judge(failure)
            if refused is None:
                saved = False
            else:
                self._refused.add(_field_of(*refused))
        return saved

    async def _flush(self) -> None:
        await self.save()
        await self.flush()

    async def shut_down(self) -> bool:
        """Do as `Application.shutdown`; tell whether all is durable."""
        self._bot._bot_initialized = False
        saved = await self.save()
        return await self.flush() and saved

    async def flush(self) -> bool:
        """Flush; tell whether all is durable."""
        begun, clock = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
        flushed = await self._flush_in_time()
        if clock() - begun > self.persistence.flush_timeout + FLUSH_SLACK:
            raise Violation(f"a flush took {clock() - begun:.1f} s")
        return flushed

    async def _flush_in_time(self) -> bool:
        handed_over = {
            field: [write for write in writes if write.handed_over]
            for field, writes in self._unsaved.items()
        }
        try:
            if await self._unless_cancelled(self._flush_all()) is None:
                return False
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - judged there
            # Of several refusals, it raises one, and writes the others to the log.
            failures = [error, *self._refusals()]
            self._heard += failures
            return self._judge(failures)
        if not self._saving.locked() and (unheard := self._refusals()):
            raise Violation(f"nobody was told of a refusal: {unheard[0]}")
        self._acknowledge({field: writes for field, writes in handed_over.items() if writes})
        return True

    def _refusals(self) -> list[PersistenceError]:
        """Return what was refused, as whoever asks for it is told, and this bot has not heard."""
        commits: Any = self.persistence._commits
        told = [] if commits is None else commits.report.faults or []
        return [fault for fault in told if all(fault is not heard for heard in self._heard)]

    async def _flush_all(self) -> bool:
        await self.persistence.flush()
        return True

    def _acknowledge(
        self, writes: dict[Field, list[Write]], but: Collection[PersistenceError] = ()
    ) -> None:
        """Note what is durable: all but what was refused, of which a later call may tell."""
        now = asyncio.get_running_loop().time()
        refused = self._refused.union(*map(_entities_of, but))
        for field, done in writes.items():
            if field[:2] in refused:
                continue
            pending = self._unsaved.get(field, [])
            for write in [write for write in done if write in pending]:
                write.ended = now
                later = pending[pending.index(write) + 1 :]
                # Another one overtook it: of the same save, or a drop that was staged meanwhile.
                dropped = self._mended and any(w.gives(field) is ABSENT for w in later)
                write.sure = write.sure and write is done[-1] and not dropped
                self._model.settled(field)
            left = [write for write in pending if write not in done]
            if left:
                self._unsaved[field] = left
            else:
                self._unsaved.pop(field, None)

    async def _unless_cancelled(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it in a task of its own, which may be cancelled; return None if it was."""
        if "cancel" not in self._features:
            return await work
        task = asyncio.create_task(work)
        await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    # What must be true --------------------------------------------------------------------------

    async def settle(self) -> bool:
        """Save all, and bring in all, in fair weather: then it must hold what is committed."""
        if not (await self.save() and await self.flush()):
            return False
        commits = await self.persistence._opened()
        await commits.peers.catch_up()
        for kind in ("user_data", "chat_data"):
            for key, data in list(self.held(kind).items()):
                await getattr(self.persistence, f"refresh_{kind}")(key, data)
        await self.persistence.refresh_bot_data(self._bot_data)
        if self._mended:  # at last: others may have committed in between
            self._bring_in(commits)
        return not self._unsaved

    def all_fields(self) -> Fields:
        """Return what there is of users and chats that are read on demand, live or not.

        Raises:
            PersistenceError: It cannot be read.
        """
        return dict(field for kind in sorted(self._demanded) for field in self._all_of(kind))

    def _all_of(self, kind: str) -> Iterable[tuple[Field, object]]:
        data = self._live[kind]
        keys = list(data)
        if len(keys) != len(data) or len({*keys}) != len(keys) or any(k not in data for k in keys):
            raise Violation(f"keys of {kind} are {sorted(keys)}, and there are {len(data)}")
        return fields_of(kind, {key: data[key] for key in self._rng.sample(keys, len(keys))})

    @property
    def demanded(self) -> Collection[str]:
        """Kinds that it reads on demand."""
        return self._demanded

    @property
    def refused(self) -> Collection[tuple[str, Any]]:
        """Kind and key of the entities that could not be saved."""
        return self._refused

    @property
    def mended(self) -> bool:
        """Whether it is a `PersistentApplication`."""
        return self._mended


def _entities_of(fault: PersistenceError) -> set[tuple[Any, Any]]:
    """Return kind and key of the entities that were refused."""
    keys = getattr(fault, "keys", None) or [getattr(fault, "key", None)]
    return {_field_of(getattr(fault, "kind", None), key) for key in keys}


def _field_of(kind: Any, key: Any) -> tuple[Any, Any]:
    """Return what a field's name begins with: a conversation's is not in front of its key."""
    return kind, key[1] if kind in ("conversations", "callback_data") else key


def workers(bot: Bot, count: int, until: Callable[[], bool]) -> list[asyncio.Task[None]]:
    """Let a bot process so many updates at a time."""

    async def work() -> None:
        while not until():
            await bot.work()

    loop = asyncio.get_running_loop()  # which is told the name before it makes the task
    return [loop.create_task(work(), name=PROTECTED) for _ in range(count)]
