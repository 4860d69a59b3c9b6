"""Open the objects of one bot, and put them together to a base. Pure.

DESIGN's rules of reading bind here: what makes a new store, which blob a head can build on, and
whose objects they are.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ptb_s3._format import container, head_pages
from ptb_s3._format import entities as _state
from ptb_s3._format.committed import Base, Blob, Identity, Stored, overlay, ref_of
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Entries, Kind
from ptb_s3._format.head import Head, Part, Ref
from ptb_s3._format.key_source import KeySource, for_history
from ptb_s3._format.openers import NOTHING_STREAMED, BlobOpener, HeadOpener, OpenedHead, Streamed
from ptb_s3._storage.contract import Fetched
from ptb_s3.errors import (
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    NothingThereError,
    SettingsError,
)


class TornReadError(Exception):
    """Objects that were read one after another do not fit together.

    Attributes:
        fault: What it is if it stays so.
        kind: The kind whose current blob is no base; None: it is about something else.
        ref: The blob that head names for that kind, which is one; None: it needs none.
        final: Whether it stays so: no commit since could have made it one.
    """

    def __init__(
        self,
        fault: DamagedObjectError,
        kind: Kind | None = None,
        ref: Ref | None = None,
        *,
        final: bool = False,
    ) -> None:
        self.fault = fault
        self.kind = kind
        self.ref = ref
        self.final = final
        super().__init__(fault)


@dataclass(frozen=True, slots=True)
class Reader:
    """Opens the objects of one bot.

    Attributes:
        keys: Opens them.
        bot: Id of the bot whose state they must be; None: any bot's.
        serializer: Id of the serializer that must have made the values; None: any.
    """

    keys: KeySource
    bot: int | None = None
    serializer: str | None = None

    @property
    def for_history(self) -> Reader:
        """The same for versions that are not current, which more keys may open."""
        return replace(self, keys=for_history(self.keys))

    def assemble(
        self,
        objects: Mapping[str, Fetched | None],
        randomness: Callable[[int], bytes],
        arrived: Streamed = NOTHING_STREAMED,
    ) -> Base:
        """Put a base together from the six objects (None: definitely not there).

        Args:
            objects: The objects. A blob that was opened while it arrived has no body.
            randomness: Returns as many random bytes as it is asked for.
            arrived: What was opened already.

        Raises:
            TornReadError: They do not fit together; read them again before believing it.
            PersistenceError: They cannot be read.
        """
        fetched = objects[HEAD]
        if fetched is None:
            left = [str(name) for name, blob in objects.items() if blob is not None]
            if left:
                reason = f"it is gone, while {', '.join(left)} remain"
                raise TornReadError(MissingObjectError(HEAD, reason))
            if self.bot is None or self.serializer is None:
                raise no_state()
            store = str(uuid.UUID(bytes=randomness(16), version=4))
            return Base(Identity(store, self.serializer), Head(revision=0, commit="", bot=self.bot))
        opened = arrived.head or OpenedHead(*self.open_head(fetched.body), len(fetched.body))
        return self.build(opened, fetched.etag, objects, arrived)

    def build(
        self,
        opened: OpenedHead,
        etag: str,
        blobs: Mapping[str, Fetched | None],
        arrived: Streamed = NOTHING_STREAMED,
    ) -> Base:
        """Lay an opened head over the blobs of the kinds that are given.

        Raises:
            TornReadError: They do not fit together.
        """
        header, head, size = opened
        base = Base(Identity(header.store, header.serializer), head, etag)
        base.objects[HEAD] = Stored(header, size)
        for kind, part in head.parts.items():
            if kind in blobs:
                self._place_blob(base, kind, part, blobs[kind], arrived.blobs.get(kind))
                overlay(base.entities[kind], part)
        return base

    def open_head(self, body: bytes) -> tuple[Header, Head]:
        """Open a head, of whatever revision."""
        header, pages = container.open_sealed(HEAD, body, self.keys)
        return header, self.decode_head(header, pages)

    def head_opener(self, size: int) -> HeadOpener:
        """Begin to open a head, which is about to arrive; see `HeadOpener`."""
        return HeadOpener(size, self.keys, self.decode_head)

    def decode_head(self, header: Header, pages: Iterator[bytes]) -> Head:
        """Decode the pages of an authenticated head, and see that it is of this bot."""
        head = head_pages.decode(
            pages, revision=header.revision, commit=header.commit, count=header.entities
        )
        if header.line != head.line:
            raise DamagedObjectError(HEAD, "its record and its header name two lines")
        if self.bot not in (None, head.bot):
            raise ForeignStoreError(
                "The state in this place belongs to another bot. Give each bot a prefix of its own "
                "(PTB_S3_PREFIX), or use the token of the bot that wrote it. Nothing was changed."
            )
        if self.serializer not in (None, header.serializer):
            raise SettingsError(
                f"The state was written with serializer {header.serializer!r}, and this one is "
                f"{self.serializer!r}. Pass the serializer= that wrote it. Nothing was changed."
            )
        return head

    def open(self, name: str, body: bytes) -> tuple[Header, Head | Entities]:
        """Open any object, of whatever store and revision."""
        if name == HEAD:
            return self.open_head(body)
        header, pages = container.open_sealed(name, body, self.keys)
        return header, _state.decode_blob(Kind(name), pages, header.entities)

    def open_blob(self, kind: Kind, body: bytes, store: str) -> tuple[Header, Entities]:
        """Open a blob of the given store, of whatever revision."""
        return self._opened(kind, body).result(store)

    def opening(
        self, kind: Kind, size: int, decoded: Callable[[Entries], None] | None = None
    ) -> BlobOpener:
        """Begin to open a blob, which is about to arrive; see `BlobOpener`."""
        return BlobOpener(kind, size, self.keys, decoded)

    def _opened(self, kind: Kind, body: bytes) -> BlobOpener:
        opening = self.opening(kind, len(body))
        opening.feed(body)
        return opening

    def _place_blob(
        self,
        base: Base,
        kind: Kind,
        part: Part,
        fetched: Fetched | None,
        opening: BlobOpener | None,
    ) -> None:
        if fetched is None:
            if part.ref is not None:
                reason = "it is gone, while head refers to it"
                raise TornReadError(MissingObjectError(kind, reason))
            return
        opening = opening or self._opened(kind, fetched.body)
        header, entities = opening.result(base.identity.store)
        if not base.head.takes(kind, header):
            oldest = part.ref.revision if part.ref else 1
            reason = (
                f"it holds revision {header.revision} of line {header.line}, and head needs one "
                f"from {oldest} to {base.head.revision} of its own lines"
            )
            fault = DamagedObjectError(kind, reason)
            if header.revision < oldest:
                raise TornReadError(fault)  # no writer's doing: a blob's revision only grows
            within = header.revision <= base.head.revision
            raise TornReadError(fault, kind, part.ref, final=within)
        base.objects[kind] = Stored(header, opening.size)
        base.entities[kind] = entities
        base.blobs[kind] = Blob(fetched.etag, ref_of(header, fetched.version_id, opening.size))


def no_state() -> NothingThereError:
    """Return the error for a place where no bot has saved any state."""
    return NothingThereError(
        "There is no state here: no bot has saved any. Check PTB_S3_BUCKET and PTB_S3_PREFIX."
    )
