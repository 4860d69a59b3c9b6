"""Users and chats that are read when they are asked for, as a process has them here.

Code that cannot await blocks its loop until a thread has the answer. Here time stands still
meanwhile: the storage answers at once, from what it holds at that moment, or not at all.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tests.simulation.loop import VirtualLoop
from tests.simulation.storage import Line, outcome_of
from tests.support import Persistence

from ptb_s3._storage.contract import Store
from ptb_s3.errors import StorageUnavailableError

_T = TypeVar("_T")
# How often a version that is there is not found, though nothing has removed it.
_UNSEEN = 0.03


class Twin(Line):
    """The way to the storage of code that cannot await: no time goes by on it.

    Args:
        line: The way of its process, whose weather it shares.
        rng: Decides what befalls a request.
    """

    def __init__(self, line: Line, rng: random.Random) -> None:
        super().__init__(line._storage, rng, line.weather, line._after)
        self._line = line

    async def get_range(self, name: str, start: int, length: int, **options: Any) -> bytes | None:
        found = await super().get_range(name, start, length, **options)
        gone = self._line.weather.lost and self._rng.random() < _UNSEEN
        return None if gone else found

    async def _request(
        self, act: Callable[[], Coroutine[Any, Any, Any]], written: str | None = None
    ) -> Any:
        assert written is None, "code that cannot await wrote something"
        self.weather = self._line.weather
        if self._fate() in ("lost", "late", "busy", "refused", "unanswered"):
            raise StorageUnavailableError("No answer to code that waits.")
        result = outcome_of(act)
        if isinstance(result, BaseException):
            raise result
        return result


class Blocking:
    """Stand-in for `BlockingStore`.

    Args:
        store: What it asks.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, ask: Callable[[Store], Awaitable[_T]]) -> _T:
        async def answer() -> _T:
            return await ask(self._store)

        def run() -> _T:
            loop = VirtualLoop()
            try:
                return loop.run_until_complete(answer())
            finally:
                loop.close()

        with ThreadPoolExecutor(1) as thread:  # no loop runs inside another one
            return thread.submit(run).result()

    def close(self) -> None: ...


def read_on_demand(persistence: Persistence, line: Line, rng: random.Random) -> None:
    """Have a persistence read what is asked for, as a `PersistentApplication` has it do."""
    loader: Any = persistence._loader
    loader.reads_on_demand = loader.application_starts = True
    loader._blocking = Blocking(Twin(line, rng))
