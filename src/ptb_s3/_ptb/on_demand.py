"""Users' and chats' data that is read when it is asked for, in the place of PTB's own mappings.

PTB keeps all of it in two dictionaries which make what they lack. In these two, what is lacking is
looked for in the state first: **an object is handed out only of data that is loaded**. An empty one
in the place of data that is not would be saved over it.

======================================  =========================================================
PTB, or the bot's code                  what it gets
======================================  =========================================================
``data[key]``                           the live object, made from bytes that were prefetched or,
                                        failing that, are fetched then and there
``key in data``, ``len(data)``          the truth, of live and saved data alike
``for key in data``                     all keys, read segment by segment, none of which is kept
``.values()``, ``.items()``             likewise, `AHEAD` at once; each object stays in memory
======================================  =========================================================

What PTB's own bookkeeping, and ours, is about are the live objects alone: `LiveData`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import (
    Callable,
    Collection,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any

from ptb_s3._format.entities import EntityKey, Kind, key_like
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3.errors import PersistenceError, StorageUnavailableError

_Subjects = Collection[tuple[Kind, EntityKey]]
# Users and chats that could not be read just now, and why.
_UNREADABLE: ContextVar[tuple[_Subjects, PersistenceError] | None] = ContextVar(
    "unreadable", default=None
)

AHEAD = 500
"""Users or chats that are read at once, where code goes through the data of all."""

_LOGGER = logging.getLogger("ptb_s3")


class OnDemandData(defaultdict[int, Any]):
    """Mapping of users or chats whose data is read when it is asked for.

    Args:
        kind: Users or chats.
        new: Makes the data of one that has none.
        commits: Gives the group commit of the loaded state, or None before it is loaded.
        dropped: Gives the ids of those that were dropped, and are in the state still.
    """

    def __init__(
        self,
        kind: Kind,
        new: Callable[[], Any],
        commits: Callable[[], GroupCommit | None],
        dropped: Callable[[], AbstractSet[int]] = frozenset,
    ) -> None:
        super().__init__(new)
        self._kind = kind
        self._commits = commits
        self._dropped = dropped
        self._told = False
        self.live = LiveData(self)

    def __missing__(self, key: int) -> Any:  # noqa: ANN401 - of whatever type the bot uses
        """Return the data of a user or chat that is not live yet.

        Raises:
            PersistenceError: It cannot be read.
        """
        commits, own = self._commits(), self._own(key)
        if commits is not None and own is not None and self._exists(commits, own):
            new, key = commits.objects.fetch(self._kind, own), own
        else:
            new = self.default_factory()  # type: ignore[misc]  # it has one
        return self.setdefault(key, new)  # another thread may have made it meanwhile

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        commits, own = self._commits(), self._own(key)
        return commits is not None and own is not None and self._exists(commits, own)

    def __len__(self) -> int:
        commits = self._commits()
        if commits is None:
            return super().__len__()
        staged = commits.repository.staged
        gone = (k for k in self._dropped() - self.live.keys() if staged.get(self._kind, k))
        new = sum(1 for _ in self._new(commits))
        return staged.count(self._kind) + new - sum(1 for _ in gone)

    def __iter__(self) -> Iterator[int]:
        live = list(super().__iter__())
        yield from live
        commits = self._commits()
        if commits is not None:
            seen = set(live)
            saved: Any = commits.repository.keys_now(self._kind)
            with commits.report.noting_unread():
                yield from (k for k in saved if k not in seen and k not in self._dropped())

    def __reversed__(self) -> Iterator[int]:
        return reversed(list(self))

    def __bool__(self) -> bool:
        return len(self) > 0

    def __repr__(self) -> str:
        """Return a text without ids and values, and without reading any."""
        return f"<{type(self).__name__} of {self._kind.value}>"

    __hash__ = None  # type: ignore[assignment]  # as a dict's

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.items()) == dict(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __or__(self, other: Any) -> Any:  # noqa: ANN401 - as a dict's
        return dict(self.items()) | other

    def __ror__(self, other: Any) -> Any:  # noqa: ANN401 - as a dict's
        return other | dict(self.items())

    def get(self, key: int, default: Any = None) -> Any:  # noqa: ANN401 - as a dict's
        return self[key] if key in self else default  # noqa: SIM401 - this is `get`

    def keys(self) -> Any:  # noqa: ANN401 - a view, as a dict's
        return Mapping.keys(self)

    def values(self) -> Any:  # noqa: ANN401 - a view, as a dict's
        return _Values(self)

    def items(self) -> Any:  # noqa: ANN401 - a view, as a dict's
        return _Items(self)

    def copy(self) -> Any:  # noqa: ANN401 - as a dict's
        return dict(self.items())

    def read_ahead(self) -> Iterator[int]:
        """Iterate over all keys, and read the data of many at once, before the first one's turn.

        Raises:
            PersistenceError: It cannot be read.
        """
        keys = iter(self)
        while some := list(islice(keys, AHEAD)):
            if (commits := self._commits()) is not None:
                staged = commits.repository.staged
                if unknown := [key for key in some if not staged.knows(self._kind, key)]:
                    self._tell()
                    with commits.report.noting_unread():
                        commits.repository.fetch_now(self._kind, unknown)
            yield from (key for key in some if key in self)  # else it was dropped meanwhile

    def _new(self, commits: GroupCommit) -> Iterator[int]:
        """Iterate over the keys of live objects of which nothing is saved."""
        staged = commits.repository.staged
        for key in super().__iter__():
            if staged.knows(self._kind, key) and staged.get(self._kind, key) is None:
                yield key

    def _own(self, key: object) -> int | None:
        """Return the id that a key is, or equals as 5.0 equals 5, or None."""
        own: Any = key_like(self._kind, key)
        return own  # type: ignore[no-any-return]

    def _exists(self, commits: GroupCommit, key: int) -> bool:
        """Tell whether there is data of a user or chat that is not live, and have it known."""
        if key in self._dropped():
            return False
        repository = commits.repository
        if not repository.staged.knows(self._kind, key):
            if (unreadable := _UNREADABLE.get()) and (self._kind, key) in unreadable[0]:
                raise unreadable[1]
            self._tell()
            with commits.report.noting_unread():
                repository.fetch_now(self._kind, [key])
        return repository.staged.get(self._kind, key) is not None

    def _tell(self) -> None:
        """Log, once, that the event loop is blocked, and how to avoid it."""
        if not self._told:
            self._told = True
            _LOGGER.warning(
                "Data of %s was asked for that is neither of the update's user and chat nor "
                "prefetched: the event loop waits for the storage. Await "
                "application.prefetch(users=..., chats=...) before.",
                self._kind.value,
            )


class _Items(ItemsView[int, Any]):
    """View of keys and data, which reads ahead."""

    _mapping: OnDemandData

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        yield from ((key, self._mapping[key]) for key in self._mapping.read_ahead())

    def __contains__(self, item: object) -> bool:
        match item:
            case tuple((key, value)) if key in self._mapping:  # or one would be made
                return bool(self._mapping[key] == value)
        return False


class _Values(ValuesView[Any]):
    """View of data, which reads ahead."""

    _mapping: OnDemandData

    def __iter__(self) -> Iterator[Any]:
        yield from (self._mapping[key] for key in self._mapping.read_ahead())

    def __contains__(self, value: object) -> bool:
        return any(own is value or own == value for own in self)


class LiveData(MutableMapping[int, Any]):
    """View of the live objects of a mapping that reads on demand: it never reads but by a key.

    Args:
        data: The mapping.
    """

    def __init__(self, data: OnDemandData) -> None:
        self._data = data

    def __getitem__(self, key: int) -> Any:  # noqa: ANN401 - of whatever type the bot uses
        return self._data[key]

    def __setitem__(self, key: int, value: object) -> None:
        self._data[key] = value

    def __delitem__(self, key: int) -> None:
        del self._data[key]

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self._data, key)

    def __iter__(self) -> Iterator[int]:
        return dict.__iter__(self._data)

    def __len__(self) -> int:
        return dict.__len__(self._data)

    def get(self, key: int, default: Any = None) -> Any:  # noqa: ANN401 - as a dict's
        return dict.get(self._data, key, default)

    def pop(self, key: int, *default: Any) -> Any:  # noqa: ANN401 - as a dict's
        return dict.pop(self._data, key, *default)


@contextmanager
def unreadable(subjects: _Subjects, failure: PersistenceError) -> Iterator[None]:
    """Have code of the body of a `with` that asks for users and chats get a failure at once.

    It has just been tried for 30 s to read them. Error handlers often write down an update's data,
    and to try again for each of user and chat would hold up the event loop for another minute.

    Args:
        subjects: The users and chats.
        failure: Why they cannot be read.
    """
    token = _UNREADABLE.set((subjects, failure))
    try:
        yield
    finally:
        _UNREADABLE.reset(token)


async def prefetch(commits: GroupCommit, subjects: Iterable[tuple[Kind, EntityKey]]) -> None:
    """Read the data of users and chats that is not known yet, where it is read on demand.

    Raises:
        PersistenceError: It cannot be read, for 30 s, or not in time for the bot to stop.
    """
    staged = commits.repository.staged
    wanted: dict[Kind, list[EntityKey]] = {}
    for kind, key in subjects:
        if not staged.knows(kind, key):
            wanted.setdefault(kind, []).append(key)
    if wanted:
        with commits.report.noting_unread():
            try:
                async with commits.shutdown.bound_reads():
                    await commits.repository.fetch(wanted)
            except TimeoutError as late:
                raise StorageUnavailableError(
                    "The bot is being stopped, and the storage does not answer: data that is not "
                    "loaded was not read. Nothing was changed."
                ) from late


def ensure(commits: GroupCommit, kind: Kind, key: EntityKey) -> None:
    """Have it known whether there is an entity, and block until it is.

    Raises:
        PersistenceError: It cannot be read.
    """
    own = key_like(kind, key)
    if own is not None and not commits.repository.staged.knows(kind, own):
        with commits.report.noting_unread():
            commits.repository.fetch_now(kind, [own])
