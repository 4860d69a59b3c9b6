"""Erasures: who was erased, by a keyed hash, and which entities that covers. Pure.

Old versions in the bucket still hold the erased; FORMAT.md, section 10, says that whoever shows or
brings back an older state leaves them out. The hash keeps their ids out of the head, so that the
record of an erasure is no record of a person.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ptb_s3._format.entities import Entities, EntityKey, Kind

SECRET_BYTES = 32
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Erasures:
    """Who was erased from a store, and when.

    Attributes:
        secret: What the digests are keyed with.
        revisions: By digest, the revision of the commit that erased.
    """

    secret: bytes = field(repr=False)
    revisions: Mapping[bytes, int]

    def digest(self, subject: int) -> bytes:
        """Return what an id is recorded as."""
        return hmac.digest(self.secret, b"%d" % subject, hashlib.sha256)[:DIGEST_BYTES]

    def adding(self, subject: int, revision: int) -> Erasures:
        """Return these and one more, or one renewed."""
        return Erasures(self.secret, {**self.revisions, self.digest(subject): revision})

    def cover(self, kind: Kind, key: EntityKey, revision: int) -> bool:
        """Tell whether an entity, in the state of a revision, is of somebody erased since."""
        return any(
            self.revisions.get(self.digest(subject), 0) > revision
            for subject in subjects(kind, key)
        )

    def apply(self, kind: Kind, entities: Entities, revision: int) -> None:
        """Leave out of a state of a revision whoever was erased since, in place."""
        for key in [key for key in entities if self.cover(kind, key, revision)]:
            del entities[key]


def subjects(kind: Kind, key: EntityKey) -> Iterable[int]:
    """Return the ids of the users and chats whose entity it is."""
    if isinstance(key, int):
        return () if kind is Kind.BOT_DATA else (key,)
    if kind is Kind.CONVERSATIONS:
        return tuple(part for part in key[1] if isinstance(part, int))
    return ()
