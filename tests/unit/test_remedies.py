"""What is said of a value that cannot be saved is what helps against it."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from typing import Any

import pytest
import typer
from telegram.error import BadRequest
from telegram.ext import ExtBot, Job

from ptb_s3._values.loading import load_all
from ptb_s3._values.remedies import remedies, remedy
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import SerializationError, UnknownTypeError

CODEC = PickleSerializer(trusted=("shop",))


class Own:
    pass


async def answer(_context: object) -> None: ...


VALUES: dict[str, tuple[Any, str]] = {
    "own class": (Own(), "as its module is your own, name it in trusted="),
    "own class itself": (Own, "as its module is your own, name it in trusted="),
    "library's class": (typer.Typer(), "of a library, which may change it: keep plain data"),
    "pattern": (re.compile("a"), r"keep its \.pattern, and compile it"),
    "job": (Job(answer), r"keep its name, and find it by job_queue\.get_jobs_by_name"),
    "exception": (ValueError("x"), "keep its text, and the name of its class"),
    "exception of PTB's": (BadRequest("x"), "keep its text, and the name of its class"),
    "exception of a library": (typer.BadParameter("x"), "keep its text"),
    "function": (answer, "functions are never loaded, .*: keep a name in its place"),
    "lambda": (lambda: None, "functions are never loaded"),
    "method": (ExtBot.get_me, "functions are never loaded"),
    "lock": (threading.Lock(), "cannot be pickled: keep it out of the data"),
    "connection": (sqlite3.connect(":memory:"), "cannot be pickled: keep it out of the data"),
    "queue": (asyncio.Event(), "keep what it is made of, as plain data, and make it anew"),
}


@pytest.mark.parametrize("name", VALUES)
def test_each_class_has_its_remedy(name: str) -> None:
    """Nobody is sent to `trusted` for what is no class of theirs."""
    value, expected = VALUES[name]
    with pytest.raises(SerializationError, match=expected) as caught:
        CODEC.dumps({"x": [value]})
    named = name in {"own class", "own class itself", "library's class"}
    assert ("trusted=(...)" in str(caught.value)) is named
    assert caught.value.path == "['x'][0]"


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("numpy", "ndarray", ".tolist()"),
        ("numpy._core.multiarray", "scalar", ".item()"),
        ("pandas.core.frame", "DataFrame", ".to_dict()"),
        ("no_such_module", "Thing", "if its module is yours"),
        ("__main__", "Thing", "your own"),
    ],
)
def test_a_remedy_takes_but_the_name_of_a_class(module: str, name: str, expected: str) -> None:
    """Without the class at hand, too, and without an import."""
    assert expected in remedy(module, name)


def test_remedies_of_several_classes_are_said_once() -> None:
    """Each line is said once, of all that it is for."""
    names = [("numpy", "ndarray"), ("numpy", "dtype"), ("gone", "Cart")]
    assert remedies(names, "--trusted") == (
        "gone.Cart: if its module is yours, name it in --trusted. numpy.dtype, numpy.ndarray: "
        "keep .item() of a number, and .tolist() of an array."
    )


def test_remedies_for_classes_that_are_gone_at_a_start() -> None:
    """A class that is gone is no class to name in `trusted`, unless it may be the user's."""
    names = b"ctelegram.files.location\nLocation\n", b"cshop.old\nCart\n", b"c__main__\nCart\n"
    with pytest.raises(UnknownTypeError) as caught:
        load_all(CODEC, "user_data", [(key, name + b".") for key, name in enumerate(names)])
    text = str(caught.value)
    assert "Location: install a version of python-telegram-bot that has it" in text
    assert "shop.old.Cart: if its module is yours, name it in trusted=(...)." in text
    assert "of a script that runs as __main__ elsewhere, pass aliases=" in text
    assert "__main__.Cart:" not in text
