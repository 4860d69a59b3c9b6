"""Promises 1 and 2 with real processes, real storage and a real signal."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.servers import S3Server

ROOT = Path(__file__).parents[2]


def last(lines: list[str], word: str) -> int:
    return max((int(line.split()[1]) for line in lines if line.startswith(word)), default=0)


async def test_a_process_killed_at_any_call_loses_nothing(s3_server: S3Server, bucket: str) -> None:
    """SIGKILL at storage call N, before or after it: the next start finds a commit, whole."""
    driver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.kill_driver", bucket, s3_server.endpoint_url),
        cwd=ROOT,
        env={**s3_server.environment, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await driver.communicate()
    assert driver.returncode == 0
    runs = [json.loads(line) for line in output.splitlines()]
    for when, number, ended, lines, (found,) in runs:
        allowed = range(last(lines, "acknowledged"), last(lines, "attempted") + 1)
        assert found != "None", f"a mixture, killed {when} call {number}"
        assert int(found) in allowed, f"killed {when} call {number}: {lines}"
        assert ended in {-signal.SIGKILL, 0}
    killed = [run for run in runs if run[2] == -signal.SIGKILL]
    assert len(killed) >= 40
    assert [run[2] for run in runs if run not in killed] == [0, 0], "one whole session each"
