"""What the tests of the operator's commands share: a bot's life in a bucket, and the program."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, NamedTuple, Self
from unittest import mock
from urllib.parse import urlsplit

from tests.conftest import _new_bucket, open_store
from tests.servers import S3Client, S3Server, Session
from tests.support import KEY, OTHER_KEY, Persistence, make_persistence, settled, state_of, update
from typer.testing import CliRunner

from ptb_s3 import Keyring
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._keys.keyring import Key
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli import _opened
from ptb_s3.cli._app import app

PREFIX = "bot/"
State = dict[str, Any]
ALICE, BOB, CAROL, GROUP = 100_200_300, 400_500_600, 700_800_900, -1_001_234_567_890
ADDRESS = "12 Canary Lane"
CANARIES = (ADDRESS, "Oolong", *(str(abs(subject)) for subject in (ALICE, BOB, CAROL, GROUP)))
"""What nothing prints that is not asked for keys and values."""
COMMITS = 8
COMPACTED = (3, 6)
"""Revisions after which all blobs are written anew; the next head is the first to refer to them."""
ROTATED = {"PTB_S3_KEY": OTHER_KEY.reveal(), "PTB_S3_RETIRED_KEYS": KEY.reveal()}
"""Settings in which the key is another one, and the one so far is retired."""
ROTATE = ("rotate", "--while-running")
"""To exchange keys just after a bot was at work."""


def state_after(revision: int) -> State:
    """Return all that the bot has saved as of a revision of `live`."""
    if not revision:
        return {
            "user_data": {},
            "chat_data": {},
            "bot_data": {},
            "callback_data": None,
            "conversations": {"order": {}},
        }
    users: dict[int, Any] = {ALICE: {"visits": revision, "address": ADDRESS}}
    if 2 <= revision < 5:
        users[CAROL] = {"language": "de"}
    if revision >= 4:
        users[BOB] = {"cart": [("Oolong", revision)]}
    return {
        "user_data": users,
        "chat_data": {GROUP: {"topic": "tea"}} if revision >= 3 else {},
        "bot_data": {"orders": revision},
        "callback_data": ([("uuid", 1.0, {"button": 1})], {"query": "uuid"}),
        "conversations": {"order": {(GROUP, BOB): 1} if revision >= 4 else {(ALICE, ALICE): 2}},
    }


def without(subject: int, state: State) -> State:
    """Return a state without what is a user's or chat's."""
    conversations = state["conversations"]["order"]
    return {
        **state,
        "user_data": {k: v for k, v in state["user_data"].items() if k != subject},
        "chat_data": {k: v for k, v in state["chat_data"].items() if k != subject},
        "conversations": {"order": {k: v for k, v in conversations.items() if subject not in k}},
    }


async def live(
    store: S3Store,
    commits: int = COMMITS,
    *,
    key: Key = KEY,
    when: Callable[[int], datetime] = lambda _: datetime.now(UTC),
) -> None:
    """Let a bot run: revision n of its store holds `state_after(n)`, and is made `when(n)`."""
    persistence = make_persistence(store, keyring=Keyring(key))
    await state_of(persistence, "order")
    assert persistence._commits is not None
    sealer = persistence._commits.repository._context.sealer
    for revision in range(1, commits + 1):
        sealer._clock = partial(when, revision)
        await go_on(persistence, revision)
        if revision in COMPACTED:
            await compact_all(persistence)
    await store.close()


async def go_on(persistence: Persistence, revision: int) -> None:
    """Have a bot save what it has as of a revision, if it has saved the one before."""
    before, after = state_after(revision - 1), state_after(revision)
    ended = before["conversations"]["order"].keys() - after["conversations"]["order"].keys()
    after["conversations"]["order"] |= dict.fromkeys(ended)
    dropped = before["user_data"].keys() - after["user_data"].keys()
    await asyncio.gather(update(persistence, after), *map(persistence.drop_user_data, dropped))
    await settled(persistence)


async def compact_all(persistence: Persistence) -> None:
    """Write all blobs of a running bot anew."""
    assert persistence._commits is not None
    repository = persistence._commits.repository
    for kind in repository.written_kinds():
        await repository.compact(kind)


class Outcome(NamedTuple):
    """What a run of the program came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Operator:
    """Somebody who has the program and its settings.

    Attributes:
        server: Where the bucket is.
        client: Looks behind the program, and does what a lifecycle rule or an outsider would.
        bucket: The bucket.
    """

    server: S3Server
    client: S3Client
    bucket: str

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the variables that the program needs, with others in the place of some."""
        return {
            **self.server.environment,
            "PTB_S3_ENDPOINT_URL": self.server.endpoint_url,
            "PTB_S3_BUCKET": self.bucket,
            "PTB_S3_PREFIX": PREFIX,
            "PTB_S3_KEY": KEY.reveal(),
            **settings,
        }

    async def run(self, *arguments: object, **settings: str) -> Outcome:
        """Run the program within this process, which is quicker than to start one."""
        return await asyncio.to_thread(self._invoke, list(map(str, arguments)), settings)

    def _invoke(self, arguments: list[str], settings: Mapping[str, str]) -> Outcome:
        def store(*args: Any, **options: Any) -> S3Store:
            return S3Store(*args, **options, session=_session(self.server))

        environment = mock.patch.dict(os.environ, self.environment(**settings))
        with environment, mock.patch.object(_opened, "S3Store", store):
            result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    async def done(self, *arguments: object, **settings: str) -> Outcome:
        """Run the program, and see that it does as it is told."""
        outcome = await self.run(*arguments, **settings)
        assert outcome.exit_code == 0, outcome
        return outcome

    async def fails(self, exit_code: int, *arguments: object, **settings: str) -> str:
        """See a command fail as it should; return what it says.

        It says so in one line, tells nobody's secrets, and has changed nothing in the bucket.
        """
        before = await self.listing()
        outcome = await self.run(*arguments, **settings)
        assert outcome.exit_code == exit_code, outcome
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("error: "), outcome
        assert len(outcome.stderr.splitlines()) == 1
        secrets = (KEY.reveal(), OTHER_KEY.reveal(), self.server.secret_key)
        assert not [secret for secret in (*CANARIES, *secrets) if secret in outcome.stderr]
        assert await self.listing() == before
        return outcome.stderr

    def start(
        self,
        *arguments: object,
        terminal: Terminal | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Coroutine[Any, Any, asyncio.subprocess.Process]:
        """Run the program in a process of its own, with somebody at a terminal or without."""
        return asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ptb_s3.cli", *map(str, arguments)),
            stdin=terminal.slave if terminal else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=terminal.slave if terminal else asyncio.subprocess.PIPE,
            env={**os.environ, **self.environment(**(settings or {}))},
        )

    def store(self, prefix: str = PREFIX) -> S3Store:
        """Return a store on the bucket, as a bot has it."""
        store = open_store(self.server, self.bucket, session=_session(self.server))
        store.prefix = prefix
        return store

    async def state(self, *keys: Key, prefix: str = PREFIX) -> State:
        """Return what a bot that starts now would load."""
        sealing, *retired = keys or (KEY,)
        store = self.store(prefix)
        persistence = make_persistence(store, keyring=Keyring(sealing, retired=retired))
        try:
            return await state_of(persistence, "order")
        finally:
            await store.close()

    @asynccontextmanager
    async def bot(self, **options: Any) -> AsyncIterator[Persistence]:
        """Give a running bot's persistence, which has loaded the state."""
        store = self.store()
        persistence = make_persistence(store, **options)
        try:
            await state_of(persistence, "order")
            yield persistence
        finally:
            await settled(persistence)
            await store.close()

    async def listing(self) -> list[tuple[str, str, str]]:
        """Return all there is in the bucket: key, version and ETag; delete markers have none."""
        entries = []
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket)
        async for page in pages:
            entries += page.get("Versions", []) + page.get("DeleteMarkers", [])
        return sorted((e["Key"], e["VersionId"], e.get("ETag", "")) for e in entries)

    async def versions(self, name: str) -> list[str]:
        """Return the ids of an object's versions, newest first."""
        store = self.store()
        try:
            return [version.version_id async for version in store.versions(name)]
        finally:
            await store.close()

    async def revisions(self) -> list[int]:
        """Return the revisions that the program lists, newest first."""
        listed = (await self.done("history", "--json", "--limit", 0)).json
        return [commit["revision"] for commit in listed]

    async def expire(self, name: str, *version_ids: str) -> None:
        """Delete versions for good, as a lifecycle rule does."""
        for version_id in version_ids:
            await self.client.delete_object(
                Bucket=self.bucket, Key=PREFIX + name, VersionId=version_id
            )

    async def delete(self, name: str) -> None:
        """Delete an object with a marker, as an outsider does."""
        await self.client.delete_object(Bucket=self.bucket, Key=PREFIX + name)

    async def read(self, name: str, version_id: str | None = None) -> bytes:
        """Return an object, or the version named."""
        of = {} if version_id is None else {"VersionId": version_id}
        answer = await self.client.get_object(Bucket=self.bucket, Key=PREFIX + name, **of)
        body: bytes = await answer["Body"].read()
        return body

    async def put(self, name: str, body: bytes) -> None:
        """Put an object there, as an outsider does."""
        await self.client.put_object(Bucket=self.bucket, Key=PREFIX + name, Body=body)

    async def damage(self, name: str, at: int = -1) -> None:
        """Put an object there again with one bit flipped."""
        await self.put(name, flipped(await self.read(name), at))

    async def holding(self, text: str, *keys: Key, current: bool = False) -> list[str]:
        """Return the names of the objects of which a version, once opened, holds a text.

        Args:
            text: The text.
            keys: Open them.
            current: Look into the current versions only.
        """
        sealing, *retired = keys or (KEY,)
        reader, store = Reader(Keyring(sealing, retired=retired)), self.store()
        found = []
        for name in (HEAD, *Kind):
            ids = [version.version_id async for version in store.versions(name)]
            for version_id in ids[:1] if current else ids:
                fetched = await store.get(name, version_id=version_id)
                assert fetched is not None
                if text in repr(reader.open(name, fetched.body)[1]):
                    found.append(str(name))
        await store.close()
        return found


