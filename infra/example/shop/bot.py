"""The bot: replace this file with yours, and keep `build`. This one keeps a list for each user."""
# ruff: noqa: INP001 - a module of its own on the host, beside those that import it

from __future__ import annotations

from typing import Any, TypeAlias

from telegram import Update
from telegram.ext import (
    Application,
    ApplicationBuilder,
    CommandHandler,
    MessageHandler,
    filters,
)

from ptb_s3 import S3Persistence

App: TypeAlias = Application[Any, Any, Any, Any, Any, Any]
Builder: TypeAlias = ApplicationBuilder[Any, Any, Any, Any, Any, Any]
Context: TypeAlias = Any  # a CallbackContext, whose data may be None, as PTB's types have it


def build(builder: Builder) -> App:
    """Return the application; called once, when the host starts the process.

    Args:
        builder: Knows the token already, and that updates come by a webhook.
    """
    # The classes of this module may be saved: it is `bot` wherever it runs, and never `__main__`.
    persistence = S3Persistence.from_env(trusted=(__name__,))
    application = builder.persistence(persistence).build()
    application.add_handler(CommandHandler(["start", "list"], show))
    application.add_handler(CommandHandler("clear", clear))
    application.add_handler(MessageHandler(filters.TEXT & ~filters.COMMAND, add))
    return application


async def add(update: Update, context: Context) -> None:
    """Put what the user has written on the user's list."""
    if (message := update.message) is not None:
        items = context.user_data.setdefault("items", [])
        items.append(message.text)
        await message.reply_text(f"{len(items)} on your list.")


async def show(update: Update, context: Context) -> None:
    """Show the list."""
    if (message := update.message) is not None:
        items = context.user_data.get("items", [])
        await message.reply_text("\n".join(items) or "Write, and I keep it for you.")


async def clear(update: Update, context: Context) -> None:
    """Begin a new list."""
    if (message := update.message) is not None:
        context.user_data.pop("items", None)
        await message.reply_text("Your list is empty.")
