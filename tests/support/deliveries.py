"""What tests of `deliver` share: applications on a store in memory, and updates for them."""

from __future__ import annotations

import itertools
import json
from typing import Any

from telegram.ext import ApplicationBuilder, MessageHandler, filters
from tests.support import TESTED_LOAD, make_persistence
from tests.support.bots import TOKEN, App, Handler, OfflineTelegram

from ptb_s3 import PersistentApplication
from ptb_s3._storage.contract import Store
from ptb_s3._storage.memory import MemoryStore

_ids = itertools.count(1000)


async def count(update: Any, context: Any) -> None:
    context.user_data["n"] = context.user_data.get("n", 0) + 1
    context.chat_data["last"] = update.message.text
    context.bot_data["n"] = context.bot_data.get("n", 0) + 1


def application(
    store: Store, *handlers: Handler, plain: bool = False, buttons: bool = False, **options: Any
) -> App:
    if not plain:
        options.setdefault("load", TESTED_LOAD)
    persistence = make_persistence(store, **options)
    builder: Any = ApplicationBuilder().token(TOKEN).request(OfflineTelegram(TOKEN))
    if context_types := options.get("context_types"):
        builder = builder.context_types(context_types)
    if buttons:
        builder = builder.arbitrary_callback_data(True)  # noqa: FBT003 - PTB's own way
    if not plain:
        builder = builder.application_class(PersistentApplication)
    app: App = builder.updater(None).job_queue(None).persistence(persistence).build()
    chosen = handlers or (MessageHandler(filters.TEXT, count),)
    app.add_handlers({group: [handler] for group, handler in enumerate(chosen)})
    return app


def message(text: str = "hello", user: int = 1, number: int | None = None) -> str:
    person = {"id": user, "is_bot": False, "first_name": "User"}
    content = {
        "message_id": 1,
        "date": 1_700_000_000,
        "chat": {"id": user, "type": "private"},
        "from": person,
        "text": text,
    }
    if text.startswith("/"):
        content["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text)}]
    return json.dumps({"update_id": number or next(_ids), "message": content})


def press(data: str, user: int = 1) -> str:
    """A press of a button that the bot has sent to that chat."""
    content = {
        "id": f"query-{next(_ids)}",
        "from": {"id": user, "is_bot": False, "first_name": "User"},
        "chat_instance": "1",
        "data": data,
    }
    return json.dumps({"update_id": next(_ids), "callback_query": content})


async def users(store: MemoryStore) -> dict[int, Any]:
    return await make_persistence(store).get_user_data()


def calls_of(store: MemoryStore, since: int) -> list[tuple[str, str]]:
    return [(call.operation, call.name) for call in store.calls[since:]]