def flipped(body: bytes, at: int = -1) -> bytes:
    """Return an object with one bit flipped: of its last byte, or in its header."""
    changed = bytearray(body)
    changed[at] ^= 1
    return bytes(changed)


IN_HEADER = 20  # bytes from the start


@asynccontextmanager
async def employed(
    server: S3Server, *, versioned: bool = True, locking: bool = False
) -> AsyncIterator[Operator]:
    """Give an operator with a new bucket, whose bot has not run yet."""
    async with _client(server) as client, _new_bucket(client, locking=locking) as bucket:
        if versioned and not locking:
            await client.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )
        yield Operator(server, client, bucket)


@asynccontextmanager
async def looking_on(server: S3Server, bucket: str) -> AsyncIterator[Operator]:
    """Give an operator of a bucket that others use as well, and see that nothing changes in it."""
    async with _client(server) as client:
        operator = Operator(server, client, bucket)
        before = await operator.listing()
        yield operator
        assert await operator.listing() == before


def _client(server: S3Server) -> S3Client:
    from aiobotocore.config import AioConfig  # noqa: PLC0415 - takes a while

    config = AioConfig(s3={"addressing_style": "path"})
    return _session(server).client("s3", endpoint_url=server.endpoint_url, config=config)


@cache
def _session(server: S3Server) -> Session:
    """Return one session for all runs: what takes it longest is to read the model of S3."""
    session = server.session()
    if server.endpoint_url.startswith("http://"):
        # Each client would load all certificates there are, which takes as long as a command.
        session._session.set_config_variable("ca_bundle", False)  # noqa: FBT003 - none
    return session


