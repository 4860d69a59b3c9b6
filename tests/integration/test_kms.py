"""Keys that AWS KMS keeps, on moto's KMS: bots and every command, rotation, and a lost grant.

Each `KmsKeyring` stands for a process: it has a data key of its own, and nothing unwrapped yet.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.integration.operators import (
    ALICE,
    CANARIES,
    COMMITS,
    GROUP,
    Operator,
    Outcome,
    State,
    go_on,
    live,
    state_after,
)
from tests.moto_server import MotoServer, running_moto
from tests.support import BOT_ID, KEY, make_persistence, settled, state_of
from tests.support.bots import say
from tests.support.kms import ANYBODY, KmsDoor, kms_door, new_kms_key
from tests.support.on_demand import compacted, filled, on_demand, own

from ptb_s3 import Keyring, KeySource, KmsKeyring
from ptb_s3._format.container import HEAD, Header, read_header
from ptb_s3._format.entities import Kind
from ptb_s3._keys.kms_names import header_id
from ptb_s3.errors import (
    DamagedObjectError,
    KeyServiceError,
    KeyServiceUnavailableError,
    PersistenceError,
    UnknownKeyError,
)

OURS = ("GenerateDataKey", "Decrypt")


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    """An account of AWS with KMS in it; the bucket is on the server of `--s3`."""
    with running_moto() as server:
        yield server


@pytest.fixture
def door(moto: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsDoor]:
    """The way to KMS, for this process as the AWS chain has it."""
    with kms_door(moto) as door:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", door.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
        yield door


@dataclass
class Custody:
    """A bot whose key KMS keeps, and its operator.

    Attributes:
        operator: Has the bucket and the program.
        door: The way to KMS.
        arn: The KMS key.
    """

    operator: Operator
    door: KmsDoor
    arn: str

    @property
    def key_id(self) -> str:
        """Return the key's id in headers, as the documentation says to find it."""
        return header_id(self.arn.rpartition("/")[2])

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings by which KMS seals."""
        return {"PTB_S3_KEY": "", "PTB_S3_KMS_KEY_ID": self.arn}

    async def run(self, *command: object, **settings: str) -> Outcome:
        """Run the program with these keys, or with others."""
        environment = {"AWS_ENDPOINT_URL_KMS": self.door.endpoint_url}
        return await self.operator.run(*command, **environment, **(settings or self.settings))

    async def done(self, *command: object, **settings: str) -> Outcome:
        """Run the program, and see that it does as it is told."""
        outcome = await self.run(*command, **settings)
        assert outcome.exit_code == 0, outcome
        return outcome

    async def loaded(self, keyring: KeySource | None = None) -> State:
        """Return what a bot that starts now loads."""
        persistence = make_persistence(
            self.operator.store(), keyring=keyring or KmsKeyring(self.arn)
        )
        try:
            return await state_of(persistence, "order")
        finally:
            await persistence.close()

    async def goes_on(self, revision: int, keyring: KeySource | None = None) -> None:
        """Let another process of the bot start, and make one commit."""
        persistence = make_persistence(
            self.operator.store(), keyring=keyring or KmsKeyring(self.arn)
        )
        await state_of(persistence, "order")
        await go_on(persistence, revision)
        await settled(persistence)
        await persistence.close()

    async def headers(self) -> dict[str, Header]:
        """Return the headers of the current objects by name."""
        found = {}
        store = self.operator.store()
        for name in (HEAD, *Kind):
            fetched = await store.get(name)
            if fetched is not None:
                found[str(name)] = read_header(name, fetched.body)[0]
        await store.close()
        return found


@pytest.fixture
async def custody(moto: MotoServer, door: KmsDoor, empty: Operator) -> Custody:
    """A bot that has not run yet."""
    return Custody(empty, door, new_kms_key(moto))


@pytest.fixture
async def lived(custody: Custody) -> Custody:
    """A bot that has run for a while, in two processes."""
    await live(custody.operator.store(), COMMITS - 1, keyring=KmsKeyring(custody.arn))
    await custody.goes_on(COMMITS)
    custody.door.take_counts()
    return custody


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# A bot -----------------------------------------------------------------------------------------


async def test_new_state_and_restart(custody: Custody) -> None:
    """A process asks for one data key; the next one has each wrapped key unwrapped once."""
    await live(custody.operator.store(), 2, keyring=KmsKeyring(custody.arn))
    assert custody.door.take_counts() == {"GenerateDataKey": 1}
    assert {header.key for header in (await custody.headers()).values()} == {custody.key_id}
    assert await custody.loaded() == state_after(2)
    assert custody.door.take_counts() == {"GenerateDataKey": 1, "Decrypt": 1}


async def test_commits_ask_kms_for_nothing(custody: Custody) -> None:
    """From its load on, a bot commits and compacts without a request to KMS, or a way to it."""
    persistence = make_persistence(custody.operator.store(), keyring=KmsKeyring(custody.arn))
    await state_of(persistence, "order")
    custody.door.take_counts()
    custody.door.refuse("AccessDeniedException")
    for revision in range(1, COMMITS + 1):
        await go_on(persistence, revision)
    assert persistence._commits is not None
    for kind in Kind:
        await persistence._commits.repository.compact(kind)
    await persistence.catch_up()
    await persistence.flush()
    assert custody.door.take_counts() == {}


async def test_history_over_many_data_keys(custody: Custody) -> None:
    """Each process seals with a data key of its own, and each is unwrapped once, if needed."""
    for revision in range(1, 6):
        await custody.goes_on(revision)
    assert len(custody.door.secrets) == 5
    custody.door.take_counts()
    assert (await custody.done("verify", "--history")).exit_code == 0
    assert custody.door.take_counts() == {"Decrypt": 5}
    assert await custody.loaded() == state_after(5)


async def test_two_processes_at_once(custody: Custody) -> None:
    """A running bot takes over what another has sealed with a data key that it had not seen."""
    await custody.goes_on(1)
    one = make_persistence(custody.operator.store(), keyring=KmsKeyring(custody.arn))
    other = make_persistence(custody.operator.store(), keyring=KmsKeyring(custody.arn))
    await asyncio.gather(state_of(one, "order"), state_of(other, "order"))
    await one.update_user_data(1, {"of": "one"})
    custody.door.take_counts()
    await other.update_user_data(2, {"of": "other"})
    assert custody.door.take_counts() == {"Decrypt": 1}
    await one.catch_up()
    await one.update_user_data(3, {"of": "one"})
    await asyncio.gather(one.flush(), other.flush())
    users = (await custody.loaded())["user_data"]
    assert {1, 2, 3} <= users.keys()


async def test_reads_on_demand_ask_kms_from_either_loop(custody: Custody) -> None:
    """A start, a prefetch and code that cannot await each meet a data key of another process.

    Code that cannot await has a loop of its own, which asks KMS itself while the bot's is blocked.
    """
    keys, store = KmsKeyring, custody.operator.store
    await filled(store(), keyring=keys(custody.arn))
    app = on_demand(store(), keyring=keys(custody.arn), sync=0)
    custody.door.take_counts()
    async with app:
        for user in (1, 2, 3, 4):
            other = make_persistence(store(), keyring=keys(custody.arn))
            await state_of(other)
            await other.update_user_data(user, {"by": "other"})
            await compacted(other)
            await other.close()
            await say(app, "look", user=50)  # which takes that head over
            if user % 2:
                await app.prefetch(users=[user])  # type: ignore[attr-defined]
            assert app.user_data[user] == {"by": "other"}
            assert app.user_data[10 + user] == own(10 + user)
    assert custody.door.take_counts()["Decrypt"] > 4


async def test_alias_seals_and_its_key_opens(custody: Custody, moto: MotoServer) -> None:
    """An alias is asked for what is new; the header names the key, so that the id opens it."""
    alias = f"alias/shop-bot-{custody.key_id}"
    kms_id = custody.arn.rpartition("/")[2]
    moto.client("kms", ANYBODY).create_alias(AliasName=alias, TargetKeyId=kms_id)
    await custody.goes_on(1, KmsKeyring(alias, region_name="us-east-1"))
    assert {header.key for header in (await custody.headers()).values()} == {custody.key_id}
    assert await custody.loaded(KmsKeyring(alias, region_name="us-east-1")) == state_after(1)
    assert await custody.loaded(KmsKeyring(kms_id, region_name="us-east-1")) == state_after(1)


# Commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("status", "--json"),
        ("history",),
        ("show", "bot_data", "--json"),
        ("show", "--at", "3"),
        ("diff", "2"),
        ("diff", "1", "3"),
        ("verify",),
        ("verify", "--history"),
        ("repair",),
        ("restore", "2"),
        ("rotate",),
        ("compact", "--all"),
        ("prune", "--keep-last", "2", "--yes"),
        ("forget", str(ALICE), "--yes"),
        ("forget", str(GROUP), "--purge", "--yes"),
        ("export", "state.pickle"),
        ("export", "state.json", "--at", "2"),
        ("copy", "s3://{bucket}/copied/"),
        ("keys", "list"),
        ("doctor",),
    ],
    ids=" ".join,
)
async def test_every_command(lived: Custody, command: tuple[str, ...]) -> None:
    """Each command does its work on a state that KMS seals, and asks once for each data key."""
    bucket = lived.operator.bucket
    outcome = await lived.done(*(word.format(bucket=bucket) for word in command))
    asked = lived.door.take_counts()
    assert asked.get("GenerateDataKey", 0) <= 1
    assert asked.get("Decrypt", 0) <= 3  # two processes' data keys, and doctor's trial
    assert not [text for text in lived.door.secrets if text in outcome.stdout + outcome.stderr]
    assert await lived.loaded()


async def test_import_and_merge(lived: Custody) -> None:
    """An exported state is imported into a place that KMS seals."""
    await lived.done("export", "state.pickle")
    elsewhere = {**lived.settings, "PTB_S3_PREFIX": "elsewhere/"}
    await lived.done("import", "state.pickle", "--bot", BOT_ID, **elsewhere)
    await lived.done("verify", "--history", **elsewhere)
    await lived.done("import", "state.pickle", "--bot", BOT_ID, "--merge", "--replace", **elsewhere)


@pytest.mark.parametrize("by_kms", [True, False])
async def test_copy_to_other_keys(lived: Custody, moto: MotoServer, *, by_kms: bool) -> None:
    """A copy is sealed with the key of its place, be it a plain one or another of KMS's."""
    other = new_kms_key(moto)
    key = f"PTB_S3_KMS_KEY_ID={other}" if by_kms else f"PTB_S3_KEY={KEY.reveal()}"
    server = lived.operator.server
    places = {
        "BUCKET": lived.operator.bucket,
        "PREFIX": "new/",
        "ENDPOINT_URL": server.endpoint_url,
    }
    lines = [key, *(f"PTB_S3_{name}={value}" for name, value in places.items())]
    lines += [f"{name}={value}" for name, value in server.environment.items()]
    await lived.done("copy", "--to-env", written("new.env", lines))
    there = {"PTB_S3_PREFIX": "new/", "PTB_S3_KEY": "" if by_kms else KEY.reveal()}
    there |= {"PTB_S3_KMS_KEY_ID": other} if by_kms else {}
    await lived.done("verify", **there)


