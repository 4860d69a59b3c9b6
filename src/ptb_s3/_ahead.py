"""Values made of a state that is still arriving, so that a cold start waits for the longer alone.

Whether they are the state's is known when it is there: they are taken for the values of the very
objects of bytes that they were made from, and of no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from ptb_s3._codec import (
    PickleSerializer,
    Serializer,
    load_all,
    no_collection,
    put_past_collector,
)
from ptb_s3._state import Entries, Key, Kind
from ptb_s3.errors import PersistenceError


@contextmanager
def values_ahead(serializer: Serializer, kinds: Collection[Kind]) -> Iterator[ValuesAhead]:
    """Give what makes values of a state that is loaded within; see `ValuesAhead`."""
    ahead = ValuesAhead(serializer, kinds)
    with no_collection():
        yield ahead
        put_past_collector(ahead.count)


class ValuesAhead:
    """Makes values of what has arrived; see `ptb_s3._arrivals.Ahead`.

    Args:
        serializer: Makes them.
        kinds: Of which kinds somebody is going to ask for them.
    """

    def __init__(self, serializer: Serializer, kinds: Collection[Kind]) -> None:
        self._serializer = serializer
        self._kinds = kinds if type(serializer) is PickleSerializer else ()  # others need no words
        self._values: dict[Kind, dict[Key, object]] = {}
        self._sources: dict[Kind, dict[Key, bytes]] = {}

    def begin(self, words: tuple[str, ...]) -> None:
        """See `Ahead.begin`."""
        if isinstance(self._serializer, PickleSerializer):
            self._serializer = self._serializer.sharing(lambda: words)
        self._values = {kind: {} for kind in self._kinds}
        self._sources = {kind: {} for kind in self._kinds}

    def make(self, kind: Kind, entries: Entries) -> None:
        """See `Ahead.make`. What does not load, says so to whoever asks for it."""
        if kind in self._values:
            with suppress(PersistenceError):
                self._values[kind].update(load_all(self._serializer, kind, entries))
                self._sources[kind].update(entries)

    @property
    def count(self) -> int:
        """How many values are made, and not taken."""
        return sum(map(len, self._values.values()))

    def take(self, kind: Kind, entities: Mapping[Key, bytes]) -> dict[Key, object]:
        """Return the values that were made of these very bytes; once, as they are to be fresh."""
        values, sources = self._values.pop(kind, {}), self._sources.pop(kind, {})
        for key in [key for key, data in sources.items() if entities.get(key) is not data]:
            del values[key]
        return values
