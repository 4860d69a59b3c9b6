"""A bot whose Telegram answers within the process, and whose state lies on the S3 server."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from typing import Any, TypeAlias

from telegram import Update
from telegram.ext import (
    Application,
    ApplicationBuilder,
    BaseHandler,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    ExtBot,
    MessageHandler,
    filters,
)
from telegram.request import BaseRequest, RequestData
from tests.servers import S3Client, S3Server, Session
from tests.support import BOT_ID, KEY, Persistence

from ptb_s3 import Keyring, S3Persistence

TOKEN = f"{BOT_ID}:offline"
PREFIX = "bot/"
Json = dict[str, Any]
App = Application[ExtBot[None], Any, Any, Any, Any, Any]
Context: TypeAlias = Any  # a CallbackContext, whose data may be None, as PTB's types have it
Handler = BaseHandler[Update, Context, Any]
NAME, CITY = range(2)
"""What the conversation asks for, in this order."""
_numbers = itertools.count(1)


async def remember(update: Update, context: Context) -> None:
    """Keep the text in user, chat and bot data."""
    assert update.message is not None
    context.user_data["said"] = update.message.text
    context.chat_data["heard"] = update.message.text
    context.bot_data["count"] = context.bot_data.get("count", 0) + 1


def remembering() -> Handler:
    return MessageHandler(filters.TEXT & ~filters.COMMAND, remember)


def asking(name: str) -> ConversationHandler[Context]:
    """A conversation that asks for a name and a city, and then ends."""

    async def ask_name(*_: object) -> int:
        return NAME

    async def ask_city(*_: object) -> int:
        return CITY

    async def end(*_: object) -> int:
        return ConversationHandler.END

    return ConversationHandler(
        entry_points=[CommandHandler("start", ask_name)],
        states={
            NAME: [MessageHandler(filters.TEXT, ask_city)],
            CITY: [MessageHandler(filters.TEXT, end)],
        },
        fallbacks=[],
        name=name,
        persistent=True,
    )


class OfflineTelegram(BaseRequest):
    """As much of the Bot API as a bot needs that answers messages.

    Attributes:
        sent: What the bot has sent: parameters of sendMessage.
    """

    def __init__(self, token: str) -> None:
        self.sent: list[Json] = []
        self._me: Json = {
            "id": int(token.partition(":")[0]),
            "is_bot": True,
            "first_name": "Bot",
            "username": "a_bot",
        }

    @property
    def read_timeout(self) -> float:
        return 1.0

    async def initialize(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        *_timeouts: object,
        **_more_timeouts: object,
    ) -> tuple[int, bytes]:
        name = url.rpartition("/")[2]
        result: object = True
        if name == "getMe":
            result = self._me
        elif name == "sendMessage":
            assert request_data is not None, method
            self.sent.append(request_data.parameters)
            chat = {"id": request_data.parameters["chat_id"], "type": "private"}
            result = {**request_data.parameters, **_message_of(chat), "from": self._me}
        return HTTPStatus.OK, json.dumps({"ok": True, "result": result}).encode()


class Bots:
    """Runs of bots on one bucket, one after another: each knows but the bucket and the key."""

    def __init__(self, server: S3Server, client: S3Client, bucket: str) -> None:
        self._server = server
        self._client = client
        self.bucket = bucket

    def persistence(self, bucket: str | None = None, **options: Any) -> Persistence:
        settings: dict[str, Any] = {
            "prefix": PREFIX,
            "keyring": Keyring(KEY),
            "endpoint_url": self._server.endpoint_url,
            "region_name": self._server.region_name,
            "session": _session(self._server),
            **options,
        }
        return S3Persistence(bucket or self.bucket, **settings)

    @asynccontextmanager
    async def run(
        self,
        *handlers: Handler,
        token: str = TOKEN,
        builder_types: ContextTypes[Any, Any, Any, Any] | None = None,
        persistence: Persistence | None = None,
        **options: Any,
    ) -> AsyncIterator[App]:
        """Run a bot, from loading its state to shutting down, which saves it.

        Args:
            handlers: What it does with updates; each of them sees each update.
            token: Says which bot it is.
            builder_types: Types of its data.
            persistence: If there already is one.
            options: Of the persistence to make.
        """
        if builder_types is not None:
            options["context_types"] = builder_types
        app = make_application(
            persistence or self.persistence(**options), handlers, token, builder_types
        )
        async with app:
            yield app

    async def load(self, **options: Any) -> App:
        """Return an application that has loaded the state, and been shut down again."""
        async with self.run(**options) as app:
            pass
        return app

    async def peek(self) -> dict[int, Any]:
        """Return the user data that another process would load now, and change nothing."""
        app = make_application(persistence := self.persistence())
        await app.bot.initialize()
        users = await persistence.get_user_data()
        await persistence._loader.store.close()
        return users

    async def versions(self, bucket: str | None = None) -> list[tuple[str, str, bool]]:
        """Return all versions of all objects, delete markers too: key, version, is it current."""
        page = await self._client.list_object_versions(Bucket=bucket or self.bucket)
        assert not page.get("IsTruncated")
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        return sorted((e["Key"], e["VersionId"], e["IsLatest"]) for e in entries)

    async def read(self, name: str, version: str | None = None, *, prefix: str = PREFIX) -> bytes:
        """Return an object, as an outsider with access to the bucket would get it."""
        of = {"VersionId": version} if version else {}
        response = await self._client.get_object(Bucket=self.bucket, Key=prefix + name, **of)
        body: bytes = await response["Body"].read()
        return body

    async def write(self, name: str, body: bytes) -> None:
        """Put an object there, as an outsider would."""
        await self._client.put_object(Bucket=self.bucket, Key=PREFIX + name, Body=body)

    async def delete(self, name: str) -> None:
        """Delete an object, as an outsider would: with a marker."""
        await self._client.delete_object(Bucket=self.bucket, Key=PREFIX + name)


def make_application(
    persistence: Persistence,
    handlers: Iterable[Handler] = (),
    token: str = TOKEN,
    context_types: ContextTypes[Any, Any, Any, Any] | None = None,
    application_class: type[App] | None = None,
) -> App:
    """Build an application whose Telegram is offline."""
    builder: Any = ApplicationBuilder()
    if application_class is not None:
        builder = builder.application_class(application_class)
    if context_types is not None:
        builder = builder.context_types(context_types)
    builder = builder.token(token).request(OfflineTelegram(token)).updater(None).job_queue(None)
    app: App = builder.arbitrary_callback_data(True).persistence(persistence).build()  # noqa: FBT003
    app.add_handlers({group: [handler] for group, handler in enumerate(handlers)})
    return app


async def say(app: App, text: str, *, user: int = 1, chat: int | None = None) -> None:
    """Let a user write to the bot, and the bot do what it does then."""
    await app.process_update(_update(app, message=_message(text, user, chat or user)))


async def press(app: App, button: Json, *, user: int = 1) -> None:
    """Let a user press a button that the bot has sent."""
    keyboard = {"reply_markup": {"inline_keyboard": [[button]]}}
    query = {
        "id": f"query-{next(_numbers)}",
        "from": _user(user),
        "chat_instance": "1",
        "data": button["callback_data"],
        "message": _message("Choose", user, user) | keyboard,
    }
    update = _update(app, callback_query=query)
    app.bot.insert_callback_data(update)  # as PTB does with what getUpdates returns
    await app.process_update(update)


def sent(app: App) -> list[Json]:
    """Return what the bot has sent."""
    request = app.bot.request
    assert isinstance(request, OfflineTelegram)
    return request.sent


def persistence_of(app: App) -> Persistence:
    persistence: Any = app.persistence
    return persistence  # type: ignore[no-any-return]


def gather_errors(app: App) -> list[Exception]:
    """Return a list that fills with what reaches the error handlers."""
    errors: list[Exception] = []

    async def note(_: object, context: Context) -> None:
        assert context.error is not None
        errors.append(context.error)

    app.add_error_handler(note)
    return errors


@cache
def _session(server: S3Server) -> Session:
    """Return one session for all runs: what takes it longest is to read the model of S3."""
    return server.session()


def _update(app: App, **content: Json) -> Update:
    update = Update.de_json({"update_id": next(_numbers), **content}, app.bot)
    assert update is not None
    return update


def _message(text: str, user: int, chat: int) -> Json:
    message = {**_message_of({"id": chat, "type": "private"}), "from": _user(user), "text": text}
    if text.startswith("/"):
        message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text)}]
    return message


def _message_of(chat: Json) -> Json:
    return {"message_id": next(_numbers), "date": 1_700_000_000, "chat": chat}


def _user(user: int) -> Json:
    return {"id": user, "is_bot": False, "first_name": "User"}
