"""A session of a bot's persistence whose every state is known, to put faults into."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.support import make_persistence, settled, state_of, update

from ptb_s3._storage.contract import Store
from ptb_s3.errors import StorageUnavailableError

State = dict[str, Any]
EMPTY: State = {
    "user_data": {},
    "chat_data": {},
    "bot_data": {},
    "callback_data": None,
    "conversations": {"order": {}},
}
# Every step changes all five kinds at once, so that any mixture of two steps shows.
STEPS = 5
EAGER = -9000
"""Slack for compaction that has blobs written anew as soon as anything was carried along."""


def state_after(step: int) -> State:
    if step == 0:
        return EMPTY
    return {
        "user_data": {1: {"step": step}, **{user: {} for user in range(10, 10 + step)}},
        "chat_data": {-1: {"step": step, "cart": ["x" * 100] * step}},
        "bot_data": {"step": step},
        "callback_data": ([("uuid", float(step), {"button": step})], {"query": f"k{step}"}),
        "conversations": {"order": {(1, step): step, (9, 9): step}},
    }


class Session:
    """One process' life: commits with changes and deletions, compactions, two flushes.

    Attributes:
        acknowledged: The last step whose commit was reported durable.
        attempted: The last step whose commit was begun.
    """

    def __init__(self, store: Store, report: Callable[[str], None] = lambda _: None) -> None:
        self.persistence = make_persistence(store)
        self.acknowledged = 0
        self.attempted = 0
        self._report = report

    async def run(self) -> None:
        await self._try(lambda: state_of(self.persistence, "order"))
        if self.persistence._commits is None:
            return  # it could not read its state, and so did not start
        for step in range(1, STEPS + 1):
            await self._commit(step)
            await settled(self.persistence)
            if step == 3:
                await self._try(self.persistence.flush)
        await self._try(self.persistence.flush)

    async def _commit(self, step: int) -> None:
        before, after = state_after(step - 1), copy.deepcopy(state_after(step))
        gone = before["conversations"]["order"].keys() - after["conversations"]["order"].keys()
        after["conversations"]["order"] |= dict.fromkeys(gone)
        self.attempted = step
        self._report(f"attempted {step}")
        if await self._try(lambda: update(self.persistence, after)):
            self.acknowledged = step
            self._report(f"acknowledged {step}")

    async def _try(self, action: Callable[[], Any]) -> bool:
        try:
            await action()
        except (StorageUnavailableError, ExceptionGroup) as failure:
            only = failure.exceptions if isinstance(failure, ExceptionGroup) else (failure,)
            assert {id(each) for each in only} == {id(only[0])}, "a commit fails for one reason"
            assert isinstance(only[0], StorageUnavailableError), repr(only[0])
            return False
        return True
