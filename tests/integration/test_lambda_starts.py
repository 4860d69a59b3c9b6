"""Starts on AWS Lambda: the state is read before the first update, and never before a snapshot."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.integration.hosts import EXAMPLE, BotApi, Host, Json, message
from tests.integration.hosts import USER as SOMEBODY
from tests.integration.runtime_api import RuntimeApi
from tests.integration.test_lambda import OK, Lambda, event, line
from tests.servers import S3Server
from tests.support.bots import PREFIX, Bots
from tests.support.faultproxy import FaultProxy

from ptb_s3._format.container import HEAD, Header, read_header

RIC = "awslambdaric"
TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"
PATIENCE = 60.0
SALT = 24
"""Bytes that Cobblestone draws for each message (FORMAT.md, section 4)."""


@pytest.fixture
async def function(s3_server: S3Server, bots: Bots, tmp_path: Path) -> AsyncIterator[Lambda]:
    async with BotApi().run() as api:
        host = Host(s3_server, bots, api, tmp_path)
        yield Lambda(host)
        await host.end()


def read(proxy: FaultProxy) -> set[str]:
    """Return the names of the objects that were asked for."""
    paths = [request.split()[1] for request in proxy.requests if request.startswith("GET ")]
    return {path.partition("?")[0].rpartition("/")[2] for path in paths}


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency"])
async def test_the_state_is_read_before_the_first_update(
    function: Lambda, fault_proxy: FaultProxy, kind: str
) -> None:
    """What others commit between the start and the update is seen all the same, by head alone."""
    other = await function.cold()
    assert await other.invoke(message("tea")) == OK
    early = await function.cold(PTB_S3_ENDPOINT_URL=fault_proxy.endpoint_url, **{TYPE: kind})
    assert {"head", "user_data", "bot_data"} <= read(fault_proxy)
    assert await other.invoke(message("milk")) == OK
    fault_proxy.requests.clear()
    assert await early.invoke(message("bread")) == OK
    assert read(fault_proxy) == {"head"}
    assert await function.host.lists() == {SOMEBODY: ["tea", "milk", "bread"]}


@pytest.mark.parametrize("kind", ["", "of-next-year"])
async def test_elsewhere_nothing_is_read_before_an_update(
    function: Lambda, fault_proxy: FaultProxy, kind: str
) -> None:
    """As where build.sh imports the handler, with a key that is made up and without a bucket."""
    late = await function.cold(PTB_S3_ENDPOINT_URL=fault_proxy.endpoint_url, **{TYPE: kind})
    assert fault_proxy.requests == []
    assert await late.invoke(message("tea")) == OK
    assert await function.host.lists() == {SOMEBODY: ["tea"]}


async def test_a_start_without_storage_leaves_the_state_to_the_first_update(
    function: Lambda, fault_proxy: FaultProxy
) -> None:
    """Lambda would start a process that fails again and again; and a storage comes back."""
    await fault_proxy.refuse()
    place = {"PTB_S3_ENDPOINT_URL": fault_proxy.endpoint_url}
    instance = await function.cold(**place, **{TYPE: "on-demand"})
    said = function.host.log(instance.process)
    assert "The state could not be read ahead, and the next update tries again: " in said
    await fault_proxy.accept()
    assert await instance.invoke(message("tea")) == OK
    assert await function.host.lists() == {SOMEBODY: ["tea"]}


async def test_of_a_snapshot_the_state_is_read_after_the_resume(
    function: Lambda, fault_proxy: FaultProxy
) -> None:
    """By AWS's own client: no connection is in the snapshot, and no state that may be old."""
    require_client()
    other = await function.cold()
    assert await other.invoke(message("tea")) == OK
    async with RuntimeApi(event).run() as api, asyncio.timeout(PATIENCE):
        environment = {
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "PTB_S3_ENDPOINT_URL": fault_proxy.endpoint_url,
            TYPE: "snap-start",
        }
        program = ("-m", RIC, "handler.handler")
        process = await function.host.start(*program, modules=[EXAMPLE], **environment)
        await api.snapshot.wait()
        assert fault_proxy.requests == []
        assert connections(process.pid) == 1, "that to the Runtime API alone"
        assert await other.invoke(message("milk")) == OK
        api.resume()
        await api.asked.wait()
        assert {"head", "user_data", "bot_data"} <= read(fault_proxy)
        fault_proxy.requests.clear()
        await api.send([message("bread")])
        assert read(fault_proxy) == {"head"}
        assert api.errors == []
    assert await function.host.lists() == {SOMEBODY: ["tea", "milk", "bread"]}


