"""A bot that reads on demand answers and saves as one that reads all, whatever happens to both.

Two bots, each on a store of its own, go through the same schedule of updates, saves, compactions
and restarts, beside another instance or alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple
from unittest import mock

import pytest
from telegram import Update
from telegram.ext import TypeHandler
from tests.support import make_persistence, state_of
from tests.support.bots import App, persistence_of
from tests.support.deliveries import application
from tests.support.on_demand import compacted, filled, small_segments

from ptb_s3._ptb.background_compaction import BackgroundCompaction
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.serverless import begin, close, committed, deliver

KEYS = [*range(1, 13), -5, 900, 2**52]
"""Ids of users and of chats, of which 1 to 10 have data in blobs from the beginning."""
STEPS = 100


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Blobs of many segments, which nobody writes but the schedule."""
    with small_segments(), mock.patch.object(BackgroundCompaction, "start"):
        yield


def text(data: Any) -> str:
    return json.dumps(data, sort_keys=True)


def mark(app: App, which: str, key: int) -> None:
    ids: Any = {"user_ids" if which == "user_data" else "chat_ids": key}
    app.mark_data_for_update_persistence(**ids)


# What a handler may do ----------------------------------------------------------------------------


class Act(NamedTuple):
    """One thing that a handler does, and the mapping, id and value that it does it with."""

    way: str
    which: str
    key: int
    other: int
    value: int


def assign(context: Any, act: Act) -> None:
    for data in (context.user_data, context.chat_data):
        if data is not None:
            data[f"of {act.key}"] = act.value


def clear(context: Any, _: Act) -> None:
    if context.user_data is not None:
        context.user_data.clear()


def assign_other(context: Any, act: Act) -> None:
    getattr(context.application, act.which)[act.key]["other"] = act.value
    mark(context.application, act.which, act.key)


def drop(context: Any, act: Act) -> None:
    getattr(context.application, f"drop_{act.which}")(act.key)


def migrate(context: Any, act: Act) -> None:
    context.application.migrate_chat_data(old_chat_id=act.key, new_chat_id=act.other)


def data_of(context: Any, act: Act) -> Any:
    return getattr(context.application, act.which)


ACTS: dict[str, Callable[[Any, Act], Any]] = {
    "see": lambda context, _: (text(context.user_data), text(context.chat_data)),
    "set": assign,
    "clear": clear,
    "set other": assign_other,
    "see other": lambda context, act: text(data_of(context, act)[act.key]),
    "get": lambda context, act: text(data_of(context, act).get(act.key)),
    "in": lambda context, act: act.key in data_of(context, act),
    "len": lambda context, act: len(data_of(context, act)),
    "keys": lambda context, act: sorted(data_of(context, act)),
    "items": lambda context, act: sorted((k, text(v)) for k, v in data_of(context, act).items()),
    "drop": drop,
    "migrate": migrate,
    "raise": lambda _, act: 1 // (act.value % 2),
}


def update_of(rng: Random, number: int) -> dict[str, Any]:
    """Return an update of a user and a chat, of one of them, or of neither."""
    person = {"id": abs(rng.choice(KEYS)), "is_bot": False, "first_name": "User"}
    chat = {"id": rng.choice(KEYS), "type": "group", "title": "Chat"}
    message = {"message_id": 1, "date": 1_700_000_000, "chat": chat, "text": "hello"}
    reacted = {"chat": chat, "message_id": 1, "date": 1_700_000_000}
    reaction: dict[str, Any] = {"old_reaction": [], "new_reaction": []}
    price = {"currency": "EUR", "total_amount": 1, "invoice_payload": ""}
    kinds: list[dict[str, Any]] = [
        {"message": {**message, "from": person}},
        {"channel_post": message},
        {"inline_query": {"id": "1", "from": person, "query": "", "offset": ""}},
        {"message_reaction": {**reacted, **reaction, "user": person}},
        {"message_reaction_count": {**reacted, "reactions": []}},
        {"business_message": {**message, "from": person, "business_connection_id": "1"}},
        {"pre_checkout_query": {"id": "1", "from": person, **price}},
    ]
    return {"update_id": number, **rng.choice([kinds[0], *kinds])}


def act_of(rng: Random, value: int) -> Act:
    which, key, other = rng.choice(DATA), rng.choice(KEYS), rng.choice(KEYS)
    return Act(rng.choice(list(ACTS)), which, key, other, value)


