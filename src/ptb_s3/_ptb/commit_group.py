"""Group of PTB's calls that share one commit, and the routing of what goes wrong to these calls.

PTB starts all ``update_*`` calls of an interval in one iteration of the event loop and awaits each.
A call hands over its values at once (a `Submission`), and then waits for the commit (a `Waiter`).
Each fault is to reach a caller once, and one that is alive:

=============================================  ==================================================
fault                                          told by
=============================================  ==================================================
a value of a call cannot be serialised         the call that handed it over
an entity was left out, being unmergeable      the call that handed it over, else any shared call
the whole commit failed                        the first shared call, and every call that is not
a fault whose caller was cancelled             any shared call, else the next group or a flush
=============================================  ==================================================

A call is *shared* if an application makes it together with others of an interval: they end up with
the same error handlers, which are to hear of a failure once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from typing import Any, NamedTuple

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3.errors import PersistenceError, SerializationError

# Values that are serialised between two looks at the clock. Each takes some 10 us, so a part takes
# about a quarter of `group_writer.SLICE`.
PART = 50

IN_APPLICATION_SAVE: ContextVar[bool] = ContextVar("ptb_s3_in_application_save", default=False)
"""Set while an application makes the calls of an interval.

Where a subclass overrides ``update_*``, the frame that calls ours is no method of the application,
so the frame alone does not tell.
"""


class Submission(NamedTuple):
    """Values that one of PTB's calls hands over for the next commit.

    Attributes:
        kind: Kind of all its entities.
        values: New values by entity key.
        dropped: Keys of the entities that were deleted.
        whole: Whether `values` are all entities of the kind, so that every other one was deleted.
        faults: Collects why an entity of these could not be saved.
    """

    kind: Kind
    values: Mapping[EntityKey, object]
    dropped: Sequence[EntityKey]
    whole: bool
    faults: list[PersistenceError]


class Waiter:
    """Call of PTB that waits for a commit, and raises what it is told.

    Args:
        loop: The running event loop.
        faults: Faults of its own submissions, shared with these.
        entities: Keys that it has handed over, by kind.
        shared: Whether an application makes it together with others; see the module.
        many: Whether its caller can be told of more than one fault.

    Attributes:
        done: Future that is done when the commit is.
        faults: As above.
        shared: As above.
        left_out: Faults that it is to tell besides its own: of entities that a commit has left out,
            and of cancelled calls.
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
        """Return whether its caller is alive, and can be told of one more fault."""
        return not self.done.done() and (self._many or not (self.faults or self.left_out))

    def take_unheard(self) -> list[PersistenceError]:
        """Return, once, the faults that its caller never hears of, having been cancelled."""
        unheard = [*self.faults, *self.left_out]
        self.faults.clear()
        self.left_out.clear()
        return unheard

    def is_free(self, _: PersistenceError) -> bool:
        """Tell whether it may tell of a fault that no other call has caused."""
        return self.shared

    def handed_over(self, fault: PersistenceError) -> bool:
        """Tell whether a fault is about an entity that this call has handed over."""
        kind, key = getattr(fault, "kind", None), getattr(fault, "key", None)
        return any(own == kind and key in keys for own, keys in self._entities)


class CommitGroup:
    """Group of calls that share a commit: what they have handed over, and its outcome.

    A submission is in the group at once, its waiter only once the call is awaited. A group belongs
    to the event loop that it was made on, which may be closed before the commit begins.

    Attributes:
        task: Task that commits it.
        submissions: Submissions that are not staged yet, oldest first.
        faulty: Non-empty lists of faults, one for each call whose values could not all be staged.
        failure: Error that made the whole commit fail.
        loop: Event loop of all its calls.
    """

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.submissions: deque[Submission] = deque()
        self.faulty: list[list[PersistenceError]] = []
        self.failure: BaseException | None = None
        self._waiters: deque[Waiter] = deque()
        self._told = self._ended = False

    @property
    def is_here(self) -> bool:
        """Return whether its event loop is the running one."""
        return self.loop is asyncio.get_running_loop()

    @property
    def is_lost(self) -> bool:
        """Return whether its commit will not happen any more: cancelled, or of another loop."""
        return self.loop is not asyncio.get_running_loop() or self.task is None or self.task.done()

    @property
    def is_over(self) -> bool:
        """Return whether its event loop is closed, so that no caller is left to resume."""
        return self.loop.is_closed()

    def __len__(self) -> int:
        """Return the number of calls that wait."""
        return len(self._waiters)

    async def wait(self, waiter: Waiter) -> None:
        """Wait until the commit is done, well or not.

        Raises:
            CancelledError: The call was cancelled. The commit goes on.
        """
        if not self._ended:
            self._waiters.append(waiter)
            await waiter.done

    def release(self, count: int | None = None) -> None:
        """Resume calls that wait.

        Args:
            count: How many. None: all of them, and from now on no call waits.
        """
        self._ended = count is None
        for _ in range(len(self) if count is None else count):
            done = self._waiters.popleft().done
            if not done.done():  # else the call was cancelled
                done.set_result(None)

    def failure_for(self, waiter: Waiter) -> BaseException | None:
        """Return the failure of the commit if this call, which resumes now, is to raise it.

        A cancelled call never asks, so the first shared call that asks is one that is alive.
        """
        if waiter.shared:
            told, self._told = self._told, True
            return None if told else self.failure
        return self.failure

    def share_out(self, faults: Iterable[PersistenceError]) -> list[PersistenceError]:
        """Assign faults to calls that can tell of them.

        Args:
            faults: Faults that no call has been told of yet.

        Returns:
            Those that no call can tell of, and all if the commit failed as a whole: then each call
            tells of that failure.
        """
        faults = [*faults, *self._untold()]
        if self.failure is not None:
            return faults
        left = [fault for fault in faults if not self._tell(fault, Waiter.handed_over)]
        return [fault for fault in left if not self._tell(fault, Waiter.is_free)]

    def _untold(self) -> Iterator[PersistenceError]:
        """Yield the faults of calls that were cancelled, or are not awaited yet.

        Of the latter, some never will be: their faults are told twice, then, rather than never.
        """
        for waiter in self._waiters:
            if waiter.done.cancelled():
                yield from waiter.take_unheard()
        waiting = {id(waiter.faults) for waiter in self._waiters}
        for faults in self.faulty:
            if id(faults) not in waiting:
                yield from faults

    def _tell(
        self, fault: PersistenceError, fits: Callable[[Waiter, PersistenceError], bool]
    ) -> bool:
        for waiter in self._waiters:
            if waiter.can_tell and fits(waiter, fault):
                waiter.left_out.append(fault)
                return True
        return False


def combined(faults: Sequence[PersistenceError]) -> PersistenceError:
    """Return one of several faults of a call, with the rest in its `others`.

    A call can raise but one. A `SerializationError` goes first, since its text counts the others.
    """
    first, *others = sorted(faults, key=lambda fault: not isinstance(fault, SerializationError))
    first.others = tuple(others)
    return first


def in_parts(
    kind: Kind, values: dict[EntityKey, Any], faults: list[PersistenceError]
) -> Iterator[Submission]:
    """Cut many values into submissions of `PART` values, and empty the dictionary.

    Args:
        kind: Kind of all values.
        values: Values by entity key. Emptied, so that each part is the only owner of its values.
        faults: Shared by all of these submissions.
    """
    entries = iter(values.items())
    while part := dict(islice(entries, PART)):
        yield Submission(kind, part, (), whole=False, faults=faults)
    values.clear()
