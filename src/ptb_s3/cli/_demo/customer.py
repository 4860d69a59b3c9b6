"""Customer of the demo, with the messages and keyboards that Telegram keeps for her chat."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

ID = 7102555888
NAME = "Ada"
_PERSON = {"id": ID, "is_bot": False, "first_name": NAME}
_CHAT = {"id": ID, "type": "private", "first_name": NAME}


class Customer:
    """Maker of the updates that Telegram would send to the bot, whichever process that is."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._received: list[Json] = []

    def writes(self, text: str) -> Json:
        """Return the update for a message of hers."""
        message: Json = {
            "message_id": next(self._ids),
            "date": int(time.time()),
            "chat": _CHAT,
            "from": _PERSON,
            "text": text,
        }
        if text.startswith("/"):
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text)}]
        return {"update_id": next(self._ids), "message": message}

    def presses(self, label: str) -> Json:
        """Return the update for a button, of the last message that has one with this label."""
        message, data = next(
            (message, button["callback_data"])
            for message in reversed(self._received)
            for button in _buttons(message)
            if button["text"] == label
        )
        query = {
            "id": str(next(self._ids)),
            "from": _PERSON,
            "chat_instance": "1",
            "message": message,
            "data": data,
        }
        return {"update_id": next(self._ids), "callback_query": query}

    def receives(self, messages: Sequence[Json]) -> list[tuple[str, list[str]]]:
        """Take the bot's messages, and return the text and the buttons' labels of each."""
        self._received += messages
        return [(m["text"], [button["text"] for button in _buttons(m)]) for m in messages]


def _buttons(message: Json) -> list[Json]:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button for row in rows for button in row]