def written(name: str, lines: list[str]) -> str:
    """Write a file of variables, and return its name."""
    Path(name).write_text("\n".join(lines))
    return name


async def test_repair_and_begin_anew(lived: Custody) -> None:
    """A deleted state is brought back, and another begun, with data keys of KMS."""
    await lived.operator.delete(HEAD)
    assert (await lived.run("export", "state.pickle")).exit_code == 5
    await lived.done("repair", "--yes")
    assert await lived.loaded() == state_after(COMMITS)
    for name in (HEAD, *Kind):
        await lived.operator.delete(name)
    newest = (await lived.operator.versions(HEAD))[0]
    await lived.done("begin-anew", newest)
    assert (await lived.loaded())["user_data"] == {}


async def test_keys_list_names_them_and_asks_nobody(custody: Custody) -> None:
    """`keys list` shows the id and who keeps the key; of an alias, that nobody was asked."""
    retired = {**custody.settings, "PTB_S3_RETIRED_KEYS": KEY.reveal()}
    listed = (await custody.done("keys", "list", **retired)).stdout.splitlines()
    assert listed == [f"{custody.key_id}  sealing, kept by AWS KMS", f"{KEY.id}  retired"]
    named = {**custody.settings, "PTB_S3_KMS_KEY_ID": "alias/shop-bot"}
    assert (await custody.done("keys", "list", "--json", **named)).json == [
        {"id": None, "role": "sealing", "in_kms": True}
    ]
    assert custody.door.take_counts() == {}


