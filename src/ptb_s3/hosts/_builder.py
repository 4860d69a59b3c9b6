"""Builder of an application from ``TELEGRAM_*`` variables, as `S3Persistence.from_env` is of ours.

A project that builds its application in another way needs none of this.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from telegram.ext import ApplicationBuilder

from ptb_s3._environment import required_variable, variable
from ptb_s3.application import PersistentApplication

Builder: TypeAlias = ApplicationBuilder[Any, Any, Any, Any, Any, Any]


def builder_from_env() -> Builder:
    """Return a builder for a bot whose token is in ``TELEGRAM_BOT_TOKEN``.

    It makes a :class:`ptb_s3.PersistentApplication`, and goes to ``TELEGRAM_API_URL`` where there
    is a Bot API server of your own. What it builds can be served by a host of this package and
    can poll (``build().run_polling()``) alike.

    Raises:
        SettingsError: ``TELEGRAM_BOT_TOKEN`` is not set.
    """
    builder: Builder = ApplicationBuilder().application_class(PersistentApplication)
    builder = builder.token(required_variable("TELEGRAM_BOT_TOKEN"))
    url = variable("TELEGRAM_API_URL").rstrip("/")
    if url:
        builder = builder.base_url(f"{url}/bot").base_file_url(f"{url}/file/bot")
    return builder
