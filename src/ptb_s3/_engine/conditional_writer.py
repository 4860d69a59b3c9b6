"""Conditional writer: compare-and-swap on one object, lost replies included.

A conditional PUT replaces an object if it still has the ETag that was seen, or creates it if there
is none. Its answer may be wrong or missing: HTTP clients send a request again, so that the second
try is refused *because* the first took effect, and a reply may be lost. So each put has an id of
its own, authenticated in the object, and the object is read to settle an unclear answer:

==============================  ===================================================================
answer                          what follows
==============================  ===================================================================
200                             written
412 (refused)                   settle: the object is read
none (time-out, lost reply)     settle: the object is read; the put may still be under way
cancelled                       nothing is read; the put may still be under way
==============================  ===================================================================

==============================  ===================================================================
the object, when read           outcome of the put
==============================  ===================================================================
shows a put id of ours          that put took effect, whatever was answered
has still the ETag seen before  no effect so far: after a 412 the storage refuses a condition that
                                holds; after no answer the put stays *undecided*, for it may arrive
anything else                   another writer was first; a condition on the ETag seen before can
                                never hold again, so the put is lost for good
==============================  ===================================================================

The model is slatedb's ``slatedb-txn-obj``. Used for `head` (`_engine.commit`), which shows the last
put id of each writer, and for blobs (`_engine.compaction`), which show their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from ptb_s3._storage.body import Body
from ptb_s3._storage.conditional import ConditionalStore
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3.errors import StorageUnavailableError

_Put = TypeVar("_Put")


class Undecided(Generic[_Put]):
    """Register of puts whose outcome is unknown, by put id, oldest first.

    Invariant: a put is remembered before it is sent, and until an object decides it. A refused one
    stays, too: it may have been sent twice, and refused the second time alone.

    Args:
        limit: Number of puts that are remembered; the oldest is forgotten first. None: all.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._puts: dict[str, _Put] = {}
        self._limit = limit

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._puts)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the put ids, oldest first."""
        return iter(self._puts)

    def __contains__(self, put_id: str) -> bool:
        """Tell whether a put is undecided."""
        return put_id in self._puts

    def puts(self) -> list[_Put]:
        """Return the puts, oldest first."""
        return list(self._puts.values())

    def remember(self, put_id: str, put: _Put) -> str | None:
        """Remember a put that is about to be sent.

        Args:
            put_id: Its id.
            put: Whatever is needed to go on from it once it took effect.

        Returns:
            Id of a put that is forgotten for it; None: none is.
        """
        self._puts[put_id] = put
        if self._limit is None or len(self._puts) <= self._limit:
            return None
        oldest = next(iter(self._puts))
        del self._puts[oldest]
        return oldest

    def shown(self, shows: Callable[[str], bool]) -> _Put | None:
        """Return the oldest put that an object shows, or None."""
        return next((put for put_id, put in self._puts.items() if shows(put_id)), None)

    def take(self, put_id: str) -> _Put:
        """Forget a put that took effect, and return it."""
        return self._puts.pop(put_id)

    def forget(self, put_id: str) -> None:
        """Forget a put that has surely taken no effect."""
        self._puts.pop(put_id, None)

    def clear(self) -> None:
        """Forget all puts: the object that their conditions name is gone for good."""
        self._puts.clear()


class Target(Protocol):
    """Object that is swapped: how its state is learned, and what an unclear answer means for it."""

    async def settle(self, failure: StorageUnavailableError | None) -> bool:
        """Read the object, and go by the put that it shows.

        Args:
            failure: Why there was no answer; None: the put was refused.

        Returns:
            Whether the object is another one than the put was to replace.
        """
        ...

    async def refused(self) -> None:
        """Go on after a refusal of a condition that holds, or raise where there is no way to."""
        ...

    def interrupted(self) -> None:
        """Note that the put was cancelled, and may yet take effect."""
        ...


class ConditionalWriter:
    """Writer that replaces an object only as it was last seen, and settles unclear answers.

    Args:
        store: Takes the writes.
    """

    def __init__(self, store: ConditionalStore) -> None:
        self._store = store

    async def swap(
        self, name: str, body: bytes | Body, *, if_match: str | None, target: Target
    ) -> Written | None:
        """Replace an object, if it is still the one that was seen.

        Args:
            name: The object.
            body: Its new bytes, which show a put id; see `Undecided`.
            if_match: ETag of the object seen; None: there was none.
            target: Settles an unclear answer.

        Returns:
            The storage's answer; None: there was no clear one, and `target` has settled it.

        Raises:
            StorageUnavailableError: There was no answer, and the object is as before.
            PersistenceError: `target` has raised it.
        """
        failure: StorageUnavailableError | None = None
        try:
            return await self._store.put(name, body, if_match=if_match)
        except PreconditionFailed:
            pass
        except StorageUnavailableError as lost:
            failure = lost
        except asyncio.CancelledError:
            target.interrupted()
            raise
        if await target.settle(failure):
            return None
        if failure is not None:
            raise failure
        await target.refused()
        return None
