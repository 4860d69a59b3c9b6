"""What is tried on each server: doctor, four writers and a cold reader, the store's contract."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.providers.writers import Outcome, Users, session
from tests.servers import PROJECT, S3Client, S3Server
from tests.support.bots import PREFIX, Bots, make_application
from tests.support.buckets import empty_bucket
from tests.support.persistence import KEY, Persistence

LIMIT = 600.0
"""Seconds that one trial on one server may take."""
_CONTRACT = "tests/integration/test_store_contract.py"
_ON_S3 = "TestS3Store"
"""Class of those tests of the contract that run on the server."""
_GRAVE = ("failed", "warning", "unknown")
_ORDINARY = frozenset({"excess permissions", "lifecycle"})
"""Checks of which doctor has something to say in any new bucket."""
_SAFE = {"ok": "yes", "warning": "yes, but", "failed": "no", "unknown": "no"}
"""What doctor's check of conditions comes to."""


class Row(NamedTuple):
    """What is said of one server.

    Attributes:
        name: Its name.
        version: Its version.
        going_back: Whether older versions are kept and listed.
        safe: Whether it keeps to the conditions of a PUT, as doctor has found.
        doctor: Its worst finding, and the exit code.
        contract: How much of the store's contract holds.
        writers: What became of four writers.
        fit: Whether nothing was lost, or it was refused: else there is a fault of ours.
    """

    name: str
    version: str
    going_back: str = ""
    safe: str = ""
    doctor: str = ""
    contract: str = ""
    writers: str = ""
    fit: bool = True

    @property
    def cells(self) -> tuple[str, ...]:
        """What is shown of it."""
        return (
            self.name,
            self.version,
            self.going_back,
            self.safe,
            self.doctor,
            self.contract,
            self.writers,
        )


def absent(name: str, version: str, why: str) -> Row:
    """Return the row of a server that is not to be had."""
    return Row(name, version, doctor=f"not to be had: {' '.join(why.split())}")


async def row(name: str, version: str, server: S3Server) -> Row:
    """Try everything on a server that runs."""
    async with _bucket(server) as (client, bucket, versioned):
        examined = await asyncio.to_thread(_doctor, server, bucket)
        outcome = await _four_writers(Bots(server, client, bucket))
        commits = await asyncio.to_thread(_commits, server, bucket) if versioned else 0
    contract = await asyncio.to_thread(_contract, server, versioned=versioned)
    statuses = {check["check"]: check["status"] for check in examined.get("checks", ())}
    conditional = statuses.get("conditional PUT", "unknown")
    return Row(
        name,
        version,
        going_back=f"yes, {commits} commits" if commits > 1 else "no",
        safe=_SAFE[conditional],
        doctor=worst(examined),
        contract=contract,
        writers=told(outcome),
        fit=isinstance(outcome, Outcome) and fit(outcome, safe=_SAFE[conditional] != "no"),
    )


def fit(outcome: Outcome, *, safe: bool) -> bool:
    """Tell whether nothing was lost; on storage that is safe, nobody may be refused, either."""
    return not outcome.lost and not (safe and (outcome.refusals or not outcome.acknowledged))


def told(outcome: Outcome | str) -> str:
    """Say what became of the four writers."""
    if isinstance(outcome, str):
        return outcome
    parts = [f"{outcome.acknowledged} acknowledged, {outcome.lost} lost"]
    if outcome.refusals:
        names = ", ".join(f"{count} x {name}" for name, count in outcome.refusals.items())
        gone = f", {outcome.overwritten} overwritten before" if outcome.overwritten else ""
        parts.append(f"refused: {names}{gone}")
    if outcome.failures:
        names = ", ".join(f"{count} x {name}" for name, count in outcome.failures.items())
        parts.append(f"went on after {names}")
    return "; ".join(parts)


