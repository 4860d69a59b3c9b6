"""A bot whose jobs are kept: it answers each text with a reminder that is due at once."""

from __future__ import annotations

from typing import Any

from telegram.ext import MessageHandler, filters

from ptb_s3 import PersistentJobQueue, S3Persistence
from ptb_s3.hosts import builder_from_env
from ptb_s3.hosts.aws_lambda import handler_for


async def order(update: Any, context: Any) -> None:
    chat = update.effective_chat.id
    context.job_queue.run_once(remind, 0, data=update.message.text, chat_id=chat, user_id=chat)


async def remind(context: Any) -> None:
    context.user_data.setdefault("items", []).append(context.job.data)
    await context.bot.send_message(context.job.chat_id, f"Remember: {context.job.data}")


def build() -> Any:
    persistence = S3Persistence.from_env(trusted=(__name__,))
    builder = builder_from_env().persistence(persistence).job_queue(PersistentJobQueue())
    application = builder.build()
    application.add_handler(MessageHandler(filters.TEXT, order))
    return application


def handler(event: Any, context: Any) -> Any:
    """What Lambda calls: made with its first event, so that a service can import this module."""
    global _handler  # noqa: PLW0603 - one for the process, as a module's own would be
    _handler = _handler or handler_for(build)
    return _handler(event, context)


_handler: Any = None
