"""Persistences on a store in memory, and the state that they hold."""

from __future__ import annotations

import asyncio
import os
from typing import Any, NamedTuple, cast

from telegram.ext import ExtBot

from ptb_s3 import Keyring, S3Persistence
from ptb_s3._keys.keyring import Key
from ptb_s3._storage.contract import Store

KEY = Key(bytes(range(32)))
OTHER_KEY = Key(bytes(range(1, 33)))
BOT_ID = 4711
Persistence = S3Persistence[Any, Any, Any]


TESTED_LOAD = os.environ.get("TESTED_LOAD", "all")
"""What tests' `PersistentApplication`s read at a start: `sh infra/test.sh` tries both."""


class _Bot(NamedTuple):
    """As much of a bot as a persistence asks for before it has met Telegram."""

    id: int


def make_persistence(
    store: Store,
    *,
    bot: int = BOT_ID,
    **options: Any,
) -> Persistence:
    """Make a persistence on a given store, in the place of S3."""
    options.setdefault("keyring", Keyring(KEY))
    persistence = S3Persistence("bucket", **options)
    persistence._loader.store = store
    persistence.bot = cast("ExtBot[None]", _Bot(bot))
    return persistence


async def state_of(persistence: Persistence, *conversations: str) -> dict[str, Any]:
    """Load everything that a persistence holds, as PTB would."""
    return {
        "user_data": await persistence.get_user_data(),
        "chat_data": await persistence.get_chat_data(),
        "bot_data": await persistence.get_bot_data(),
        "callback_data": await persistence.get_callback_data(),
        "conversations": {
            name: await persistence.get_conversations(name) for name in conversations
        },
    }


async def update(persistence: Persistence, state: dict[str, Any]) -> None:
    """Send a state as PTB sends an interval's changes: all calls gathered, in no order.

    Raises:
        ExceptionGroup: What the calls raised.
    """
    calls = [
        *(persistence.update_user_data(k, v) for k, v in state.get("user_data", {}).items()),
        *(persistence.update_chat_data(k, v) for k, v in state.get("chat_data", {}).items()),
        *(
            persistence.update_conversation(name, key, value)
            for name, states in state.get("conversations", {}).items()
            for key, value in states.items()
        ),
    ]
    if "bot_data" in state:
        calls.append(persistence.update_bot_data(state["bot_data"]))
    if "callback_data" in state:
        calls.append(persistence.update_callback_data(state["callback_data"]))
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    failures = [result for result in results if isinstance(result, Exception)]
    if failures:
        raise ExceptionGroup("update", failures)


async def settled(persistence: Persistence) -> None:
    """Wait until a blob that is being written in the background is written."""
    commits = persistence._commits
    if commits is not None and commits.compaction.task is not None:
        await commits.compaction.task
