#!/bin/sh
# python-telegram-bot-django-persistence takes back what a handler has changed since the last save.
#
# python-telegram-bot saves every 60 s (update_interval, of which this is the default here, too), and calls
# refresh_user_data before each update. This persistence then lays what the database has over the
# live data, and drops nothing: the loop that is to drop keys comes after the update that leaves it
# none. Where a user writes twice within one interval, the second handler finds the values as they
# were before the first one, and what that one has deleted; in the end, only the last update counts.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    python-telegram-bot-django-persistence==0.2.1 python-telegram-bot==22.8 Django==5.2.19
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, importlib.metadata, json, sys

import django
from django.conf import settings

APP = "python_telegram_bot_django_persistence"
settings.configure(
    INSTALLED_APPS=[APP], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database"}},
)
django.setup()

from django.core.management import call_command
from python_telegram_bot_django_persistence.persistence import DjangoPersistence
from telegram import Update
from telegram.ext import ApplicationBuilder, DictPersistence, TypeHandler
from telegram.request import BaseRequest


class Offline(BaseRequest):
    # Telegram's answer to what a bot asks when it starts.

    read_timeout = 1

    async def initialize(self):
        pass

    async def shutdown(self):
        pass

    async def do_request(self, url, method, *_, **__):
        bot = {"id": 1, "is_bot": True, "first_name": "Bot", "username": "bot"}
        return 200, json.dumps({"ok": True, "result": bot}).encode()


async def visit(update, context):
    context.user_data["visits"] = context.user_data.get("visits", 0) + 1
    context.user_data["found"] = context.user_data.pop("draft", "no draft")


async def run(persistence):
    await persistence.update_user_data(7, {"visits": 10, "draft": "a draft"})
    builder = ApplicationBuilder().token("1:x").updater(None).job_queue(None)
    builder = builder.request(Offline()).get_updates_request(Offline())
    app = builder.persistence(persistence).build()
    app.add_handler(TypeHandler(Update, visit))
    user = {"id": 7, "is_bot": False, "first_name": "Ada"}
    chat = {"id": 7, "type": "private", "first_name": "Ada"}
    message = {"message_id": 1, "date": 0, "text": "hello", "from": user, "chat": chat}
    seen = []
    async with app:
        for number in range(3):
            update = Update.de_json({"update_id": number, "message": message}, app.bot)
            await app.process_update(update)
            seen.append((app.user_data[7]["visits"], app.user_data[7]["found"]))
    return seen, (await persistence.get_user_data())[7]


call_command("migrate", verbosity=0)
told = {kind.__name__: asyncio.run(run(kind())) for kind in (DictPersistence, DjangoPersistence)}
version = importlib.metadata.version("python-telegram-bot-django-persistence")
print("python-telegram-bot-django-persistence", version)
print("10 visits and a draft are saved; three updates, each a visit that takes the draft")
for name, (seen, saved) in told.items():
    print(f"{name}: after each {seen}, saved at the end {saved}")
as_found = told == {
    "DictPersistence": (
        [(11, "a draft"), (12, "no draft"), (13, "no draft")], {"visits": 13, "found": "no draft"}
    ),
    "DjangoPersistence": ([(11, "a draft")] * 3, {"visits": 11, "found": "a draft"}),
}
print("Only the last update counts." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
