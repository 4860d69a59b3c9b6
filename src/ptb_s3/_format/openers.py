"""Openers: objects that are authenticated and decoded while they arrive. Pure.

Rule: an opener is fed the bytes of one transfer, in order, in pieces of any size. What it hands on
before the end is authentic page by page, but neither known to be complete nor to be the current
state; both are known only when `result` returns (FORMAT.md, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ptb_s3._format import entities as _state
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Entries, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.key_source import KeySource
from ptb_s3._format.unsealer import Unsealer
from ptb_s3.errors import DamagedObjectError, ForeignStoreError


class BlobOpener:
    """Streaming decoder of one blob: a fault is kept, and raised by `result` alone.

    So a blob that turns out to be unneeded, or not there for this head, fails no load.

    Args:
        kind: The blob's kind.
        size: Bytes of the whole object, as the transfer announces them.
        keys: Gives the key that opens it.
        decoded: Called with the entries of each page as soon as it is authenticated.

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
        self._unsealer = Unsealer(kind, size, keys)
        self._decoder = _state.BlobDecoder(kind)
        self._fault: Exception | None = None
        self._result: tuple[Header, Entities] | None = None

    def feed(self, data: bytes) -> None:
        """Open the pages that are complete with these further bytes.

        It raises nothing: `result` does.
        """
        if self._fault is None:
            try:
                self._unsealer.feed(data)
                self._decode()
            except Exception as fault:  # noqa: BLE001 - `result` raises it
                self._fault = fault

    def result(self, store: str) -> tuple[Header, Entities]:
        """Authenticate the end, and return header and entities of a blob of the given store.

        Args:
            store: Id of the store that the head is of.

        Raises:
            ForeignStoreError: The blob is of another store.
            PersistenceError: It cannot be opened.
        """
        header = self._unsealer.header
        if header is not None and header.store != store:
            raise ForeignStoreError(
                f"Object {header.object!r} belongs to store {header.store}, and head to {store}. "
                "Nothing was changed. ptb-s3 repair says what can be brought back, and does it."
            )
        if self._fault is not None:
            raise self._fault
        if self._result is None:  # a load asks again where another object did not fit
            try:
                header = self._unsealer.finish()
                self._decode()
                self._result = header, self._decoder.finish(header.entities)
            except DamagedObjectError as fault:
                self._fault = fault
                raise
        return self._result

    def _decode(self) -> None:
        for page in self._unsealer.pages():
            entries = self._decoder.add(page)
            if self._decoded is not None:
                self._decoded(entries)


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
