"""The operator's commands on a store with jobs: seen, gone back in, erased, and taken elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from telegram.ext import PicklePersistence
from tests.integration.operators import (
    ALICE,
    BOB,
    GROUP,
    PREFIX,
    ROTATE,
    ROTATED,
    Operator,
    employed,
)
from tests.servers import S3Server
from tests.support import BOT_ID, KEY, OTHER_KEY, make_persistence, settled, state_of, update

from ptb_s3 import Keyring
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._jobs.record import JobRecord
from ptb_s3._values.serializer import PickleSerializer

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# As of the import of this module, which may be an hour ago when its tests run: so by hours.
CODEC = PickleSerializer(trusted=(__name__,))
ONCE = ("date", {"at": NOW})
EACH_DAY = ("interval", {"seconds": 86400.0, "start": NOW, "end": None, "jitter": None})


class Cart:
    """A class of the bot's own, in the data of a job."""


def job(job_id: str, due: datetime | None, **members: Any) -> JobRecord:
    """Return a job of a tea shop's bot."""
    defaults = {"name": job_id, "callback": "shop.jobs:remind", "trigger": ONCE}
    return JobRecord(id=job_id, next=due, **(defaults | members))


ALICES = job("tea", NOW + 5 * HOUR, chat=ALICE, user=ALICE, data={"cups": 2})
BOBS = job("late", NOW - 48 * HOUR, chat=GROUP, user=BOB, data=Cart())
GROUPS = job("report", NOW + 60 * HOUR, chat=GROUP, trigger=EACH_DAY)
PAUSED = job("paused", None)
RUNNING = job("now", NOW, claim={"id": "c", "by": "b", "until": NOW + 9 * HOUR})
TIMEOUT: tuple[EntityKey, Any] = (
    ("timeout:order", (GROUP, BOB)),
    {"update": {"update_id": 1}, "next": NOW + 2 * HOUR, "claim": None},
)
JOBS = (ALICES, BOBS, GROUPS, PAUSED, RUNNING)


def values(*jobs: JobRecord) -> dict[EntityKey, bytes | None]:
    return {one.key: CODEC.dumps(one.value()) for one in jobs}


async def save_jobs(operator: Operator, changed: dict[EntityKey, bytes | None]) -> None:
    """Commit jobs, as a bot does."""
    store = operator.store()
    repository = Repository(store, Keyring(KEY), bot=BOT_ID)
    await repository.load()
    await repository.commit_only({Kind.JOBS: changed})
    await store.close()


async def kept(operator: Operator, prefix: str = PREFIX, key: Any = KEY) -> dict[EntityKey, Any]:
    """Return the values of the jobs that a store holds."""
    store = operator.store(prefix)
    repository = Repository(store, Keyring(key, retired=[KEY] if key is not KEY else []))
    await repository.load()
    await store.close()
    return {k: CODEC.loads(v) for k, v in repository.base.entities[Kind.JOBS].items()}


async def run_bot(operator: Operator) -> None:
    """Have a bot save users with revision 1, and jobs with revision 2."""
    store = operator.store()
    persistence = make_persistence(store)
    await state_of(persistence, "order")
    users = {ALICE: {"visits": 1}, BOB: {"visits": 2}}
    await update(persistence, {"user_data": users, "conversations": {"order": {(1, 2): 3}}})
    await settled(persistence)
    await store.close()
    timeout, value = TIMEOUT
    await save_jobs(operator, values(*JOBS) | {timeout: CODEC.dumps(value)})


@pytest.fixture
async def operator(s3_server: S3Server) -> AsyncIterator[Operator]:
    """An operator whose bot has jobs."""
    async with employed(s3_server) as operator:
        await run_bot(operator)
        yield operator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_bucket(s3_server: S3Server) -> AsyncIterator[str]:
    """A bucket of such a bot, for tests that change nothing in it."""
    async with employed(s3_server) as operator:
        await run_bot(operator)
        yield operator.bucket


