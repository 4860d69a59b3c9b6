"""Compare-and-swap on one object: each answer of the storage, and how it is settled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ptb_s3._engine.conditional_writer import ConditionalWriter, Undecided
from ptb_s3._storage.conditional import ConditionalStore
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError, StorageUnavailableError

LOST = StorageUnavailableError("The storage's answer was lost.")


class Answering(MemoryStore):
    """A store that gives one answer to every put."""

    def __init__(self, answer: Written | BaseException) -> None:
        super().__init__()
        self.answer = answer

    async def put(self, *_: object, **__: object) -> Written:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Target:
    """Notes what it is asked, and says whether the object has changed."""

    def __init__(self, *, changed: bool) -> None:
        self.asked: list[Any] = []
        self._changed = changed

    async def settle(self, failure: StorageUnavailableError | None) -> bool:
        self.asked.append(failure)
        return self._changed

    async def refused(self) -> None:
        self.asked.append("refused")

    def interrupted(self) -> None:
        self.asked.append("interrupted")


async def swapped(answer: Written | BaseException, target: Target) -> Written | None:
    writer = ConditionalWriter(ConditionalStore(Answering(answer)))
    return await writer.swap("head", b"new", if_match='"1"', target=target)


async def test_a_clear_answer_needs_no_look() -> None:
    """What was acknowledged is not read again."""
    target = Target(changed=False)
    assert await swapped(Written('"2"', "v2"), target) == Written('"2"', "v2")
    assert target.asked == []


@pytest.mark.parametrize("answer", [PreconditionFailed("head"), LOST])
async def test_an_unclear_answer_is_settled(answer: Exception) -> None:
    """The object has changed: by this put, an earlier one, or another writer's."""
    target = Target(changed=True)
    assert await swapped(answer, target) is None
    assert target.asked == [answer if answer is LOST else None]


async def test_a_refusal_of_what_holds_is_no_conflict() -> None:
    """The object is as it was: the target says what to do with such a storage."""
    target = Target(changed=False)
    assert await swapped(PreconditionFailed("head"), target) is None
    assert target.asked == [None, "refused"]


async def test_no_answer_and_no_change_is_a_failure() -> None:
    """It may yet take effect, so that it is neither success nor conflict."""
    target = Target(changed=False)
    with pytest.raises(StorageUnavailableError) as raised:
        await swapped(LOST, target)
    assert raised.value is LOST
    assert target.asked == [LOST]


async def test_a_cancelled_put_may_yet_take_effect() -> None:
    """Nothing is read: whoever cancels does not wait."""
    target = Target(changed=True)
    with pytest.raises(asyncio.CancelledError):
        await swapped(asyncio.CancelledError(), target)
    assert target.asked == ["interrupted"]


async def test_other_errors_are_no_answer_to_the_condition() -> None:
    """Such as a denial: the put has surely taken no effect."""
    target = Target(changed=True)
    with pytest.raises(ConflictError):
        await swapped(ConflictError("denied"), target)
    assert target.asked == []


def test_the_oldest_put_is_forgotten_first() -> None:
    """Within the limit all are remembered, and each is found by what an object shows."""
    undecided = Undecided[int](limit=2)
    assert not undecided
    assert [undecided.remember(str(number), number) for number in range(4)] == [
        None,
        None,
        "0",
        "1",
    ]
    assert [*undecided] == ["2", "3"]
    assert undecided.shown({"1", "3"}.__contains__) == 3
    assert undecided.shown({"0", "1"}.__contains__) is None
    assert undecided.take("3") == 3
    undecided.forget("3")
    assert undecided.puts() == [2]
    undecided.clear()
    assert "2" not in undecided
