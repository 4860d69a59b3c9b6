"""Transcripts of the pages: each command in a ```console block, run for real, and its output.

A page is one session: its commands run in their order, on a storage of its own (`prepare`).
`python -m tests.integration.transcripts` runs all pages and writes into them what is printed.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests import servers
from tests.servers import PROJECT, S3Server
from tests.support import KEY, OTHER_KEY, make_persistence, settled, state_of, update

from ptb_s3._format.entities import Kind
from ptb_s3._jobs.record import JobRecord
from ptb_s3._ptb.participants import Contribution
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.s3 import S3Store

BUCKET, PREFIX = "my-bucket", "shop-bot/"
ALICE, BOB = 100_200_300, 400_500_600
BERLIN = ZoneInfo("Europe/Berlin")
_BLOCK = re.compile(r"(^```console\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)
PAGES = [
    path
    for path in (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
    if _BLOCK.search(path.read_text())
]
"""Pages that have transcripts."""
_WITHIN = 60  # seconds: one command, on a busy machine

# What is another thing each time. Keys are known, so their ids are compared.
_VOLATILE = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?", "<time>"),
    (r"\d{4}-\d\d-\d\d", "<day>"),
    (r"\b(\d+ (second|minute|hour)s|an? (second|minute|hour)|a moment) ago\b|\bnow\b", "<ago>"),
    (r"\bin (\d+ (second|minute|hour|day)s|an? (second|minute|hour|day|moment))\b", "in <span>"),
    (r"\b\d+(\.\d+)? (Bytes?|kB|MB)\b", "<size>"),
    (r"\b\d+(\.\d+)? (ms|s)\b", "<duration>"),
    (r"nothing is left of \d+ versions", "nothing is left"),  # races that there was time for
    (r"127\.0\.0\.1:\d+", "<server>"),
    (rf"\b(?!{KEY.id}|{OTHER_KEY.id})[0-9a-f]{{16}}\b", "<writer>"),
    (r"\b[0-9a-f]{32}\b", "<version>"),
    (r"█+", "<bar>"),
    (r" +", " "),
    (r" +$", ""),
)


_RETENTION = {
    "ID": "history",
    "Status": "Enabled",
    "Filter": {"Prefix": PREFIX},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
}


class Transcript(NamedTuple):
    """One command, and what it is said to print."""

    command: str
    output: str


def transcripts(text: str) -> list[Transcript]:
    """Return the transcripts of a page, in their order."""
    found = []
    for block in _BLOCK.finditer(text):
        for part in re.split(r"^\$ ", block[2], flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append(Transcript(command, output.strip("\n")))
    return found


def steady(output: str) -> str:
    """Return what a program prints without what is another thing each time."""
    for pattern, stand_in in _VOLATILE:
        output = re.sub(pattern, stand_in, output, flags=re.MULTILINE)
    return output


def run(command: str, folder: Path) -> str:
    """Run a command line of a page in the operator's folder; return all that it prints."""
    program, *arguments = shlex.split(command)
    assert program == "ptb-s3", command
    ran = subprocess.run(  # noqa: S603 - our own program, and the pages' own arguments
        [sys.executable, "-m", "ptb_s3.cli", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**_ENVIRONMENT, "HOME": str(folder)},
        text=True,
        check=False,
        timeout=_WITHIN,
    )
    return ran.stdout.strip("\n")


_ENVIRONMENT = {
    "PATH": os.defpath,
    "TZ": "UTC",
    "PYTHONUTF8": "1",
    "PYTHONUNBUFFERED": "1",  # so that the two streams come in order
    "AWS_EC2_METADATA_DISABLED": "true",
}


async def prepare(server: S3Server, folder: Path) -> None:
    """Let the tea shop's bot run for a while, and give its operator a folder of settings."""
    async with server.session().client("s3", endpoint_url=server.endpoint_url) as client:
        await client.create_bucket(Bucket=BUCKET)
        await client.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        await client.put_bucket_lifecycle_configuration(
            Bucket=BUCKET, LifecycleConfiguration={"Rules": [_RETENTION]}
        )
    store = S3Store(BUCKET, PREFIX, endpoint_url=server.endpoint_url, session=server.session())
    persistence = make_persistence(store)
    await state_of(persistence, "order")
    assert persistence._commits is not None
    # As if the bot had run for a while: with more, the storage would have it too late.
    now = datetime.now(UTC) - timedelta(minutes=14)
    persistence._commits.repository._context.sealer._clock = lambda: now
    jobs = Jobs()
    loader_of(persistence).participants.append(jobs)
    for number, step in enumerate(_days(), 1):
        jobs.change(number, now)
        await update(persistence, step)
        await settled(persistence)
        now += timedelta(minutes=1, seconds=57)
    await persistence.flush()
    common = {
        **server.environment,
        "PTB_S3_ENDPOINT_URL": server.endpoint_url,
        "PTB_S3_BUCKET": BUCKET,
    }
    new = {"PTB_S3_KEY": OTHER_KEY.reveal(), "PTB_S3_RETIRED_KEYS": KEY.reveal()}
    _write(folder / ".env", {**common, "PTB_S3_PREFIX": PREFIX, "PTB_S3_KEY": KEY.reveal()})
    _write(folder / "rotated.env", {**common, "PTB_S3_PREFIX": PREFIX, **new})
    _write(folder / "copy.env", {**common, "PTB_S3_PREFIX": "copy/", **new})