def require_client() -> None:
    """Skip a test where AWS's client cannot be had."""
    if find_spec(RIC) is None:
        if os.environ.get("CI") == "true":
            pytest.fail("AWS's client for Lambda is not installed")
        pytest.skip("optional check: there is no wheel of AWS's client for Lambda for this machine")


def connections(process: int) -> int:
    """Return how many sockets a process has."""
    files = Path(f"/proc/{process}/fd").iterdir()
    return sum(os.readlink(file).startswith("socket:") for file in files)  # noqa: PTH115 - no path


def threads(process: int) -> int:
    """Return how many threads a process has, those that no Python code began included."""
    return len(list(Path(f"/proc/{process}/task").iterdir()))


# Clones of one snapshot ---------------------------------------------------------------------------


class Clones:
    """Clones of one snapshot of a function."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def each(self, *events: Json) -> None:
        """Send an event to each clone, all at once, and wait for the answers."""
        assert self._process.stdin is not None
        for number, given in enumerate(events):
            self._process.stdin.write(json.dumps({"clone": number, "event": given}).encode())
            self._process.stdin.write(b"\n")
        answers = [await line(self._process) for _ in events]
        assert {answer["clone"] for answer in answers} == set(range(len(events)))
        assert [answer["answered"] for answer in answers] == [{"statusCode": OK}] * len(events)


async def cloned(function: Lambda, build: str, **environment: str) -> Clones:
    require_client()
    program = ("-m", "tests.integration.lambda_clones", build)
    given = {TYPE: "snap-start", **environment}
    process = await function.host.start(*program, modules=[EXAMPLE], **given)
    await line(process)
    assert (connections(process.pid), threads(process.pid)) == (0, 1), "they would be the clones'"
    return Clones(process)


async def written(bots: Bots) -> list[tuple[str, Header, bytes]]:
    """Return of each version in the bucket its name, header, and what follows the header."""
    found = []
    for key, version, _ in await bots.versions():
        name = key.removeprefix(PREFIX)
        body = await bots.read(name, version)
        header, start = read_header(name, body)
        found.append((name, header, body[start:]))
    return found


@pytest.mark.parametrize("load", ["all", "on_demand"])
async def test_clones_of_a_snapshot_are_writers_of_their_own(function: Lambda, load: str) -> None:
    """What both save at once is kept, of one user as well; nothing random is drawn twice."""
    clones = await cloned(function, "shop.bot:build", PTB_S3_LOAD=load)
    for texts in (("tea", "milk"), ("bread", "jam")):
        await clones.each(*(event(message(text)) for text in texts))
        await clones.each(*(event(message(text, user)) for user, text in enumerate(texts, 1)))
    lists = await function.host.lists()
    assert (lists[1], lists[2]) == (["tea", "bread"], ["milk", "jam"])
    assert [set(lists[SOMEBODY][:2]), set(lists[SOMEBODY][2:])] == [
        {"tea", "milk"},
        {"bread", "jam"},
    ]
    versions = await written(function.host.bots)
    heads = [header for name, header, _ in versions if name == HEAD]
    assert len({header.writer for header in heads}) == 2
    assert len({header.line for header in heads}) == 2
    assert len({header.commit for _, header, _ in versions}) == len(versions)
    assert len({sealed[:SALT] for _, _, sealed in versions}) == len(versions)


async def test_clones_of_a_snapshot_run_each_job_once(function: Lambda) -> None:
    """Each claims under an id of its own, so that neither takes the other's claim for its own."""
    clones = await cloned(function, "tests.integration.reminding_bot:build")
    await clones.each(event(message("tea")), event(message("milk")))
    await clones.each(*[{"ptb_s3": "run_due"}] * 2)
    assert sorted(function.host.api.sent) == ["Remember: milk", "Remember: tea"]
    lists = await function.host.lists()
    assert sorted(lists[SOMEBODY]) == ["milk", "tea"]
