"""What bad input gets: a bot that cannot read its state does not start, and changes nothing.

Each error says what happened and what to do.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from telegram import Update
from telegram.ext import ContextTypes, MessageHandler, PersistenceInput, filters
from tests.integration.operators import compact_all
from tests.servers import S3Client, S3Server
from tests.support import BOT_ID, KEY, OTHER_KEY, make_persistence, settled, update
from tests.support.bots import (
    PREFIX,
    TOKEN,
    Bots,
    Context,
    asking,
    gather_errors,
    persistence_of,
    remembering,
    say,
)
from tests.support.faultproxy import FaultProxy, Lost

from ptb_s3 import Keyring
from ptb_s3._format import container
from ptb_s3._format.container import HEAD, MAGIC, MAX_HEADER, MAX_PAGE
from ptb_s3._format.entities import Kind
from ptb_s3._format.key_source import SealingKey
from ptb_s3._format.reader import Reader
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    PersistenceError,
    SerializationError,
    SettingsError,
    StorageUnavailableError,
    UnknownKeyError,
    UnknownTypeError,
    UntrustedTypeError,
)

OTHER_PREFIX = "other-bot/"


@pytest.fixture(autouse=True)
def _no_pause_between_two_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit together is read again after a pause; nobody needs to sit it out here."""
    monkeypatch.setattr("ptb_s3._engine.loading.LOAD_PAUSE", 0)


@pytest.fixture
async def stored(bots: Bots) -> Bots:
    """Bots on a bucket that holds a state: several commits of two runs, and blobs of all kinds."""
    async with bots.run(remembering(), asking("order")) as app:
        await say(app, "tea")
        await app.update_persistence()
        await say(app, "/start")
    async with bots.run(remembering(), asking("order")) as app:
        await say(app, "milk", user=2)
        await app.update_persistence()
        await compact_all(persistence_of(app))
    return bots


async def refusal(
    bots: Bots, error: type[PersistenceError], *, token: str = TOKEN, **options: Any
) -> str:
    """Start a bot that must refuse to start, and return what it says.

    The bucket must be as before, and no connection left open: PTB does not shut down what it could
    not initialise.
    """
    before = await bots.versions()
    persistence = bots.persistence(**options)
    with pytest.raises(error) as caught:
        async with bots.run(remembering(), token=token, persistence=persistence):
            pass
    assert type(caught.value) is error
    assert await bots.versions() == before
    store: Any = persistence._loader.store
    assert not store._requester._link.links
    return str(caught.value)


# The storage --------------------------------------------------------------------------------------


async def test_bucket_missing(bots: Bots, s3_client: S3Client) -> None:
    """A bucket that does not exist is an error, and is not created."""
    name = f"ptb-s3-test-{secrets.token_hex(8)}"
    text = await refusal(bots, BucketNotFoundError, bucket=name)
    assert f"in bucket '{name}'" in text
    assert "The bucket does not exist. Create it" in text
    assert "PTB_S3_BUCKET" in text
    assert name not in [bucket["Name"] for bucket in (await s3_client.list_buckets())["Buckets"]]


async def test_secret_key_wrong(stored: Bots, s3_server: S3Server) -> None:
    """Credentials that are not right are an error that names the variables to look at."""
    session = s3_server.session(aws_secret_access_key=secrets.token_hex(20))
    text = await refusal(stored, AccessDeniedError, session=session)
    assert "403 SignatureDoesNotMatch" in text
    assert "AWS_SECRET_ACCESS_KEY" in text


async def test_access_key_unknown(stored: Bots, s3_server: S3Server) -> None:
    """An access key that the storage does not know is an error, and not "nothing there"."""
    session = s3_server.session(aws_access_key_id=secrets.token_hex(10))
    text = await refusal(stored, AccessDeniedError, session=session)
    assert "403 InvalidAccessKeyId" in text
    assert "AWS_ACCESS_KEY_ID" in text


