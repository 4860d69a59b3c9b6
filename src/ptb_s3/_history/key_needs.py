"""Need of keys: which keys the current objects and the history are sealed with. Pure.

Head records for each key the newest revision that needs it. If that is older than the oldest
commit there is, so is every other commit that needs it: then the key is needed no more.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ptb_s3._format.committed import Base
from ptb_s3._format.container import Header
from ptb_s3._keys.ring import Ring

NOT_AT_HAND = "not at hand"


class Need(NamedTuple):
    """Need of one key.

    Attributes:
        role: ``seals``, ``opens``, ``opens older versions``, or `NOT_AT_HAND`.
        current: How many current objects it has sealed.
        newest: The newest commit that needs it and can still be restored; None if there is none,
            or if the history was not looked at.
        in_kms: Whether AWS KMS keeps it.
    """

    role: str
    current: int
    newest: int | None
    in_kms: bool = False


def key_needs(base: Base, ring: Ring, oldest: Header | None) -> dict[str, Need]:
    """Return the need of each key by its id, the sealing key first.

    Keys that are needed for nothing are left out.

    Args:
        base: The current state.
        ring: The keys at hand.
        oldest: The oldest commit that is left; None: not known.
    """
    sealing = ring.ids[0]
    roles = dict.fromkeys(ring.history_ids, "opens older versions")
    roles |= {**dict.fromkeys(ring.ids, "opens"), sealing: "seals"}
    current = Counter(stored.header.key for stored in base.objects.values())
    needed = {
        key: revision
        for key, revision in base.head.keys.items()
        if oldest is not None and revision >= oldest.revision
    }
    return {
        key: Need(roles.get(key, NOT_AT_HAND), current[key], needed.get(key), key in ring.kms_ids)
        for key in sorted({sealing, *current, *needed}, key=lambda key: (key != sealing, key))
    }
