#!/bin/sh
# PTB's run_repeating(first=0) runs a job after a whole interval, and first=0.2 in a fifth of a second.
#
# The documentation of "first" says that a number is the seconds from now in which the job should
# run. So first=0 should run it at once, as run_once(when=0) does. PTB makes a moment of it, which has
# passed by the time that APScheduler works out the first run: it counts whole intervals from there,
# and the job that was to run first at the start of a bot, and then each day, runs tomorrow.
#
# Prints when each job has run. Ends with 0 while that is so, and with 1 once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    python-telegram-bot==22.8 apscheduler==3.11.3 tzlocal==5.3.1
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, importlib.metadata, sys, time

from telegram.ext import ApplicationBuilder

INTERVAL = 3


async def main():
    application = ApplicationBuilder().token("1:offline").updater(None).build()
    queue, ran, begun = application.job_queue, {}, time.monotonic()

    async def note(context):
        ran.setdefault(context.job.name, round(time.monotonic() - begun, 1))

    await queue.start()
    queue.run_once(note, 0, name="run_once(when=0)")
    queue.run_repeating(note, INTERVAL, first=0, name="run_repeating(first=0)")
    queue.run_repeating(note, INTERVAL, first=0.2, name="run_repeating(first=0.2)")
    await asyncio.sleep(INTERVAL + 1.5)
    await queue.stop(wait=False)
    return ran


ran = asyncio.run(main())
for name in ("python-telegram-bot", "apscheduler"):
    print(name, importlib.metadata.version(name))
for name, seconds in sorted(ran.items()):
    print(f"{name:26} first ran after {seconds} s, with an interval of {INTERVAL} s")
at_once = ran["run_once(when=0)"] < 1 and ran["run_repeating(first=0.2)"] < 1.5
sys.exit(not (at_once and ran["run_repeating(first=0)"] >= INTERVAL - 0.2))
PYTHON

"$folder/venv/bin/python" probe.py