@asynccontextmanager
async def _without_list_bucket(server: S3Server) -> AsyncIterator[tuple[str, list[str]]]:
    """The S3 server as it is without ListBucket: 403 stands for 404.

    None of the servers that run here keeps S3's rule, and who may do what is set up differently on
    each, so their 404 is made a 403 on its way. Gives its URL, and the methods of all requests.
    """
    methods: list[str] = []
    denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

    async def forward(request: web.Request) -> web.Response:
        methods.append(request.method)
        async with session.request(
            request.method,
            server.endpoint_url + request.raw_path,
            headers=request.headers,
            data=await request.read(),
        ) as answer:
            if answer.status == web.HTTPNotFound.status_code:
                return web.Response(status=403, body=denied, content_type="application/xml")
            names = {name for name in answer.headers if name.lower().startswith(("etag", "x-amz"))}
            headers = {name: answer.headers[name] for name in names}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    async with ClientSession() as session:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", methods
        finally:
            await runner.cleanup()


async def test_list_bucket_missing_in_a_new_store(bots: Bots, s3_server: S3Server) -> None:
    """403 in the place of 404 is not taken for a new store, and the error names the permission."""
    async with _without_list_bucket(s3_server) as (url, methods):
        text = await refusal(bots, AccessDeniedError, endpoint_url=url)
    assert "403 AccessDenied" in text
    assert "Without ListBucket, S3 answers 403 for an object that does not exist" in text
    assert set(methods) == {"GET"}


async def test_list_bucket_missing_where_a_blob_is(stored: Bots, s3_server: S3Server) -> None:
    """A state that is there in part, and denied in part, is not read as that part."""
    await stored.delete("user_data")
    async with _without_list_bucket(s3_server) as (url, methods):
        text = await refusal(stored, AccessDeniedError, endpoint_url=url)
    assert "object 'bot/user_data'" in text
    assert set(methods) == {"GET"}


@pytest.mark.usefixtures("impatient")
async def test_endpoint_down_at_start(stored: Bots, fault_proxy: FaultProxy) -> None:
    """An endpoint that refuses connections is an error, and not "nothing there"."""
    await fault_proxy.refuse()
    text = await refusal(stored, StorageUnavailableError, endpoint_url=fault_proxy.endpoint_url)
    assert f"no connection to {fault_proxy.endpoint_url}" in text
    assert "Check PTB_S3_ENDPOINT_URL" in text


@pytest.mark.usefixtures("impatient")
async def test_endpoint_down_during_a_commit(stored: Bots, fault_proxy: FaultProxy) -> None:
    """The error reaches the error handlers once, and the next commit has what this one had."""
    async with stored.run(remembering(), endpoint_url=fault_proxy.endpoint_url) as app:
        errors = gather_errors(app)
        await say(app, "honey", user=3)  # the first commit by way of the proxy asks more
        await app.update_persistence()
        await settled(persistence_of(app))
        before = await stored.versions()
        await fault_proxy.refuse()
        await say(app, "sugar")
        await app.update_persistence()
        assert await stored.versions() == before
        await fault_proxy.accept()
        await app.update_persistence()
    [error] = errors
    assert type(error) is StorageUnavailableError
    assert f"no connection to {fault_proxy.endpoint_url}" in str(error)
    assert "The write may have taken effect or not" in str(error)
    app = await stored.load()
    assert app.user_data == {1: {"said": "sugar"}, 2: {"said": "milk"}, 3: {"said": "honey"}}


@pytest.mark.parametrize("replies", [1, 3], ids=["one", "of-all-tries"])
async def test_a_reply_lost_after_the_put_took_effect(
    stored: Bots, fault_proxy: FaultProxy, replies: int
) -> None:
    """The commit succeeds, once, and is not taken for somebody else's."""
    persistence = stored.persistence(endpoint_url=fault_proxy.endpoint_url)
    async with stored.run(remembering(), persistence=persistence) as app:
        errors = gather_errors(app)
        await say(app, "honey", user=3)  # the first commit by way of the proxy asks more
        await app.update_persistence()
        await say(app, "sugar")
        before = persistence.stats
        fault_proxy.lose(Lost.REPLY, replies, method="PUT")
        await app.update_persistence()
        after = persistence.stats
        assert errors == []
        assert after.revision == before.revision + 1
        assert (after.commits, after.conflicts, after.failures) == (before.commits + 1, 0, 0)
        await settled(persistence)
    app = await stored.load()
    assert app.user_data == {1: {"said": "sugar"}, 2: {"said": "milk"}, 3: {"said": "honey"}}


