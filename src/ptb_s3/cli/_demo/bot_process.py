"""Bot of the demo as a process: ``python -m ptb_s3.cli._demo.bot_process``.

It knows nothing but its environment. Commands on standard input (`pipe`): ``start``, ``update``,
``save``, ``look``, ``stop``. Until ``start``, it sends no request to the storage.
"""

from __future__ import annotations

from typing import Any

from telegram import Update
from telegram.ext import Application, CallbackContext

# `from_env` would import it when it is called. Here, that is over before ``start``, so that a start
# takes as long as its requests.
from ptb_s3 import settings as _settings  # noqa: F401 - see above
from ptb_s3.cli._demo import bot as demo_bot
from ptb_s3.cli._demo.offline import TOKEN, OfflineTelegram
from ptb_s3.cli._demo.pipe import Json, answer, commands, refuse, run

TeaShop = Application[Any, Any, Any, Any, Any, Any]


async def serve() -> None:
    """Run the bot from ``start`` to ``stop``."""
    orders = commands()
    await anext(orders)
    process = _Process()
    async with process.application as application:
        await application.start()
        answer(revision=process.revision)
        async for order in orders:
            if order["do"] == "stop":
                break
            await process.obey(order)
        await application.stop()
    answer(revision=process.revision)


class _Process:
    """Running bot, without a network: updates come from commands, messages go into the answers."""

    def __init__(self) -> None:
        self._telegram = OfflineTelegram()
        self._persistence = demo_bot.persistence()
        self._errors: list[Exception] = []
        self.application: TeaShop = demo_bot.build(
            TOKEN, self._persistence, self._telegram, self._telegram
        )
        self.application.add_error_handler(self._note)

    @property
    def revision(self) -> int:
        return self._persistence.stats.revision

    async def obey(self, order: Json) -> None:
        """Carry out a command, and answer it."""
        match order["do"]:
            case "update":
                fields = await self._take(order["update"])
            case "save":
                await self.application.update_persistence()
                fields = {"revision": self.revision}
            case _:
                fields = self._state()
        if self._errors:
            refuse(self._errors.pop())
        else:
            answer(**fields)

    async def _take(self, raw: Json) -> Json:
        update = Update.de_json(raw, self.application.bot)
        self.application.bot.insert_callback_data(update)  # as PTB's own ways in do
        await self.application.process_update(update)
        sent = list(self._telegram.sent)
        self._telegram.sent.clear()
        return {"sent": sent}

    def _state(self) -> Json:
        return {
            "user_data": dict(self.application.user_data),
            "chat_data": dict(self.application.chat_data),
            "bot_data": self.application.bot_data,
        }

    async def _note(self, _update: object, context: CallbackContext[Any, Any, Any, Any]) -> None:
        # PTB hands errors of handlers and of the persistence to error handlers, and goes on.
        if context.error is not None:
            self._errors.append(context.error)


if __name__ == "__main__":
    run(serve)
