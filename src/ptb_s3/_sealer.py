"""Makes the objects of one process: heads and blobs, sealed. The counterpart of `_base.Reader`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from ptb_s3 import _container, _head_pages, _state
from ptb_s3._base import Identity
from ptb_s3._container import HEAD, Changed, Header
from ptb_s3._head import Head, Ref
from ptb_s3._keyring import KeySource, SealingKey
from ptb_s3._state import Entities, Key, Kind


class Sealer:
    """Seals objects in the name of one process.

    Args:
        keys: Gives the sealing key.
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
        level: int,
        clock: Callable[[], datetime],
        randomness: Callable[[int], bytes],
    ) -> None:
        self.writer = randomness(8).hex()
        self.key_id: str | None = None
        self._keys = keys
        self._level = level
        self._clock = clock
        self._randomness = randomness

    def new_commit(self) -> str:
        """Return an id for an attempt to write."""
        return self._randomness(16).hex()

    def sealing_key_id(self) -> str:
        """Return the id of the key that the next object is sealed with."""
        return self._keys.sealing_key().key_id

    def head(self, identity: Identity, head: Head) -> tuple[Head, bytes]:
        """Seal a head; return it with its costs counted, and the object."""
        key = self._keys.sealing_key()
        head, frames = _head_pages.encode(head, self._compress, key.key_id)
        header = self._header(
            HEAD, identity, head.revision, head.commit, head.entries, changed=head.changed
        )
        return head, self._seal(header, frames, key)

    def blob(
        self, identity: Identity, kind: Kind, revision: int, commit: str, parts: list[Entities]
    ) -> tuple[Ref, bytes]:
        """Seal a blob; return what a head says of it, but for its version, and the object.

        Uses the parts up, each as soon as it is encoded: to free a million entities at once would
        hold up the loop for 50 ms, in whatever thread.
        """
        count = sum(map(len, parts))
        frames = [self._compress(page) for page in _state.encode_blob(_used_up(parts))]
        header = self._header(kind, identity, revision, commit, count)
        key = self._keys.sealing_key()
        body = self._seal(header, frames, key)
        return Ref(revision, None, len(body), count, key.key_id), body

    def _seal(self, header: Header, frames: list[bytes], key: SealingKey) -> bytes:
        self.key_id = key.key_id
        return _container.seal(header, frames, key)

    def _compress(self, page: bytes) -> bytes:
        return _container.compress(page, self._level)

    def _header(
        self,
        name: str,
        identity: Identity,
        revision: int,
        commit: str,
        entities: int,
        *,
        changed: Changed | None = None,
    ) -> Header:
        return Header(
            object=name,
            store=identity.store,
            revision=revision,
            commit=commit,
            created=self._clock(),
            writer=self.writer,
            key="",  # `seal` fills it in, and the size
            serializer=identity.serializer,
            entities=entities,
            changed=changed,
            size=0,
        )


def _used_up(parts: list[Entities]) -> Iterator[tuple[Key, bytes]]:
    parts.reverse()
    while parts:
        yield from parts.pop().items()
