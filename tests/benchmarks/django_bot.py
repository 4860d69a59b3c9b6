"""A bot on `DjangoPersistence`, the newest persistence that runs with this PTB, on SQLite.

It comes with the extra ``benchmarks``, under the MIT licence. Django and its database are as they
come: their defaults are what its users have. So SQLite waits for the disk at each user by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import call_command
from tests.benchmarks.setting import STORED, App, application

_APP = "python_telegram_bot_django_persistence"
_AT_ONCE = 500


def enter(file: Path) -> None:
    """Have Django use this file."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}
    settings.configure(DATABASES={"default": database}, INSTALLED_APPS=[_APP], USE_TZ=True)
    django.setup()


def build() -> App:
    """Build the bot."""
    # Its models take settings to be imported.
    from python_telegram_bot_django_persistence.persistence import (  # noqa: PLC0415
        DjangoPersistence,
    )

    return application(DjangoPersistence(store_data=STORED))


async def connect() -> None:
    """Open the database, where Django's own threads do: as a client that is made beforehand."""
    from python_telegram_bot_django_persistence.models import BotData  # noqa: PLC0415 - as above

    await BotData.objects.acount()


async def write_all(users: dict[int, Any], chats: dict[int, Any], bot_data: dict[str, Any]) -> None:
    """Make the tables, and write everything at once: the same rows as its own calls make."""
    await sync_to_async(_write_all)(users, chats, bot_data)


def _write_all(users: dict[int, Any], chats: dict[int, Any], bot_data: dict[str, Any]) -> None:
    from python_telegram_bot_django_persistence import models  # noqa: PLC0415 - as above

    call_command("migrate", verbosity=0)
    rows = [models.UserData(user_id=user_id, data=user) for user_id, user in users.items()]
    models.UserData.objects.bulk_create(rows, _AT_ONCE)
    rows = [models.ChatData(chat_id=chat_id, data=chat) for chat_id, chat in chats.items()]
    models.ChatData.objects.bulk_create(rows, _AT_ONCE)
    models.BotData.objects.create(data=bot_data)
