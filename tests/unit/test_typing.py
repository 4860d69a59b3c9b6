"""A typed example of each public call. mypy, which reads the tests as well, is what checks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, assert_type

import pytest
from telegram.ext import ApplicationBuilder, CallbackContext, ContextTypes, ExtBot, PersistenceInput

from ptb_s3 import (
    Key,
    Keyring,
    KeySource,
    PickleSerializer,
    S3Persistence,
    SealedHeader,
    SealingKey,
    Serializer,
    Stats,
)


@dataclass
class User:
    visits: int = 0


@dataclass
class Chat:
    titles: list[str] = field(default_factory=list)


@dataclass
class Shop:
    open: bool = True


class Context(CallbackContext[ExtBot[None], User, Chat, Shop]):
    """A context of one's own."""


class Vault:
    """A key source of one's own, as for a key service."""

    def sealing_key(self) -> SealingKey:
        return Keyring(Key(bytes(32))).sealing_key()

    def opening_key(self, header: SealedHeader) -> bytes:
        return Keyring(Key(bytes(32))).opening_key(header)


class Shout:
    """A serializer of one's own."""

    id = "shout"

    def dumps(self, value: object) -> bytes:
        return str(value).upper().encode()

    def loads(self, data: bytes) -> object:
        return data.decode()


def plain() -> S3Persistence[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    return S3Persistence("bucket", keyring=Keyring(Key.generate()))


def custom() -> S3Persistence[User, Chat, Shop]:
    source: KeySource = Vault()
    serializer: Serializer = Shout()
    context_types = ContextTypes(context=Context, user_data=User, chat_data=Chat, bot_data=Shop)
    return S3Persistence(
        "bucket",
        prefix="shop-bot/",
        keyring=source,
        endpoint_url="http://127.0.0.1:9000",
        region_name="eu-central-1",
        session=None,
        store_data=PersistenceInput(chat_data=False),
        update_interval=30,
        context_types=context_types,
        trusted=("__main__", "shop"),
        aliases={"shop.Old": User},
        serializer=serializer,
        unsaved=None,
        compression_level=5,
        flush_timeout=4.5,
        restore="41",
        expected_bucket_owner="123456789012",
    )


async def read_and_write(persistence: S3Persistence[User, Chat, Shop]) -> None:
    assert_type(await persistence.get_user_data(), dict[int, User])
    assert_type(await persistence.get_chat_data(), dict[int, Chat])
    assert_type(await persistence.get_bot_data(), Shop)
    await persistence.get_callback_data()
    assert_type(await persistence.get_conversations("order"), dict[tuple[int | str, ...], object])
    await persistence.update_user_data(1, User())
    await persistence.update_chat_data(1, Chat())
    await persistence.update_bot_data(Shop())
    await persistence.update_callback_data(([("uuid", 1.0, {"button": 1})], {"query": "uuid"}))
    await persistence.update_conversation("order", (1, 2), 3)
    await persistence.drop_user_data(1)
    await persistence.drop_chat_data(1)
    await persistence.refresh_user_data(1, User())
    await persistence.refresh_chat_data(1, Chat())
    await persistence.refresh_bot_data(Shop())
    await persistence.flush()
    assert_type(persistence.stats, Stats)


def test_the_types_come_out_as_the_arguments_say() -> None:
    """Without context types the data are dictionaries; with them, what they say."""
    assert_type(plain(), S3Persistence[dict[Any, Any], dict[Any, Any], dict[Any, Any]])
    persistence = custom()
    assert_type(persistence, S3Persistence[User, Chat, Shop])
    assert persistence.context_types.user_data is User
    assert persistence.stats == Stats(0, None, 0, 0, 0, 0, 0, 0, 0)
    assert repr(persistence).startswith("S3Persistence(")
    assert PickleSerializer(trusted=["shop"]).id == "pickle5"


class Strict(S3Persistence[User, Chat, Shop]):
    """A persistence of one's own."""


class Plain(S3Persistence[dict[Any, Any], dict[Any, Any], dict[Any, Any]]):
    """Another one."""


def test_from_env_makes_what_it_is_called_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the types that the context types say; without them, of dictionaries or a class's own."""
    monkeypatch.setenv("PTB_S3_BUCKET", "bucket")
    monkeypatch.setenv("PTB_S3_KEY", Key.generate().reveal())
    types = ContextTypes(context=Context, user_data=User, chat_data=Chat, bot_data=Shop)
    unsaved = {"user_data": ["session"]}
    plain = S3Persistence.from_env(None, unsaved=unsaved)
    assert_type(plain, S3Persistence[dict[Any, Any], dict[Any, Any], dict[Any, Any]])
    assert plain.unsaved == {"user_data": frozenset({"session"})}
    shop = S3Persistence.from_env(None, context_types=types)
    assert_type(shop, S3Persistence[User, Chat, Shop])
    assert shop.context_types is types
    strict = Strict.from_env(None, context_types=types)
    assert_type(strict, Strict)
    subclass = Plain.from_env(None)
    assert_type(subclass, Plain)
    assert (type(plain), type(strict), type(subclass)) == (S3Persistence, Strict, Plain)


def test_an_application_takes_it() -> None:
    """A builder accepts the persistence, and gives it its bot."""
    application = ApplicationBuilder().token("1:A").persistence(plain()).build()
    assert application.persistence is not None
    assert application.persistence.bot is application.bot
