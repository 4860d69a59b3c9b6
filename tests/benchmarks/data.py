"""Data like bots' data: seeded, so that every process makes, and changes, the same."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

User = dict[str, Any]

REALISTIC = "realistic"
"""A shop's users: nested carts, times, few words, of which some are frequent; a few large ones."""
INCOMPRESSIBLE = "incompressible"
"""Random bytes, so that no figure flatters: nothing can be compressed, and no word be shared."""
KINDS = [REALISTIC, INCOMPRESSIBLE]

FIRST_ID = 100_000_000
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_YEAR = 365 * 24 * 3600

# What stands in a bot's source is one object in memory, however many users refer to it; what comes
# from Telegram is a new one each time.
_PRODUCTS = [f"tea-{number:04d}" for number in range(800)]
_STEPS = ["menu", "cart", "address", "payment", "done"]
_LANGUAGES = ["en", "ru", "de", "uk", "fa", "es"]
_SYLLABLES = [first + second for first in "bdfghklmnprstvz" for second in "aeiou"]

_BUSY_SHARE = 2_000  # one user in so many has a long history
_HISTORY = 500
# The exponent that makes half of all draws fall on a twentieth of the users.
_SKEW = 4


def make_users(count: int, kind: str) -> dict[int, User]:
    """Return so many users' data of one kind, by id."""
    rng = random.Random(8)  # noqa: S311 - to be repeatable is the point
    make = _user if kind == REALISTIC else _noise
    return {FIRST_ID + 37 * number: make(rng, number) for number in range(count)}


def make_bot_data() -> dict[str, Any]:
    """Return what a shop bot keeps for itself."""
    return {"prices": dict.fromkeys(_PRODUCTS, 4.5), "opened": _EPOCH}


def make_chats(users: int) -> dict[int, dict[str, Any]]:
    """Return the data of groups, one for each hundred users."""
    return {-FIRST_ID - 53 * n: {"step": "menu", "count": n} for n in range(users // 100 + 1)}


def as_json(user: User) -> User:
    """Return a user as JSON can hold it: times are words."""
    return {
        key: [as_json(item) for item in value]
        if isinstance(value, list)
        else value.isoformat()
        if isinstance(value, datetime)
        else value
        for key, value in user.items()
    }


def active(ids: list[int], count: int, rng: random.Random) -> list[int]:
    """Choose the users of one interval: most of them are among the same few per cent."""
    chosen: dict[int, None] = {}
    while len(chosen) < min(count, len(ids)):
        chosen[ids[int(len(ids) * rng.random() ** _SKEW)]] = None
    return list(chosen)


def touch(user: User, rng: random.Random) -> None:
    """Change a user as a visit to the shop does or, where all is noise, make some anew."""
    if "noise" in user:
        user["noise"] = rng.randbytes(len(user["noise"]))
        return
    user["visits"] += 1
    seen = _time(rng)
    user["seen"] = seen.isoformat() if isinstance(user["seen"], str) else seen
    user["step"] = rng.choice(_STEPS)
    user["cart"].append(_item(rng))
    del user["cart"][:-5]


def _user(rng: random.Random, number: int) -> User:
    user = {
        "name": _words(rng, 2),
        "language": _skewed(rng, _LANGUAGES),
        "joined": _time(rng),
        "seen": _time(rng),
        "visits": int(rng.paretovariate(1.2)),
        "step": rng.choice(_STEPS),
        "cart": [_item(rng) for _ in range(rng.randrange(5))],
        "settings": {"notify": rng.random() < 0.7, "zone": rng.randrange(-11, 13), "page": 10},
        "note": _words(rng, rng.randrange(8)),
    }
    if number % _BUSY_SHARE == 7:
        user["history"] = [_item(rng) | {"at": _time(rng)} for _ in range(_HISTORY)]
    return user


def _noise(rng: random.Random, number: int) -> User:
    size = rng.randrange(100, 500)
    return {"noise": rng.randbytes(size * (100 if number % _BUSY_SHARE == 7 else 1))}


def _item(rng: random.Random) -> dict[str, Any]:
    return {
        "product": _skewed(rng, _PRODUCTS),
        "quantity": rng.randrange(1, 5),
        "price": round(rng.uniform(2, 40), 2),
        "note": _words(rng, rng.randrange(3)),
    }


def _skewed(rng: random.Random, values: list[str]) -> str:
    return values[int(len(values) * rng.random() ** 3)]


def _words(rng: random.Random, count: int) -> str:
    return " ".join(_skewed(rng, _SYLLABLES) + rng.choice(_SYLLABLES) for _ in range(count))


def _time(rng: random.Random) -> datetime:
    return _EPOCH + timedelta(seconds=rng.randrange(_YEAR))