# Looking ----------------------------------------------------------------------------------------


async def test_jobs_are_listed_next_one_first(onlooker: Operator) -> None:
    """With when, in words, and for whom; paused ones last; what runs, and what is overdue."""
    lines = (await onlooker.done("jobs")).stdout.splitlines()
    assert lines[0].split() == ["next", "run", "name", "callback", "trigger", "for"]
    local = NOW.astimezone()
    shown = [line.split("  ") for line in lines[1:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in shown]
    assert [row[2] for row in cells] == ["late", "now", "order", "tea", "report", "paused"]
    assert cells[0] == [
        f"{local - 48 * HOUR:%Y-%m-%d %H:%M:%S}",
        "overdue by 2 days",
        "late",
        "shop.jobs:remind",
        "once",
        f"chat {GROUP} user {BOB}",
    ]
    assert cells[1][1] == f"running: claimed until {local + 9 * HOUR:%Y-%m-%d %H:%M:%S}"
    assert cells[2][3:] == ["conversation timeout", f"{GROUP} {BOB}"]
    assert cells[3][1].startswith("in ")
    assert cells[4][4] == "every 24 h"
    assert cells[5][:2] == ["never", "paused"]


async def test_jobs_for_programs(onlooker: Operator) -> None:
    """The same as JSON, in UTC; data only where it is asked for, without its class."""
    listed = (await onlooker.done("jobs", "--json")).json
    assert [one["kind"] for one in listed] == ["job", "job", "timeout", "job", "job", "job"]
    assert [one["overdue"] for one in listed] == [True, False, False, False, False, False]
    assert listed[0]["next"] == (NOW - 48 * HOUR).isoformat()
    assert listed[1]["claimed_until"] == (NOW + 9 * HOUR).isoformat()
    assert listed[3]["key"] == ["tea", [ALICE, ALICE]]
    assert (listed[3]["chat"], listed[3]["user"]) == (ALICE, ALICE)
    assert not any("data" in one for one in listed)
    whole = (await onlooker.done("jobs", "--json", "--values")).json
    assert whole[3]["data"] == {"cups": 2}
    assert whole[0]["data"] == {"$class": f"{__name__}.Cart"}
    assert '{"cups": 2}' in (await onlooker.done("jobs", "--values")).stdout


async def test_jobs_of_one_user_or_chat(onlooker: Operator) -> None:
    """The timeouts that name it in their keys, too; nobody's are no fault."""

    async def named(*asked: object) -> list[str]:
        return [one["name"] for one in (await onlooker.done("jobs", "--json", *asked)).json]

    assert await named("--user", BOB) == ["late", "order"]
    assert await named("--chat", GROUP) == ["late", "order", "report"]
    assert await named("--chat", GROUP, "--user", ALICE) == []
    nobodys = await onlooker.done("jobs", "--user", 1)
    assert (nobodys.stdout, nobodys.stderr) == ("", "No jobs.\n")


async def test_jobs_of_an_older_revision(operator: Operator) -> None:
    """There were none before."""
    assert (await operator.done("jobs", "--at", 1, "--json")).json == []
    await save_jobs(operator, {one.key: None for one in JOBS})
    assert len((await operator.done("jobs", "--at", 2, "--json")).json) == len(JOBS) + 1
    assert len((await operator.done("jobs", "--json")).json) == 1


async def test_what_is_no_job_hides_no_other(operator: Operator) -> None:
    """It is counted, and named for programs."""
    await save_jobs(operator, {("bad", (BOB,)): pickle.dumps(3), ("worse", ()): b"\x80"})
    outcome = await operator.done("jobs")
    assert len(outcome.stdout.splitlines()) == len(JOBS) + 2
    assert outcome.stderr.startswith("warning: 2 jobs cannot be read: damaged, or made by another")
    listed = (await operator.done("jobs", "--json", "--user", BOB)).json
    assert listed[-1] == {"key": ["bad", [BOB]], "kind": "unreadable"}
    assert (await operator.done("status", "--json")).json["jobs"]["unreadable"] == 2


async def test_a_place_without_a_state_has_no_jobs(empty: Operator) -> None:
    """As for every command that looks."""
    await empty.fails(3, "jobs")


async def test_jobs_are_listed_without_apscheduler(onlooker: Operator) -> None:
    """The extra ``cli`` does not install it."""
    code = (
        "import sys; sys.modules['apscheduler'] = None; sys.modules['tzlocal'] = None\n"
        "from ptb_s3.cli import main\nmain()"
    )
    for command in (["jobs", "--values"], ["status"], ["restore", "1", "--dry-run"]):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **onlooker.environment()},
        )
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr
        assert b"job" in stdout


