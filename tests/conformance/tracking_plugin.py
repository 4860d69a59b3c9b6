"""A pytest plugin for PTB's own suite: `S3Persistence` in the place of its `TrackingPersistence`.

PTB's tests look up the module-global `TrackingPersistence` when they run, make one with
`(store_data, update_interval, fill_data)`, and then ask it which calls it got and what it holds.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, ClassVar

import pytest
from telegram.ext import PersistenceInput

from ptb_s3._engine.stats import Stats
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._format.reader import Reader
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._storage.contract import Fetched
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values import callback_data as _callback_data
from ptb_s3._values import loading, serializer
from ptb_s3._values.callback_data import CallbackData
from ptb_s3.persistence import ConversationKey, S3Persistence

Data = dict[Any, Any]
Conversations = defaultdict[str, dict[ConversationKey, object]]

_REPLACED = "TrackingPersistence"
# What PTB's tests mean by no pause at all. S3Persistence refuses 0, which spins at full load.
_SHORTEST_INTERVAL = 0.001


class S3TrackingPersistence(S3Persistence[Data, Data, Data]):
    """`S3Persistence` that counts the calls it gets.

    What it *holds* is read out of the store's objects, with the key: what PTB's tests see has been
    serialised, sealed and committed, and is what another process would load. Before there is a
    store it is the `seed`, which the first getter commits, and then loads, as if a bot had run.
    """

    CALLBACK_DATA: ClassVar[CallbackData] = (
        [("uuid", time.time(), {"uuid4": "callback_data"})],
        {"query_id": "keyboard_id"},
    )
    counters: ClassVar[list[Stats]] = []
    loads: ClassVar[int] = 0

    def __init__(
        self,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        fill_data: bool = False,  # noqa: FBT001, FBT002 - PTB's tests decide what it takes
    ) -> None:
        super().__init__(
            "in-memory",
            keyring=Keyring(Key.generate()),
            store_data=store_data,
            update_interval=update_interval or _SHORTEST_INTERVAL,
            trusted=("tests.ext.test_basepersistence",),
        )
        self._loader.store = self._memory = MemoryStore()
        self._load = self._loader.load
        self._loader.load = self._load_seeded  # type: ignore[method-assign]  # to sow before it
        S3TrackingPersistence.counters.append(self._loader.stats)
        self._seed = _Seed()
        if fill_data:
            self._seed.fill(self.CALLBACK_DATA)
        self.reset_tracking()

    def reset_tracking(self) -> None:
        self.updated_user_ids: Counter[int] = Counter()
        self.updated_chat_ids: Counter[int] = Counter()
        self.dropped_user_ids: Counter[int] = Counter()
        self.dropped_chat_ids: Counter[int] = Counter()
        self.refreshed_user_ids: Counter[int] = Counter()
        self.refreshed_chat_ids: Counter[int] = Counter()
        self.updated_conversations: defaultdict[str, Counter[ConversationKey]] = defaultdict(
            Counter
        )
        self.updated_bot_data = self.refreshed_bot_data = False
        self.updated_callback_data = self.flushed = False
        self._ended: set[tuple[str, ConversationKey]] = set()

    # What it holds ------------------------------------------------------------------------------

    @property
    def user_data(self) -> Data:
        return self._held(Kind.USER_DATA) if self._is_started else self._seed.user_data

    @property
    def chat_data(self) -> Data:
        return self._held(Kind.CHAT_DATA) if self._is_started else self._seed.chat_data

    @property
    def bot_data(self) -> Data:
        if not self._is_started:
            return self._seed.bot_data
        held: Data = self._held(Kind.BOT_DATA).get(BOT_DATA_KEY, {})
        return held

    @property
    def callback_data(self) -> CallbackData:
        if not self._is_started:
            return self._seed.callback_data
        return _callback_data.join(self._held(Kind.CALLBACK_DATA))

    @property
    def conversations(self) -> Conversations:
        """The states; an ended conversation, which is to be None here, must not be held."""
        if not self._is_started:
            return self._seed.conversations
        held: Conversations = defaultdict(dict)
        for (name, key), state in self._held(Kind.CONVERSATIONS).items():
            held[name][key] = state
        for name, key in self._ended:
            held[name].setdefault(key, None)
        return held

    @property
    def _is_started(self) -> bool:
        return self._seed.is_sown

    def _held(self, kind: Kind) -> Data:
        """Load a kind from the store's objects, as a new process would."""
        entities = self._committed().entities[kind]
        return loading.load_all(self._serializer, kind, entities.items())

    def _committed(self) -> Base:
        objects: dict[str, Fetched | None] = dict.fromkeys([HEAD, *Kind])
        objects |= {name: Fetched(body, "", None) for name, body in self._memory.current().items()}
        reader = Reader(self._keyring, self._bot_id(), self._serializer.id)
        return reader.assemble(objects, os.urandom)

    async def _load_seeded(self, *, start: bool = True) -> GroupCommit:
        if not self._seed.is_sown:
            self._seed.is_sown = True
            await self._sow()
        S3TrackingPersistence.loads += 1
        return await self._load(start=start)

    async def _sow(self) -> None:
        """Commit the seed from a repository of its own, which is then thrown away."""
        repository = (await self._load()).repository
        for kind, values in self._seed.entities().items():
            for key, value in values.items():
                repository.stage(kind, key, serializer.dump(self._serializer, value))
        await repository.commit()
        self._loader.stats.commits = 0

    # What it counts -----------------------------------------------------------------------------

    async def update_user_data(self, user_id: int, data: Data) -> None:
        self.updated_user_ids[user_id] += 1
        await super().update_user_data(user_id, data)

    async def update_chat_data(self, chat_id: int, data: Data) -> None:
        self.updated_chat_ids[chat_id] += 1
        await super().update_chat_data(chat_id, data)

    async def update_bot_data(self, data: Data) -> None:
        self.updated_bot_data = True
        await super().update_bot_data(data)

    async def update_callback_data(self, data: CallbackData) -> None:
        self.updated_callback_data = True
        await super().update_callback_data(data)

    async def update_conversation(
        self, name: str, key: ConversationKey, new_state: object | None
    ) -> None:
        self.updated_conversations[name][key] += 1
        if new_state is None:
            self._ended.add((name, key))
        else:
            self._ended.discard((name, key))
        await super().update_conversation(name, key, new_state)

    async def drop_user_data(self, user_id: int) -> None:
        self.dropped_user_ids[user_id] += 1
        await super().drop_user_data(user_id)

    async def drop_chat_data(self, chat_id: int) -> None:
        self.dropped_chat_ids[chat_id] += 1
        await super().drop_chat_data(chat_id)

    async def refresh_user_data(self, user_id: int, user_data: Data) -> None:
        self.refreshed_user_ids[user_id] += 1
        user_data["refreshed"] = True
        await super().refresh_user_data(user_id, user_data)

    async def refresh_chat_data(self, chat_id: int, chat_data: Data) -> None:
        self.refreshed_chat_ids[chat_id] += 1
        chat_data["refreshed"] = True
        await super().refresh_chat_data(chat_id, chat_data)

    async def refresh_bot_data(self, bot_data: Data) -> None:
        self.refreshed_bot_data = True
        bot_data["refreshed"] = True
        await super().refresh_bot_data(bot_data)

    async def flush(self) -> None:
        self.flushed = True
        await super().flush()


