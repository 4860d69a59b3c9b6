"""A blob whose answer comes late does not take the place of a newer one that head has named."""

from __future__ import annotations

import asyncio

from tests.support import StoreAround, make_persistence, settled

from ptb_s3._format.entities import Kind
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Written
from ptb_s3._storage.memory import MemoryStore


class LateAnswers(StoreAround):
    """A store whose answers to a blob's PUT arrive when they are let go."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.taken = asyncio.Event()
        self.gate = asyncio.Event()

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        written = await super().put(name, body, if_match=if_match)
        if name == Kind.USER_DATA:
            self.taken.set()
            await self.gate.wait()
        return written


async def test_a_late_blob_of_ours_does_not_replace_a_newer_one_that_head_has_named() -> None:
    """The next head would name the older one, and leave out what changed in between."""
    memory = MemoryStore()
    late = LateAnswers(memory)
    ours = make_persistence(late)
    await ours.get_user_data()
    await ours.update_user_data(1, {"n": 1})
    repository = (await ours._opened()).repository
    await late.taken.wait()  # the first blob is written in the background

    theirs = make_persistence(memory)
    await theirs.get_user_data()
    await theirs.update_user_data(2, {"n": 2})
    await settled(theirs)
    await (await theirs._opened()).repository.compact(Kind.USER_DATA)
    await theirs.update_user_data(3, {"n": 3})  # whose head names their blob

    await repository.sync()
    newer = repository.base.blobs[Kind.USER_DATA].ref
    late.gate.set()
    await settled(ours)
    assert repository.base.blobs[Kind.USER_DATA].ref == newer
    await ours.update_user_data(4, {"n": 4})
    left = await make_persistence(memory).get_user_data()
    assert left == {number: {"n": number} for number in (1, 2, 3, 4)}