async def test_other_commands_that_look_know_jobs(operator: Operator) -> None:
    """Counts, keys and members; of what is overdue, status says since when."""
    history = (await operator.done("history")).stdout.splitlines()
    assert "jobs 6" in history[1]
    assert (await operator.done("history", "--json")).json[0]["changed"] == {"jobs": 6}
    line = next(x for x in (await operator.done("status")).stdout.splitlines() if x[:5] == "jobs ")
    since = f"{(NOW - 48 * HOUR).astimezone():%Y-%m-%d %H:%M:%S}"
    assert line.partition(" ")[2].lstrip().startswith("6; the next one in ")
    assert line.endswith(f"; 1 overdue, the first since {since}")
    assert (await operator.done("status", "--json")).json["jobs"] == {
        "kept": 6,
        "next": (NOW - 48 * HOUR).isoformat(),
        "overdue": 1,
        "unreadable": 0,
    }
    report = (await operator.done("report", "--no-doctor", "-")).stdout
    (tile,) = re.findall(r"<dt>Jobs</dt><dd[^>]*>(.*?)</dd><dd>(.*?)</dd>", report)
    assert tile[0] == "6"
    assert tile[1].startswith("1 overdue, the next in ")
    assert f"1 job due, the first since {since}, and nobody runs them" in report
    key = json.dumps(["tea", [ALICE, ALICE]], separators=(",", ":"))
    shown = (await operator.done("show", "jobs", key)).json["jobs"]
    assert list(shown) == [key]
    assert shown[key]["data"] == {"cups": 2}
    assert shown[key]["next"] == {"$datetime": (NOW + 5 * HOUR).isoformat()}
    later = job("tea", NOW + 9 * HOUR, chat=ALICE, user=ALICE, data={"cups": 2})
    await save_jobs(operator, values(later))
    diff = (await operator.done("diff", 2, "--values", "--json")).json["entities"]
    assert [(one["kind"], one["key"]) for one in diff] == [("jobs", ["tea", [ALICE, ALICE]])]
    assert [field["path"] for field in diff[0]["fields"]] == ["['next']"]
    assert f"~  jobs  {key}" in (await operator.done("diff", 2)).stdout


async def test_a_key_that_is_none_is_told_how_one_looks(onlooker: Operator) -> None:
    """With an example of a job's, and no traceback."""
    said = await onlooker.fails(2, "show", "jobs", "tea")
    assert "no key of jobs" in said


# Going back -------------------------------------------------------------------------------------


@pytest.fixture
async def gone_on(operator: Operator) -> Operator:
    """An operator whose bot has run two jobs since revision 2: one is gone, and one repeats."""
    done = values(job("report", NOW + 90 * HOUR, chat=GROUP, trigger=EACH_DAY, data="newer"))
    await save_jobs(operator, values(job("report", NOW - MINUTE, chat=GROUP, trigger=EACH_DAY)))
    await save_jobs(operator, {BOBS.key: None, ALICES.key: None, **done})
    return operator


