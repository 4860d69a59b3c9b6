"""Repositories that have loaded a store, and changes to commit with them."""

from __future__ import annotations

from typing import Any

from tests.support.persistence import BOT_ID, KEY

from ptb_s3 import Keyring
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Changes, Kind
from ptb_s3._format.key_source import KeySource
from ptb_s3._storage.contract import Store


async def _no_pause(_: float) -> None:
    """Stand in for waiting."""


async def opened(store: Store, keys: KeySource | None = None, **options: Any) -> Repository:
    """Return a repository that has loaded a store, and never waits before it tries again."""
    given: dict[str, Any] = {"bot": BOT_ID, "serializer": "pickle5", "pause": _no_pause}
    repository = Repository(store, keys or Keyring(KEY), **{**given, **options})
    await repository.load()
    return repository


def changes(**kinds: dict[Any, bytes | None]) -> Changes:
    """Write changes down by the names of their kinds."""
    return {Kind(name): entities for name, entities in kinds.items()}
