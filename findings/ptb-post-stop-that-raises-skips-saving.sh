#!/bin/sh
# python-telegram-bot: an error in post_stop keeps run_polling() from saving.
#
# A bot is stopped by SIGTERM. Application.shutdown(), which updates the persistence and flushes
# it, comes after post_stop; where post_stop raises, say since a message to the admin could not be
# sent, it does not come at all. The error is shown; that the last changes were not saved is not.
# The documentation's own example of post_stop sends a message, and does not say that saving
# depends on it.
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
import subprocess, sys

BOT = '''
import asyncio, json, os, signal, threading

import telegram
from telegram.ext import ApplicationBuilder, DictPersistence
from telegram.request import BaseRequest


class Offline(BaseRequest):
    # Telegram's answers to what a bot asks when it starts.

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


class Telling(DictPersistence):
    async def update_user_data(self, user_id, data):
        print("saved", user_id, data, flush=True)

    async def flush(self):
        print("flushed", flush=True)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


async def started(app):
    app.user_data[1]["n"] = 1
    app.mark_data_for_update_persistence(user_ids=1)
    threading.Timer(0.3, terminate).start()


async def stopped(app):
    BUSY


builder = ApplicationBuilder().token("1:x").request(Offline()).get_updates_request(Offline())
builder = builder.persistence(Telling()).job_queue(None).post_init(started).post_stop(stopped)
app = builder.build()
print("python-telegram-bot", telegram.__version__, flush=True)
app.run_polling()
'''


def run(busy):
    bot = subprocess.run(
        [sys.executable, "-c", BOT.replace("BUSY", busy)],
        capture_output=True, text=True, timeout=60,
    )
    version, *told = bot.stdout.splitlines()
    return version, told, bot.returncode


version, quiet, status = run("pass")
_, told, other_status = run('raise RuntimeError("the admin could not be told")')
print(version)
print("SIGTERM once:", quiet, "exit status", status)
print("post_stop raises:", told, "exit status", other_status)
as_found = quiet[-1:] == ["flushed"] and told == [] and (status, other_status) == (0, 1)
print("Nothing was saved." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