async def test_unversioned_bucket(
    s3_server: S3Server,
    s3_client: S3Client,
    unversioned_bucket: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bucket without versions works, with one warning: there is no history."""
    bots = Bots(s3_server, s3_client, unversioned_bucket)
    async with bots.run(remembering()) as app:
        for thing in ("tea", "milk", "sugar"):
            await say(app, thing)
            await app.update_persistence()
            await settled(persistence_of(app))
    [warning] = [record for record in caplog.records if record.name == "ptb_s3"]
    assert warning.levelno == logging.WARNING
    assert "there is no history to go back to. Turn on versioning" in warning.getMessage()
    app = await bots.load()
    assert app.user_data == {1: {"said": "sugar"}}


# Keys and owners ----------------------------------------------------------------------------------


async def test_wrong_key(stored: Bots) -> None:
    """Another key is an error that names the id that is needed and those at hand."""
    text = await refusal(stored, UnknownKeyError, keyring=Keyring(OTHER_KEY))
    assert f"is sealed with key {KEY.id}, which is not at hand (there is: {OTHER_KEY.id})" in text
    assert "PTB_S3_RETIRED_KEYS" in text
    assert KEY.reveal() not in text


async def test_token_of_another_bot(stored: Bots) -> None:
    """The state of another bot is not taken for one's own."""
    text = await refusal(stored, ForeignStoreError, token=f"{BOT_ID + 1}:offline")
    assert "belongs to another bot" in text
    assert "PTB_S3_PREFIX" in text


# Objects ------------------------------------------------------------------------------------------


async def _earlier(bots: Bots, name: str) -> bytes:
    """Return the object as it was first written."""
    first = None
    for key, version, _ in await bots.versions():
        if key == PREFIX + name:
            body = await bots.read(name, version)
            header, _ = container.read_header(name, body)
            if first is None or header.revision < first[0]:
                first = header.revision, body
    assert first is not None
    return first[1]


async def _missing(bots: Bots) -> None:
    await bots.delete("user_data")


async def _of_another_kind(bots: Bots) -> None:
    await bots.write("user_data", await bots.read("chat_data"))


async def _of_another_store(bots: Bots) -> None:
    async with bots.run(remembering(), prefix=OTHER_PREFIX) as app:
        await say(app, "tea")
    await bots.write("user_data", await bots.read("user_data", prefix=OTHER_PREFIX))


async def _older(bots: Bots) -> None:
    await bots.write("user_data", await _earlier(bots, "user_data"))


async def _header_over_its_limit(bots: Bots) -> None:
    body = await bots.read("user_data")
    line = body[len(MAGIC) : body.index(b"\n", len(MAGIC))]
    await bots.write("user_data", MAGIC + line + b" " * MAX_HEADER + body[len(MAGIC + line) :])


# RFC 8878: magic, a content size of 8 bytes, a last block that repeats one byte (1 MiB is cut).
_BOMB = struct.pack("<IBQ", 0xFD2FB528, 0b11100000, 10 * 2**30) + b"\x03\x00\x10\x00"


async def _bomb(bots: Bots) -> None:
    """A blob made with the real key, whose index declares that it will be 10 GiB."""
    header, _ = container.read_header("user_data", await bots.read("user_data"))
    header = msgspec.structs.replace(header, rest=0)
    key = SealingKey(KEY.id, KEY.seal_key)
    await bots.write("user_data", bytes(container.seal(header, [_BOMB], key)))


async def _bomb_in_a_segment(bots: Bots) -> None:
    """A blob made with the real key, right but for a segment that declares as much."""
    header, _ = container.read_header("user_data", await bots.read("user_data"))
    key = SealingKey(KEY.id, KEY.seal_key)
    index = container.compress(msgspec.msgpack.encode([(1, len(_BOMB), header.entities, 1)]), 3)
    first = container.sealed_size(container.padded(len(index) + 2 * container.LENGTH.size))
    second = container.seal_part(header, 1, _BOMB, key)
    padding = bytes(container.padding_of(first + len(second) + container.sealed_size(0)))
    rest = second + container.seal_part(header, 2, padding, key)
    header = msgspec.structs.replace(header, rest=len(rest))
    await bots.write("user_data", bytes(container.seal(header, [index], key)) + rest)


async def _head_deleted(bots: Bots) -> None:
    await bots.delete("head")


Damage = Callable[[Bots], Awaitable[None]]


@pytest.mark.parametrize(
    ("damage", "error", "gist"),
    [
        (_missing, MissingObjectError, "'user_data' is damaged: it is gone, while head refers"),
        (_of_another_kind, DamagedObjectError, "it is an object 'chat_data', put in this one's"),
        (_of_another_store, ForeignStoreError, "Object 'user_data' belongs to store [0-9a-f-]{36}"),
        (_older, DamagedObjectError, r"it holds revision 1 of line \w+, and head needs one from 4"),
        (_header_over_its_limit, DamagedObjectError, "its header does not end within 65536 bytes"),
        (_bomb, DamagedObjectError, f"declares {10 * 2**30} bytes; at most {MAX_PAGE} are taken"),
        (_bomb_in_a_segment, DamagedObjectError, f"declares {10 * 2**30} bytes; at most"),
        (_head_deleted, MissingObjectError, "'head' is damaged: it is gone, while user_data, "),
    ],
)
async def test_objects_that_do_not_belong(
    stored: Bots, damage: Damage, error: type[PersistenceError], gist: str
) -> None:
    """An object that is gone, or another's, or not what it should be, is told for what it is."""
    await damage(stored)
    text = await refusal(stored, error)
    assert re.search(gist, text)
    assert "Nothing was changed." in text
    assert "ptb-s3 repair" in text


def _flipped(at: float) -> Callable[[bytes], bytes]:
    """Flip a bit, so far into the object."""

    def flip(body: bytes) -> bytes:
        position = int(at * (len(body) - 1))
        return body[:position] + bytes([body[position] ^ 4]) + body[position + 1 :]

    return flip


def _cut(to: int) -> Callable[[bytes], bytes]:
    return lambda body: body[:to]


_CHANGES = [
    (_cut(-1), "it was cut short or added to"),
    (_cut(-40), "it was cut short or added to"),
    (_cut(100), "its header does not end"),
    (_cut(0), "it does not begin like an object of ptb-s3"),
    (lambda body: body + b"\0", "it was cut short or added to"),
    (lambda body: body + body, "it was cut short or added to"),
    (_flipped(0), "it does not begin like an object of ptb-s3"),
    (_flipped(0.9), "it fails authentication: it was changed after it was written"),
    (_flipped(1), "it fails authentication: it was changed after it was written"),
]


@pytest.mark.parametrize("name", ["head", "user_data"])
async def test_objects_that_were_changed(stored: Bots, name: str) -> None:
    """An object that was cut, added to or changed is an error that names it."""
    body = await stored.read(name)
    for change, gist in _CHANGES:
        await stored.write(name, change(body))
        text = await refusal(stored, DamagedObjectError)
        assert f"Object '{name}' is damaged" in text
        assert gist in text
        assert "ptb-s3 repair says what can be brought back" in text
    await stored.write(name, body)
    await stored.load()


async def test_any_bit_flipped_in_any_object() -> None:
    """One flipped bit anywhere in any object is an error, never a wrong value.

    Any bit of head, and one or two of each byte of a blob, which has more bytes of padding than of
    values. In memory: it is thousands of loads, and the storage has no part in it.
    """
    store = MemoryStore()
    persistence = make_persistence(store)
    await persistence.get_user_data()
    await update(
        persistence,
        {
            "user_data": {1: {"said": "tea"}},
            "chat_data": {1: {}},
            "bot_data": {"count": 1},
            "callback_data": ([("k", 1.0, {"b": 2})], {"q": "k"}),
            "conversations": {"order": {(1, 1): 0}},
        },
    )
    commits = await persistence._opened()
    commits.repository.stage(Kind.JOBS, ("tea", (1,)), b"job")
    await persistence.flush()
    reader = Reader(Keyring(KEY), BOT_ID, "pickle5")
    objects = store.current()
    assert objects.keys() == {HEAD, *Kind}
    header, _ = reader.open_head(objects[HEAD])

    def read(name: str, body: bytes) -> None:
        if name == HEAD:
            reader.open_head(body)
        else:
            reader.open_blob(Kind(name), body, header.store)

    for name, body in objects.items():
        read(name, body)
        for bit in range(0, len(body) * 8, 1 if name == HEAD else 7):
            changed = bytearray(body)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PersistenceError):
                read(name, bytes(changed))


