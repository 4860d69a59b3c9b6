#!/bin/sh
# python-telegram-bot: a group's migration that is heard of twice leaves its chat without data.
#
# When a group becomes a supergroup, Telegram sends two messages: one in the old chat
# (migrate_to_chat_id) and one in the new (migrate_from_chat_id).
# Application.migrate_chat_data(message=) takes either, and its documentation refers to
# filters.StatusUpdate.MIGRATE, whose handlers get both. The second call moves the data of the old
# chat again, which is none by now, over the data of the new.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    python-telegram-bot==22.8
cd "$folder"

cat >probe.py <<'PYTHON'
import sys

import telegram
from telegram import Message
from telegram.ext import ApplicationBuilder, DictPersistence

OLD, NEW = -1, -1001
builder = ApplicationBuilder().token("1:x").persistence(DictPersistence())
app = builder.updater(None).job_queue(None).build()


def message(chat, kind, **content):
    content |= {"message_id": 1, "date": 1, "chat": {"id": chat, "type": kind}}
    return Message.de_json(content, None)


app.chat_data[OLD]["topic"] = "tea"
app.migrate_chat_data(message=message(OLD, "group", migrate_to_chat_id=NEW))
first = {chat: dict(data) for chat, data in app.chat_data.items()}
app.migrate_chat_data(message=message(NEW, "supergroup", migrate_from_chat_id=OLD))
second = {chat: dict(data) for chat, data in app.chat_data.items()}
print("python-telegram-bot", telegram.__version__)
print("after the message in the old chat:", first)
print("after the message in the new chat:", second)
as_found = first == {NEW: {"topic": "tea"}} and second == {NEW: {}}
print("The chat's data is gone." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
