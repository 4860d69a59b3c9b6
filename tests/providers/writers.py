"""A short session of four writers on one state, and what is left of what they were told is saved.

Each is a bot of python-telegram-bot with a persistence of its own; they run in one process and know
of each other only what they find in the bucket. Each update adds something that nobody adds again:
a key of the user whom all share, and a user. So what was overwritten once stays away, and is missed
by a cold reader.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from telegram import Update
from telegram.ext import MessageHandler, filters
from tests.support.bots import Context, gather_errors, make_application, say
from tests.support.persistence import Persistence

from ptb_s3.errors import HeadLostError, NoConditionalPutError, PersistenceError

WRITERS = 4
ROUNDS = 6
"""Commits of each writer while the others write, too; one more follows when they do not."""
SHARED = 1
"""The user whom all writers change."""
_LIMIT = 1000  # users of one writer

Mark = tuple[int, str]
"""What one update leaves behind: user, key."""
Users = Mapping[int, Mapping[str, Any]]


class Outcome(NamedTuple):
    """What came of a session.

    Attributes:
        acknowledged: How many marks the writers were told are durable.
        lost: How many of those are gone, and nobody was told.
        overwritten: How many are gone of writers that were told so, and wrote no more.
        refusals: The errors that ended a writer, by name.
        failures: The errors after which it went on.
    """

    acknowledged: int
    lost: int
    overwritten: int
    refusals: Counter[str]
    failures: Counter[str]


class Writer:
    """One bot of the session.

    Args:
        number: Which of the writers.
        persistence: Keeps its state.
    """

    def __init__(self, number: int, persistence: Persistence) -> None:
        self.acknowledged: set[Mark] = set()
        self.refusal: Exception | None = None
        self.failures: Counter[str] = Counter()
        self._number = number
        self._count = 0
        self._pending: set[Mark] = set()
        self._stack = AsyncExitStack()
        self._app = make_application(persistence, [MessageHandler(filters.TEXT, self._mark)])
        self._errors = gather_errors(self._app)

    async def begin(self) -> None:
        """Load the state."""
        await self._try(self._stack.enter_async_context(self._app))

    async def write(self) -> None:
        """Make one update for either user, and save."""
        if self.refusal is not None:
            return
        self._count += 1
        own = (self._number + 1) * _LIMIT + self._count
        for user in (SHARED, own):
            await say(self._app, self._key, user=user)
            self._pending.add((user, self._key))
        await self._try(self._app.update_persistence())

    async def end(self) -> None:
        """Shut the bot down, which saves once more."""
        refused_before = self.refusal
        await self._try(self._stack.aclose())
        self.refusal = refused_before or self.refusal

    @property
    def _key(self) -> str:
        return f"{self._number}-{self._count}"

    async def _mark(self, _: Update, context: Context) -> None:
        context.user_data[self._key] = True

    async def _try(self, action: Awaitable[object]) -> None:
        """Do something, and take for saved what was, if nothing was said against it."""
        pending = set(self._pending)
        self._errors.clear()
        try:
            await action
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is shown
            self._errors.append(exc)
        if not self._errors:
            self.acknowledged |= pending
            self._pending -= pending
            return
        for error in self._errors:
            # The second is heard where what was overwritten is more than one revision ahead.
            if isinstance(error, NoConditionalPutError | HeadLostError):
                self.refusal = error
            elif not isinstance(error, PersistenceError):
                raise error  # a fault of ours
        if self.refusal is None:
            self.failures[type(self._errors[0]).__name__] += 1


async def session(
    make: Callable[[], Persistence], read: Callable[[], Awaitable[Users]], rounds: int = ROUNDS
) -> Outcome:
    """Let four writers write at once, and look for what they have saved.

    Args:
        make: Makes the persistence of a writer, on the state that they share.
        read: Reads the users that a process which starts now would load.
        rounds: How often each writes.
    """
    writers = [Writer(number, make()) for number in range(WRITERS)]
    for writer in writers:
        await writer.begin()
    for _ in range(rounds):
        await asyncio.gather(*(writer.write() for writer in writers))
    for writer in writers:
        await writer.write()  # unhurried: whoever was overwritten finds out at the latest here
    for writer in writers:
        await writer.end()
    return judge(writers, await read())


def judge(writers: list[Writer], found: Users) -> Outcome:
    """Count what is there, and what is not."""

    def gone(writer: Writer) -> int:
        return sum(key not in found.get(user, {}) for user, key in writer.acknowledged)

    told = [writer for writer in writers if writer.refusal is not None]
    return Outcome(
        acknowledged=sum(len(writer.acknowledged) for writer in writers),
        lost=sum(gone(writer) for writer in writers if writer.refusal is None),
        overwritten=sum(map(gone, told)),
        refusals=Counter(type(writer.refusal).__name__ for writer in told),
        failures=sum((writer.failures for writer in writers), Counter()),
    )
