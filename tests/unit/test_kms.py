"""Keys that a key service keeps: names, cache, store and settings, without any network."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.support import (
    BOT_ID,
    KEY,
    OTHER_KEY,
    locals_of_ours,
    make_persistence,
    settled,
    state_of,
    update,
)
from tests.support.bots import say
from tests.support.on_demand import compacted, filled, on_demand, own, small_segments

from ptb_s3 import (
    Keyring,
    KeyService,
    KeySource,
    KmsKeyring,
    S3Persistence,
    SealedHeader,
    SealingKey,
)
from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.publication import publish
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._format.key_source import key_service
from ptb_s3._keys.data_keys import MAX_KEPT, DataKeys, Flights, Wrapped
from ptb_s3._keys.kms_names import header_id, kms_key
from ptb_s3._keys.unwrapping import unwrapping
from ptb_s3._storage.answers import NotSentError
from ptb_s3._storage.contract import Received, Sink, hand_over
from ptb_s3._storage.kms import KmsClient, MadeKey
from ptb_s3._storage.kms_answers import DECRYPT, Request, to_error, to_unanswered
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    DamagedObjectError,
    KeyFormatError,
    KeyServiceError,
    KeyServiceUnavailableError,
    SettingsError,
    UnknownKeyError,
)
from ptb_s3.settings import load_key_settings, load_settings

OWN = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:eu-central-1:123456789012:key/{OWN}"
MRK = f"mrk-{'5' * 32}"
REQUEST = Request(DECRYPT, "the key in PTB_S3_KMS_KEY_ID", "eu-central-1")


class Sealed:
    """As much of a header as a key source sees."""

    def __init__(self, wrapped_key: str | None, key: str = header_id(OWN)) -> None:
        self.object, self.key, self.wrapped_key = "head", key, wrapped_key


class FakeKms:
    """KMS in this process: wraps by adding a prefix, and counts.

    Attributes:
        asked: Operations in the order in which they were asked for.
        gate: Answers wait for it.
        refusal: Raised in place of an answer.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: Exception | None = None
        self.closed = 0

    async def make_key(self, key_id: str, label: str) -> MadeKey:
        await self._asked("make", label)
        secret = os.urandom(32)
        return MadeKey(secret, b"wrapped " + secret, ARN if "alias" in key_id else key_id)

    async def unwrap(self, key_id: str, label: str, wrapped: bytes) -> bytes | None:
        assert key_id in {ARN, OWN, MRK}, "an alias opens nothing"
        await self._asked("unwrap", label)
        return wrapped[8:] if wrapped.startswith(b"wrapped ") else None

    async def close(self) -> None:
        self.closed += 1

    async def _asked(self, operation: str, label: str) -> None:
        assert label.startswith(("the key in PTB_S3_KMS_KEY_ID", "key 1 in PTB_S3_RETIRED_KMS"))
        self.asked.append(operation)
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> FakeKms:
    """A KMS that each client of this test asks."""
    fake = FakeKms()
    monkeypatch.setattr("ptb_s3._keys.kms_keys.KmsClient", lambda *_: fake)
    return fake


def wrapped(secret: bytes) -> str:
    """Return a wrapped key as the fake makes it."""
    return base64.b64encode(b"wrapped " + secret).decode()


# Names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "region", "own"),
    [
        (ARN, "eu-central-1", OWN),
        (f" {OWN}\n", None, OWN),
        (MRK, None, MRK),
        (f"arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/{MRK}", "us-gov-west-1", MRK),
        ("alias/shop-bot", None, None),
        ("arn:aws:kms:eu-central-1:123456789012:alias/shop-bot", "eu-central-1", None),
    ],
)
def test_names_of_keys(text: str, region: str | None, own: str | None) -> None:
    """ARN, id and alias are taken; the id in headers is the same for each form and replica."""
    key = kms_key(text, "It")
    assert (key.name, key.region) == (text.strip(), region)
    assert key.id == (None if own is None else header_id(own))
    assert "123456789012" not in repr(key)


