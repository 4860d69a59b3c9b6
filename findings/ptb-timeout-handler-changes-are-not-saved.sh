#!/bin/sh
# python-telegram-bot: what a conversation's TIMEOUT handler changes is not saved.
#
# After an update, PTB marks its user's and chat's data to be saved. A conversation that times out is
# ended by a job, which is of no user and no chat: its handlers of the state TIMEOUT get the data of
# the last update's user, and may change it, and nothing is marked. The change is in memory until that
# user is heard of again: a restart before loses it, though the bot was stopped as it should be.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    python-telegram-bot==22.8 apscheduler==3.11.3 tzlocal==5.3.1
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, json, sys, time

import telegram
from telegram import Update
from telegram.ext import (
    ApplicationBuilder, ConversationHandler, DictPersistence, MessageHandler, TypeHandler, filters,
)
from telegram.request import BaseRequest


class Offline(BaseRequest):
    """Telegram's answers to what a bot asks when it starts."""

    read_timeout = 1

    async def initialize(self):
        pass

    async def shutdown(self):
        pass

    async def do_request(self, url, method, *_, **__):
        result = {"id": 1, "is_bot": True, "first_name": "Bot", "username": "bot"}
        return 200, json.dumps({"ok": True, "result": result}).encode()


async def ask(update, context):
    context.user_data["asked"] = True
    return 0


ended = asyncio.Event()


async def time_out(update, context):
    context.user_data["timed out"] = True
    ended.set()


async def main():
    persistence = DictPersistence()
    builder = ApplicationBuilder().token("1:x").request(Offline()).get_updates_request(Offline())
    app = builder.persistence(persistence).updater(None).build()
    app.add_handler(ConversationHandler(
        entry_points=[MessageHandler(filters.TEXT, ask)],
        states={0: [], ConversationHandler.TIMEOUT: [TypeHandler(Update, time_out)]},
        fallbacks=[], conversation_timeout=0.5,
    ))
    await app.initialize()
    await app.start()
    person = {"id": 5, "is_bot": False, "first_name": "User"}
    message = {"message_id": 1, "date": int(time.time()), "text": "hello", "from": person,
               "chat": {"id": 5, "type": "private"}}
    await app.process_update(Update.de_json({"update_id": 1, "message": message}, app.bot))
    await app.update_persistence()
    await asyncio.wait_for(ended.wait(), 10)
    await asyncio.sleep(0.2)
    await app.stop()
    await app.shutdown()
    return dict(app.user_data[5]), (await persistence.get_user_data())[5]


live, saved = asyncio.run(main())
print("python-telegram-bot", telegram.__version__)
print("in memory, after the timeout and a stop:", live)
print("saved:                                  ", saved)
as_found = live == {"asked": True, "timed out": True} and saved == {"asked": True}
print("The handler's change is not saved." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON

"$folder/venv/bin/python" probe.py
