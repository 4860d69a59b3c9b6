"""Openers: objects that are authenticated and decoded while they arrive. Pure.

Rule: an opener is fed the bytes of one transfer, in order, in pieces of any size. What it hands on
before the end is authentic segment by segment, but neither known to be all nor to be the current
state; both are known only when `result` returns (FORMAT.md, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Entries, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.index import Index
from ptb_s3._format.key_source import KeySource
from ptb_s3._format.segments import BlobUnsealer
from ptb_s3._format.unsealer import Unsealer
from ptb_s3.errors import ForeignStoreError


def require_store(header: Header, store: str) -> None:
    """Refuse a blob of another store than the head's.

    Raises:
        ForeignStoreError: It is one.
    """
    if header.store != store:
        raise ForeignStoreError(
            f"Object {header.object!r} belongs to store {header.store}, and head to {store}. "
            "Nothing was changed. ptb-s3 repair says what can be brought back, and does it."
        )


class BlobOpener:
    """Streaming decoder of one blob: a fault is kept, and raised by `result` alone.

    So a blob that turns out to be unneeded, or not there for this head, fails no load.

    Args:
        kind: The blob's kind.
        size: Bytes of the whole object, as the transfer announces them.
        keys: Gives the key that opens it.
        decoded: Called with the entries of each segment as soon as it is authenticated.

    Attributes:
        size: The same.
    """

    def __init__(
        self,
        kind: Kind,
        size: int,
        keys: KeySource,
        decoded: Callable[[Entries], None] | None = None,
    ) -> None:
        self.size = size
        self._decoded = decoded
        self._unsealer = BlobUnsealer(kind, size, keys)
        self._entities: Entities = {}
        self._fault: Exception | None = None

    @property
    def index(self) -> Index | None:
        """Return the blob's index, if it has arrived."""
        return self._unsealer.index

    def feed(self, data: bytes) -> None:
        """Open the segments that are complete with these further bytes.

        It raises nothing: `result` does.
        """
        if self._fault is None:
            try:
                for entries in self._unsealer.feed(data):
                    self._entities.update(entries)
                    if self._decoded is not None:
                        self._decoded(entries)
            except Exception as fault:  # noqa: BLE001 - `result` raises it
                self._fault = fault

    def result(self, store: str | None = None) -> tuple[Header, Entities]:
        """Check that it has come to its end, and return the blob's header and entities.

        Args:
            store: Id of the store that the head is of; None: any.

        Raises:
            ForeignStoreError: The blob is of another store.
            PersistenceError: It cannot be opened.
        """
        header = self._unsealer.header
        if header is not None and store is not None:
            require_store(header, store)
        if self._fault is not None:
            raise self._fault
        return self._unsealer.finish(), self._entities


class HeadOpener:
    """Streaming decoder of a head: garbage in its place is refused at its first bytes.

    Args:
        size: Bytes of the whole object, as the transfer announces them.
        keys: Gives the key that opens it.
        decode: Decodes the authenticated pages.

    Attributes:
        size: The same.
    """

    def __init__(
        self, size: int, keys: KeySource, decode: Callable[[Header, Iterator[bytes]], Head]
    ) -> None:
        self.size = size
        self._decode = decode
        self._unsealer = Unsealer(HEAD, size, keys)

    def feed(self, data: bytes) -> None:
        """Authenticate the chunks that are complete with these further bytes.

        Raises:
            PersistenceError: It is no head, or cannot be opened. The rest is not worth reading.
        """
        self._unsealer.feed(data)

    def result(self) -> OpenedHead:
        """Authenticate the end, and decode the head.

        Raises:
            PersistenceError: It is no head, or not one that this reader takes.
        """
        header = self._unsealer.finish()
        return OpenedHead(header, self._decode(header, self._unsealer.pages()), self.size)


class OpenedHead(NamedTuple):
    """Head that was opened.

    Attributes:
        header: Its header, authenticated.
        head: Its content.
        size: Bytes of the whole object.
    """

    header: Header
    head: Head
    size: int


class Streamed(NamedTuple):
    """Objects of a store that were opened while they arrived.

    Attributes:
        head: The head; None: there is none.
        blobs: Openers of the blobs, which have been fed all bytes; their ends are not checked yet.
    """

    head: OpenedHead | None
    blobs: Mapping[Kind, BlobOpener]


NOTHING_STREAMED = Streamed(None, MappingProxyType({}))
"""No object was opened beforehand: bodies are in memory, whole."""
