"""Classes of ``__main__`` go by the name that other processes import them by."""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
import sys
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_s3._values import serializer
from ptb_s3._values.first_party import Main
from ptb_s3._values.pickling.main_names import respell
from ptb_s3._values.pickling.uninterned import uninterned
from ptb_s3._values.serializer import PickleSerializer


@dataclasses.dataclass(unsafe_hash=True)
class Cart:
    items: Any


class Shop:
    @dataclasses.dataclass
    class Shelf:
        height: Any


class Step(enum.Enum):
    FIRST = 1


WORDS = ("items", "height", "name", "__main__", "bot")


@pytest.fixture(scope="module", autouse=True)
def _as_of_main() -> Any:
    """Have the classes be of the script that runs, and let it be bot.py."""
    main = sys.modules["__main__"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        for cls in (Cart, Shop, Shop.Shelf, Step):
            monkeypatch.setattr(cls, "__module__", "__main__")
        for cls in (Cart, Shop, Step):
            monkeypatch.setattr(main, cls.__name__, cls, raising=False)
        monkeypatch.setattr(serializer, "main_module", lambda: Main("bot", owns_name=True))
        yield


def codec(words: tuple[str, ...] = ()) -> PickleSerializer:
    made = PickleSerializer(trusted=("__main__",))
    return made.sharing(lambda: words) if words else made


ATOMS = st.one_of(
    st.none(),
    st.integers(),
    st.sampled_from(["__main__", "bot", "name", "Cart", "items"]),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.just(b"\x8c\x08__main__\x94\x8c\x04Cart\x94\x93\x94"),
    st.sampled_from([Step.FIRST, Cart, Shop.Shelf, Step]),
)
VALUES = st.recursive(
    ATOMS,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.dictionaries(st.sampled_from(["name", "items", "__main__"]), parts, max_size=3),
        st.builds(Cart, parts),
        st.builds(Shop.Shelf, parts),
        st.frozensets(st.sampled_from([Step.FIRST, Cart("a"), Cart("b")])),
    ),
)


def as_a_module(value: object, words: tuple[str, ...]) -> bytes:
    """Return the bytes of a value where bot is a module like any other."""
    module: Any = types.ModuleType(uninterned("bot"))
    module.Cart, module.Shop, module.Step = Cart, Shop, Step
    with pytest.MonkeyPatch.context() as monkeypatch:
        for cls in (Cart, Shop, Shop.Shelf, Step):
            monkeypatch.setattr(cls, "__module__", module.__name__)
        monkeypatch.setitem(sys.modules, "bot", module)
        monkeypatch.setattr(serializer, "main_module", lambda: Main(None, owns_name=True))
        made = PickleSerializer(trusted=("bot",))
        return (made.sharing(lambda: words) if words else made).dumps(value)


@given(VALUES)
def test_any_value_with_classes_of_main_comes_back(value: object) -> None:
    """And nothing in it is taken for the name of a class, or the other way round."""
    for words in ((), WORDS, WORDS[:3]):
        own = codec(words)
        data = own.dumps(value)
        assert own.loads(data) == value


@pytest.mark.parametrize("words", [(), WORDS[:3]], ids=["alone", "with words"])
@pytest.mark.parametrize(
    "value",
    [
        {"name": Cart([1, "x"])},
        [Cart(1), Cart(2), Step.FIRST, Shop.Shelf(2)],
        {Cart("a"), Cart("b"), Step.FIRST},
        ["__main__", Cart("__main__")],
        [Cart, Shop.Shelf],
    ],
    ids=str,
)
def test_the_bytes_are_those_of_a_process_that_imports_main(
    value: object, words: tuple[str, ...]
) -> None:
    """Or two instances under two launchers would each write what the other has."""
    data = codec(words).dumps(value)
    assert data == as_a_module(value, words)


class Framed(pickle._Unpickler):
    """Minds where frames begin and end, as the one in C does not."""

    def find_class(self, _module: str, name: str, /) -> Any:
        return {"Cart": Cart}[name]


def test_main_is_respelled_in_one_part_of_a_large_pickle() -> None:
    """A pickle of many parts: only the one part that has the name becomes another."""
    for value in (
        [[f"item {n}" for n in range(20_000)], Cart(1), b"x" * 70_000, Cart(2)],
        [b"x" * 70_000, "y" * 70_000, bytearray(70_000), Cart(1)],
        [b"x" * 70_000, b"__main__" * 9_000, Cart(1)],
        [Cart(number) for number in range(20_000)],
    ):
        data = codec().dumps(value)
        assert b"\x8c\x03bot" in data
        assert b"\x8c\x08__main__" not in data
        assert codec().loads(data) == value
        assert Framed(io.BytesIO(data)).load() == value


def test_ambiguous_names_are_left_to_the_pickler_in_python() -> None:
    """Where something else says ``__main__`` as well, nothing is replaced."""
    for value, classes, certain in (
        ([Cart(1)], [Cart], True),
        ([Cart(1), Step], [Cart, Step], True),
        (["a __main__", Cart(1)], [Cart], False),
        ([Cart(Cart.__module__)], [Cart], False),
        ([Cart(1)], [Step], False),
    ):
        file = io.BytesIO()
        pickler = pickle.Pickler(file, 5)
        pickler.dump(value)
        respelled = respell(file.getvalue(), classes, "bot", pickler.memo)
        assert (respelled is not None) is certain, value


def test_names_in_older_pickles_are_found() -> None:
    """As of a file of PicklePersistence that ``python bot.py`` has written."""
    assert codec().loads(pickle.dumps([Cart(1), Step.FIRST])) == [Cart(1), Step.FIRST]
