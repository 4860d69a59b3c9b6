#!/bin/sh
# python-telegram-bot: who is dropped and comes back within one interval arrives as the drop alone.
#
# A user's data is dropped, and made anew before the next save, as by "/forget" and then "/start".
# The persistence is told of the drop alone: a user that is among the dropped ones is left out of
# those that are updated, whichever came last. The new data is in memory, and not in what was
# saved, until the user is heard of again: a restart before that loses it.
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
import asyncio, json, sys

import telegram
from telegram.ext import ApplicationBuilder, DictPersistence
from telegram.request import BaseRequest


class Offline(BaseRequest):
    """Telegram's answers to what a bot asks when it starts."""

    read_timeout = 1

    async def initialize(self):
        pass

    async def shutdown(self):
        pass

    async def do_request(self, url, method, *_, **__):
        result = True
        if url.endswith("getMe"):
            result = {"id": 1, "is_bot": True, "first_name": "Bot", "username": "bot"}
        elif url.endswith("getUpdates"):
            await asyncio.sleep(0.05)
            result = []
        return 200, json.dumps({"ok": True, "result": result}).encode()


class Recording(DictPersistence):
    def __init__(self):
        super().__init__()
        self.told = []

    async def update_user_data(self, user_id, data):
        self.told.append(("update", user_id, dict(data)))

    async def drop_user_data(self, user_id):
        self.told.append(("drop", user_id))


async def main():
    persistence = Recording()
    builder = ApplicationBuilder().token("1:x").request(Offline()).get_updates_request(Offline())
    app = builder.persistence(persistence).updater(None).job_queue(None).build()
    await app.initialize()

    async def interval():
        persistence.told.clear()
        await app.update_persistence()
        return list(persistence.told)

    app.user_data[1]["n"] = 1
    app.mark_data_for_update_persistence(user_ids=1)
    first = await interval()
    app.drop_user_data(1)
    app.user_data[1]["n"] = 2
    app.mark_data_for_update_persistence(user_ids=1)
    second = await interval()
    third = await interval()
    print("python-telegram-bot", telegram.__version__)
    print("made, and saved:", first)
    print("dropped, and made anew; in memory:", dict(app.user_data))
    print("  the persistence is told:", second)
    print("  and an interval later:", third)
    as_found = second == [("drop", 1)] and third == [] and app.user_data[1] == {"n": 2}
    print("What came after the drop was not saved." if as_found else "This has changed.")
    return not as_found


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
