"""Sets whose elements are alike, or lead back to them: the same value is known for the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from telegram.ext import MessageHandler, filters
from tests.support import make_persistence
from tests.support.deliveries import application, message

from ptb_s3 import PickleSerializer, merge_values
from ptb_s3._format.entities import Kind
from ptb_s3._ptb import refresh
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.canonical_form import essence
from ptb_s3._values.equality import alike
from ptb_s3._values.merge import Merger
from ptb_s3.serverless import deliver

CODEC = PickleSerializer(trusted=(__name__,))


class Part:
    """Equal to nothing but itself, as objects are."""

    def __init__(self, **parts: object) -> None:
        vars(self).update(parts)


def parts(count: int = 6, **same: object) -> list[Any]:
    return [Part(**same) for _ in range(count)]


def in_a_list() -> object:
    players = parts(score=0)
    return {"order": players, "alive": set(players)}


def as_keys() -> object:
    players = parts(score=0)
    return {"bets": {player: bet for bet, player in enumerate(players)}, "alive": set(players)}


def led_to() -> object:
    places = parts(free=True)
    return {"places": places, "taken": {Part(place=place) for place in places}}


def in_tuples() -> object:
    places = parts(free=True)
    return {"taken": {(place, 1) for place in places}, "places": places}


def with_sets() -> object:
    tagged = [Part(tags={"x", ("y", 1)}) for _ in range(6)]
    return [set(tagged), tagged]


def in_several_sets() -> object:
    players = parts(score=0)
    return {"all": set(players), "red": set(players[:3]), "captain": {players[0]}}


def leading_back() -> object:
    game: Any = Part(players=set(), round=0)
    game.players |= {Part(game=game, score=score) for score in range(6)}
    return {"game": game}


def alike_and_leading_back() -> object:
    game: Any = Part(players=set(), round=0)
    game.order = [Part(game=game, score=0) for _ in range(6)]
    game.players |= set(game.order)
    return {"game": game}


def friends(count: int) -> object:
    circle: Any = Part(members=set())
    members: list[Any] = [Part(name=f"n{n}", circle=circle, friends=set()) for n in range(count)]
    for member in members:
        member.friends |= set(members) - {member}
    circle.members |= set(members)
    return circle


VALUES = [
    *(in_a_list, as_keys, led_to, in_tuples, with_sets, in_several_sets),
    *(leading_back, alike_and_leading_back, lambda: friends(4), lambda: friends(20)),
]


@pytest.mark.parametrize("make", VALUES)
def test_a_copy_and_what_is_loaded_are_the_same(make: Callable[[], object]) -> None:
    """In whatever order their sets iterate, which is by addresses of memory."""
    kept = []
    for _ in range(5):
        value = make()
        twins = copy.deepcopy(value), CODEC.loads(CODEC.dumps(value))
        kept.append((value, *twins))
        assert all(alike(value, twin) for twin in twins)


def test_who_stands_where_is_part_of_the_value() -> None:
    """Of two that are alike, which one is in the set and comes first in the list counts."""
    for _ in range(5):
        first, second = parts(2, score=0)
        assert not alike([first, second, {first}], [first, second, {second}])
        assert alike([first, second, {first}], [second, first, {second}])
        assert not alike([{first}, {second}], [{first}, {first}])
        assert not alike([{first}, {first, second}], [{first}, {second}])
    assert not alike(friends(4), friends(5))


def changes() -> Iterator[tuple[Any, Any]]:
    """Values, and what they are to become."""
    players = parts(4, score=0)
    for left in (2, 3, 4):
        yield set(players), {"n": 1, "set": set(players[:left])}
        yield (
            [players, set(players)],
            {"set": [players, set(players[:left])]},
        )
        yield dict.fromkeys(players, 1), dict.fromkeys(players[:left], 1)


@pytest.mark.parametrize("number", range(9))
def test_live_objects_with_like_elements_are_brought_up_to_date(number: int) -> None:
    """A live object becomes what was asked for, and not something like it."""
    old, new = ({"value": value} for value in list(changes())[number])
    for _ in range(5):
        way = refresh.way(lambda: copy.deepcopy(old), lambda: copy.deepcopy(new), essence)
        assert not isinstance(way, refresh.Refusal)
        live = copy.deepcopy(old)
        way(live, copy.deepcopy(new))
        assert alike(live, new)


def test_sets_with_like_elements_are_merged_one_by_one() -> None:
    """No element is lost for having a twin; nor a key, though another one is equal to it."""
    cards = parts(3, suit="hearts")
    base: dict[str, Any] = {"deck": set(cards), "bets": dict.fromkeys(cards, 1)}
    ours, theirs = copy.deepcopy(base), copy.deepcopy(base)
    ours["deck"] |= {Part(suit="clubs")}
    theirs["deck"] |= {Part(suit="hearts"), Part(suit="spades")}
    ours["bets"][Part(suit="clubs")] = 2
    theirs["bets"][Part(suit="hearts")] = 3
    merged = merge_values(base, ours, theirs)
    suits = sorted(card.suit for card in merged["deck"])
    assert suits == ["clubs", *["hearts"] * 4, "spades"]
    assert sorted(merged["bets"].values()) == [1, 1, 1, 2, 3]


def test_keys_that_are_equal_and_not_the_same_are_a_clash() -> None:
    """One dictionary cannot hold both: ours wins, and that is counted."""
    sides = [CODEC.dumps(value) for value in ({}, {1: "ours"}, {True: "theirs"})]
    resolution = Merger(CODEC)(Kind.USER_DATA, 1, sides[0], sides[1], sides[2])
    assert resolution.value is not None
    assert CODEC.loads(resolution.value) == {1: "ours"}
    assert (resolution.overridden, resolution.contested) == (1, True)


async def play(_: Any, context: Any) -> None:
    game: Any = context.bot_data.get("game")
    if game is None:
        game = Part(players=set(), round=0)
        context.bot_data["game"] = game
        game.order = [Part(game=game, score=0) for _ in range(6)]
        game.players |= set(game.order)
    game.round += 1


@pytest.mark.parametrize("make", VALUES)
async def test_a_copy_is_no_change_to_be_saved(make: Callable[[], object]) -> None:
    """PTB hands over a copy in each interval, whose sets iterate in another order each time."""
    store = MemoryStore()
    persistence = make_persistence(store, trusted=(__name__,))
    await persistence.get_bot_data()
    live: Any = {"value": make(), "n": 1}
    await persistence.update_bot_data(copy.deepcopy(live))
    kept = [copy.deepcopy(live) for _ in range(5)]
    for one in kept:
        await persistence.update_bot_data(one)
    assert persistence.stats.commits == 1
    live["n"] = 2
    await persistence.update_bot_data(copy.deepcopy(live))
    assert persistence.stats.commits == 2


async def test_instances_that_take_turns_in_a_game_count_all_rounds() -> None:
    """A live object with such a set is brought up to date, and is no change by itself."""
    store = MemoryStore()
    handler = MessageHandler(filters.TEXT, play)
    apps = [application(store, handler, trusted=(__name__,)) for _ in range(2)]
    for number in range(12):
        assert await deliver(apps[number % 2], message())
    state: Any = await make_persistence(store, trusted=(__name__,)).get_bot_data()
    assert state["game"].round == 12
    assert all(app.persistence.stats.overridden == 0 for app in apps)  # type: ignore[union-attr]