async def test_a_restore_runs_nothing_again(gone_on: Operator) -> None:
    """What was sent is not sent again; what is yet to come is; both are said beforehand."""
    plan = await gone_on.done("restore", 3, "--dry-run")
    assert plan.stderr.startswith("Left out, since overdue by now and not there any more")
    assert "cancelled): 1 job. --overdue-jobs" in plan.stderr
    assert "Next due when they are now, since they have run: 1 job." in plan.stderr
    outcome = await gone_on.done("restore", 3)
    assert outcome.stderr.startswith(plan.stderr)
    jobs = await kept(gone_on)
    assert BOBS.key not in jobs
    assert jobs[ALICES.key] == ALICES.value()
    assert jobs[GROUPS.key]["next"] == NOW + 90 * HOUR
    assert jobs[GROUPS.key]["data"] is None


async def test_overdue_jobs_are_brought_back_on_demand(gone_on: Operator) -> None:
    """As they were; it is said that a bot runs them."""
    outcome = await gone_on.done("restore", 3, "--overdue-jobs")
    assert "Brought back, though overdue by now: 2 jobs. A bot runs them at once." in outcome.stderr
    jobs = await kept(gone_on)
    assert jobs[BOBS.key]["next"] == BOBS.next
    assert jobs[GROUPS.key]["next"] == NOW - MINUTE


async def test_jobs_alone_are_restored(gone_on: Operator) -> None:
    """In one commit; all other kinds stay as they are. For programs, by their keys."""
    async with gone_on.bot() as persistence:
        await persistence.update_user_data(ALICE, {"visits": 9})
    outcome = (await gone_on.done("restore", 3, "--kind", "jobs", "--json")).json
    assert outcome["overdue_jobs"] == {
        "left_out": ['["late",[-1001234567890,400500600]]'],
        "going_on": ['["report",[-1001234567890]]'],
    }
    assert list(outcome["changes"]) == ["jobs"]
    assert outcome["revision"] == 6
    assert (await gone_on.state())["user_data"][ALICE] == {"visits": 9}
    assert ALICES.key in await kept(gone_on)


async def test_a_restore_of_other_kinds_says_nothing_of_jobs(gone_on: Operator) -> None:
    """They stay."""
    before = await kept(gone_on)
    async with gone_on.bot() as persistence:
        await persistence.update_user_data(ALICE, {"visits": 9})
    outcome = await gone_on.done("restore", 3, "--kind", "user_data")
    assert "job" not in outcome.stderr
    assert (await kept(gone_on)).keys() == before.keys()


