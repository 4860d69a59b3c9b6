#!/bin/sh
# python-telegram-bot: PicklePersistence empties its file where a value cannot be pickled.
#
# A user's data is saved. Another user's data then holds a value that can be copied, and not be
# pickled: a function of a function. The update raises, and says so. By then the file has been
# opened for writing, which emptied it: what it held before, of all users, is gone from the disk,
# and a bot that is started now cannot read it. The next update that succeeds writes it again, if
# the process lives to see one.
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
import asyncio, pathlib, sys

import telegram
from telegram.ext import PicklePersistence

path = pathlib.Path("bot.pickle")


async def main():
    persistence = PicklePersistence(path)
    await persistence.get_user_data()
    await persistence.update_user_data(1, {"visits": 1})
    before, told = path.stat().st_size, []
    try:
        await persistence.update_user_data(2, {"key": lambda: 1})
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
    after = path.stat().st_size
    try:
        told.append(f"loaded {await PicklePersistence(path).get_user_data()}")
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
    print("python-telegram-bot", telegram.__version__)
    print("one user saved:", before, "bytes")
    print("another one's update:", told[0])
    print("  the file has", after, "bytes")
    print("a bot that starts now:", told[1])
    as_found = before > 0 and after == 0 and told[1].startswith("TypeError")
    print("What was saved before is gone." if as_found else "This has changed.")
    return not as_found


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
