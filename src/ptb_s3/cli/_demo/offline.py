"""Stand-in for Telegram: it answers the Bot API within the process, without any socket."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from telegram.request import BaseRequest, RequestData

TOKEN = "7000000001:offline"  # noqa: S105 - nobody is asked to accept it
_BOT = {"id": 7000000001, "is_bot": True, "first_name": "Tea shop", "username": "tea_shop_bot"}

Json = dict[str, Any]


class OfflineTelegram(BaseRequest):
    """Stand-in for Telegram: the methods of the Bot API that the demo's bot calls.

    Any other method is answered with "Not Found", as Telegram does.

    Attributes:
        sent: Messages that the bot has sent, as Telegram would show them to the bot itself.
    """

    def __init__(self) -> None:
        self.sent: list[Json] = []
        self._message_ids = itertools.count(1)
        self._methods: dict[str, Callable[[Json], object]] = {
            "getMe": lambda _: _BOT,
            "sendMessage": self._send_message,
            "answerCallbackQuery": lambda _: True,
        }

    @property
    def read_timeout(self) -> float:
        """Return a read timeout in seconds, as PTB wants to know, though nothing is waited for."""
        return 1.0

    async def initialize(self) -> None:
        """Do nothing: there is nothing to open."""

    async def shutdown(self) -> None:
        """Do nothing: there is nothing to close."""

    async def do_request(
        self,
        url: str,
        method: str,  # noqa: ARG002 - PTB's signature
        request_data: RequestData | None = None,
        *_timeouts: object,
        **_more_timeouts: object,
    ) -> tuple[int, bytes]:
        """Answer one call of the Bot API, whose method is the last part of the address."""
        call = self._methods.get(url.rpartition("/")[2])
        if call is None:
            return HTTPStatus.NOT_FOUND, b'{"ok": false, "description": "Not Found"}'
        result = call(request_data.parameters if request_data else {})
        return HTTPStatus.OK, json.dumps({"ok": True, "result": result}).encode()

    def _send_message(self, parameters: Json) -> Json:
        message = {
            "message_id": next(self._message_ids),
            "date": int(time.time()),
            "chat": {"id": parameters["chat_id"], "type": "private"},
            "from": _BOT,
            "text": parameters["text"],
        }
        if "reply_markup" in parameters:
            message["reply_markup"] = parameters["reply_markup"]
        self.sent.append(message)
        return message
