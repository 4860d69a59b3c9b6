"""A bot that counts, with a handler of its own in the place of the example's."""

from __future__ import annotations

from typing import Any

from telegram import Update
from telegram.ext import MessageHandler, filters

from ptb_s3 import S3Persistence
from ptb_s3.hosts._builder import builder_from_env


def build() -> Any:
    persistence = S3Persistence.from_env(trusted=(__name__,))
    application = builder_from_env().persistence(persistence).build()
    application.add_handler(MessageHandler(filters.TEXT, count))
    return application


async def count(update: Update, context: Any) -> None:
    """Count all updates in one number, as bots do, and each update by itself."""
    context.bot_data["n"] = context.bot_data.get("n", 0) + 1
    each = context.bot_data.setdefault("each", {})
    each[update.update_id] = each.get(update.update_id, 0) + 1
    if update.message is not None and update.message.text == "spoil":
        context.user_data["odd"] = count  # no function is ever saved
