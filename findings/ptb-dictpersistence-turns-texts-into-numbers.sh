#!/bin/sh
# python-telegram-bot: DictPersistence turns texts that look like numbers into numbers.
#
# What a user's data holds under "007" and under "7" is kept by DictPersistence, which gives it as JSON
# and takes that JSON back, as its guide says ("user_data_json: JSON string that will be used to
# reconstruct user_data"). JSON's keys are texts, and so were these; yet whatever `int()` accepts
# becomes a number: "007", "1_000", " 5 ". Two of them that are equal as numbers become one, and the
# other's value is gone. Keys of bot_data, and those one level deeper, stay as they are.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check python-telegram-bot==22.8
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, sys

import telegram
from telegram.ext import DictPersistence

DATA = {"007": "Bond", "7": "seven", "1_000": "a label", "agents": {"007": "Bond"}}


async def again():
    before = DictPersistence()
    await before.update_user_data(1, DATA)
    await before.update_chat_data(2, DATA)
    await before.update_bot_data(DATA)
    after = DictPersistence(
        user_data_json=before.user_data_json,
        chat_data_json=before.chat_data_json,
        bot_data_json=before.bot_data_json,
    )
    user, chat = await after.get_user_data(), await after.get_chat_data()
    return user[1], chat[2], await after.get_bot_data()


user, chat, bot = asyncio.run(again())
print("python-telegram-bot", telegram.__version__)
print("kept:     ", DATA)
print("user_data:", user)
print("chat_data:", chat)
print("bot_data: ", bot)
as_found = (
    user == chat == {7: "seven", 1000: "a label", "agents": {"007": "Bond"}} and bot == DATA
)
print("Texts have become numbers, and one value is lost." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
