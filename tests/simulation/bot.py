"""A bot as PTB would run it: live objects, refreshed before a handler, copied and saved after."""

from __future__ import annotations

import asyncio
import copy
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container
from types import SimpleNamespace
from typing import Any

from telegram.ext import ContextTypes
from telegram.ext._utils.trackingdict import TrackingDict
from tests.simulation.model import ABSENT, Field, Fields, Model, Write, fields_of
from tests.support import Persistence

from ptb_s3._ptb import Internals
from ptb_s3._state import Kind
from ptb_s3.errors import DamagedObjectError, HeadLostError, StorageUnavailableError

USERS, CHATS, NAMES = range(1, 6), range(-3, 0), ("a", "b", "c")
CONVERSATION = "order"
# What may come of a storage that loses and truncates; everything else is a bug.
BAD_WEATHER = (StorageUnavailableError, DamagedObjectError, HeadLostError)


class Bot:
    """One incarnation of a bot, with the persistence that it was given.

    Args:
        persistence: Its persistence.
        model: Takes note of what it writes.
        rng: Decides what it does.
        token: Returns a value that was never used before.
    """

    def __init__(
        self,
        persistence: Persistence,
        model: Model,
        rng: random.Random,
        token: Callable[[], str],
    ) -> None:
        self.persistence = persistence
        self._model, self._rng, self._token = model, rng, token
        self._mended = rng.random() < 0.5
        self._live: dict[str, defaultdict[Any, Any]] = {
            "user_data": defaultdict(dict),
            "chat_data": defaultdict(dict),
        }
        self._bot_data: dict[str, Any] = {}
        self._states: TrackingDict[Any, Any] = TrackingDict()
        self._keyboards: dict[str, Any] = {}
        self._touched: dict[str, set[Any]] = {"user_data": set(), "chat_data": set()}
        self._dropped: dict[str, set[Any]] = {"user_data": set(), "chat_data": set()}
        self._moved: set[Any] = set()
        self._unsaved: dict[Field, Write] = {}

    async def start(self) -> Fields:
        """Load everything; return it, field by field.

        Raises:
            PersistenceError: It cannot be read.
        """
        persistence = self.persistence
        self._live["user_data"].update(await persistence.get_user_data())
        self._live["chat_data"].update(await persistence.get_chat_data())
        self._bot_data = await persistence.get_bot_data()
        callback_data = await persistence.get_callback_data() or ([], {})
        self._keyboards = {uuid: (time, data) for uuid, time, data in callback_data[0]}
        self._states.update_no_track(await persistence.get_conversations(CONVERSATION))
        return self.fields()

    def _load_keyboards(self, data: Any) -> None:
        """Do as `CallbackDataCache.load_persistence_data`."""
        self._keyboards |= {uuid: (time, buttons) for uuid, time, buttons in data[0]}

    async def _look(self) -> None:
        """Do as `PersistentApplication` before an update, if this is one."""
        if not self._mended:
            return
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
            persistence=self.persistence,
            context_types=ContextTypes(),
        )
        commits = await self.persistence.opened()
        await commits.look()
        Internals(application).bring_in(commits.objects)

    def fields(self) -> Fields:
        """Return what its live objects hold."""
        values = [
            *fields_of("user_data", self._live["user_data"]),
            *fields_of("chat_data", self._live["chat_data"]),
            *fields_of("bot_data", {0: self._bot_data}),
            *fields_of("conversations", self._states.data),
            *fields_of("callback_data", self._keyboards),
        ]
        return dict(values)

    # What updates do ----------------------------------------------------------------------------

    async def work(self) -> None:
        """Do one thing, at random."""
        rng = self._rng
        await self._look()
        act: Callable[[], Awaitable[None]] = rng.choices(
            [self._handle, self._drop, self._move, self._press, self.save, self._flush],
            weights=[40, 4, 10, 6, 25, 3],
        )[0]
        await act()
        await asyncio.sleep(rng.choice([0.0, 0.05, 0.5, 3.0]))

    async def _handle(self) -> None:
        kind, keys = self._rng.choice([("user_data", USERS), ("chat_data", CHATS)])
        key, persistence = self._rng.choice(keys), self.persistence
        await persistence.refresh_bot_data(self._bot_data)
        if key in self._dropped[kind] and not self._mended:
            return  # PTB would lose it: what comes back within an interval is dropped alone
        data: dict[str, Any] = self._live[kind][key]
        refresh: Any = getattr(persistence, f"refresh_{kind}")
        await refresh(key, data)
        if self._live[kind].get(key) is not data:
            return  # dropped meanwhile
        if self._rng.random() < 0.3:
            await asyncio.sleep(self._rng.random())
        self._touched[kind].add(key)
        self._change(kind, key, data)
        if self._rng.random() < 0.2:
            self._change("bot_data", 0, self._bot_data)

    def _change(self, kind: str, key: Any, data: dict[str, Any]) -> None:
        changes: Fields = {}
        for name in self._rng.sample(NAMES, self._rng.randint(1, 2)):
            if self._rng.random() > 0.15:
                changes[kind, key, name] = data[name] = self._token()
            elif data.pop(name, None) is not None:
                changes[kind, key, name] = ABSENT
        self._note(changes)

    async def _drop(self) -> None:
        kind, keys = self._rng.choice([("user_data", USERS), ("chat_data", CHATS)])
        key = self._rng.choice(keys)
        seen = self._live[kind].pop(key, {})
        self._touched[kind].discard(key)
        if self._mended:
            (await self.persistence.opened()).repository.staged.drop(Kind(kind), key)
        else:
            self._dropped[kind].add(key)
        self._note({(kind, key, name): ABSENT for name in NAMES}, sure=seen)

    async def _move(self) -> None:
        key = (self._rng.choice(USERS),)
        self._moved.add(key)
        if self._rng.random() > 0.3:
            self._states[key] = self._token()
            self._note({("conversations", key, None): self._states[key]})
        else:
            was = self._states.pop(key, None)
            self._note({("conversations", key, None): ABSENT}, sure=() if was is None else (None,))

    async def _press(self) -> None:
        if self._keyboards and self._rng.random() < 0.4:
            uuid = self._rng.choice(sorted(self._keyboards))
            del self._keyboards[uuid]
            self._note({("callback_data", uuid, None): ABSENT}, sure=(None,))
        else:
            uuid = self._token()
            self._keyboards[uuid] = (1.0, {"button": uuid})
            self._note({("callback_data", uuid, None): self._keyboards[uuid]})

    def _note(self, changes: Fields, sure: Container[str | None] = NAMES) -> None:
        """Note what a handler did.

        What it deletes need not be deleted if it was not there, or was not saved yet: this bot may
        then have nothing to say to what another one has made of it.

        Args:
            changes: Fields and their values.
            sure: Names of those that were there.
        """
        now = asyncio.get_running_loop().time()
        for field, value in changes.items():
            write = self._model.begin(field, value, now)
            saved = self._unsaved.pop(field, None) is None
            if value is not ABSENT or (saved and field[2] in sure and self._is_there(field)):
                self._unsaved[field] = write

    def _is_there(self, field: Field) -> bool:
        """Tell whether there is such an entity, as far as the persistence knows by now."""
        kind, key, _ = field
        at = {"conversations": (CONVERSATION, key), "callback_data": ("k", key)}.get(kind, key)
        commits: Any = self.persistence._commits
        return commits is not None and commits.repository.staged.get(Kind(kind), at) is not None

    # What saves them ----------------------------------------------------------------------------

    async def save(self) -> None:
        """Do as `Application.update_persistence`: all calls at once, on copies."""
        unsaved, persistence = dict(self._unsaved), self.persistence
        keyboards = [(uuid, time, data) for uuid, (time, data) in self._keyboards.items()]
        calls: list[Awaitable[None]] = [
            (await persistence.opened()).join(),
            persistence.update_bot_data(copy.deepcopy(self._bot_data)),
            persistence.update_callback_data(copy.deepcopy((keyboards, {}))),
        ]
        for kind in ("user_data", "chat_data"):
            drop, update = (getattr(persistence, f"{verb}_{kind}") for verb in ("drop", "update"))
            calls += map(drop, self._dropped[kind])
            calls += [
                update(key, copy.deepcopy(self._live[kind][key]))
                for key in self._touched[kind] & self._live[kind].keys()
            ]
            self._dropped[kind], self._touched[kind] = set(), set()
        calls += [
            persistence.update_conversation(CONVERSATION, key, self._states.get(key))
            for key in self._moved
        ]
        self._moved = set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if not failures:
            self._acknowledge(unsaved)
        for failure in failures:
            if not isinstance(failure, BAD_WEATHER):
                raise failure

    async def _flush(self) -> None:
        await self.save()
        await self.flush()

    async def flush(self) -> bool:
        """Flush; tell whether all is durable."""
        unsaved = dict(self._unsaved)
        try:
            await self.persistence.flush()
        except BAD_WEATHER:
            return False
        if not (self._moved or any(self._touched.values()) or any(self._dropped.values())):
            self._acknowledge(unsaved)
        return True

    def _acknowledge(self, writes: dict[Field, Write]) -> None:
        now = asyncio.get_running_loop().time()
        for field, write in writes.items():
            if self._unsaved.get(field) is write:  # else it was overtaken by another one
                write.ended = now
                del self._unsaved[field]
