#!/bin/sh
# python-telegram-bot: PicklePersistence takes a file that it cannot open for a bot without data.
#
# The file of a bot with data is there, and cannot be opened for a moment: too many files are open
# (as it would be with a network file system that does not answer, or an owner that is another
# one). No error reaches the bot: every OSError is taken for 'there is no file yet', and the bot
# starts with nothing. Once files can be opened again, its first update writes its empty state, and
# that one update, over all that there was.
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
import asyncio, os, resource, sys

import telegram
from telegram.ext import PicklePersistence


async def main():
    bot = PicklePersistence("bot.pickle")
    await bot.get_user_data()
    await bot.update_user_data(1, {"visits": 100})

    held = []
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        reason = error.strerror
    restarted = PicklePersistence("bot.pickle")
    loaded = await restarted.get_user_data()
    for descriptor in held:
        os.close(descriptor)

    await restarted.update_user_data(2, {"visits": 1})
    left = await PicklePersistence("bot.pickle").get_user_data()
    print("python-telegram-bot", telegram.__version__)
    print(f"what is saved: {{1: {{'visits': 100}}}}; the file cannot be opened: {reason}")
    print("a bot that starts now is given, without an error:", loaded)
    print("after its first update, with files to be opened again, the file holds:", left)
    as_found = loaded == {} and left == {2: {"visits": 1}}
    print("What was saved is gone." if as_found else "This has changed.")
    return not as_found


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
