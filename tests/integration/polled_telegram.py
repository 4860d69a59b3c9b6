"""Offline Telegram for a bot that is run as it stands: `test_first_steps` has it imported there.

At each start of the bot, one user writes one message. What the bot answers goes to ``answers``, a
file in its working folder, line by line.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from telegram.ext import ApplicationBuilder
from tests.support.bots import OfflineTelegram

USER = 7
_TOKEN = "123456:ABC-DEF"  # noqa: S105 - README's, which Telegram never gave out


def _update() -> dict[str, Any]:
    someone = {"id": USER, "is_bot": False, "first_name": "Alice", "type": "private"}
    message = {"message_id": 1, "date": 1, "chat": someone, "from": someone, "text": "tea"}
    return {"update_id": os.getpid(), "message": message}


class Polled(OfflineTelegram):
    """Hands out the message once, and keeps answers."""

    handed_out = False

    async def do_request(self, url: str, method: str, *args: Any, **options: Any) -> Any:
        if url.endswith("getUpdates"):
            if Polled.handed_out:
                await asyncio.sleep(0.05)
                return 200, b'{"ok":true,"result":[]}'
            Polled.handed_out = True
            return 200, json.dumps({"ok": True, "result": [_update()]}).encode()
        answered = await super().do_request(url, method, *args, **options)
        for message in self.sent:
            with Path("answers").open("a") as answers:  # noqa: ASYNC230 - a line, to a local file
                answers.write(f"{message['text']}\n")
        self.sent.clear()
        return answered


_init = ApplicationBuilder.__init__


def _offline(builder: Any) -> None:
    _init(builder)
    builder.request(Polled(_TOKEN)).get_updates_request(Polled(_TOKEN))


ApplicationBuilder.__init__ = _offline  # type: ignore[method-assign, assignment]
