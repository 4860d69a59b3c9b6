"""Store whose objects arrive with their keys: a key service is asked before anybody opens one.

Whoever opens an object asks its key source by a plain function, often in a thread, and cannot wait
there for a service on the network. So the header is read where every object comes by: in the store.
A read waits for the service, and a transfer goes on while it is asked, its pieces held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from ptb_s3._format.container import has_preamble, read_header
from ptb_s3._format.key_source import KeyService, KeySource, key_service
from ptb_s3._storage.around import StoreAround
from ptb_s3._storage.contract import (
    Archive,
    Fetched,
    Lock,
    Received,
    Sink,
    Store,
)
from ptb_s3.errors import DamagedObjectError

_Store = TypeVar("_Store", bound=Store)


def unwrapping(store: _Store, keys: KeySource) -> _Store:
    """Return a store whose objects a key source can open when they arrive.

    It is the same store where the source has its keys already.
    """
    service = key_service(keys)
    return store if service is None else cast("_Store", UnwrappingStore(store, service))


class UnwrappingStore(StoreAround):
    """Decorator of a store: asks a key service for the key of each object that is read whole.

    First bytes of an object are handed on as they are, since whoever asks for these reads a header.

    Args:
        store: The store. Its deletions and locks are to be had where it is an `Archive`.
        service: Keeps the keys that open its objects.
    """

    def __init__(self, store: Store, service: KeyService) -> None:
        super().__init__(store)
        self._service = service

    def __repr__(self) -> str:
        return repr(self.store)

    async def get(
        self,
        name: str,
        *,
        version_id: str | None = None,
        first_bytes: int | None = None,
        if_none_match: str | None = None,
    ) -> Fetched | None:
        """See `Store.get`.

        Raises:
            PersistenceError: The key service cannot be asked.
        """
        found = await super().get(
            name, version_id=version_id, first_bytes=first_bytes, if_none_match=if_none_match
        )
        if found is not None and first_bytes is None:
            await _prepare(self._service, name, found.body)
        return found

    async def stream(
        self, name: str, into: Sink, *, if_none_match: str | None = None
    ) -> Received | None:
        """See `Store.stream`. A fault of the key service is raised once the transfer has ended.

        Raises:
            PersistenceError: The key service cannot be asked.
        """
        transfer: _Transfer | None = None

        def begin(size: int) -> Callable[[bytes], None]:
            nonlocal transfer
            if transfer is not None:
                transfer.give_up()
            transfer = _Transfer(self._service, name, size, into(size))
            return transfer.take

        try:
            received = await self.store.stream(name, begin, if_none_match=if_none_match)
            if transfer is not None:
                await transfer.end()
        finally:
            if transfer is not None:
                transfer.give_up()
        return received

    # Deletions and locks of an `Archive` ---------------------------------------------------------

    async def delete(self, name: str, version_ids: Sequence[str]) -> list[str]:
        """See `Archive.delete`."""
        return await cast("Archive", self.store).delete(name, version_ids)

    async def lock(self, name: str, version_id: str) -> Lock | None:
        """See `Archive.lock`."""
        return await cast("Archive", self.store).lock(name, version_id)

    async def close(self) -> None:
        """Release the connections of the store, and those to the key service."""
        try:
            await super().close()
        finally:
            await self._service.close()


class _Transfer:
    """Body of one object on its way: its pieces wait for the answer of the key service.

    Args:
        service: The key service.
        name: Name of the object.
        size: Bytes of all of it.
        feed: Takes the pieces.
    """

    def __init__(
        self, service: KeyService, name: str, size: int, feed: Callable[[bytes], None]
    ) -> None:
        self._service, self._name, self._size, self._feed = service, name, size, feed
        self._beginning = bytearray()
        self._held: list[bytes] = []
        self._asked: asyncio.Task[None] | None = None
        self._answered = False

    def take(self, piece: bytes) -> None:
        """Take the next piece, and hand it on as soon as the key is there."""
        if self._answered:
            self._feed(piece)
            return
        self._held.append(piece)
        if self._asked is None:
            self._beginning += piece
            if has_preamble(self._beginning, self._size):
                beginning, self._beginning = bytes(self._beginning), bytearray()
                asking = _prepare(self._service, self._name, beginning)
                self._asked = asyncio.create_task(asking)
        elif self._asked.done():
            self._go_on()

    async def end(self) -> None:
        """Hand on what is held back, once the service has answered.

        Raises:
            PersistenceError: The service cannot be asked.
        """
        if self._asked is not None:
            await self._asked
        self._go_on()

    def give_up(self) -> None:
        """Wait for no answer, since nobody does any more."""
        if self._asked is not None:
            self._asked.cancel()
            self._asked.add_done_callback(_look_at)

    def _go_on(self) -> None:
        if self._asked is not None:
            self._asked.result()  # or what it raised
        held, self._held, self._answered = self._held, [], True
        for piece in held:
            self._feed(piece)


async def _prepare(service: KeyService, name: str, beginning: bytes) -> None:
    """Have a service unwrap the key of an object that begins with these bytes."""
    try:
        header, _ = read_header(name, beginning)
    except DamagedObjectError:
        return  # whoever opens it says so
    await service.prepare_opening(header)


def _look_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it