def _write(path: Path, variables: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))


def _days() -> Iterator[dict[str, Any]]:
    """What the bot saves, interval by interval."""
    since = datetime(2026, 11, 2, tzinfo=UTC)
    alice: dict[str, Any] = {"name": "Alice", "since": since, "cart": [("Oolong", 3)]}
    yield {"user_data": {ALICE: alice}, "bot_data": {"orders": 0}}
    yield {"conversations": {"order": {(ALICE, ALICE): 1}}}
    bob = {"name": "Bob", "since": since, "cart": []}
    yield {"user_data": {BOB: bob}, "chat_data": {BOB: {"language": "de"}}}
    paid = {**alice, "cart": [], "address": "12 Canary Lane"}
    yield {
        "user_data": {ALICE: paid},
        "bot_data": {"orders": 1},
        "conversations": {"order": {(ALICE, ALICE): None}},
    }
    yield {"user_data": {BOB: {**bob, "cart": [("Lapsang", 1)]}}}
    yield {"user_data": {ALICE: {}}, "bot_data": {"orders": 1}}  # a bug of the bot's


class Jobs:
    """Participant with the jobs of the tea shop's bot, in place of a job queue."""

    def __init__(self) -> None:
        self._left = Contribution(Kind.JOBS, {})

    def change(self, step: int, now: datetime) -> None:
        """Have the next commit change what the bot's jobs are after so many intervals."""
        changed = {record.key: record.value() for record in _jobs_made(step, now)}
        dropped = [record.key for record in _jobs_made(step - 2, now) if record.fixed is None]
        self._left = Contribution(Kind.JOBS, changed, tuple(dropped if step == 4 else ()))

    def contribute(self) -> Contribution:
        """See `Participant.contribute`."""
        left, self._left = self._left, Contribution(Kind.JOBS, {})
        return left

    def begin(self, commits: object) -> None: ...
    def settle(self) -> None: ...
    def bring_in(self) -> None: ...
    def take_back(self) -> None: ...


def _jobs_made(step: int, now: datetime) -> list[JobRecord]:
    """Return the jobs that the bot makes in an interval: the report, a receipt, a reminder."""
    eight = datetime.now(BERLIN).replace(hour=8, minute=0, second=0, microsecond=0)
    if eight < datetime.now(BERLIN) + timedelta(hours=1):
        eight += timedelta(days=1)
    parts = {"fields": {"hour": "8", "minute": "0", "second": "0"}, "zone": BERLIN.key}
    bounds = {"start": None, "end": None, "jitter": None}
    daily, once = ("cron", parts | bounds), ("date", {"at": now})
    due, soon = now + timedelta(minutes=3), now + timedelta(minutes=35)
    made = {
        1: [JobRecord("5eb63bbbe01eeed0", "report", "shop:report", daily, eight, fixed=0)],
        2: [JobRecord("93cb22bb8f5acdc3", "receipt", "shop:receipt", once, due, ALICE, ALICE)],
        3: [JobRecord("b94d27b9934d3e08", "steeped", "shop:steeped", once, soon, BOB, BOB)],
    }
    return made.get(step, [])


def rewrite(page: Path) -> None:
    """Run all commands of a page, and write what they print into it."""
    with servers.running("seaweedfs", {}) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(prepare(server, folder))

        def ran(block: re.Match[str]) -> str:
            parts = [
                f"$ {each.command}\n{run(each.command, folder)}\n" for each in transcripts(block[0])
            ]
            return f"{block[1]}{''.join(parts)}{block[3]}"

        page.write_text(_BLOCK.sub(ran, page.read_text()))


if __name__ == "__main__":
    for each in PAGES:
        rewrite(each)
