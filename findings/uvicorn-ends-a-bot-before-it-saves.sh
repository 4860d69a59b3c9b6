#!/bin/sh
# uvicorn: a SIGTERM ends the program inside of serve(), so that a bot behind it never saves.
#
# python-telegram-bot's example of a custom webhook serves by `await server.serve()` within
# `async with application`, and stops the application afterwards. At a SIGTERM uvicorn shuts down in
# good order, puts the handler back that was there before, and sends the signal to its own process
# once more: by default that ends it on the spot, with no line after serve(), no `finally` and no
# `__aexit__` run. The bot's stop(), shutdown() and flush(), which save what has changed, never
# begin; where a program ends the server itself (should_exit), they do. Hosts stop a bot by SIGTERM.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    uvicorn==0.54.0 python-telegram-bot==22.8
cd "$folder"

cat >probe.py <<'PYTHON'
import subprocess, sys

BOT = '''
import asyncio, json, os, signal

import telegram, uvicorn
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
        bot = {"id": 1, "is_bot": True, "first_name": "Bot", "username": "bot"}
        return 200, json.dumps({"ok": True, "result": bot}).encode()


class Telling(DictPersistence):
    async def update_user_data(self, user_id, data):
        print("saved", user_id, data, flush=True)

    async def flush(self):
        print("flushed", flush=True)


async def web(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            print("shut down", flush=True)
            return


async def main():
    builder = ApplicationBuilder().token("1:x").updater(None).job_queue(None)
    builder = builder.request(Offline()).get_updates_request(Offline())
    app = builder.persistence(Telling()).build()
    server = uvicorn.Server(uvicorn.Config(web, host="127.0.0.1", port=0, log_level="error"))

    async def end():
        while not server.started:
            await asyncio.sleep(0.05)
        app.user_data[1]["n"] = 1
        app.mark_data_for_update_persistence(user_ids=1)
        END

    async with app:
        await app.start()
        ending = asyncio.create_task(end())
        await server.serve()
        await app.stop()


print("uvicorn", uvicorn.__version__, "and python-telegram-bot", telegram.__version__, flush=True)
asyncio.run(main())
'''


def run(end):
    bot = subprocess.run(
        [sys.executable, "-c", BOT.replace("END", end)], capture_output=True, text=True, timeout=60
    )
    version, *told = bot.stdout.splitlines()
    return version, told, bot.returncode


version, told, status = run("os.kill(os.getpid(), signal.SIGTERM)")
_, in_order, other_status = run("server.should_exit = True")
print(version)
print("should_exit:", in_order, "exit status", other_status)
print("SIGTERM:", told, "exit status", status)
saved = ["shut down", "saved 1 {'n': 1}", "flushed"]
as_found = (told, status) == (["shut down"], -15) and (in_order, other_status) == (saved, 0)
print("After a SIGTERM nothing is saved." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
