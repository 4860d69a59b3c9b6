"""Unit tests run in one thread: quick, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ptb_s3._engine.repository import Repository
from ptb_s3._storage.threads import Worker


async def _at_once(work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return work(*args, **kwargs)


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Repository.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "offload", _at_once)
    monkeypatch.setattr(Worker, "__call__", staticmethod(_at_once))
