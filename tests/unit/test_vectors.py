"""The golden vectors: objects made by a second writer, one fault each."""

import json
from pathlib import Path

import pytest
from tests.vectors import reference

from ptb_s3 import errors
from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._keys.keyring import Key, Keyring

FOLDER = Path(reference.__file__).parent
INDEX: dict[str, str | None] = json.loads((FOLDER / "index.json").read_text())
INTACT = [name for name, error in INDEX.items() if error is None]
FAULTY = [name for name, error in INDEX.items() if error is not None]


def opened(name: str) -> object:
    reader = Reader(Keyring(Key(reference.SECRET)), reference.BOT, "pickle5")
    body = (FOLDER / f"{name}.bin").read_bytes()
    kind = name.split(".", maxsplit=1)[0]
    if kind == "head":
        return reader.open_head(body)[1]
    return reader.open_blob(Kind(kind), body, reference.STORE)[1]


def test_the_corpus_is_whole() -> None:
    """Every vector the second writer makes is in the index and in the folder, and nothing else."""
    assert {name: error for name, (error, _) in reference.corpus().items()} == INDEX
    assert {path.stem for path in FOLDER.glob("*.bin")} == INDEX.keys()
    assert len(INTACT) >= 20
    assert len(FAULTY) >= 150


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_the_error_it_should_be(name: str) -> None:
    """An object with one fault is refused, with the error class that the index names."""
    with pytest.raises(errors.PersistenceError) as caught:
        opened(name)
    assert type(caught.value).__name__ == INDEX[name]


@pytest.mark.parametrize("name", INTACT)
def test_what_the_second_writer_writes_is_read(name: str) -> None:
    """An intact object of another implementation opens."""
    assert opened(name) is not None


def test_contents_are_the_ones_written() -> None:
    """Entities, keys and the differential come out as they were put in."""
    assert opened("user_data.ok") == {1: b"one", -5: b"", 2**40: b"x" * 1000}
    ints = {-(2**40): b"", -5: b"", 1: b"one", 2: b"two", 3: b"three", 2**40: b"x" * 1000}
    assert opened("user_data.ok-segments") == opened("user_data.ok-index-pages") == ints
    assert opened("user_data.ok-padme") == {
        1: reference.noise(9000),
        2: reference.noise(20_000),
    }
    assert opened("chat_data.ok-empty") == {}
    assert opened("callback_data.ok") == {
        ("k", "uuid"): b"k",
        ("q", "5"): b"q",
        ("k", "b"): b"",
    }
    assert opened("conversations.ok") == {
        ("order", (1, -1001, "inline")): b"state",
        ("b", (2,)): b"",
        ("aa", (2,)): b"one",
        ("aa", (-1,)): b"two",
        ("aa", ()): b"three",
    }
    assert opened("jobs.ok") == {
        ("5a1f", (-1001, 1)): b"job",
        ("daily", ()): b"",
        ("timeout:order", (1, 2)): b"timeout",
    }
    for kind in ("callback_data", "conversations", "jobs"):
        assert opened(f"{kind}.ok-segments") == opened(f"{kind}.ok")
    head = opened("head.ok")
    part = head.parts[Kind.USER_DATA]  # type: ignore[attr-defined]  # a Head
    assert part.differential == {1: (7, b"one"), 2: (6, None)}
    assert part.ref.version_id == "v1"
    assert opened("head.ok-first").restored == ("5",)  # type: ignore[attr-defined]  # a Head


@pytest.mark.parametrize("name", [name for name in INTACT if name.endswith("-segments")])
def test_segments_come_in_the_order_of_their_keys(name: str) -> None:
    """Integers by value, others by their MessagePack: as the second writer sorts them."""
    entities = opened(name)
    assert isinstance(entities, dict)
    keys = [[key] for key in entities]
    assert keys == sorted(keys, key=reference.place)
    assert len(keys) > 2


def test_the_second_writer_names_keys_alike() -> None:
    """Both implementations derive the same id from the same key."""
    assert Key(reference.SECRET).id == reference.KEY_ID
