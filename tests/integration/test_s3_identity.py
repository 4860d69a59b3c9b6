"""What hands out credentials, as hosts have it: a service that is down, or answers nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.servers import S3Server

from ptb_s3._storage.contract import NotModified
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli import main
from ptb_s3.errors import AccessDeniedError, StorageUnavailableError

_KEY = "ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoOeXryU"
_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - a variable's name


class Agent:
    """A host's agent: it hands out credentials over HTTP, as ECS and EKS have it."""

    def __init__(self, server: S3Server) -> None:
        until = datetime.now(UTC) + timedelta(hours=1)
        self.good = {
            "AccessKeyId": server.access_key,
            "SecretAccessKey": server.secret_key,
            "Token": "",
            "Expiration": until.isoformat(),
        }
        self.status, self.body = 200, json.dumps(self.good)
        self.asked = 0
        self.silent = False

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self.silent:
                await reader.read()
            body = self.body.encode()
            head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()


@pytest.fixture
async def agent(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Agent]:
    """An agent whom the environment names, and no other credentials."""
    monkeypatch.chdir(tmp_path)
    agent = Agent(s3_server)
    server = await asyncio.start_server(agent.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv(_URI, f"http://127.0.0.1:{port}/credentials")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    async with server:
        yield agent


@pytest.fixture
async def store(s3_server: S3Server, bucket: str, agent: Agent) -> AsyncIterator[S3Store]:
    """A store whose credentials come from the agent."""
    del agent
    store = S3Store(bucket, endpoint_url=s3_server.endpoint_url)
    yield store
    await store.close()


def _without(name: str) -> Callable[[Agent], str]:
    return lambda agent: json.dumps({k: v for k, v in agent.good.items() if k != name})


_NONSENSE: dict[str, Callable[[Agent], str]] = {
    "a web page": lambda _: "<html>Welcome</html>",
    "nothing": lambda _: "",
    "a list": lambda _: "[]",
    "a text": lambda _: '"text"',
    "null": lambda _: "null",
    "no key": _without("AccessKeyId"),
    "no secret": _without("SecretAccessKey"),
    "no end": _without("Expiration"),
    "an end that is none": lambda agent: json.dumps({**agent.good, "Expiration": "tomorrow"}),
}


@pytest.mark.parametrize("body", _NONSENSE.values(), ids=_NONSENSE)
async def test_an_agent_that_answers_nonsense(
    agent: Agent, store: S3Store, body: Callable[[Agent], str]
) -> None:
    """It is said where to look; once it answers right, so does the store."""
    agent.body = body(agent)
    for call in (store.get("head"), store.put("head", b"1", if_match=None), store.access()):
        with pytest.raises(AccessDeniedError, match=_URI):
            await call
    agent.body = json.dumps(agent.good)
    assert await store.get("head") is None


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["history"],
        ["show", "bot_data"],
        ["verify"],
        ["restore", "1"],
        ["rotate"],
        ["compact"],
        ["prune", "--keep-last", "1", "--yes"],
        ["repair"],
        ["doctor"],
    ],
    ids=lambda command: command[0],
)
async def test_no_command_breaks_off_for_nonsense(
    agent: Agent,
    store: S3Store,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An error with what to do, and no traceback of somebody else's code."""
    agent.body = "{}"
    monkeypatch.setenv("PTB_S3_BUCKET", store.bucket)
    monkeypatch.setenv("PTB_S3_KEY", _KEY)
    monkeypatch.setenv("PTB_S3_ENDPOINT_URL", str(store.endpoint_url))
    monkeypatch.setattr(sys, "argv", ["ptb-s3", *command])
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(main)
    assert ended.value.code == AccessDeniedError.exit_code
    assert _URI in "".join(capsys.readouterr())


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_agent_that_is_out_of_order_for_a_moment(
    agent: Agent, store: S3Store, status: int
) -> None:
    """It is weather, and the host has a role already."""
    agent.status = status
    with pytest.raises(StorageUnavailableError, match="hands out credentials") as caught:
        await store.get("head")
    assert "role" not in str(caught.value)
    agent.status = 200
    assert await store.get("head") is None


async def test_an_agent_that_is_silent_near_the_end(agent: Agent, store: S3Store) -> None:
    """What it gave is good for five minutes more, and no request waits for the next."""
    until = datetime.now(UTC) + timedelta(minutes=5)
    agent.body = json.dumps({**agent.good, "Expiration": until.isoformat()})
    await store.get("head")
    agent.silent = True
    began = time.monotonic()
    written = await store.put("head", b"1", if_match=None)
    for _ in range(3):
        await store.get("head")
        with pytest.raises(NotModified):
            await store.get("head", if_none_match=written.etag)
    assert time.monotonic() - began < 1.5


async def test_an_agent_that_does_not_listen(
    agent: Agent, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before."""
    del agent
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv(_URI, f"http://127.0.0.1:{unused.getsockname()[1]}/")
        with pytest.raises(StorageUnavailableError, match="hands out credentials"):
            await store.get("head")


def _written(name: str, text: str | None) -> str:
    if text is not None:
        Path(name).write_text(text)
    return name


@pytest.mark.parametrize(("text", "remedy"), [(None, "EKS"), ("token\n", "has a line end")])
async def test_the_token_of_a_container(
    agent: Agent, store: S3Store, text: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is missing, or ends in a line end, is named at once; nobody is asked."""
    monkeypatch.setenv(_TOKEN_FILE, _written("token", text))
    with pytest.raises(AccessDeniedError, match=remedy) as caught:
        await store.get("head")
    assert _TOKEN_FILE in str(caught.value)
    assert agent.asked == 0


async def test_a_web_identity_without_its_token(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As IRSA has it: the role's token is in a file that is not there."""
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/bot")
    store = S3Store(bucket, endpoint_url=s3_server.endpoint_url)
    for call in (store.get("head"), store.put("head", b"1", if_match=None)):
        with pytest.raises(AccessDeniedError, match="AWS_WEB_IDENTITY_TOKEN_FILE") as caught:
            await call
        assert "may have taken effect" not in str(caught.value)
    await store.close()


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_PROFILE": ""},
        {"AWS_DEFAULT_PROFILE": ""},
        {"AWS_DEFAULTS_MODE": ""},
        {"AWS_DEFAULT_REGION": ""},
        {"AWS_ENDPOINT_URL_S3": ""},
        {"AWS_SESSION_TOKEN": "\n"},
        {"AWS_ACCESS_KEY_ID": "{AWS_ACCESS_KEY_ID}\n"},
        {"AWS_SECRET_ACCESS_KEY": "{AWS_SECRET_ACCESS_KEY}\r\n"},
        {"AWS_DEFAULT_REGION": "us-east-1\n"},
    ],
    ids=str,
)
async def test_empty_variables_and_line_ends(
    s3_server: S3Server, bucket: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do no harm to a store that was made by hand, either."""
    right = s3_server.environment
    for name, value in (right | variables).items():
        monkeypatch.setenv(name, value.format(**right))
    store = S3Store(bucket, endpoint_url=s3_server.endpoint_url)
    await store.put("head", b"1", if_match=None)
    await store.close()