class Turnstile:
    """A way to an S3 server on which requests are slow, or one of them is held up.

    Args:
        endpoint_url: The server's.
        hold: What the first line of the request that is held up matches, such as ``PUT .*/head``.
        skip: So many of those are let through before.
        after: Whether the server carries it out before it is held up.
        delay: Seconds that each request waits.

    Attributes:
        held: Set once the request is held up.
        released: To be set to let it go on.
    """

    def __init__(
        self,
        endpoint_url: str,
        hold: str = "$^",
        *,
        skip: int = 0,
        after: bool = False,
        delay: float = 0,
    ) -> None:
        parts = urlsplit(endpoint_url)
        self._target = (parts.hostname, parts.port)
        self._hold = re.compile(hold)
        self._skip = skip
        self._after = after
        self._delay = delay
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.held = asyncio.Event()
        self.released = asyncio.Event()

    @property
    def settings(self) -> dict[str, str]:
        """What has the program take this way."""
        return {"PTB_S3_ENDPOINT_URL": f"http://127.0.0.1:{self._port}"}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def hold(self, running: asyncio.Future[Any]) -> None:
        """Wait until the request is held up; see that what sends it has not ended before."""
        held = asyncio.ensure_future(self.held.wait())
        await asyncio.wait({held, running}, return_when=asyncio.FIRST_COMPLETED)
        assert held.done(), running.result()

    async def _connected(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ends, pumps = [back], []
        try:
            replies, server = await asyncio.open_connection(*self._target)
            ends.append(server)
            waits = asyncio.Event()
            pumps = [
                asyncio.ensure_future(self._forward(client, server, waits)),
                asyncio.ensure_future(self._return(replies, back, waits)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # that is how it ends
        finally:
            for pump in pumps:
                pump.cancel()
            for end in ends:
                end.transport.abort()
            for end in ends:
                with suppress(OSError, asyncio.CancelledError):
                    await end.wait_closed()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._connections.discard(task)

    async def _forward(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, waits: asyncio.Event
    ) -> None:
        while piece := await client.read(2**16):
            if re.match(rb"[A-Z]+ \S+ HTTP/1.1\r\n", piece):
                await asyncio.sleep(self._delay)
                if self._is_held(piece.partition(b"\r\n")[0].decode()):
                    waits.set()
                    if not self._after:
                        await self._wait(waits)
            server.write(piece)
            await server.drain()

    async def _return(
        self, replies: asyncio.StreamReader, back: asyncio.StreamWriter, waits: asyncio.Event
    ) -> None:
        while piece := await replies.read(2**16):
            if waits.is_set():
                await self._wait(waits)
            back.write(piece)
            await back.drain()

    def _is_held(self, line: str) -> bool:
        if not self._hold.match(line):
            return False
        self._skip -= 1
        return self._skip == -1

    async def _wait(self, waits: asyncio.Event) -> None:
        self.held.set()
        await self.released.wait()
        waits.clear()


class Terminal:
    """A terminal for the program's standard input and error, as an async context manager.

    Attributes:
        slave: What to give to the program.
        shown: What it has written there.
    """

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self.shown = ""
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self.slave)

    def _read(self) -> None:
        self.shown += os.read(self._master, 2**16).decode()
        self._changed.set()

    async def until(self, text: str) -> None:
        """Wait until a text is shown."""
        while text not in self.shown:
            self._changed.clear()
            await self._changed.wait()

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())
