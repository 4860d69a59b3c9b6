#!/bin/sh
# python-telegram-bot: one value that cannot be copied keeps everybody's changes from being saved.
#
# Five users' data have changed since the last save. Of one of them, a value refuses to be deep-
# copied. Application.update_persistence() raises its error, and no user's data has reached the
# persistence: the marks of what is to be saved are taken off before the copies are made. Once the
# value is gone, the next call saves nobody, though four of the five were never at fault: their
# changes are saved when they change again, and not even at shutdown before.
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
import asyncio, json, sys, warnings

import telegram
from telegram.ext import ApplicationBuilder, DictPersistence
from telegram.request import BaseRequest

warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that PTB leaves behind


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
        self.saved = []

    async def update_user_data(self, user_id, data):
        self.saved.append(user_id)


class NoCopy:
    def __deepcopy__(self, memo):
        raise TypeError("this cannot be copied")


async def main():
    persistence = Recording()
    builder = ApplicationBuilder().token("1:x").request(Offline()).get_updates_request(Offline())
    app = builder.persistence(persistence).updater(None).job_queue(None).build()
    await app.initialize()
    for user in range(1, 6):
        app.user_data[user]["visits"] = 1
        app.mark_data_for_update_persistence(user_ids=user)
    app.user_data[3]["value"] = NoCopy()
    told = "nothing"
    try:
        await app.update_persistence()
    except TypeError as error:
        told = str(error)
    first, persistence.saved = persistence.saved, []
    del app.user_data[3]["value"]
    await app.update_persistence()
    second = list(persistence.saved)
    await app.shutdown()
    third = persistence.saved
    print("python-telegram-bot", telegram.__version__)
    print("five users changed, one has a value that cannot be copied; the error says:", told)
    print("  saved:", first)
    print("the value is gone, the next save:", second, "and at shutdown:", third)
    as_found = first == second == third == []
    print("All five were lost." if as_found else "This has changed.")
    return not as_found


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