def test_id_in_headers_is_as_the_format_says() -> None:
    """FORMAT.md: first 16 digits of the SHA-256 of the key's own id. Computed by sha256sum."""
    assert header_id(OWN) == "0ee49f6f7aa27ef1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (KEY.reveal(), "belongs in PTB_S3_KEY"),
        ("", "no name of an AWS KMS key"),
        ("shop-bot", "no name of an AWS KMS key"),
        (f"{ARN} ", None),
        (ARN.replace("key/", "grant/"), "no name of an AWS KMS key"),
        (ARN.replace(":kms:", ":s3:"), "no name of an AWS KMS key"),
        (OWN[:-1], "no name of an AWS KMS key"),
        ("alias/", "no name of an AWS KMS key"),
        ("alias/a b", "no name of an AWS KMS key"),
    ],
)
def test_what_is_no_name(text: str, says: str | None) -> None:
    """Anything else is refused without being shown."""
    if says is None:
        assert kms_key(text, "It").region
        return
    with pytest.raises(KeyFormatError, match=says) as caught:
        kms_key(text, "It")
    assert text in ("", "alias/") or text not in str(caught.value)  # which the remedy shows


@pytest.mark.parametrize(
    "given", [{"kms_key_id": KEY.reveal()}, {"key": KEY, "retired_kms_key_ids": [KEY.reveal()]}]
)
def test_misplaced_key_is_in_no_traceback(given: dict[str, Any]) -> None:
    """A key in the place of a name is refused, and no frame of ours keeps it."""
    with pytest.raises(KeyFormatError, match="belongs in PTB_S3_KEY") as caught:
        KmsKeyring(**given)
    assert not [local for local in locals_of_ours(caught.value) if KEY.reveal() in local]


def test_alias_opens_nothing() -> None:
    """An alias may be another key's by now, so that a retired key is not named by one."""
    with pytest.raises(KeyFormatError, match="is an alias"):
        KmsKeyring(ARN, retired_kms_key_ids=["alias/old"])


@pytest.mark.parametrize("given", [{}, {"kms_key_id": ARN, "key": KEY}])
def test_one_key_seals(given: dict[str, Any]) -> None:
    """Neither no key nor two seal."""
    with pytest.raises(KeyFormatError, match="Give one key that seals"):
        KmsKeyring(**given)


def test_retired_names_are_a_list() -> None:
    """A single text would be taken for one key a letter."""
    with pytest.raises(KeyFormatError, match="as a list"):
        KmsKeyring(ARN, retired_kms_key_ids=MRK)


def test_keys_that_contradict_each_other() -> None:
    """A key that opens what is current is no history key."""
    with pytest.raises(KeyFormatError, match="among the retired keys and the history keys"):
        KmsKeyring(ARN, retired=[KEY], history=[KEY])


# The keyring -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("kms")
async def test_ids_begin_with_the_one_that_seals() -> None:
    """Whichever keeps it; of an alias, once KMS has told."""
    ring = KmsKeyring(ARN, retired=[KEY], history=[OTHER_KEY], retired_kms_key_ids=[MRK, OWN])
    assert ring.ids == (header_id(OWN), header_id(MRK), KEY.id)
    assert (ring.history_ids, ring.kms_ids) == ((OTHER_KEY.id,), ring.ids[:2])
    assert KmsKeyring(key=KEY, retired_kms_key_ids=[MRK]).ids == (KEY.id, header_id(MRK))
    named = KmsKeyring("alias/bot", retired_kms_key_ids=[MRK])
    assert (named.ids, named.is_named) == ((header_id(MRK),), False)
    await named.prepare_sealing()
    assert (named.ids, named.is_named) == ((header_id(OWN), header_id(MRK)), True)


async def test_sealing_key_is_made_once(kms: FakeKms) -> None:
    """However many ask at the same time, or later."""
    ring = KmsKeyring(ARN)
    with pytest.raises(RuntimeError, match="await prepare_sealing"):
        ring.sealing_key()
    await asyncio.gather(*(ring.prepare_sealing() for _ in range(5)))
    await ring.for_history().prepare_sealing()
    assert kms.asked == ["make"]
    made = ring.sealing_key()
    assert (made.key_id, made.wrapped_key) == (header_id(OWN), wrapped(made.secret))
    assert ring.opening_key(Sealed(made.wrapped_key)) == made.secret  # its own, without asking
    assert kms.asked == ["make"]


