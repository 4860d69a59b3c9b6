"""PTB's callback data and its entities: one of each keyboard, and one of each callback query. Pure.

So an interval in which one keyboard was sent saves that keyboard, and not a thousand others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptb_s3._format.entities import EntityKey

# ([(keyboard's uuid, access time, {button's uuid: data})], {callback query's id: keyboard's uuid})
CallbackData = tuple[list[tuple[str, float, dict[str, Any]]], dict[str, str]]


def split(data: CallbackData) -> dict[EntityKey, object]:
    """Make the entities of callback data."""
    keyboards, queries = data
    entities: dict[EntityKey, object] = {
        ("k", uuid): (time, buttons) for uuid, time, buttons in keyboards
    }
    return entities | {("q", query): keyboard for query, keyboard in queries.items()}


def join(values: Mapping[tuple[str, str], Any]) -> CallbackData:
    """Undo `split`; keyboards least recently used first, as PTB's cache has them."""
    keyboards = [(name, *value) for (sort, name), value in values.items() if sort == "k"]
    queries = {name: value for (sort, name), value in values.items() if sort == "q"}
    return sorted(keyboards, key=lambda keyboard: keyboard[1]), queries