# Values -------------------------------------------------------------------------------------------


@dataclass
class Untrusted:
    """A class in a module that nobody has named in `trusted`."""


@pytest.mark.parametrize("kind", ["user_data", "chat_data", "bot_data"])
async def test_context_type_of_an_untrusted_class(bots: Bots, kind: str) -> None:
    """It is told when the bot starts, and not when the first user's data is lost."""
    types: Any = {"context_types": ContextTypes(**{kind: Untrusted})}
    with pytest.raises(SettingsError) as caught:
        bots.persistence(**types)
    assert f"The bot cannot start: objects of the type of {kind} in context" in str(caught.value)
    assert f"class {__name__}.Untrusted is not trusted" in str(caught.value)
    bots.persistence(**types, trusted=(__name__,))
    bots.persistence(**types, store_data=PersistenceInput(**{kind: False}))


@pytest.mark.parametrize("known", [False, True])
async def test_bot_data_of_another_type(stored: Bots, known: bool) -> None:  # noqa: FBT001 - a case
    """PTB would refuse it after we have loaded, and so leave the connections open."""
    types: Any = ContextTypes(bot_data=Untrusted)
    given: Any = {"context_types": types, "trusted": (__name__,)} if known else {}
    persistence = stored.persistence(prefix="new/", **given)
    if known:
        async with stored.run(persistence=stored.persistence(prefix="new/")) as app:
            app.bot_data["n"] = 1
    before = await stored.versions()
    with pytest.raises(SettingsError, match="The bot does not start") as caught:
        async with stored.run(persistence=persistence, builder_types=types):
            pass
    remedy = "Start the bot with the type" if known else "Give the same ContextTypes"
    assert f"type dict, and the application's context_types want Untrusted. {remedy}" in str(
        caught.value
    )
    assert await stored.versions() == before
    store: Any = persistence._loader.store
    assert not store._requester._link.links