async def test_status_says_who_keeps_the_key(lived: Custody) -> None:
    """The table of keys tells KMS's from others."""
    keys = (await lived.done("status", "--json")).json["keys"]
    assert [(key, need["role"], need["in_kms"]) for key, need in keys.items()] == [
        (lived.key_id, "seals", True)
    ]
    assert "seals, kept by AWS KMS" in (await lived.done("status")).stdout


async def test_doctor_tries_both_permissions(lived: Custody) -> None:
    """`doctor` makes and unwraps a data key, and says which permission is missing."""
    finding = await checked(lived)
    assert finding["status"] == "ok"
    assert lived.door.take_counts()["Decrypt"] >= 1
    for operation in OURS:
        lived.door.refusals.clear()
        lived.door.refuse("AccessDeniedException", operation)
        finding = await checked(lived, exit_code=7)
        assert finding["status"] == "failed"
        assert f"kms:{operation}" in finding["found"] + finding["remedy"]


async def checked(custody: Custody, exit_code: int = 0) -> Any:
    """Return what `doctor` finds of the key service."""
    outcome = await custody.run("doctor", "--json")
    assert outcome.exit_code == exit_code, outcome
    (finding,) = (c for c in outcome.json["checks"] if c["check"] == "key service")
    return finding


async def test_doctor_is_silent_where_none_keeps_a_key(operator: Operator) -> None:
    """Without KMS, there is no such check."""
    checks = (await operator.done("doctor", "--json")).json["checks"]
    assert "key service" not in {check["check"] for check in checks}


