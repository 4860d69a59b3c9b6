"""Bots that read users and chats on demand, on a state that lies in blobs of small segments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from telegram.ext import MessageHandler, filters
from tests.support.bots import App
from tests.support.deliveries import application
from tests.support.persistence import Persistence, make_persistence, state_of, update

from ptb_s3._format import segments
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.contract import Store
from ptb_s3._storage.memory import MemoryStore

DEMANDED = (Kind.USER_DATA, Kind.CHAT_DATA)
COUNT = 60
"""Users, and chats, of a state that is filled: some ten segments of each kind."""


@contextmanager
def small_segments(size: int = 300) -> Iterator[None]:
    """Have blobs be cut into segments of so many bytes."""
    with mock.patch.object(segments, "SEGMENT_SIZE", size):
        yield


def own(key: int) -> dict[str, Any]:
    """Return the data of a user or chat of a state that is filled."""
    return {"own": key, "text": f"of {key}"}


async def filled(store: Store, count: int = COUNT, **options: Any) -> None:
    """Write a state whose users and chats, 1 to `count`, are all in blobs."""
    data = {key: own(key) for key in range(1, count + 1)}
    await written(store, {"user_data": data, "chat_data": data}, **options)


async def written(store: Store, state: dict[str, Any], **options: Any) -> None:
    """Commit a state, and write its users and chats into blobs."""
    persistence = make_persistence(store, **options)
    await state_of(persistence)
    await update(persistence, state)
    await compacted(persistence)
    await persistence.close()


async def compacted(persistence: Persistence, *, publish: bool = True) -> None:
    """Write the blobs of users and chats anew and, if asked to, the head that names them."""
    commits = loader_of(persistence).commits
    assert commits is not None
    for kind in DEMANDED:
        await commits.repository.compact(kind)
    if publish:
        await commits.repository.commit(publish=True)


def on_demand(store: Store, *handlers: Any, **options: Any) -> App:
    """Build a bot that reads on demand; without handlers, it does nothing with what it is sent."""

    async def ignore(*_: object) -> None: ...

    chosen = handlers or (MessageHandler(filters.ALL, ignore),)
    return application(store, *chosen, **{"load": "on_demand", **options})


def repository_of(app: App) -> Any:
    persistence: Any = app.persistence
    commits = loader_of(persistence).commits
    assert commits is not None
    return commits.repository


def ranges(store: MemoryStore, since: int = 0) -> list[str]:
    """Return the objects of which ranges were read since so many calls."""
    return [call.name for call in store.calls[since:] if call.operation == "get_range"]


async def agreed(app: App, store: Store, **options: Any) -> dict[str, dict[int, Any]]:
    """Save, and see that a reader that reads all finds what the bot has, and as many as it says.

    Such a reader refuses a head that counts wrongly. Nothing more gets live by it.
    """
    await app.update_persistence()
    reader = make_persistence(store, **options)
    state = await state_of(reader)
    commits = loader_of(reader).commits
    assert commits is not None
    for kind, data in ((Kind.USER_DATA, app.user_data), (Kind.CHAT_DATA, app.chat_data)):
        saved = state[kind.value]
        assert commits.repository.base.head.parts[kind].entities == len(saved)
        assert len(data) == len(saved), set(data) ^ set(saved)
        assert sorted(data) == sorted(saved)
        live: Any = Internals(app).data(kind)
        assert dict(live) == {key: saved[key] for key in live}
    return {kind.value: state[kind.value] for kind in DEMANDED}
