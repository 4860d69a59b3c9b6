"""Refuse context types that a persistence could not save, or that do not fit what is saved.

Both are found before the bot starts, and not when the first value is lost.
"""

from __future__ import annotations

from typing import Any

from telegram.ext import ContextTypes, PersistenceInput

from ptb_s3._format.entities import Kind
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import SerializationError, SettingsError


def check_types(
    serializer: PickleSerializer, stores: PersistenceInput, types: ContextTypes[Any, Any, Any, Any]
) -> None:
    """Refuse context types whose objects could not be saved.

    Args:
        serializer: Serializer that would have to save them.
        stores: Kinds that are saved; the types of others do not matter.
        types: Context types of the persistence.

    Raises:
        SettingsError: A type is not on the serializer's allow-list, for one.
    """
    for kind in (Kind.USER_DATA, Kind.CHAT_DATA, Kind.BOT_DATA):
        cls: object = getattr(types, kind)
        if not isinstance(cls, type) or not getattr(stores, kind):
            continue  # a function makes anything, which is checked when it is saved
        try:
            serializer.dumps(cls)
        except SerializationError as error:
            reason = error.reason
        else:
            continue
        raise SettingsError(
            f"The bot cannot start: objects of the type of {kind} in context_types could not be "
            f"saved, since {reason}."
        )


def unfit_type(found: type, wanted: type, *, saved: bool) -> SettingsError:
    """Return the error of bot data that is of another type than the application wants.

    Args:
        found: Type of the bot data that the persistence has.
        wanted: Type in the application's context types.
        saved: Whether it was saved with the type that was found.
    """
    remedy = "Give the same ContextTypes to the application and to S3Persistence(context_types=...)"
    if saved:
        remedy = (
            "Start the bot with the type that it was saved with, have it make the new one of it "
            "there, or set PTB_S3_PREFIX to another place to begin anew in"
        )
    return SettingsError(
        f"The bot does not start: its {'saved ' if saved else ''}bot_data is of type "
        f"{found.__name__}, and the application's context_types want {wanted.__name__}. {remedy}. "
        "Nothing was changed."
    )
