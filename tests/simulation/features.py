"""Ingredients of a schedule: each can be run alone, to see what it finds by itself."""

from __future__ import annotations

import random
from collections.abc import Collection

# What each adds to bots that come and go, on one storage, with flat dictionaries of text.
FEATURES = {
    "nested": "dictionaries in dictionaries, and lists that grow",
    "sets": "sets that elements are added to and removed from",
    "objects": "telegram objects and dataclasses that compare by a part of what they hold",
    "types": "context types of one's own: a dictionary with attributes, attributes, slots",
    "refusals": "merge= that raises for one user",
    "versions": "instances of an older version, which know one class less",
    "pages": "limits of the format scaled down, and many users that come and go at once",
    "huge": "values near the limit of one entity, and beyond it",
    "cancel": "tasks that are cancelled at any await, in a process that lives on",
    "loads": "starts that are given up in the middle, and begun again",
    "getters": "get_* and flush while the bot runs",
    "together": "handlers that run at the same time, and hold on to what they were given",
    "clocks": "clocks that are off by up to ten minutes, and restores to a time",
    "forks": "processes that draw the same while they load",
    "keys": "instances that seal by other keys, as in the middle of a rotation",
    "listing": "versions that are listed in any order",
    "on_demand": "bots that read users and chats when they are asked for",
    "outsiders": "objects that are put back, copied, deleted and garbled",
    "deliver": "updates by `deliver`, cut short and sent again",
}


def draw_features(rng: random.Random, *, of: Collection[str] = tuple(FEATURES)) -> frozenset[str]:
    """Draw the ingredients of one schedule: few of them, or most."""
    share = rng.choice([0.1, 0.3, 0.6])
    names = [name for name in FEATURES if name in of and name != "on_demand"]
    drawn = frozenset(name for name in names if rng.random() < share)
    # It leaves out much else, and takes long.
    return drawn - {"deliver"} if rng.random() < 0.5 else drawn


def draw_mode(seed: int) -> frozenset[str]:
    """Draw whether bots read on demand, by itself: all other seeds are what they were before."""
    rng = random.Random(f"on_demand {seed}")  # noqa: S311 - to be repeatable is the point
    return frozenset({"on_demand"}) if rng.random() < 0.3 else frozenset()
