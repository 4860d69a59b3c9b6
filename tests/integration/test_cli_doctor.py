"""`ptb-s3 doctor` as a program: what it prints, where, and what it exits with."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.servers import S3Client, S3Server
from tests.support import KEY
from tests.support.meddlingproxy import Asked, MeddlingProxy

from ptb_s3._doctor.findings import Check

_CLI = (sys.executable, "-m", "ptb_s3.cli")
_PROGRAM = (*_CLI, "doctor")


class Ran(NamedTuple):
    """What became of the program."""

    code: int | None
    out: str
    err: str


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's own .env out."""
    monkeypatch.chdir(tmp_path)


def environment(server: S3Server, bucket: str, **others: str) -> dict[str, str]:
    return {
        **os.environ,
        **server.environment,
        "PTB_S3_BUCKET": bucket,
        "PTB_S3_PREFIX": "bot/",
        "PTB_S3_ENDPOINT_URL": server.endpoint_url,
        "PTB_S3_KEY": KEY.reveal(),
        **others,
    }


async def run(env: dict[str, str], *arguments: str, command: str = "doctor") -> Ran:
    process = await asyncio.create_subprocess_exec(
        *_CLI, command, *arguments, env=env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return Ran(process.returncode, out.decode(), err.decode())


WITHOUT_KMS = [check.value for check in Check if check is not Check.KEY_SERVICE]


async def entries(client: S3Client, bucket: str) -> list[dict[str, Any]]:
    page = await client.list_object_versions(Bucket=bucket)
    return [*page.get("Versions", []), *page.get("DeleteMarkers", [])]


async def test_a_line_for_each_check(s3_server: S3Server, s3_client: S3Client, bucket: str) -> None:
    """Mark, name, what was found and what to do; warnings are exit code 0; nothing is left."""
    env = environment(s3_server, bucket)
    ran = await run(env)
    assert ran.code == 0
    _, *lines = ran.out.splitlines()
    form = re.compile(r"(ok|warning|FAILED|\?) +(\S+(?: \S+)*)  +(\S.*)\.")
    shown = [form.fullmatch(line) for line in lines]
    assert [match and match[2] for match in shown] == WITHOUT_KMS
    places = f"s3://{bucket}/bot/; seals with key {KEY.id}"
    assert next(match[3] for match in shown if match) == places
    assert "one winner among 16 writers, for If-None-Match and for If-Match" in ran.out
    assert ran.err == "16 ok, 2 warnings\n"
    for secret in (KEY.reveal(), s3_server.secret_key, s3_server.access_key):
        assert secret not in ran.out + ran.err
    assert await entries(s3_client, bucket) == []


async def test_json(s3_server: S3Server, s3_client: S3Client, unversioned_bucket: str) -> None:
    """For programs there are the same findings with their figures, and nothing beside them."""
    ran = await run(environment(s3_server, unversioned_bucket), "--json")
    assert (ran.code, ran.err) == (0, "")
    shown = json.loads(ran.out)
    assert shown.keys() == {"checks", "left"}
    assert [entry["check"] for entry in shown["checks"]] == WITHOUT_KMS
    by_name = {entry.pop("check"): entry for entry in shown["checks"]}
    assert by_name["versioning"] == {
        "status": "warning",
        "found": "never enabled: there is no history to go back to",
        "remedy": "Enable versioning of the bucket; infra/bucket has templates of a bucket.",
        "data": {"versioning": "never enabled"},
    }
    assert by_name["latency"]["data"]["put"].keys() == {"requests", "median_ms", "p95_ms"}
    assert shown["left"] == {}
    assert await entries(s3_client, unversioned_bucket) == []


async def test_a_key_file_that_others_may_read(
    s3_server: S3Server, unversioned_bucket: str, tmp_path: Path
) -> None:
    """It is a finding, and not said twice; to any other command it is a line on stderr."""
    file = tmp_path / "bot.key"
    file.write_text(KEY.reveal())
    file.chmod(0o644)
    env = environment(s3_server, unversioned_bucket, PTB_S3_KEY="", PTB_S3_KEY_FILE=str(file))
    ran = await run(env, "--json")
    assert (ran.code, ran.err) == (0, "")
    (settings,) = (it for it in json.loads(ran.out)["checks"] if it["check"] == "settings")
    exposed = f"PTB_S3_KEY_FILE: {file} may be read by other users of this machine"
    assert settings["status"] == "warning"
    assert settings["found"].endswith(f"; seals with key {KEY.id}; {exposed}")
    assert settings["remedy"] == f"Close it to them: chmod 600 {file}"
    other = await run(env, command="status")
    assert other.err.startswith(f"warning: {exposed}. Close it to them: chmod 600 {file}\n")


@pytest.mark.parametrize(
    ("changed", "code", "failed"),
    [
        ({"PTB_S3_KEY": "", "PTB_S3_SYNC": "often"}, 2, Check.SETTINGS),
        ({"PTB_S3_BUCKET": "ptb-s3-no-such-bucket"}, 3, Check.BUCKET),
        ({"AWS_SECRET_ACCESS_KEY": "not-the-secret"}, 7, Check.CREDENTIALS),
    ],
)
async def test_exit_codes(
    s3_server: S3Server, changed: dict[str, str], code: int, failed: Check
) -> None:
    """It is that of the first check that failed; those that it kept from being made are named."""
    ran = await run(environment(s3_server, "no-matter", **changed))
    assert ran.code == code
    (line,) = (line for line in ran.out.splitlines() if line.startswith("FAILED"))
    assert line.split()[1] == failed.value
    assert f"not looked into, because of: {failed}" in ran.out
    assert len(ran.out.splitlines()) == len(WITHOUT_KMS) + 1
    for secret in (KEY.reveal(), s3_server.secret_key, "not-the-secret"):
        assert secret not in ran.out + ran.err


async def test_every_fault_of_the_settings_is_named(s3_server: S3Server) -> None:
    """They are found at once, in the one line that is theirs."""
    ran = await run({**environment(s3_server, ""), "PTB_S3_KEY": "x"})
    (line,) = (line for line in ran.out.splitlines() if line.startswith("FAILED"))
    assert "PTB_S3_BUCKET is not set" in line
    assert "PTB_S3_KEY does not begin with" in line


async def test_progress_is_shown_on_a_terminal(
    proxy: MeddlingProxy, unversioned_bucket: str
) -> None:
    """Once it has taken a second, also if it is a single check that does; lines fit the screen."""
    ours, theirs = pty.openpty()
    proxy.open.clear()
    env = {**environment(proxy.server, unversioned_bucket), "TERM": "xterm", "COLUMNS": "80"}
    process = await asyncio.create_subprocess_exec(
        *_PROGRAM, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screen = b""
    try:
        while piece := await asyncio.to_thread(os.read, ours, 4096):
            screen += piece
            if b"Checking" in screen:
                proxy.open.set()
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(ours)
    assert await process.wait() == 0
    text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", screen.decode())
    assert f"0/{len(WITHOUT_KMS)}" in text
    table = text[text.rindex("check ") :].splitlines()
    assert max(map(len, table)) <= 80
    assert any(line.startswith("ok") and "conditional PUT" in line for line in table)


async def test_ctrl_c_clears_away(proxy: MeddlingProxy, s3_client: S3Client, bucket: str) -> None:
    """It is exit code 130, and it is said that nothing is left, as is so."""
    reached = asyncio.Event()

    def change(asked: Asked) -> Asked:
        if asked.method == "PUT" and not reached.is_set():
            reached.set()
            proxy.open.clear()
        return asked

    proxy.change = change
    process = await asyncio.create_subprocess_exec(
        *_PROGRAM, env=environment(proxy.server, bucket), stdout=PIPE, stderr=PIPE
    )
    await reached.wait()
    process.send_signal(signal.SIGINT)
    proxy.open.set()
    out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.decode() == "Nothing is left of 1 version.\nInterrupted.\n"
    assert await entries(s3_client, bucket) == []
