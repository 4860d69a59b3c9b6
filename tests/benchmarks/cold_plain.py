"""The handler of infra/example without persistence, for AWS Lambda: the yardstick of a cold start.

The same update, the same reply, by python-telegram-bot alone. It imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from telegram import Update
from telegram.ext import Application, ApplicationBuilder, CommandHandler, MessageHandler, filters


def _build() -> Application[Any, Any, Any, Any, Any, Any]:
    url = os.environ["TELEGRAM_API_URL"]
    builder = ApplicationBuilder().token(os.environ["TELEGRAM_BOT_TOKEN"]).base_url(f"{url}/bot")
    application = builder.updater(None).job_queue(None).build()
    application.add_handler(CommandHandler(["start", "list"], _show))
    application.add_handler(CommandHandler("clear", _clear))
    application.add_handler(MessageHandler(filters.TEXT & ~filters.COMMAND, _add))
    return application


async def _add(update: Update, context: Any) -> None:
    if (message := update.message) is not None:
        items = context.user_data.setdefault("items", [])
        items.append(message.text)
        await message.reply_text(f"{len(items)} on your list.")


async def _show(update: Update, context: Any) -> None:
    if (message := update.message) is not None:
        await message.reply_text("\n".join(context.user_data.get("items", [])))


async def _clear(update: Update, context: Any) -> None:
    if (message := update.message) is not None:
        context.user_data.pop("items", None)
        await message.reply_text("Your list is empty.")


async def _answer(event: dict[str, Any]) -> dict[str, Any]:
    if event["headers"]["x-telegram-bot-api-secret-token"] != os.environ["TELEGRAM_SECRET_TOKEN"]:
        return {"statusCode": 401}
    await _application.initialize()  # once: PTB remembers
    update = Update.de_json(json.loads(event["body"]), _application.bot)
    await _application.process_update(update)
    return {"statusCode": 200}


_application = _build()
_runner = asyncio.Runner()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer an event of a function URL."""
    return _runner.run(_answer(event))