@pytest.mark.parametrize(
    "answer",
    [
        MadeKey(None, None, None),
        MadeKey(bytes(16), b"wrapped", ARN),
        MadeKey(bytes(32), None, ARN),
        MadeKey(bytes(32), b"wrapped", "alias/bot"),
    ],
)
async def test_answer_without_a_data_key(kms: FakeKms, answer: MadeKey) -> None:
    """What answers in KMS's place, and is not KMS, is told as that; nothing shows the answer."""
    answering = mock.patch.object(kms, "make_key", mock.AsyncMock(return_value=answer))
    with answering, pytest.raises(KeyServiceError, match="AWS_ENDPOINT_URL_KMS") as caught:
        await KmsKeyring(ARN).prepare_sealing()
    assert not [local for local in locals_of_ours(caught.value) if "x00" in local]


async def test_opening_asks_once_for_each_wrapped_key(kms: FakeKms) -> None:
    """Concurrent openers share one request, and later ones need none."""
    ring, header = KmsKeyring(ARN), Sealed(wrapped(bytes(32)))
    with pytest.raises(RuntimeError, match="await prepare_opening"):
        ring.opening_key(header)
    await asyncio.gather(*(ring.prepare_opening(header) for _ in range(5)))
    await ring.for_history().prepare_opening(header)
    assert kms.asked == ["unwrap"]
    assert ring.opening_key(header) == ring.for_history().opening_key(header) == bytes(32)


@pytest.mark.parametrize(
    "secret", [bytes(31), bytes(33), b""], ids=lambda secret: f"{len(secret)} bytes"
)
@pytest.mark.usefixtures("kms")
async def test_data_key_of_another_size_is_damage(secret: bytes) -> None:
    """What KMS unwraps has to be 32 bytes: a header is anybody's."""
    ring, header = KmsKeyring(ARN), Sealed(wrapped(secret))
    await ring.prepare_opening(header)
    with pytest.raises(DamagedObjectError, match="none that key"):
        ring.opening_key(header)


async def test_what_is_no_data_key_is_asked_for_once(kms: FakeKms) -> None:
    """Whoever writes to the bucket does not have KMS asked with each read."""
    ring, header = KmsKeyring(ARN), Sealed(base64.b64encode(b"forged").decode())
    for _ in range(3):
        await ring.prepare_opening(header)
        with pytest.raises(DamagedObjectError):
            ring.opening_key(header)
    assert kms.asked == ["unwrap"]


@pytest.mark.parametrize("text", [None, "", "no base64", "AAA", "A" * 8196, "AAAA\n"])
async def test_garbage_is_never_sent(kms: FakeKms, text: str | None) -> None:
    """A wrapped key that is none is damage before anybody is asked."""
    ring = KmsKeyring(ARN)
    await ring.prepare_opening(Sealed(text))
    with pytest.raises(DamagedObjectError, match="wrapped key"):
        ring.opening_key(Sealed(text))
    assert kms.asked == []


async def test_unknown_and_plain_keys_are_not_asked_for(kms: FakeKms) -> None:
    """KMS is asked for the keys that it keeps, and no others."""
    ring = KmsKeyring(ARN, retired=[KEY], history=[OTHER_KEY])
    strange = Sealed(wrapped(bytes(32)), "0" * 16)
    for header in (strange, Sealed(wrapped(bytes(32)), KEY.id), Sealed(None, OTHER_KEY.id)):
        await ring.prepare_opening(header)
    assert kms.asked == []
    with pytest.raises(UnknownKeyError, match="PTB_S3_RETIRED_KMS_KEY_IDS"):
        ring.opening_key(strange)
    with pytest.raises(UnknownKeyError, match="PTB_S3_HISTORY_KEYS") as caught:
        ring.opening_key(Sealed(None, OTHER_KEY.id))
    assert caught.value.in_history
    assert ring.opening_key(Sealed(None, KEY.id)) == KEY.seal_key
    assert ring.for_history().opening_key(Sealed(None, OTHER_KEY.id)) == OTHER_KEY.seal_key


async def test_failure_to_ask_is_not_remembered(kms: FakeKms) -> None:
    """A grant may come back, and the network as well."""
    ring, header = KmsKeyring(ARN), Sealed(wrapped(bytes(32)))
    kms.refusal = KeyServiceError("denied")
    for _ in range(2):
        with pytest.raises(KeyServiceError):
            await ring.prepare_opening(header)
    kms.refusal = None
    await ring.prepare_opening(header)
    assert ring.opening_key(header) == bytes(32)