# Rotation --------------------------------------------------------------------------------------


async def test_from_a_plain_key_to_kms_and_back(custody: Custody, moto: MotoServer) -> None:
    """The old key retires, whichever keeps it; after `rotate` it is needed no more."""
    await live(custody.operator.store(), 3)
    moving = {**custody.settings, "PTB_S3_RETIRED_KEYS": KEY.reveal()}
    await custody.done("rotate", "--while-running", **moving)
    assert {header.key for header in (await custody.headers()).values()} == {custody.key_id}
    assert await custody.loaded() == state_after(3)  # without the plain key

    other = Custody(custody.operator, custody.door, new_kms_key(moto))
    retired = {**other.settings, "PTB_S3_RETIRED_KMS_KEY_IDS": custody.arn.rpartition("/")[2]}
    await custody.done("rotate", "--while-running", **retired)
    assert await custody.loaded(KmsKeyring(other.arn)) == state_after(3)

    back = {"PTB_S3_KEY": KEY.reveal(), "PTB_S3_RETIRED_KMS_KEY_IDS": other.arn}
    assert (await custody.run("status", PTB_S3_KEY=KEY.reveal())).exit_code == 4
    await custody.done("rotate", "--while-running", **back)
    assert await custody.loaded(Keyring(KEY)) == state_after(3)
    assert (await custody.run("verify", "--history", PTB_S3_KEY=KEY.reveal())).exit_code == 4
    every = {**back, "PTB_S3_RETIRED_KMS_KEY_IDS": f"{other.arn},{custody.arn}"}
    await custody.done("verify", "--history", **every)


async def test_restart_alone_rotates(custody: Custody) -> None:
    """What a retired plain key has sealed is sealed anew by the commits that follow."""
    await live(custody.operator.store(), 3)
    moved = KmsKeyring(custody.arn, retired=[KEY])
    persistence = make_persistence(custody.operator.store(), keyring=moved)
    await state_of(persistence, "order")
    await go_on(persistence, 4)
    await settled(persistence)
    await persistence.flush()
    assert {header.key for header in (await custody.headers()).values()} == {custody.key_id}
    assert await custody.loaded() == state_after(4)


async def test_restart_with_the_same_key_seals_nothing_anew(lived: Custody) -> None:
    """Another data key of the same KMS key is no other key: no start rewrites the state."""
    before = {name: header.commit for name, header in (await lived.headers()).items()}
    await lived.loaded()
    repository = json.loads((await lived.done("rotate", "--dry-run", "--json")).stdout)
    assert repository["sealed_otherwise"] == []
    assert {name: header.commit for name, header in (await lived.headers()).items()} == before


# Refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "error", "says"),
    [
        ("AccessDeniedException", 400, KeyServiceError, "are not allowed kms:Decrypt"),
        ("DisabledException", 400, KeyServiceError, "is disabled"),
        ("KMSInvalidStateException", 400, KeyServiceError, "cancel-key-deletion"),
        ("NotFoundException", 400, KeyServiceError, "no such key in region us-east-1"),
        ("UnrecognizedClientException", 400, KeyServiceError, "does not accept the credentials"),
        ("ExpiredTokenException", 400, KeyServiceError, "AWS_SESSION_TOKEN"),
        ("InvalidKeyUsageException", 400, KeyServiceError, "SYMMETRIC_DEFAULT"),
        ("SomethingNew", 400, KeyServiceError, "SomethingNew"),
        ("ThrottlingException", 400, KeyServiceUnavailableError, "could not do it now"),
        ("KMSInternalException", 500, KeyServiceUnavailableError, "could not do it now"),
        ("InvalidCiphertextException", 400, DamagedObjectError, "none that key"),
        ("IncorrectKeyException", 400, DamagedObjectError, "none that key"),
    ],
)
async def test_refusals_are_told_apart(
    lived: Custody, code: str, status: int, error: type[PersistenceError], says: str
) -> None:
    """A bot that cannot open does not start, changes nothing, and says whose turn it is."""
    before = await lived.operator.listing()
    lived.door.refuse(code, "Decrypt", status=status, message=f"on {lived.arn}")
    with pytest.raises(error, match=says) as caught:
        await lived.loaded()
    assert type(caught.value) is error
    assert lived.arn not in str(caught.value)
    assert lived.arn.split(":")[4] not in str(caught.value)
    outcome = await lived.run("export", "state.pickle")
    assert outcome.exit_code == caught.value.exit_code
    assert await lived.operator.listing() == before
    lived.door.refusals.clear()
    assert await lived.loaded() == state_after(COMMITS)


async def test_no_data_key_no_start(custody: Custody) -> None:
    """Where KMS makes no data key, a bot does not start, though there is nothing to open."""
    custody.door.refuse("AccessDeniedException", "GenerateDataKey")
    with pytest.raises(KeyServiceError, match="are not allowed kms:GenerateDataKey"):
        await custody.loaded()
    assert await custody.operator.listing() == []


async def test_grant_lost_meanwhile(lived: Custody) -> None:
    """A running bot saves on without KMS, and says of what it cannot open that it is no key."""
    persistence = make_persistence(lived.operator.store(), keyring=KmsKeyring(lived.arn))
    await state_of(persistence, "order")
    await lived.goes_on(COMMITS + 1)
    lived.door.refuse("AccessDeniedException", "Decrypt")
    with pytest.raises(KeyServiceError, match="kept in memory"):
        await persistence.update_user_data(1, {"kept": True})
    lived.door.refusals.clear()
    await persistence.flush()
    assert (await lived.loaded())["user_data"][1] == {"kept": True}


