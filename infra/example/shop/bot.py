"""The bot: it keeps a list for each user.

`build` is what a host calls, as ``shop.bot:build``. It returns the application, however that is
made, and is called once. On a machine of one's own, ``build().run_polling()`` runs the same bot.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from telegram import Update
from telegram.ext import Application, CommandHandler, MessageHandler, filters

from ptb_s3 import S3Persistence
from ptb_s3.hosts._builder import builder_from_env
from shop.texts import shown

App: TypeAlias = Application[Any, Any, Any, Any, Any, Any]
Context: TypeAlias = Any  # a CallbackContext, whose data may be None, as PTB's types have it


def build() -> App:
    """Return the application."""
    # The classes of this package may be saved: it is `shop` wherever it runs, never `__main__`.
    persistence = S3Persistence.from_env(trusted=("shop",))
    # No job queue. A PersistentJobQueue has jobs where a schedule has the host run what is due.
    application = builder_from_env().persistence(persistence).job_queue(None).build()
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
        await message.reply_text(shown(context.user_data.get("items", [])))


async def clear(update: Update, context: Context) -> None:
    """Begin a new list."""
    if (message := update.message) is not None:
        context.user_data.pop("items", None)
        await message.reply_text("Your list is empty.")
