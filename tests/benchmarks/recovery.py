"""What it takes to find the newest state that can be read where `head` was deleted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import NamedTuple

from tests.benchmarks.contestants import _KEY, OnS3
from tests.benchmarks.setting import BUCKET, Setting

from ptb_s3._format.container import HEAD

_PREFIX = "recovery/"
_RECENT = 20  # commits before the newest one, to go back to


class Recovery(NamedTuple):
    """Seconds that a whole process of the program takes.

    Attributes:
        repair: `ptb-s3 repair --dry-run`, which finds the newest state.
        restore: `ptb-s3 restore --dry-run` of a revision of late.
        help: `ptb-s3 --help`, which finds nothing.
    """

    repair: float
    restore: float
    help: float


async def recovery(setting: Setting) -> Recovery:
    """Commit as often as is asked for, delete `head`, and look for what there was."""
    bot = OnS3(setting, _PREFIX, sync=None)
    await bot.app.initialize()
    for number in range(setting.versions):
        await bot.persistence.update_user_data(number % 10, {"count": number})
    assert bot.persistence._commits is not None
    newest = bot.persistence._commits.repository.revision
    await bot.store.close()
    await _delete(setting, _PREFIX + HEAD)
    recent = max(1, newest - _RECENT)
    return Recovery(
        _run(setting, f"revision {newest}", "repair", "--dry-run"),
        _run(setting, f"revision {recent}", "restore", str(recent), "--dry-run"),
        _run(setting, "repair", "--help"),
    )


async def _delete(setting: Setting, key: str) -> None:
    import aioboto3  # noqa: PLC0415 - see `prepare`

    async with aioboto3.Session().client("s3", endpoint_url=setting.endpoint_url) as client:
        await client.delete_object(Bucket=BUCKET, Key=key)


def _run(setting: Setting, says: str, *arguments: str) -> float:
    """Run the program, and see that it says what it has to."""
    settings = {
        "PTB_S3_BUCKET": BUCKET,
        "PTB_S3_PREFIX": _PREFIX,
        "PTB_S3_ENDPOINT_URL": setting.endpoint_url,
        "PTB_S3_KEY": _KEY.reveal(),
    }
    begun = time.perf_counter()
    told = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "ptb_s3.cli", *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,  # it exits 3 or 5: nothing current can be read
    )
    took = time.perf_counter() - begun
    if says not in told.stdout:
        raise RuntimeError(f"{arguments} found something else: {told.stdout}{told.stderr}")
    return took
