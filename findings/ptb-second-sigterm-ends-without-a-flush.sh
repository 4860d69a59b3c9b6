#!/bin/sh
# python-telegram-bot: a second SIGTERM ends run_polling() with status 0 and nothing saved.
#
# A bot is stopped by SIGTERM, and saves what changed: update_user_data() and flush(). If the
# signal comes again while it is stopping (here, in post_stop), the process ends with neither, and
# with exit status 0, as if all had gone well: whoever watches over it sees a stop like any other.
# Supervisors do send it twice: a process group's signal beside its parent's, or an impatient
# operator.
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
_, told, other_status = run('terminate(); await asyncio.sleep(1)')
print(version)
print("SIGTERM once:", quiet, "exit status", status)
print("SIGTERM again while it stops:", told, "exit status", other_status)
as_found = quiet[-1:] == ["flushed"] and told == [] and status == other_status == 0
print("Nothing was saved, and the status is 0." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
