"""Kinds, keys, entities and changes: what the state is, as bytes. Pure."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """One of the five maps PTB persists. The value is the object's name in the bucket."""

    USER_DATA = "user_data"
    CHAT_DATA = "chat_data"
    BOT_DATA = "bot_data"
    CALLBACK_DATA = "callback_data"
    CONVERSATIONS = "conversations"


# A user's or chat's id; ("conversation", (parts of its key)); 0 for bot_data; ("k", uuid) and ("q", id) for
# callback_data's keyboards and queries.
Key = int | tuple[str, str] | tuple[str, tuple[int | str, ...]]

# The bytes of each entity. Bytes are the truth; objects are made from them when asked for.
Entities = dict[Key, bytes]
