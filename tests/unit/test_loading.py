"""A kind is loaded whole, or one error says all that is wrong with it."""

from __future__ import annotations

import dataclasses
import enum
import gc
import pickle
import traceback
import uuid
from typing import Any, NamedTuple

import pytest

from ptb_s3._values.loading import load_all
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import DamagedObjectError, UnfitTypeError, UnknownTypeError


@dataclasses.dataclass
class Cart:
    items: list[object]
    owner: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    name: str
    price: object


class Colour(enum.Enum):
    RED = 1
    STRIPED = ("red", "white")


class Point(NamedTuple):
    x: int
    y: int


class Reduces:
    def __init__(self, reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> Any:
        return self.reduction


class Json:
    """Somebody's own serializer, which takes anything that bytes() takes."""

    id = "bytes"

    def dumps(self, value: Any) -> bytes:
        return bytes(value)

    def loads(self, data: bytes) -> object:
        return list(data)


@pytest.fixture(params=[(), ("items", "name", "price", "a", "Ada")], ids=["alone", "with words"])
def codec(request: pytest.FixtureRequest) -> PickleSerializer:
    codec = PickleSerializer(trusted=(__name__,))
    return codec.sharing(lambda: request.param) if request.param else codec


def test_each_value_has_its_key(codec: PickleSerializer) -> None:
    """Each value comes back under its key."""
    values: dict[object, object] = {1: {"a": 1}, ("talk", (1, 2)): Colour.RED}
    items = [(key, codec.dumps(value)) for key, value in values.items()]
    assert load_all(codec, "user_data", items) == values


def test_all_unknown_classes_are_in_one_error(codec: PickleSerializer) -> None:
    """One error names every class that is missing, nested ones too, and every key."""
    values = {1: [Cart([Colour.RED])], 2: "fine", 3: Item("tea", Point(1, 2)), 4: Cart([])}
    items = [(key, codec.dumps(value)) for key, value in values.items()]
    with pytest.raises(UnknownTypeError) as caught:
        load_all(PickleSerializer(trusted=()), "chat_data", items)
    assert caught.value.kind == "chat_data"
    names = ["Cart", "Colour", "Item", "Point"]
    assert caught.value.types == tuple(f"{__name__}.{name}" for name in names)
    assert caught.value.keys == (1, 3, 4)


def test_damaged_bytes_are_told_without_keys_or_values(codec: PickleSerializer) -> None:
    """Bytes that are no pickle are damage, which says nothing of keys or values."""
    secret = uuid.uuid4().hex
    bad = codec.dumps(secret)[:-3]
    with pytest.raises(DamagedObjectError, match="2 of its values do not load") as caught:
        load_all(codec, "user_data", [(secret, bad), ("b", b""), ("c", codec.dumps(1))])
    assert caught.value.object_name == "user_data"
    assert caught.value.__context__ is None
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_bytes_after_a_pickle_are_damage(codec: PickleSerializer) -> None:
    """A pickle ends where its bytes end."""
    with pytest.raises(DamagedObjectError, match="UnpicklingError"):
        load_all(codec, "user_data", [(1, codec.dumps(1) + b".")])


def test_a_class_that_refuses_its_old_state_is_named(codec: PickleSerializer) -> None:
    """A class that refuses what it once gave is named, and nothing is called damaged."""
    data = pickle.dumps(Reduces((Colour, ("mauve",))))
    with pytest.raises(UnfitTypeError, match=r"\(ValueError\)") as caught:
        load_all(codec, "user_data", [(1, data), (2, codec.dumps({"a": 1}))])
    assert caught.value.types == (f"{__name__}.Colour",)
    assert caught.value.keys == (1,)
    assert "damaged" not in str(caught.value)
    with pytest.raises(DamagedObjectError):
        load_all(codec, "user_data", [(1, data[:-3])])


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("data", [b"abc", b""])
def test_the_collector_is_paused_while_values_are_built(*, enabled: bool, data: bytes) -> None:
    """The cyclic collector rests while values are built, and then is as it was before."""

    class Watching(Json):
        def loads(self, data: bytes) -> object:
            assert data
            assert not gc.isenabled()
            return super().loads(data)

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        if data:
            assert load_all(Watching(), "bot_data", [(0, data)]) == {0: [97, 98, 99]}
        else:
            with pytest.raises(DamagedObjectError, match="AssertionError"):
                load_all(Watching(), "bot_data", [(0, data)])
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
