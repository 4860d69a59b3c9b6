"""The persistence in memory that bot authors test with: as the real one, without a server."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

import pytest
from telegram.ext import ApplicationBuilder

from ptb_s3 import S3Persistence
from ptb_s3.errors import SettingsError, UnknownTypeError, UntrustedTypeError
from ptb_s3.testing import MemoryPersistence, memory_persistence


@dataclass
class Basket:
    goods: int


async def test_the_example_of_the_docstring() -> None:
    """It runs as it stands."""
    (code,) = re.findall(
        r"code:: python\n(.*?)\n {8}With", memory_persistence.__doc__ or "", re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(compile(dedent(code), "testing.py", "exec"), names)  # noqa: S102 - our own example
    await names["test_visits_survive_a_restart"]()


async def test_each_has_a_store_of_its_own() -> None:
    """Tests do not see each other's state."""
    one, other = memory_persistence(), memory_persistence()
    await one.update_user_data(1, {"n": 1})
    assert await other.get_user_data() == {}
    assert isinstance(one, S3Persistence)


async def test_a_restart_without_a_flush_is_a_crash() -> None:
    """What was committed is there, what was not is lost."""
    persistence = memory_persistence()
    live = await persistence.get_bot_data()
    live["n"] = 1
    await persistence.update_bot_data(live)
    live["n"] = 2
    assert await persistence.restarted().get_bot_data() == {"n": 1}


async def test_two_side_by_side_are_two_instances() -> None:
    """Each commits on top of the other."""
    one = memory_persistence()
    other = one.restarted()
    await one.update_user_data(1, {"n": 1})
    await other.update_user_data(2, {"n": 2})
    await one.catch_up()
    assert await one.restarted().get_user_data() == {1: {"n": 1}, 2: {"n": 2}}


async def test_options_are_those_of_the_real_one_and_stay() -> None:
    """So a test finds what could not be saved, or loaded, in production."""
    strict = memory_persistence(trusted=["nothing"], unsaved={"bot_data": ["client"]})
    with pytest.raises(UntrustedTypeError):
        await strict.update_user_data(1, {"basket": Basket(3)})
    await strict.update_bot_data({"client": object(), "n": 1})
    assert await strict.restarted().get_bot_data() == {"n": 1}
    with pytest.raises(UntrustedTypeError):
        await strict.restarted().update_user_data(1, {"basket": Basket(3)})
    loose = memory_persistence(trusted=[__name__])
    await loose.update_user_data(1, {"basket": Basket(3)})
    with pytest.raises(UnknownTypeError):
        await loose.restarted(trusted=["nothing"]).get_user_data()
    with pytest.raises(SettingsError, match="update_interval"):
        memory_persistence(update_interval=0)
    with pytest.raises(TypeError, match="no_such_option"):
        memory_persistence(no_such_option=1)


async def test_any_bot_may_have_it() -> None:
    """It works before there is an application, with one, and with another after that."""
    persistence = memory_persistence()
    await persistence.update_user_data(1, {"n": 1})
    for token in ("1:A", "2:B"):
        persistence = persistence.restarted()
        ApplicationBuilder().token(token).persistence(persistence).build()
        assert await persistence.get_user_data() == {1: {"n": 1}}
        await persistence.flush()
    assert isinstance(persistence, MemoryPersistence)


def test_it_needs_no_test_framework() -> None:
    """It may be used where pytest is not installed."""
    code = (
        "import sys; sys.modules['pytest'] = None; import asyncio, ptb_s3.testing as t;"
        "asyncio.run(t.memory_persistence().update_bot_data({'n': 1}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own text