class _Seed:
    """What a bot has left behind before the test begins."""

    def __init__(self) -> None:
        self.is_sown = False
        self.user_data: defaultdict[int, Data] = defaultdict(dict)
        self.chat_data: defaultdict[int, Data] = defaultdict(dict)
        self.bot_data: Data = {}
        self.callback_data: CallbackData = ([], {})
        self.conversations: Conversations = defaultdict(dict)

    def fill(self, callback_data: CallbackData) -> None:
        """Put in what PTB's tests expect; the states are the numbers of its `HandlerStates`."""
        for data in (self.user_data, self.chat_data):
            data[1]["key"] = "value"
            data[2]["foo"] = "bar"
        self.bot_data["key"] = "value"
        self.callback_data = callback_data
        for number, name in enumerate(("conv_1", "conv_1", "conv_2", "conv_2"), start=1):
            self.conversations[name][number, number] = number

    def entities(self) -> dict[Kind, Data]:
        keyboards, queries = self.callback_data
        return {
            Kind.USER_DATA: self.user_data,
            Kind.CHAT_DATA: self.chat_data,
            Kind.BOT_DATA: {BOT_DATA_KEY: self.bot_data} if self.bot_data else {},
            Kind.CALLBACK_DATA: {
                **{("k", uuid): (at, buttons) for uuid, at, buttons in keyboards},
                **{("q", query): keyboard for query, keyboard in queries.items()},
            },
            Kind.CONVERSATIONS: {
                (name, key): state
                for name, states in self.conversations.items()
                for key, state in states.items()
            },
        }


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--s3-report", type=Path, help="where to write what S3Persistence did")


def pytest_collection_finish(session: pytest.Session) -> None:
    for module in {item.getparent(pytest.Module) for item in session.items}:
        assert module is not None
        assert hasattr(module.obj, _REPLACED), "PTB's suite has changed"
        setattr(module.obj, _REPLACED, S3TrackingPersistence)


def pytest_sessionfinish(session: pytest.Session) -> None:
    commits = sum(counters.commits for counters in S3TrackingPersistence.counters)
    done = {"commits": commits, "loads": S3TrackingPersistence.loads}
    session.config.getoption("--s3-report").write_text(json.dumps(done))
