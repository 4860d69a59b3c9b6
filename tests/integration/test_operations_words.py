"""The operator's commands where values refer to the words of their store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from telegram import Chat
from telegram.constants import ChatType
from telegram.ext import ExtBot, PicklePersistence
from tests.integration.operators import PREFIX, ROTATE, ROTATED, Operator, employed
from tests.servers import S3Server
from tests.support import BOT_ID, KEY, OTHER_KEY, make_persistence, settled, state_of, update

from ptb_s3._format.entities import Kind
from ptb_s3._format.words import is_bare
from ptb_s3._storage.s3 import S3Store
from ptb_s3._values.shared_strings import MIN_VALUES

BOT: ExtBot[None] = ExtBot("123:ABC")
USERS = range(1, MIN_VALUES + 1)
NEW, NEWER = 3, 4
"""Revisions: the first whose values refer to words, and another one after it."""


class Own:
    """A class of a bot's own."""


def user(number: int, *, key: str = "cart") -> dict[str, Any]:
    return {"visits": number, key: [{"tea": f"Oolong {number}"}]}


async def grow(store: S3Store, *, key: str = "cart") -> None:
    """Have a bot save so many users that its store gets words, and then some of them again."""
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"user_data": {number: user(number, key=key) for number in USERS}})
    await settled(persistence)
    await update(persistence, {"bot_data": {"orders": 1}})  # with this one, words are committed
    await update(persistence, {"user_data": {1: user(10, key=key), 2: user(20, key=key)}})
    await update(persistence, {"user_data": {2: user(21, key=key)}})
    assert persistence._commits is not None
    entities = persistence._commits.repository.base.entities[Kind.USER_DATA]
    assert [number for number, data in entities.items() if is_bare(data)] == [1, 2]
    await store.close()


def grown(*, key: str = "cart") -> dict[int, Any]:
    users = {number: user(number, key=key) for number in USERS}
    return users | {1: user(10, key=key), 2: user(21, key=key)}


@pytest.fixture
async def operator(s3_server: S3Server) -> AsyncIterator[Operator]:
    """An operator whose bot's store has got its words."""
    async with employed(s3_server) as operator:
        await grow(operator.store())
        yield operator


async def test_values_are_shown_and_compared(operator: Operator) -> None:
    """Nobody sees which form a value has."""
    shown = (await operator.done("show", "user_data", "--json")).json
    assert shown["user_data"]["1"] == user(10)
    assert shown["user_data"]["3"] == user(3)
    diff = (await operator.done("diff", NEW, NEWER, "--values", "--json")).json
    (changed,) = diff["entities"]
    assert {field["path"] for field in changed["fields"]} == {"['visits']", "['cart'][0]['tea']"}
    await operator.done("verify")


async def test_export_needs_no_words(operator: Operator, tmp_path: Path) -> None:
    """PicklePersistence loads the file, and JSON spells everything out, as of any revision."""
    await operator.done("export", tmp_path / "state")
    assert await PicklePersistence[Any, Any, Any](tmp_path / "state").get_user_data() == grown()
    await operator.done("export", tmp_path / "new", "--at", NEW)
    older = await PicklePersistence[Any, Any, Any](tmp_path / "new").get_user_data()
    assert older == grown() | {2: user(20)}
    await operator.done("export", tmp_path / "state.json")
    spelled = json.loads((tmp_path / "state.json").read_bytes())
    assert spelled["user_data"]["2"] == user(21)


async def test_a_store_is_copied_with_its_words(operator: Operator) -> None:
    """An empty place gets words and values; a bot goes on there."""
    source, elsewhere = f"s3://{operator.bucket}/{PREFIX}", {"PTB_S3_PREFIX": "copy/"}
    await operator.done("import", source, **elsewhere)
    assert (await operator.state(prefix="copy/"))["user_data"] == grown()
    shown = (await operator.done("show", "user_data", "1", "--json", **elsewhere)).json
    assert shown["user_data"]["1"] == user(10)


@pytest.mark.parametrize("key", ["cart", "basket"], ids=["the same words", "other words"])
async def test_a_store_is_merged_into_one_with_words(operator: Operator, key: str) -> None:
    """Numbers mean other words there, or the same; values arrive as they were."""
    await grow(operator.store("other/"), key=key)
    source, elsewhere = f"s3://{operator.bucket}/{PREFIX}", {"PTB_S3_PREFIX": "other/"}
    await operator.done("import", source, "--merge", "--replace", "--bot", BOT_ID, **elsewhere)
    assert (await operator.state(prefix="other/"))["user_data"] == grown()


async def test_what_was_pickled_gets_words_on_the_way(s3_server: S3Server, tmp_path: Path) -> None:
    """A bot that moves here starts as fast as one that has been here; nobody's classes are run."""
    chat = Chat(1, ChatType.PRIVATE)
    users = {
        **{number: user(number) for number in USERS},
        500: {"order": Own()},
        501: {"chat": chat},
    }
    pickled = PicklePersistence[Any, Any, Any](tmp_path / "state")
    pickled.set_bot(BOT)
    chat.set_bot(BOT)
    for number, data in users.items():
        await pickled.update_user_data(number, data)
    async with employed(s3_server) as operator:
        path = tmp_path / "state"
        await operator.done("import", path, "--bot", BOT_ID, "--trusted", __name__)
        persistence = make_persistence(operator.store(), trusted=[__name__])
        loaded = await persistence.get_user_data()
        assert {number: loaded[number] for number in USERS} == {n: user(n) for n in USERS}
        assert isinstance(loaded[500]["order"], Own)
        assert loaded[501] == {"chat": chat}
        assert loaded[501]["chat"]._bot is persistence.bot
        assert persistence._commits is not None
        entities = persistence._commits.repository.base.entities[Kind.USER_DATA]
        assert [number for number, data in entities.items() if not is_bare(data)] == [500, 501]
        await persistence.close()


async def test_going_back_and_sealing_anew_keep_words(operator: Operator) -> None:
    """After a restore, a rotation and an erasure, values and words still belong together."""
    await operator.done("restore", 1)
    assert (await operator.state())["user_data"] == {number: user(number) for number in USERS}
    await operator.done("restore", NEWER)
    await operator.done(*ROTATE, **ROTATED)
    await operator.done("forget", 3, "--yes", **ROTATED)
    users = grown()
    del users[3]
    assert (await operator.state(OTHER_KEY, KEY))["user_data"] == users
    await operator.done("verify", **ROTATED)
