"""Changes of one kind in the order of their keys, to be merged into a blob. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ptb_s3._format.entities import EntityKey, order
from ptb_s3._format.head import Entry


class SortedChanges:
    """Cursor over the entries of a differential, in the order of their keys.

    Args:
        entries: The entries. Each stands for its entity, also where it says that there is none.
    """

    def __init__(self, entries: Mapping[EntityKey, Entry]) -> None:
        self._entries = entries
        self._keys = sorted(entries, key=order)
        self._at = 0

    def __contains__(self, key: EntityKey) -> bool:
        return key in self._entries

    def up_to(self, key: EntityKey | None) -> Iterator[tuple[EntityKey, bytes]]:
        """Yield the changed entities that come next, up to a key and with it.

        Those that were deleted are left out.

        Args:
            key: The key; None: to the end.
        """
        while self._at < len(self._keys):
            changed = self._keys[self._at]
            if key is not None and order(changed) > order(key):
                return
            self._at += 1
            value = self._entries[changed].value
            if value is not None:
                yield changed, value