async def test_a_start_with_a_request_runs_nothing_again(
    gone_on: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """``PTB_S3_RESTORE`` has no option for it: they are left out, and counted in the log."""
    async with gone_on.bot(restore="3"):
        pass
    assert "Overdue jobs of the restored state were left out" in caplog.text
    assert "cancelled): 1." in caplog.text
    jobs = await kept(gone_on)
    assert BOBS.key not in jobs
    assert jobs[GROUPS.key]["next"] == NOW + 90 * HOUR


# Erasure ----------------------------------------------------------------------------------------


async def test_jobs_of_a_user_are_forgotten(operator: Operator) -> None:
    """With the timeouts of its conversations, now and in whatever is brought back."""
    outcome = await operator.done("forget", BOB, "--yes")
    assert [x.split() for x in outcome.stdout.splitlines() if x[:5] == "jobs "] == [["jobs", "2"]]
    others = {ALICES.key, GROUPS.key, PAUSED.key, RUNNING.key}
    assert (await kept(operator)).keys() == others
    listed = (await operator.done("jobs", "--at", 2, "--json")).json
    assert sorted(one["name"] for one in listed) == ["now", "paused", "report", "tea"]
    await operator.done("restore", 2, "--overdue-jobs")
    assert (await kept(operator)).keys() == others
    assert "jobs" not in await operator.holding(str(BOB), current=True)


async def test_jobs_of_a_chat_are_purged(operator: Operator) -> None:
    """From the older versions of the jobs as well."""
    await operator.done("rotate", "--while-running", **ROTATED)
    await operator.done("forget", GROUP, "--purge", "--yes", **ROTATED)
    assert (await kept(operator, key=OTHER_KEY)).keys() == {ALICES.key, PAUSED.key, RUNNING.key}
    assert await operator.holding(str(abs(GROUP)), OTHER_KEY, KEY) == []


# Elsewhere --------------------------------------------------------------------------------------


async def test_jobs_in_json_come_back(operator: Operator, tmp_path: Path) -> None:
    """Those of plain data without loss; one with a class of the bot's is named, not dropped."""
    file = tmp_path / "state.json"
    outcome = await operator.done("export", file)
    assert "9 entities" in outcome.stdout
    exported = json.loads(file.read_text())
    assert len(exported["jobs"]) == 6
    assert exported["jobs"][json.dumps(["tea", [ALICE, ALICE]])]["name"] == "tea"
    imported = await operator.done("import", file, "--bot", BOT_ID, PTB_S3_PREFIX="other/")
    assert "Left out: jobs ('late'" in imported.stderr
    assert "no form for" in imported.stderr
    assert [x.split() for x in imported.stdout.splitlines() if x[:4] == "jobs"] == [
        ["jobs", "5", "5", "0"]
    ]
    before, after = await kept(operator), await kept(operator, "other/")
    del before[BOBS.key]
    assert after == before
    store = operator.store("other/")
    repository = Repository(store, Keyring(KEY))
    await repository.load()
    await store.close()
    assert repository.base.entities[Kind.JOBS][ALICES.key] == CODEC.dumps(ALICES.value())


async def test_a_pickle_file_has_no_place_for_jobs(onlooker: Operator, tmp_path: Path) -> None:
    """It is said how many it lacks; PTB loads the rest."""
    file = tmp_path / "state.pickle"
    outcome = await onlooker.done("export", file)
    assert "warning: Left out: 6 jobs, which PicklePersistence has no place for." in outcome.stderr
    assert "3 entities" in outcome.stdout
    assert set(await PicklePersistence[Any, Any, Any](file).get_user_data()) == {ALICE, BOB}
    told = (await onlooker.done("export", tmp_path / "other.pickle", "--json")).json
    assert (told["entities"], told["jobs_left_out"]) == (3, 6)


async def test_jobs_are_copied(operator: Operator) -> None:
    """To another place, and by an import from there."""
    await operator.done("copy", f"s3://{operator.bucket}/copy/")
    before = await kept(operator)
    assert {**await kept(operator, "copy/"), BOBS.key: 0} == {**before, BOBS.key: 0}
    source = f"s3://{operator.bucket}/copy/"
    await operator.done("import", source, PTB_S3_PREFIX="third/")
    assert (await kept(operator, "third/")).keys() == before.keys()


# Everything else --------------------------------------------------------------------------------


async def test_a_store_with_jobs_is_looked_after_as_any(operator: Operator) -> None:
    """Checked, sealed anew, thinned out and mended, with all its jobs."""
    before = await kept(operator)
    await operator.done("verify", "--history")
    # What it says of the storage is the storage's: moto's is open to anybody.
    assert "\nok       state               revision 2" in (await operator.run("doctor")).stdout
    await operator.done("forget", 1, "--yes")  # writes all blobs
    await operator.done(*ROTATE, **ROTATED)
    await operator.done("verify", "--history", **ROTATED)
    await operator.done("prune", "--keep-last", 1, "--yes", **ROTATED)
    await operator.damage("jobs")
    assert "jobs" in await operator.fails(5, "jobs", **ROTATED)
    await operator.done("repair", "--yes", **ROTATED)
    assert (await kept(operator, key=OTHER_KEY)).keys() == before.keys()
    await operator.done("verify", **ROTATED)