@asynccontextmanager
async def _bucket(server: S3Server) -> AsyncIterator[tuple[S3Client, str, bool]]:
    """Make a bucket, with versioning if there is such a thing; remove it as far as that goes."""
    from aiobotocore.config import AioConfig  # noqa: PLC0415 - takes a while
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as above

    config = AioConfig(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    name, versioned = f"ptb-s3-trial-{secrets.token_hex(8)}", True
    session_ = server.session()
    async with session_.client("s3", endpoint_url=server.endpoint_url, config=config) as client:
        await client.create_bucket(Bucket=name)
        try:
            await client.put_bucket_versioning(
                Bucket=name, VersioningConfiguration={"Status": "Enabled"}
            )
        except ClientError:
            versioned = False
        yield client, name, versioned
        with suppress(ClientError):
            await empty_bucket(client, name)
            await client.delete_bucket(Bucket=name)


async def _four_writers(bots: Bots) -> Outcome | str:
    def make() -> Persistence:
        return bots.persistence()

    async def read() -> Users:
        # Where a writer was refused, so is whoever comes after, unless somebody vouches for him.
        app = make_application(persistence := bots.persistence(single_writer=True))
        await app.bot.initialize()
        users: Users = await persistence.get_user_data()
        await persistence._loader.store.close()
        return users

    try:
        async with asyncio.timeout(LIMIT):
            return await session(make, read)
    except TimeoutError:
        return f"not done within {LIMIT:.0f} s"
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is shown
        return f"ended with {type(exc).__name__}: {exc}"


def _program(server: S3Server, bucket: str, *command: str) -> Any:
    """Run the program; return what it prints as JSON, with its exit code."""
    settings = {
        "PTB_S3_ENDPOINT_URL": server.endpoint_url,
        "PTB_S3_BUCKET": bucket,
        "PTB_S3_PREFIX": PREFIX,
        "PTB_S3_KEY": KEY.reveal(),
    }
    done = _run([sys.executable, "-m", "ptb_s3.cli", *command, "--json"], server, settings)
    if done is None:
        return {"exit_code": f"not done within {LIMIT:.0f} s"}
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return {"exit_code": done.returncode}
    return {**found, "exit_code": done.returncode} if isinstance(found, dict) else found


def _doctor(server: S3Server, bucket: str) -> dict[str, Any]:
    found: dict[str, Any] = _program(server, bucket, "doctor")
    return found


def _commits(server: S3Server, bucket: str) -> int:
    """Return how many commits the history lists."""
    found = _program(server, bucket, "history")
    return len(found) if isinstance(found, list) else 0


def worst(examined: Mapping[str, Any]) -> str:
    """Return the first of the worst findings, up to its first colon, bracket or full stop."""
    ending = f"exit {examined['exit_code']}"
    checks: Sequence[dict[str, str]] = examined.get("checks", ())
    found = [check for check in checks if check["status"] != "ok"]
    if not found:
        return f"{ending}, ok" if checks else ending
    found.sort(key=_weight)
    first, *others = found
    word = re.split(r": |\. | \(", first["found"])[0]
    more = f" (and {len(others)} more)" if others else ""
    return f"{ending}, {first['status']}: {first['check']}: {word}{more}"


def _weight(check: Mapping[str, str]) -> tuple[int, bool, bool]:
    """Order findings: how bad they are, and conditions before all that is equally bad."""
    name = check["check"]
    return _GRAVE.index(check["status"]), name in _ORDINARY, name != "conditional PUT"


def _contract(server: S3Server, *, versioned: bool) -> str:
    """Run the store's contract; return how many of its tests hold."""
    with TemporaryDirectory(prefix="ptb-s3-contract-") as folder:
        report = Path(folder) / "report.xml"
        options = [] if versioned else ["--unversioned"]
        command = [
            *(sys.executable, "-m", "pytest", "-q", _CONTRACT, f"--s3={server.endpoint_url}"),
            *("-k", _ON_S3, f"--junitxml={report}", "-p", "no:cacheprovider", *options),
        ]
        if _run(command, server, {}) is None:
            return f"not done within {LIMIT:.0f} s"
        return counted(report.read_text()) if report.is_file() else "did not run"


def counted(report: str) -> str:
    """Count the tests in a report of pytest that ran on the server."""
    cases: dict[str, bool] = {}
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - made by our own pytest
        name = case.get("name", "")
        if case.get("classname", "").endswith(_ON_S3):
            failed = case.find("failure") is not None or case.find("error") is not None
            cases[name] = cases.get(name, True) and not failed
    passed = sum(cases.values())
    return f"{passed} passed, {len(cases) - passed} failed"


def _run(
    command: Sequence[str], server: S3Server, settings: Mapping[str, str]
) -> subprocess.CompletedProcess[str] | None:
    """Run a program that is let in; None: it takes too long."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PTB_S3_"))}
    isolated = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            env={**kept, **isolated, **server.environment, **settings},
        )
    except subprocess.TimeoutExpired:
        return None