async def test_alias_opens_what_its_key_has_sealed(kms: FakeKms) -> None:
    """Which key that is, KMS tells with the data key; the opener waits for it."""
    ring, header = KmsKeyring("alias/bot"), Sealed(wrapped(bytes(32)))
    await ring.prepare_opening(header)
    assert ring.opening_key(header) == bytes(32)
    assert kms.asked == ["make", "unwrap"]


def test_next_loop_shares_nothing_with_a_closed_one(kms: FakeKms) -> None:
    """A request that a closed loop left behind is no use to the next one, as on Lambda."""
    ring, header = KmsKeyring(ARN), Sealed(wrapped(bytes(32)))

    async def cut_off() -> None:
        kms.gate = asyncio.Event()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ring.prepare_opening(header)

    async def again() -> bytes:
        kms.gate = asyncio.Event()
        kms.gate.set()
        async with asyncio.timeout(5):
            await ring.prepare_opening(header)
        return ring.opening_key(header)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(cut_off())
    task = next(iter(asyncio.all_tasks(loop)))
    assert asyncio.run(again()) == bytes(32)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


async def test_cache_is_bounded_and_keeps_what_is_used() -> None:
    """The newest stay, and the process's own for ever."""

    async def unwrap(_: str, text: bytes) -> bytes:
        return text

    def numbered(number: int) -> Sealed:
        return Sealed(base64.b64encode(number.to_bytes(32)).decode())

    keys = DataKeys(unwrap)
    keys.add_own(Wrapped(header_id(OWN), wrapped(bytes(32))), bytes(32))
    for number in range(MAX_KEPT):
        await keys.fetch(numbered(number))
    await keys.fetch(numbered(0))
    await keys.fetch(numbered(MAX_KEPT))
    assert keys.get(numbered(0)) == bytes(32)
    assert keys.get(Sealed(wrapped(bytes(32)))) == bytes(32)
    with pytest.raises(RuntimeError):
        keys.get(numbered(1))


