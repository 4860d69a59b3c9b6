"""Makes the objects of one process: heads and blobs, sealed. The counterpart of `_base.Reader`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ptb_s3 import _container, _head, _state
from ptb_s3._base import HEAD
from ptb_s3._container import Header
from ptb_s3._head import Head, Ref
from ptb_s3._keyring import KeySource
from ptb_s3._state import Entities, Kind


class Sealer:
    """Seals objects in the name of one process.

    Args:
        keys: Gives the sealing key.
        serializer: Id of the serializer of the values.
        level: zstd compression level.
        clock: Gives the time, with time zone.
        randomness: Returns as many random bytes as it is asked for.

    Attributes:
        writer: Id of this process, as it stands in the objects.
        key_id: Id of the key that sealed last; None before the first object.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        serializer: str,
        level: int,
        clock: Callable[[], datetime],
        randomness: Callable[[int], bytes],
    ) -> None:
        self.writer = randomness(8).hex()
        self.key_id: str | None = None
        self._keys = keys
        self._serializer = serializer
        self._level = level
        self._clock = clock
        self._randomness = randomness

    def new_commit(self) -> str:
        """Return an id for an attempt to write."""
        return self._randomness(16).hex()

    def head(self, store: str, head: Head) -> tuple[Head, bytes]:
        """Seal a head; return it with its costs counted, and the object."""
        head, frames = _head.encode(head, self._compress)
        header = self._header(HEAD, store, head.revision, head.commit, head.entries)
        return head, self._seal(header, frames)[1]

    def blob(
        self, store: str, kind: Kind, revision: int, commit: str, entities: Entities
    ) -> tuple[Ref, bytes]:
        """Seal a blob; return what a head says of it, but for its version, and the object."""
        frames = [self._compress(page) for page in _state.encode_blob(entities)]
        header = self._header(kind, store, revision, commit, len(entities))
        key_id, body = self._seal(header, frames)
        return Ref(revision, None, len(body), len(entities), key_id), body

    def _seal(self, header: Header, frames: list[bytes]) -> tuple[str, bytes]:
        key = self._keys.sealing_key()
        self.key_id = key.key_id
        return key.key_id, _container.seal(header, frames, key)

    def _compress(self, page: bytes) -> bytes:
        return _container.compress(page, self._level)

    def _header(self, name: str, store: str, revision: int, commit: str, entities: int) -> Header:
        return Header(
            object=name,
            store=store,
            revision=revision,
            commit=commit,
            created=self._clock(),
            writer=self.writer,
            key="",  # `seal` fills it in, and the size
            serializer=self._serializer,
            entities=entities,
            size=0,
        )
