"""Objects that are opened while they arrive. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ptb_s3._format import container
from ptb_s3._format import entities as _state
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Entries, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.key_source import KeySource
from ptb_s3.errors import DamagedObjectError, ForeignStoreError


class BlobOpener:
    """A blob that is opened while it arrives.

    Args:
        kind: Whose blob it is.
        size: Bytes that it is said to have.
        keys: Opens it.
        decoded: Told what is in each page. It is authentic, but not known to be all, or current,
            before `result` has returned.

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
        self._unsealer = container.Unsealer(kind, size, keys)
        self._decoder = _state.BlobDecoder(kind)
        self._fault: Exception | None = None
        self._result: tuple[Header, Entities] | None = None

    def feed(self, data: bytes) -> None:
        """Open what is complete with these further bytes. What is wrong with it, `result` says."""
        if self._fault is None:
            try:
                self._unsealer.feed(data)
                self._decode()
            except Exception as fault:  # noqa: BLE001 - to be raised in its turn
                self._fault = fault

    def result(self, store: str) -> tuple[Header, Entities]:
        """Authenticate the end; return what it is, if it is a blob of the given store.

        Raises:
            PersistenceError: It is not, or it cannot be opened.
        """
        header = self._unsealer.header
        if header is not None and header.store != store:
            raise ForeignStoreError(
                f"Object {header.object!r} belongs to store {header.store}, and head to {store}. "
                "Nothing was changed. ptb-s3 repair says what can be brought back, and does it."
            )
        if self._fault is not None:
            raise self._fault
        if self._result is None:  # it is asked again where another object did not fit
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
    """A head that is opened while it arrives: garbage in its place is refused at its first bytes.

    Args:
        size: Bytes that it is said to have.
        keys: Opens it.
        decode: Decodes its pages, once they are authenticated.

    Attributes:
        size: The same.
    """

    def __init__(
        self, size: int, keys: KeySource, decode: Callable[[Header, Iterator[bytes]], Head]
    ) -> None:
        self.size = size
        self._decode = decode
        self._unsealer = container.Unsealer(HEAD, size, keys)

    def feed(self, data: bytes) -> None:
        """Authenticate what is complete with these further bytes.

        Raises:
            PersistenceError: It is none, or cannot be opened. No more of it is worth reading.
        """
        self._unsealer.feed(data)

    def result(self) -> OpenedHead:
        """Authenticate the end, and decode it.

        Raises:
            PersistenceError: It is none, or not one that this reader takes.
        """
        header = self._unsealer.finish()
        return OpenedHead(header, self._decode(header, self._unsealer.pages()), self.size)


class OpenedHead(NamedTuple):
    """A head that was read: its header, what it says, and its bytes."""

    header: Header
    head: Head
    size: int


class Streamed(NamedTuple):
    """Objects of a store that were opened while they arrived.

    Attributes:
        head: The head, if there is one.
        blobs: The blobs, but for their ends.
    """

    head: OpenedHead | None
    blobs: Mapping[Kind, BlobOpener]


NOTHING_STREAMED = Streamed(None, MappingProxyType({}))