async def test_cancelled_caller_leaves_the_request_to_others() -> None:
    """One of two who wait gives up; the other gets the answer."""
    gate, flights = asyncio.Event(), Flights()

    async def ask() -> None:
        await gate.wait()

    first, second = (asyncio.create_task(flights.join("it", ask)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    await second
    assert first.cancelled()


# The store -------------------------------------------------------------------------------------


def test_plain_keys_leave_the_store_as_it_is() -> None:
    """A keyring, or a source of one's own without coroutines, is asked as before."""
    store = MemoryStore()
    assert key_service(Keyring(KEY)) is None
    assert unwrapping(store, Keyring(KEY)) is store


class Piecemeal(MemoryStore):
    """Store whose objects arrive in small pieces, with a pause after each."""

    begun = 1

    async def stream(
        self, name: str, into: Sink, *, if_none_match: str | None = None
    ) -> Received | None:
        found = await self.get(name, if_none_match=if_none_match)
        if found is None:
            return hand_over(None, into)
        for _ in range(self.begun):
            feed = into(len(found.body))
            for at in range(0, len(found.body), 100):
                feed(found.body[at : at + 100])
                await asyncio.sleep(0)
        return Received(*found[1:])


async def committed(kms: FakeKms, store: MemoryStore) -> None:
    """Have one process commit to a store."""
    persistence = make_persistence(store, keyring=KmsKeyring(ARN))
    await state_of(persistence)
    await update(persistence, {"bot_data": {"tea": "Oolong" * 500}})
    await settled(persistence)
    await persistence.flush()
    kms.asked.clear()


@pytest.mark.parametrize("begun", [1, 2])
async def test_transfer_waits_for_its_key(kms: FakeKms, begun: int) -> None:
    """Pieces are held back while KMS is asked, also where a transfer begins anew."""
    store = Piecemeal()
    await committed(kms, store)
    store.begun = begun
    kms.gate.clear()
    persistence = make_persistence(store, keyring=KmsKeyring(ARN))
    loading = asyncio.create_task(state_of(persistence))
    for _ in range(500):
        await asyncio.sleep(0)
    assert sorted(set(kms.asked)) == ["make", "unwrap"]
    assert not loading.done()
    kms.gate.set()
    assert (await loading)["bot_data"] == {"tea": "Oolong" * 500}
    assert kms.asked.count("make") == kms.asked.count("unwrap") == 1


async def test_key_is_asked_for_while_the_state_is_read(kms: FakeKms) -> None:
    """The data key of a process costs no time of its own: the storage is asked meanwhile."""
    store = MemoryStore()
    await committed(kms, store)
    persistence = make_persistence(store, keyring=KmsKeyring(ARN))
    read = asyncio.Event()
    get = store.get

    async def reading(*args: Any, **options: Any) -> Any:
        read.set()
        return await get(*args, **options)

    kms.gate.clear()
    with mock.patch.object(store, "get", reading):
        loading = asyncio.create_task(state_of(persistence))
        await asyncio.wait_for(read.wait(), 5)  # though KMS has not answered
        kms.gate.set()
        await loading


async def test_close_closes_the_service(kms: FakeKms) -> None:
    """A flush, a close and a load that fails leave no connection open."""
    persistence = make_persistence(MemoryStore(), keyring=KmsKeyring(ARN))
    await state_of(persistence)
    await persistence.close()
    assert kms.closed == 1
    kms.refusal = KeyServiceError("denied")
    failing = make_persistence(MemoryStore(), keyring=KmsKeyring(ARN))
    with pytest.raises(KeyServiceError):
        await state_of(failing)
    assert kms.closed >= 2


class OwnService:
    """Key service of a user's own, as the page describes it: it has no more than it must."""

    def __init__(self) -> None:
        self.secret: bytes | None = None
        self.unwrapped: dict[str, bytes] = {}

    async def prepare_sealing(self) -> None:
        self.secret = self.secret or os.urandom(32)

    async def prepare_opening(self, header: SealedHeader) -> None:
        if header.wrapped_key is not None:
            self.unwrapped[header.wrapped_key] = bytes.fromhex(header.wrapped_key)

    async def close(self) -> None:
        self.unwrapped.clear()

    def sealing_key(self) -> SealingKey:
        assert self.secret is not None
        self.unwrapped[self.secret.hex()] = self.secret
        return SealingKey("0" * 16, self.secret, self.secret.hex())

    def opening_key(self, header: SealedHeader) -> bytes:
        return self.unwrapped[header.wrapped_key or ""]


async def test_key_service_of_ones_own() -> None:
    """Another service is another class: whoever has the coroutines is awaited."""
    store = MemoryStore()
    service: KeyService = OwnService()
    for number in range(3):
        source: KeySource = OwnService() if number else service
        persistence = make_persistence(store, keyring=source)
        state = await state_of(persistence)
        assert state["bot_data"] == ({"n": number - 1} if number else {})
        await update(persistence, {"bot_data": {"n": number}})
        await persistence.flush()


async def test_state_of_elsewhere_is_sealed_by_kms(kms: FakeKms) -> None:
    """What was never loaded here, as in a copy, is written once KMS has made a data key."""
    source = Repository(MemoryStore(), Keyring(KEY), bot=BOT_ID, serializer="pickle5")
    await source.load()
    source.stage(Kind.BOT_DATA, BOT_DATA_KEY, b"tea")
    await source.commit()
    copied = Repository(MemoryStore(), KmsKeyring(ARN))
    copied.begin_from(source.base)
    await publish(copied, lambda _: None)
    assert kms.asked == ["make"]
    bare = Repository(MemoryStore(), KmsKeyring(ARN))
    bare.begin_from(source.base)
    await bare.commit(publish=True, operation=Operation())
    assert kms.asked == ["make", "make"]


# On demand ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kms")
async def test_blob_of_another_process_is_read_on_demand() -> None:
    """Head and blobs are of different processes, and so of different data keys."""
    store = MemoryStore(versioned=False)
    with small_segments():
        await filled(store, keyring=KmsKeyring(ARN))
        later = make_persistence(store, keyring=KmsKeyring(ARN))
        await state_of(later)
        await update(later, {"bot_data": {"tea": "Oolong"}})
        await later.flush()
        async with on_demand(store, keyring=KmsKeyring(ARN)) as app:
            await say(app, "hello", user=30)
            assert app.user_data[30] == own(30)
            assert app.user_data[7] == own(7)  # without a prefetch
            other = make_persistence(store, keyring=KmsKeyring(ARN))
            await state_of(other)
            await update(other, {"user_data": {8: {"by": "other"}}})
            await compacted(other)
            await app.prefetch(users=[8])  # type: ignore[attr-defined]
            assert app.user_data[8] == {"by": "other"}
            assert app.user_data[9] == own(9)


def test_fork_goes_on_with_the_same_data_key(kms: FakeKms) -> None:
    """A child has the data keys of its parent, and a loop of its own; it opens what it seals."""
    ring, header = KmsKeyring(ARN), Sealed(wrapped(bytes(32)))

    async def prepare() -> bytes:
        async with asyncio.timeout(5):
            await ring.prepare_sealing()
            await ring.prepare_opening(header)
        return ring.opening_key(header)

    asyncio.run(prepare())
    child = os.fork()
    if child == 0:
        good = asyncio.run(prepare()) == bytes(32) and kms.asked == ["make", "unwrap"]
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


# Settings --------------------------------------------------------------------------------------


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., KmsKeyring]:
    """Return a function that gives the keyring of some variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTB_S3_BUCKET", "my-bucket")

    def ring(**variables: str) -> KmsKeyring:
        for name, value in variables.items():
            monkeypatch.setenv(f"PTB_S3_{name}", value)
        keyring = load_settings().keyring()
        assert isinstance(keyring, KmsKeyring)
        return keyring

    return ring


def test_settings_of_kms(settings: Callable[..., KmsKeyring]) -> None:
    """Each mix of plain keys and KMS's has its variables."""
    ring = settings(
        KMS_KEY_ID=f" {ARN}\n",
        RETIRED_KEYS=KEY.reveal(),
        HISTORY_KEYS=OTHER_KEY.reveal(),
        RETIRED_KMS_KEY_IDS=f"{MRK}, ,",
    )
    assert ring.ids == (header_id(OWN), header_id(MRK), KEY.id)
    assert ring.history_ids == (OTHER_KEY.id,)
    assert load_key_settings().keyring().ids == ring.ids


def test_plain_key_with_a_retired_one_in_kms(settings: Callable[..., KmsKeyring]) -> None:
    """The way back: a plain key seals, and KMS's opens."""
    assert settings(KEY=KEY.reveal(), RETIRED_KMS_KEY_IDS=MRK).ids == (KEY.id, header_id(MRK))


async def test_session_of_the_storage_asks_kms(
    settings: Callable[..., KmsKeyring], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that are given in code are those that KMS is asked with as well."""
    asked: list[object] = []

    def client(*args: object) -> FakeKms:
        asked.append(args[2])
        return FakeKms()

    monkeypatch.setattr("ptb_s3._keys.kms_keys.KmsClient", client)
    settings(KMS_KEY_ID=ARN)
    session: Any = object()
    persistence: Any = S3Persistence.from_env(None, session=session)
    await persistence._keyring.prepare_sealing()
    assert asked == [session]


@pytest.mark.parametrize("other", ["PTB_S3_KEY", "PTB_S3_KEY_FILE"])
def test_two_keys_that_seal(settings: Callable[..., KmsKeyring], other: str) -> None:
    """A plain key, or a file with one, beside a KMS key says which to take out."""
    with pytest.raises(SettingsError) as caught:
        settings(KMS_KEY_ID=ARN, **{other.removeprefix("PTB_S3_"): KEY.reveal()})
    assert str(caught.value).startswith(f"PTB_S3_KMS_KEY_ID is set, and {other} as well")
    assert f"take {other} out" in str(caught.value)
    assert KEY.reveal() not in str(caught.value)


def test_faults_of_kms_settings_are_told_together(settings: Callable[..., KmsKeyring]) -> None:
    """One start tells all of them, by variable and number, and shows none."""
    with pytest.raises(SettingsError) as caught:
        settings(KMS_KEY_ID="shop", RETIRED_KMS_KEY_IDS=f"{OWN},alias/old", PREFIX="/")
    lines = str(caught.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "PTB_S3_KMS_KEY_ID",
        "PTB_S3_RETIRED_KMS_KEY_IDS:",
        "PTB_S3_PREFIX",
    ]
    assert "key 2 is an alias" in lines[1]
    assert "shop" not in lines[0]


@pytest.mark.parametrize(
    ("region", "endpoint", "otherwise"),
    [
        ("eu-west-1", "", "eu-west-1"),
        ("auto", "https://x.r2.cloudflarestorage.com", None),
        ("", "", None),
    ],
)
async def test_region_of_kms(
    settings: Callable[..., KmsKeyring],
    monkeypatch: pytest.MonkeyPatch,
    region: str,
    endpoint: str,
    otherwise: str | None,
) -> None:
    """The ARN's; else AWS's settings; else the bucket's, if that is on AWS."""
    asked: list[tuple[object, ...]] = []

    def client(*args: object) -> FakeKms:
        asked.append(args[:2])
        return FakeKms()

    monkeypatch.setattr("ptb_s3._keys.kms_keys.KmsClient", client)
    ring = settings(KMS_KEY_ID=OWN, REGION=region, ENDPOINT_URL=endpoint, RETIRED_KMS_KEY_IDS=ARN)
    with mock.patch("ptb_s3._keys.kms_keys.answered_key", return_value=kms_key(OWN, "It")):
        await ring.prepare_sealing()
    assert asked == [(None, otherwise)]
    asked.clear()
    await settings(KMS_KEY_ID=ARN, RETIRED_KMS_KEY_IDS="").prepare_sealing()
    assert asked == [("eu-central-1", otherwise)]


async def test_no_region_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any region, the error says to give the ARN."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    client = KmsClient(None)
    with pytest.raises(SettingsError, match="Give the key's ARN, or set AWS_REGION"):
        await client.make_key(OWN, "the key in PTB_S3_KMS_KEY_ID")
    await client.close()


# Answers ---------------------------------------------------------------------------------------


def test_policy_of_an_organisation_is_named() -> None:
    """AWS's message says which policy denies; the rest of it names accounts, and is left out."""
    message = f"User: arn:aws:iam::1:user/x is denied with a service control policy on {ARN}"
    error = to_error(REQUEST, "AccessDeniedException", 400, message)
    assert "service control policy forbids it" in str(error)
    assert "arn:" not in str(error)


def test_code_of_a_proxy_is_no_text() -> None:
    """What is shown of a code goes into logs, and is bounded."""
    error = to_error(REQUEST, "<html>\n" * 100, 400, "")
    assert "<" not in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (TimeoutError(), KeyServiceUnavailableError),
        (ConnectionResetError(), KeyServiceUnavailableError),
        (NotSentError(type("NoCredentialsError", (Exception,), {})()), KeyServiceError),
        (NotSentError(type("ProfileNotFound", (Exception,), {})()), KeyServiceError),
        (type("CertificatesError", (Exception,), {})(), SettingsError),
        (type("ParamValidationError", (Exception,), {})(), SettingsError),
    ],
    ids=lambda it: type(it).__name__,
)
def test_missing_answers(failure: Exception, error: type[Exception]) -> None:
    """No answer is weather, and what is wrong here is said as it is of the storage."""
    told = to_unanswered(REQUEST, failure, "https://kms.eu-central-1.amazonaws.com")
    assert type(told) is error
    assert str(told).startswith("Could not unwrap a data key with the key in PTB_S3_KMS_KEY_ID: ")
    assert "bucket" not in str(told)
    assert "S3 " not in str(told)


def test_other_exceptions_are_let_through() -> None:
    """A fault of ours is not taken for KMS's."""
    assert to_unanswered(REQUEST, KeyError(), "") is None


# Weight ----------------------------------------------------------------------------------------


def test_nothing_of_kms_is_imported_for_plain_keys() -> None:
    """A bot with a plain key imports neither the client nor the keyring of KMS."""
    code = (
        "import sys, asyncio\n"
        "from ptb_s3.testing import memory_persistence\n"
        "from ptb_s3 import S3Persistence\n"
        "S3Persistence.from_env(None)\n"
        "asyncio.run(memory_persistence().get_user_data())\n"
        "print(*(name for name in sys.modules if 'kms' in name or name.endswith('data_keys')))"
    )
    settings = {"PTB_S3_BUCKET": "my-bucket", "PTB_S3_KEY": KEY.reveal()}
    run = subprocess.run(  # noqa: S603 - this Python
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == ""
