"""Callback data of PTB, split into entities: one for each keyboard and each callback query. Pure.

PTB keeps it as one value. Split, an interval in which one keyboard was sent saves that keyboard,
and not a thousand others:

| key | value |
|---|---|
| `("k", <uuid of the keyboard>)` | `(<access time>, {<uuid of the button>: <data>})` |
| `("q", <id of the callback query>)` | `<uuid of the keyboard>` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptb_s3._format.entities import EntityKey

# ([(keyboard's uuid, access time, {button's uuid: data})], {callback query's id: keyboard's uuid})
CallbackData = tuple[list[tuple[str, float, dict[str, Any]]], dict[str, str]]


def split(data: CallbackData) -> dict[EntityKey, object]:
    """Return the entities of callback data, by key."""
    keyboards, queries = data
    entities: dict[EntityKey, object] = {
        ("k", uuid): (time, buttons) for uuid, time, buttons in keyboards
    }
    return entities | {("q", query): keyboard for query, keyboard in queries.items()}


def join(values: Mapping[tuple[str, str], Any]) -> CallbackData:
    """Return callback data made from its entities, which undoes `split`.

    Returns:
        Keyboards, the least recently used first, as PTB's cache has them, and callback queries.
    """
    keyboards = [(name, *value) for (sort, name), value in values.items() if sort == "k"]
    queries = {name: value for (sort, name), value in values.items() if sort == "q"}
    return sorted(keyboards, key=lambda keyboard: keyboard[1]), queries
