"""Erasures: record of erased users and chats by a keyed hash, and the entities covered. Pure.

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
"""Bytes of the secret that digests are keyed with (section 10)."""
DIGEST_BYTES = 16
"""Bytes of a digest (section 10): 128 bits, so that no two ids of a store share one."""


@dataclass(frozen=True, slots=True)
class Erasures:
    """Record of the users and chats erased from a store, and of when.

    Attributes:
        secret: Key of the digests: 32 random bytes, made with the first erasure of the store.
        revisions: Revision of the commit that erased, by digest.
    """

    secret: bytes = field(repr=False)
    revisions: Mapping[bytes, int]

    def digest(self, subject: int) -> bytes:
        """Return the digest that an id is recorded as (section 10)."""
        return hmac.digest(self.secret, b"%d" % subject, hashlib.sha256)[:DIGEST_BYTES]

    def adding(self, subject: int, revision: int) -> Erasures:
        """Return the record with one more erasure, or with the newer one of the same id."""
        return Erasures(self.secret, {**self.revisions, self.digest(subject): revision})

    def cover(self, kind: Kind, key: EntityKey, revision: int) -> bool:
        """Tell whether an entity of an older state is of somebody who was erased since.

        Args:
            kind: Kind of the entity.
            key: Key of the entity.
            revision: Revision of that state.
        """
        return any(
            self.revisions.get(self.digest(subject), 0) > revision
            for subject in subjects(kind, key)
        )

    def apply(self, kind: Kind, entities: Entities, revision: int) -> None:
        """Delete from the entities of an older state whoever was erased since, in place."""
        for key in [key for key in entities if self.cover(kind, key, revision)]:
            del entities[key]


def subjects(kind: Kind, key: EntityKey) -> Iterable[int]:
    """Return the ids of the users and chats that an entity is of (section 10)."""
    if isinstance(key, int):
        return () if kind is Kind.BOT_DATA else (key,)
    if kind in (Kind.CONVERSATIONS, Kind.JOBS):
        return tuple(part for part in key[1] if isinstance(part, int))
    return ()
