"""Bot of the demo: a small tea shop, written as any bot for python-telegram-bot is.

ptb-s3 appears in `persistence` alone. All else is PTB: a persistent conversation, data of users,
chats and the bot, and keyboards whose buttons carry objects.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, cast

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.ext import (
    Application,
    ApplicationBuilder,
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    InvalidCallbackData,
    MessageHandler,
    filters,
)
from telegram.request import BaseRequest
from telegram.warnings import PTBUserWarning

from ptb_s3 import S3Persistence

Context = ContextTypes.DEFAULT_TYPE
Data = dict[str, Any]

CONVERSATION = "tea-order"
PACKETS, ADDRESS = range(2)  # states, by the answer that the bot waits for


@dataclass(frozen=True)
class Tea:
    """Tea on the menu, which its buttons carry as their callback data."""

    name: str


@dataclass(frozen=True)
class Order:
    """Order of a customer, finished or not, as it lies in ``user_data``."""

    tea: Tea
    packets: int = 0
    address: str = ""

    def __str__(self) -> str:
        return f"{self.packets} packets of {self.tea.name}"


MENU = (Tea("Moonlight Oolong"), Tea("Smoky Lapsang"))


def persistence() -> S3Persistence[Data, Data, Data]:
    """Make the persistence from the environment.

    The bot saves objects of classes of its own, so it says which module those are from. A bot that
    is a single script need not: its classes are of ``__main__``, which is trusted by default.
    """
    return S3Persistence.from_env(trusted=(__name__,))


def build(
    token: str, state: S3Persistence[Data, Data, Data], *requests: BaseRequest
) -> Application[Any, Any, Data, Data, Data, Any]:
    """Make the bot.

    Args:
        token: Its token.
        state: Its persistence.
        requests: The requests to reach Telegram with, for updates and for all else; none: PTB's.
    """
    builder = ApplicationBuilder().token(token).persistence(state).arbitrary_callback_data(True)  # noqa: FBT003 - PTB's
    if requests:
        for_updates, for_all_else = requests
        builder = builder.get_updates_request(for_updates).request(for_all_else)
    application = builder.build()
    application.add_handler(CommandHandler("start", show_menu))
    application.add_handler(_conversation())
    application.add_handler(CallbackQueryHandler(apologise, pattern=InvalidCallbackData))
    return application


def _conversation() -> ConversationHandler[Context]:
    with warnings.catch_warnings():
        # PTB warns that one conversation serves the buttons of all messages. That is the intent.
        warnings.filterwarnings("ignore", "(?s).*CallbackQueryHandler", PTBUserWarning)
        return ConversationHandler(
            entry_points=[CallbackQueryHandler(choose_tea, pattern=Tea)],
            states={
                PACKETS: [MessageHandler(filters.Regex(r"^[1-9]\d?$"), count_packets)],
                ADDRESS: [MessageHandler(filters.TEXT & ~filters.COMMAND, finish_order)],
            },
            fallbacks=[CommandHandler("cancel", cancel_order)],
            allow_reentry=True,
            name=CONVERSATION,
            persistent=True,
        )


async def show_menu(update: Update, context: Context) -> None:
    """Answer ``/start`` with a keyboard, whose objects outlive this process, too."""
    buttons = [InlineKeyboardButton(tea.name, callback_data=tea) for tea in MENU]
    for data in (_chat_data(context), context.bot_data):
        data["visits"] = data.get("visits", 0) + 1
    await _say(update, "Which tea would you like?", InlineKeyboardMarkup.from_row(buttons))


async def choose_tea(update: Update, context: Context) -> int:
    """Begin an order with the tea whose button was pressed."""
    query = update.callback_query
    if query is None:
        return ConversationHandler.END
    await query.answer()
    tea = cast("Tea", query.data)  # not a text: the object that `show_menu` gave to the button
    _user_data(context)["order"] = Order(tea)
    await _say(update, f"How many packets of {tea.name}?")
    return PACKETS


async def count_packets(update: Update, context: Context) -> int:
    """Add the number of packets to the order."""
    user_data = _user_data(context)
    user_data["order"] = replace(user_data["order"], packets=int(_text(update)))
    await _say(update, f"{user_data['order']}. Where shall I send it?")
    return ADDRESS


async def finish_order(update: Update, context: Context) -> int:
    """Take the address, keep the order, and count it for the whole shop."""
    user_data = _user_data(context)
    order = replace(user_data.pop("order"), address=_text(update))
    user_data.setdefault("orders", []).append(order)
    context.bot_data["orders"] = context.bot_data.get("orders", 0) + 1
    await _say(update, f"Thank you! Order {len(user_data['orders'])}: {order}, to {order.address}.")
    return ConversationHandler.END


async def cancel_order(update: Update, context: Context) -> int:
    """Forget the order that was begun."""
    _user_data(context).pop("order", None)
    await _say(update, "Forgotten. Another tea? /start")
    return ConversationHandler.END


async def apologise(update: Update, context: Context) -> None:  # noqa: ARG001 - PTB's signature
    """Answer a button of a keyboard so old that PTB has dropped its objects."""
    if update.callback_query is not None:
        await update.callback_query.answer("This menu is too old. Send /start for a new one.")


async def _say(update: Update, text: str, keyboard: InlineKeyboardMarkup | None = None) -> None:
    if update.effective_message is not None:
        await update.effective_message.reply_text(text, reply_markup=keyboard)


def _text(update: Update) -> str:
    message = update.effective_message
    return (message and message.text) or ""


# PTB declares both as optional, since they are None in jobs and in some error handlers.
def _user_data(context: Context) -> Data:
    return cast("Data", context.user_data)


def _chat_data(context: Context) -> Data:
    return cast("Data", context.chat_data)
