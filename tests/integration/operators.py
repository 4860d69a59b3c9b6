"""What the tests of the operator's commands share: a bot's life in a bucket, and the program."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

from tests.servers import S3Client, S3Server
from tests.support import KEY, OTHER_KEY, Persistence, make_persistence, settled, state_of, update
from tests.support.buckets import client_of, keep_versions, new_bucket, open_store, shared_session
from tests.support.terminal import Terminal
from typer.testing import CliRunner

from ptb_s3 import Keyring, KeySource
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
    keyring: KeySource | None = None,
    when: Callable[[int], datetime] = lambda _: datetime.now(UTC),
) -> None:
    """Let a bot run: revision n of its store holds `state_after(n)`, and is made `when(n)`."""
    persistence = make_persistence(store, keyring=keyring or Keyring(key))
    await state_of(persistence, "order")
    assert persistence._commits is not None
    sealer = persistence._commits.repository._context.sealer
    for revision in range(1, commits + 1):
        sealer._clock = partial(when, revision)
        await go_on(persistence, revision)
        if revision in COMPACTED:
            await compact_all(persistence)
    await persistence.close()


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
            return S3Store(*args, **options, session=shared_session(self.server))

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
        store = open_store(self.server, self.bucket, session=shared_session(self.server))
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
    async with client_of(server) as client, new_bucket(client, locking=locking) as bucket:
        if versioned and not locking:
            await keep_versions(client, bucket)
        yield Operator(server, client, bucket)


@asynccontextmanager
async def looking_on(server: S3Server, bucket: str) -> AsyncIterator[Operator]:
    """Give an operator of a bucket that others use as well, and see that nothing changes in it."""
    async with client_of(server) as client:
        operator = Operator(server, client, bucket)
        before = await operator.listing()
        yield operator
        assert await operator.listing() == before
