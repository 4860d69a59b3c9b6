#!/bin/sh
# APScheduler removes a one-shot for good that falls due while a job of the same id still runs.
#
# A job's function makes the next one under its own id, as a reminder does that repeats until it is
# answered, and goes on for a moment. APScheduler's guide says of "max_instances", 1 by default, that
# a run is left out where as many are under way. One would expect the one-shot to run late, or to
# stay: it has no other run. But it is taken out of the job store as if it had run, with a warning
# about instances in the log, and nothing runs it any more. A job that repeats loses but that run.
#
# Prints how often each has run, and which jobs are left. Ends with 0 while that is so, and with 1
# once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apscheduler==3.11.3 tzlocal==5.3.1
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, datetime, importlib.metadata, logging, sys

from apscheduler.schedulers.asyncio import AsyncIOScheduler

said = []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


def soon(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


async def main():
    scheduler, ran = AsyncIOScheduler(timezone="UTC"), []

    async def remind():
        ran.append("remind")
        if len(ran) == 1:
            scheduler.add_job(remind, "date", run_date=soon(0.5), id="remind", replace_existing=True)
            await asyncio.sleep(1.5)

    logging.getLogger("apscheduler.scheduler").addHandler(Listener(logging.WARNING))
    scheduler.start()
    scheduler.add_job(remind, "date", run_date=soon(0.1), id="remind")
    await asyncio.sleep(4)
    left = [job.id for job in scheduler.get_jobs()]
    scheduler.shutdown()
    return len(ran), left


runs, left = asyncio.run(main())
print("APScheduler", importlib.metadata.version("apscheduler"))
print(f"a one-shot made by its namesake, due while that ran: runs {runs - 1}, jobs left {left}")
print("log:", *said)
skipped = any("maximum number of running instances reached" in line for line in said)
sys.exit(not (runs == 1 and not left and skipped))
PYTHON

"$folder/venv/bin/python" probe.py
