"""The calls that share one commit: what they hand over, and which of them says what went wrong."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from typing import Any, NamedTuple

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3.errors import PersistenceError, SerializationError

# Values that are serialised before somebody looks at the clock; each takes some 10 us.
PART = 50

# Whether an application makes its calls of an interval. Where those are overridden, what calls us
# is no method of the application's.
SHARED: ContextVar[bool] = ContextVar("ptb_s3_shared", default=False)


class Update(NamedTuple):
    """What one of PTB's calls hands over, and where the faults in it are gathered.

    Attributes:
        kind: Whose entities they are.
        values: What entities have become.
        dropped: Entities that were deleted.
        whole: Whether `values` are all there are, so that every other entity was deleted.
        faults: What could not be saved, and why.
    """

    kind: Kind
    values: Mapping[EntityKey, object]
    dropped: Sequence[EntityKey]
    whole: bool
    faults: list[PersistenceError]


class Call:
    """One that waits for a commit.

    Args:
        loop: The event loop that runs.
        faults: Where it is gathered what of its own could not be saved, and why.
        entities: What it has handed over: keys of a kind.
        shared: Whether it is one of those that an application makes together. Of what befalls them
            all, one of these tells PTB's error handlers; any other call tells its own caller.
        many: Whether it can tell of more than one fault.

    Attributes:
        done: Done when the commit is.
        faults: As above.
        shared: As above.
        left_out: What it is to tell besides: of entities that a commit has left out, and of what
            nobody heard.
    """

    __slots__ = ("_entities", "_many", "done", "faults", "left_out", "shared")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        faults: list[PersistenceError],
        entities: Sequence[tuple[Kind, Collection[EntityKey]]],
        *,
        shared: bool,
        many: bool = False,
    ) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.faults = faults
        self.left_out: list[PersistenceError] = []
        self.shared = shared
        self._many = many
        self._entities = entities

    @property
    def can_tell(self) -> bool:
        """Whether its caller is there, and can be told of one more."""
        return not self.done.done() and (self._many or not (self.faults or self.left_out))

    def take_unheard(self) -> list[PersistenceError]:
        """Return, once, what it can tell nobody any more, since it was cancelled."""
        unheard = [*self.faults, *self.left_out]
        self.faults.clear()
        self.left_out.clear()
        return unheard

    def is_free(self, _: PersistenceError) -> bool:
        """Tell whether it may tell of what is no other call's."""
        return self.shared

    def handed_over(self, fault: PersistenceError) -> bool:
        """Tell whether a fault is about an entity that this call has handed over."""
        kind, key = getattr(fault, "kind", None), getattr(fault, "key", None)
        return any(own == kind and key in keys for own, keys in self._entities)


class Group:
    """The calls that share a commit, and what became of it.

    What a call hands over is here at once, and the call itself once it begins to wait.

    Attributes:
        task: The commit.
        updates: What was handed over, and is not staged yet.
        faulty: Faults in what was, by update.
        failure: Why the commit failed.
        loop: The event loop of all of them.
    """

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.updates: deque[Update] = deque()
        self.faulty: list[list[PersistenceError]] = []
        self.failure: BaseException | None = None
        self._calls: deque[Call] = deque()
        self._told = self._ended = False

    @property
    def is_here(self) -> bool:
        """Whether its loop is the one that runs."""
        return self.loop is asyncio.get_running_loop()

    @property
    def is_lost(self) -> bool:
        """Whether its commit is not going to happen any more."""
        return self.loop is not asyncio.get_running_loop() or self.task is None or self.task.done()

    @property
    def is_over(self) -> bool:
        """Whether its loop is closed, so that nobody is left who could go on."""
        return self.loop.is_closed()

    def __len__(self) -> int:
        """How many calls wait."""
        return len(self._calls)

    async def wait(self, call: Call) -> None:
        """Wait until the commit is done."""
        if not self._ended:
            self._calls.append(call)
            await call.done

    def release(self, count: int | None = None) -> None:
        """Let so many of those go on who wait for the commit; None: all, and who is yet to come."""
        self._ended = count is None
        for _ in range(len(self) if count is None else count):
            done = self._calls.popleft().done
            if not done.done():  # else it was cancelled
                done.set_result(None)

    def failure_for(self, call: Call) -> BaseException | None:
        """Return why the commit failed, if this call is to say so, now that it goes on.

        Calls that were cancelled do not go on, so the first that is alive says it for those that
        are made together.
        """
        if call.shared:
            told, self._told = self._told, True
            return None if told else self.failure
        return self.failure

    def share_out(self, faults: Iterable[PersistenceError]) -> list[PersistenceError]:
        """Have calls tell of entities that are not saved, each of its own; return what is left."""
        faults = [*faults, *self._untold()]
        if self.failure is not None:
            return faults  # that is what these calls tell
        left = [fault for fault in faults if not self._tell(fault, Call.handed_over)]
        return [fault for fault in left if not self._tell(fault, Call.is_free)]

    def _untold(self) -> Iterator[PersistenceError]:
        """Iterate over the faults of calls that were cancelled, or have not begun to wait.

        Of the latter, some never will: what theirs are is told twice, then, rather than never.
        """
        for call in self._calls:
            if call.done.cancelled():
                yield from call.take_unheard()
        waiting = {id(call.faults) for call in self._calls}
        for faults in self.faulty:
            if id(faults) not in waiting:
                yield from faults

    def _tell(
        self, fault: PersistenceError, fits: Callable[[Call, PersistenceError], bool]
    ) -> bool:
        for call in self._calls:
            if call.can_tell and fits(call, fault):
                call.left_out.append(fault)
                return True
        return False


def together(faults: Sequence[PersistenceError]) -> PersistenceError:
    """Return one of several faults of a call, which can raise no more; it has the others."""
    first, *others = sorted(faults, key=lambda fault: not isinstance(fault, SerializationError))
    first.others = tuple(others)
    return first


def in_parts(
    kind: Kind, values: dict[EntityKey, Any], faults: list[PersistenceError]
) -> Iterator[Update]:
    """Cut many values into updates that share their list of faults, and empty the dict."""
    entries = iter(values.items())
    while part := dict(islice(entries, PART)):
        yield Update(kind, part, (), whole=False, faults=faults)
    values.clear()
