"""Loads: the committed state from the current objects, or the newest one from the versions.

A load changes nothing in the store. All objects are requested at once; where they do not fit
together, since another writer was at work, all are read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from ptb_s3._engine.blob_reads import INDEX_BYTES
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.fetching import Fetcher
from ptb_s3._engine.reading import LOAD_PAUSE, LOAD_TRIES, build_base, fetch_head
from ptb_s3._engine.streamed_load import Preloader, StreamedLoad
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.openers import Streamed
from ptb_s3._format.reader import TornReadError
from ptb_s3._format.sealer import Sealer
from ptb_s3._history.current import Current, read_current
from ptb_s3._history.order import put_back
from ptb_s3._history.recovery import Found, find_newest
from ptb_s3._storage.contract import Fetched, Received
from ptb_s3.errors import MissingObjectError, NothingThereError

_LOGGER = logging.getLogger("ptb_s3")


class Recovery(NamedTuple):
    """Recovered state, and the objects that it goes on top of.

    Attributes:
        current: The current objects by name, each looked at by itself.
        found: The newest state that the versions give.
    """

    current: dict[str, Current]
    found: Found


@asynccontextmanager
async def preparing(sealer: Sealer) -> AsyncIterator[None]:
    """Have the sealing key at hand after the body of a `with`, and ask a key service meanwhile.

    Args:
        sealer: Its fault is raised here: otherwise it would be heard of at the first commit.
    """
    if not sealer.asks:
        sealer.sealing_key_id()
        yield
        return
    asked = asyncio.create_task(sealer.prepare())
    try:
        yield
    except BaseException:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        raise
    await asked
    sealer.sealing_key_id()


class Loader:
    """Loader of states.

    Args:
        context: Store, reader and threads.
        fetcher: Reads the indexes of kinds that are read on demand.
    """

    def __init__(self, context: EngineContext, fetcher: Fetcher) -> None:
        self._context = context
        self._fetcher = fetcher

    async def load(self, preloader: Preloader | None) -> Base:
        """Read the committed state from the current objects.

        Args:
            preloader: Makes values of it while it arrives; None: nobody does.

        Raises:
            NothingThereError: There is none, and this reader knows no bot to begin one for.
            DeletedStateError: There is none, but there was one.
            PersistenceError: It cannot be read.
        """
        context = self._context
        for number in range(1, LOAD_TRIES + 1):
            streamed = StreamedLoad(context.reader, context.offload, preloader)
            objects, beginnings = await self._fetch_all(streamed)
            opened = await streamed.opened()
            try:
                build, last = partial(self._assemble, opened), number == LOAD_TRIES
                base = await build_base(context, objects, build, last=last)
                await self._lay_partial(base, beginnings)
                break
            except NothingThereError:
                await context.require_new()
                raise
            except TornReadError as torn:
                if number == LOAD_TRIES:
                    raise torn.fault from None
            await context.pause(LOAD_PAUSE * number)
        if not base.head.revision:
            await context.require_new()
        _warn_of_put_back(base, objects)
        return base

    async def recover(self, store_id: str | None, advance: Callable[[int], None]) -> Recovery:
        """Find the newest state that the versions give, whatever the current objects hold.

        Args:
            store_id: Id of the store whose state it is to be; None: the newest one's.
            advance: Called with the number of versions that have been listed.

        Raises:
            NothingThereError: No version opens.
        """
        context = self._context
        current = await read_current(context.store, context.reader, context.offload)
        found = await find_newest(
            context.store,
            context.reader.for_history,
            current,
            context.offload,
            store_id=store_id,
            advance=advance,
        )
        return Recovery(current, found)

    def _assemble(
        self,
        opened: Streamed,
        objects: Mapping[str, Fetched | Received | None],
        others: Collection[Kind],
    ) -> Base:
        """Put a base together, without the openers of kinds whose objects are others by now."""
        blobs = {kind: opener for kind, opener in opened.blobs.items() if kind not in others}
        given = Streamed(opened.head, blobs)
        return self._context.reader.assemble(objects, self._context.randomness, given)

    async def _lay_partial(self, base: Base, beginnings: Mapping[Kind, Fetched | None]) -> None:
        """Begin the kinds that are read on demand.

        Raises:
            TornReadError: A blob is not what head builds on.
        """
        for kind, beginning in beginnings.items():
            try:
                source = await self._fetcher.source_at_start(base, kind, beginning)
            except MissingObjectError as fault:
                raise TornReadError(fault) from None
            base.lay_partial(kind, source)

    async def _fetch_all(
        self, streamed: StreamedLoad
    ) -> tuple[dict[str, Fetched | Received | None], dict[Kind, Fetched | None]]:
        """Fetch head and blobs at once, and open each while it arrives.

        Returns:
            The objects, and the beginnings of those that are read on demand, which are among the
            objects only where there is no head.
        """
        store, on_demand = self._context.store, self._context.on_demand
        whole = [kind for kind in Kind if kind not in on_demand]
        names, stream = [HEAD, *whole, *on_demand], store.stream
        blobs = [
            *(stream(kind, streamed.into(kind)) for kind in whole),
            *(store.get(kind, first_bytes=INDEX_BYTES) for kind in on_demand),
        ]

        async def stream_head() -> Received | None:
            fetched = await fetch_head(self._context)
            if fetched is None:
                return None
            received, opener = fetched
            await streamed.take_head(opener)
            return received

        answers = await asyncio.gather(stream_head(), *blobs, return_exceptions=True)
        found: dict[str, Any] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[name] = answer
        if found[HEAD] is None:
            return found, dict.fromkeys(on_demand)
        return found, {kind: found.pop(kind) for kind in on_demand}


def _warn_of_put_back(base: Base, objects: Mapping[str, Fetched | Received | None]) -> None:
    """Log at a start that objects are older than their place: it costs no request to know."""
    names = [
        str(name)
        for name, stored in base.objects.items()
        if (found := objects.get(name)) is not None
        and found.modified is not None
        and put_back(stored.header, found.modified)
    ]
    if names:
        _LOGGER.warning(
            "Written long before the storage took them: %s. They were copied, or put back to an "
            "older state. If nobody did that on purpose, whoever can write to the bucket may have; "
            "ptb-s3 history lists what else there is.",
            ", ".join(names),
        )