async def test_kms_out_of_reach(lived: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """No way to KMS is the exit code of a storage out of reach, and the address is named."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    with pytest.raises(KeyServiceUnavailableError, match=r"no connection to http://127\.0\.0\.1:1"):
        await lived.loaded()


async def test_throttled_once_is_tried_again(lived: Custody) -> None:
    """Weather is retried as the storage's is."""
    lived.door.refuse("ThrottlingException", once=True)
    assert await lived.loaded() == state_after(COMMITS)
    assert lived.door.take_counts() == {"GenerateDataKey": 2, "Decrypt": 3}


async def test_key_of_kms_is_missing(lived: Custody, moto: MotoServer) -> None:
    """A header whose key nobody has is told with the ids at hand, before KMS is asked."""
    other = new_kms_key(moto)
    with pytest.raises(UnknownKeyError, match="PTB_S3_RETIRED_KMS_KEY_IDS") as caught:
        await lived.loaded(KmsKeyring(other))
    assert caught.value.needed == lived.key_id
    assert caught.value.at_hand == (header_id(other.rpartition("/")[2]),)
    assert lived.door.take_counts() == {"GenerateDataKey": 1}


async def test_wrapped_key_of_another_purpose(lived: Custody, moto: MotoServer) -> None:
    """What the same KMS key has encrypted for something else is never taken for a data key."""
    client = moto.client("kms", ANYBODY)
    body = await lived.operator.read(HEAD)
    header = read_header(HEAD, body)[0]
    assert header.wrapped_key is not None
    blob = client.encrypt(KeyId=lived.arn, Plaintext=bytes(32))["CiphertextBlob"]
    forged = base64.b64encode(blob).decode()
    await lived.operator.put(HEAD, body.replace(header.wrapped_key.encode(), forged.encode()))
    with pytest.raises(DamagedObjectError, match="wrapped key"):
        await lived.loaded()


async def test_garbage_is_not_sent_to_kms(lived: Custody) -> None:
    """A wrapped key that is none is damage, and costs no request."""
    body = await lived.operator.read(HEAD)
    header = read_header(HEAD, body)[0]
    assert header.wrapped_key is not None
    for garbage in ("", "not base64!", "A" * 8196):
        changed = body.replace(header.wrapped_key.encode(), garbage.encode())
        await lived.operator.put(HEAD, changed)
        lived.door.take_counts()
        with pytest.raises(DamagedObjectError):
            await lived.loaded()
        blobs = {header.wrapped_key for header in (await lived.headers()).values()} - {garbage}
        assert lived.door.take_counts().get("Decrypt", 0) <= len(blobs)


# Secrets ---------------------------------------------------------------------------------------


async def test_nothing_shows_a_data_key(lived: Custody, caplog: pytest.LogCaptureFixture) -> None:
    """Neither log at any level, nor repr, pickle or traceback has a data key or a value."""
    caplog.set_level(logging.DEBUG)
    keyring = KmsKeyring(lived.arn)
    persistence = make_persistence(lived.operator.store(), keyring=keyring)
    await state_of(persistence, "order")
    await go_on(persistence, COMMITS)
    lived.door.refuse("IncorrectKeyException", "Decrypt")
    fresh = KmsKeyring(lived.arn)
    with pytest.raises(DamagedObjectError) as caught:
        await lived.loaded(fresh)
    error = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = [caplog.text, repr(keyring), repr(keyring.__dict__), "".join(error.format())]
    secrets = [form for text in lived.door.secrets for form in forms(text)]
    assert len(lived.door.secrets) >= 4
    assert "GenerateDataKey" in caplog.text  # it was logged that it was asked for
    assert not [text for text in (*secrets, *CANARIES) for there in shown if text in there]
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(keyring)
    await persistence.close()


def forms(secret: str) -> tuple[str, ...]:
    """Return the forms in which a data key could be shown."""
    raw = base64.b64decode(secret)
    return secret, raw.hex(), repr(raw)[2:-1]


async def test_each_request_is_bound(lived: Custody) -> None:
    """Each request names the key, and has the encryption context that a policy may ask for."""
    await lived.loaded()
    assert lived.door.regions == {lived.arn.split(":")[3]}
    assert lived.door.bodies
    for body in lived.door.bodies:
        assert body["EncryptionContext"] == {"ptb-s3": "1"}
        assert body["KeyId"] == lived.arn


# Processes -------------------------------------------------------------------------------------

BOT = """
import asyncio, sys
from tests.support.persistence import _Bot
from ptb_s3 import S3Persistence
persistence = S3Persistence.from_env()
persistence.bot = _Bot(4711)
async def main():
    users = await persistence.get_user_data()
    await persistence.update_user_data(int(sys.argv[1]), {"visits": len(users)})
    await persistence.flush()
    print(sorted(users))
asyncio.run(main())
"""


async def bot_process(custody: Custody, user: int, **settings: str) -> tuple[int, str, str]:
    """Run a bot in a process of its own: it loads the state, saves one user, and ends."""
    environment = {
        **os.environ,
        **custody.operator.environment(**(settings or custody.settings)),
        "AWS_ENDPOINT_URL_KMS": custody.door.endpoint_url,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BOT, str(user)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_processes_from_a_plain_key_to_kms_and_back(custody: Custody) -> None:
    """Bots in processes of their own, configured by variables alone, through both rotations."""
    plain = {"PTB_S3_KEY": KEY.reveal()}
    to_kms = {**custody.settings, "PTB_S3_RETIRED_KEYS": KEY.reveal()}
    back = {**plain, "PTB_S3_RETIRED_KMS_KEY_IDS": custody.arn}
    steps = [plain, to_kms, custody.settings, custody.settings, back, plain]
    for user, settings in enumerate(steps):
        code, out, err = await bot_process(custody, user, **settings)
        assert (code, err) == (0, ""), (user, err)
        assert out == f"{list(range(user))}\n"
        if settings == back:  # the state is small: head alone was sealed anew by the commit
            await custody.done("rotate", "--while-running", **back)
    assert custody.door.take_counts()["GenerateDataKey"] == 3


async def test_process_without_its_grant(lived: Custody) -> None:
    """A bot that starts without its grant ends with the error, and has changed nothing."""
    before = await lived.operator.listing()
    lived.door.refuse("AccessDeniedException")
    code, out, err = await bot_process(lived, 1)
    assert (code, out) == (1, "")
    assert "ptb_s3.errors.KeyServiceError: Could not" in err
    assert await lived.operator.listing() == before