# Two bots -----------------------------------------------------------------------------------------


class Side:
    """One bot, maybe with another instance beside it, and what its handlers have answered.

    Args:
        load: How it reads its state.
        versioned: Whether its bucket keeps versions.
        delivers: Whether updates come by `deliver`.
    """

    def __init__(self, load: str, *, versioned: bool, delivers: bool) -> None:
        self.store = MemoryStore(versioned=versioned)
        self.answers: list[Any] = []
        self._loads = {"own": load, "peer": "all"}
        self._delivers = delivers
        self._apps: dict[str, App] = {}
        self._acts: list[Act] = []

    async def begin(self, who: str) -> None:
        async def act(_: object, context: Any) -> None:
            for one in self._acts:
                self.answers.append(ACTS[one.way](context, one))

        async def note(_: object, context: Any) -> None:
            self.answers.append(type(context.error))

        app = application(self.store, TypeHandler(Update, act), load=self._loads[who], sync=0)
        app.add_error_handler(note)
        self._apps[who] = app
        await (begin(app) if self._delivers else app.initialize())

    async def end(self, who: str) -> None:
        await (close if self._delivers else App.shutdown)(self._apps.pop(who))

    async def step(self, who: str, way: str, number: int, rng: Random) -> None:
        """Take one step of the schedule, of which all is drawn from `rng`."""
        app = self._apps[who]
        if way in {"update", "compact"}:
            self._acts = [act_of(rng, number) for _ in range(rng.randrange(1, 4))]
            await self._send(app, update_of(rng, number))
        if way == "compact":  # of what the other instance has not seen yet, too
            await app.update_persistence()
            await compacted(persistence_of(app), publish=rng.random() < 0.7)
        elif way == "save" and not self._delivers:
            await app.update_persistence()
        elif way == "block" and self._delivers:
            await self._change(app, *map(rng.choice, (KEYS, KEYS)), fails=rng.random() < 0.5)
        elif way == "restart":
            await self.end(who)
            await self.begin(who)
        elif way == "ask":
            await persistence_of(app).catch_up()
            self.answers.append(text(await persistence_of(app).get_chat_data()))

    async def _send(self, app: App, update: dict[str, Any]) -> None:
        if self._delivers:
            self.answers.append(await deliver(app, update))
        else:
            await app.process_update(Update.de_json(update, app.bot))

    async def _change(self, app: App, user: int, chat: int, *, fails: bool) -> None:
        try:
            async with committed(app, users=[user], chats=[chat]) as state:
                state.user_data[user]["paid"] = state.chat_data[chat]["paid"] = True
                self.answers.append(1 // (not fails))
        except ZeroDivisionError:
            self.answers.append("taken back")

    async def saved(self) -> dict[str, str]:
        """Return what a reader of all finds, once all is saved."""
        if not self._delivers:
            await self._apps["own"].update_persistence()
        state = await state_of(make_persistence(self.store))
        return {kind: text(sorted(state[kind].items())) for kind in DATA}


DATA = ["user_data", "chat_data"]
WAYS = ["update"] * 12 + ["save"] * 3 + ["block", "compact"] * 2 + ["restart", "ask"]


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("delivers", [False, True])
@pytest.mark.parametrize("who", [["own"], ["own", "own", "peer"]], ids=["alone", "beside another"])
async def test_a_bot_is_the_same_in_both_modes(
    who: list[str], *, versioned: bool, delivers: bool
) -> None:
    sides = [Side(load, versioned=versioned, delivers=delivers) for load in ("all", "on_demand")]
    for side in sides:
        await filled(side.store, 10)
        for one in sorted(set(who)):
            await side.begin(one)
    seed = f"{who} {delivers} {versioned}"
    for number in range(STEPS):
        rng = Random(f"{seed} {number}")  # noqa: S311 - to be repeatable is the point
        step, state = (rng.choice(who), rng.choice(WAYS), 1000 + number), rng.getstate()
        for side in sides:
            rng.setstate(state)
            await side.step(*step, rng)
        assert sides[0].answers == sides[1].answers, step
        if number % 10 == 9:
            assert await sides[0].saved() == await sides[1].saved(), step
    assert len(sides[0].answers) > STEPS / 2
    for side in sides:
        for one in set(who):
            await side.end(one)