async def _error_of_saving(bots: Bots, value: object) -> tuple[SerializationError, str]:
    """Put a value into user data; return the error that is told, once nothing else has changed."""

    async def keep(_: Update, context: Context) -> None:
        context.user_data["basket"] = {"items": ["tea", value]}

    async with bots.run(MessageHandler(filters.TEXT, keep)) as app:
        errors = gather_errors(app)
        await settled(persistence_of(app))
        before = await bots.versions()
        await say(app, "sugar", user=2)
        await app.update_persistence()
        assert await bots.versions() == before
    [error] = errors
    assert isinstance(error, SerializationError)
    assert (error.kind, error.key, error.path) == ("user_data", 2, "['basket']['items'][1]")
    assert (await bots.load()).user_data[2] == {"said": "milk"}
    return error, str(error)


async def test_value_that_cannot_be_pickled(stored: Bots) -> None:
    """It is told where it is, once; its last good value stays, and nothing is written for it."""
    error, text = await _error_of_saving(stored, asyncio.sleep)
    assert type(error) is SerializationError
    assert text.startswith("A value of user_data cannot be saved: functions are never loaded")
    assert "Its last good value is kept; everything else is saved." in text


async def test_value_of_an_untrusted_class(stored: Bots) -> None:
    """What would not be loaded is not saved, and the error says how to trust it."""
    error, text = await _error_of_saving(stored, Untrusted())
    assert type(error) is UntrustedTypeError
    assert f"class {__name__}.Untrusted is not trusted" in text
    assert "name it in trusted=(...)" in text


async def test_class_gone_at_load(stored: Bots, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is gone is an error that names it and the keys; an alias mends it."""
    module = ModuleType("shop_of_last_year")
    basket = type("Basket", (), {"__module__": module.__name__})
    monkeypatch.setattr(module, "Basket", basket, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)

    async def keep(_: Update, context: Context) -> None:
        context.user_data["basket"] = basket()

    run = stored.run(MessageHandler(filters.TEXT, keep), trusted=(module.__name__,))
    async with run as app:
        await say(app, "sugar", user=7)
        await say(app, "sugar", user=2)
    monkeypatch.delitem(sys.modules, module.__name__)
    text = await refusal(stored, UnknownTypeError, trusted=(module.__name__,))
    assert "2 saved value(s) of user_data need classes that are gone or not trusted" in text
    assert "shop_of_last_year.Basket" in text
    assert "aliases={'old.path.Name': NewClass}" in text
    app = await stored.load(aliases={"shop_of_last_year.Basket": Untrusted})
    assert app.user_data[7] == {"basket": Untrusted()}


# Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0, 0.0, -1])
def test_update_interval_of_0(interval: float) -> None:
    """An interval without a pause is refused when the persistence is made."""
    with pytest.raises(SettingsError, match=r"without a pause, at full load"):
        make_persistence(MemoryStore(), update_interval=interval)
