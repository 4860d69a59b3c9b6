"""Values made of a state that is still arriving, so that a cold start waits for the longer alone.

Whether they are the state's is known when it is there: they are taken for the values of the very
objects of bytes that they were made from, and of no others.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from ptb_s3._format.entities import EntityKey, Entries, Kind
from ptb_s3._values.loading import load_all, put_past_collector
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3.errors import PersistenceError

# Seconds for which the collector stays paused after the last piece has arrived. Pieces of a state
# come in milliseconds; a storage that hangs is not to keep a bot without a collector.
PAUSE = 0.25


@contextmanager
def values_ahead(serializer: Serializer, kinds: Collection[Kind]) -> Iterator[ValuesAhead]:
    """Give a `ValuesAhead` for a load that happens inside the `with` block.

    Python's cyclic collector is paused while the state arrives; `load_all` says why.
    """
    pause = _Pause(lambda: put_past_collector(ahead.count))
    ahead = ValuesAhead(serializer, kinds, pause.renew)
    pause.renew()
    try:
        yield ahead
    finally:
        pause.end()


class _Pause:
    """Pause of the cyclic collector that ends by itself, unless it is renewed.

    Args:
        before_end: Called before the collector is on again.
    """

    def __init__(self, before_end: Callable[[], None]) -> None:
        self._before_end = before_end
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def renew(self) -> None:
        """Pause the collector for `PAUSE` seconds, unless it was off already."""
        if self._timer is not None:
            self._timer.cancel()
        self._paused = self._paused or gc.isenabled()
        gc.disable()
        self._timer = asyncio.get_running_loop().call_later(PAUSE, self.end)

    def end(self) -> None:
        """Have the collector go on."""
        if self._timer is not None:
            self._timer.cancel()
        self._before_end()
        if self._paused:
            gc.enable()
        self._paused = False


class ValuesAhead:
    """Unpickler of values while the rest of a load arrives.

    Args:
        serializer: Makes them.
        kinds: Of which kinds somebody is going to ask for them.
        arrived: Called when a part of the state has arrived.
    """

    def __init__(
        self,
        serializer: Serializer,
        kinds: Collection[Kind],
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        self._serializer = serializer
        self._arrived = arrived
        self._kinds = kinds if type(serializer) is PickleSerializer else ()  # others need no words
        self._values: dict[Kind, dict[EntityKey, object]] = {}
        self._sources: dict[Kind, dict[EntityKey, bytes]] = {}

    def begin(self, words: tuple[str, ...]) -> None:
        """See `Ahead.begin`."""
        self._arrived()
        if isinstance(self._serializer, PickleSerializer):
            self._serializer = self._serializer.sharing(lambda: words)
        self._values = {kind: {} for kind in self._kinds}
        self._sources = {kind: {} for kind in self._kinds}

    def make(self, kind: Kind, entries: Entries) -> None:
        """See `Ahead.make`. What does not load, says so to whoever asks for it."""
        self._arrived()
        if kind in self._values:
            with suppress(PersistenceError):
                self._values[kind].update(load_all(self._serializer, kind, entries))
                self._sources[kind].update(entries)

    @property
    def count(self) -> int:
        """Number of values that were made and not taken yet."""
        return sum(map(len, self._values.values()))

    def take(self, kind: Kind, entities: Mapping[EntityKey, bytes]) -> dict[EntityKey, object]:
        """Return, and forget, the values that were made of these very bytes."""
        values, sources = self._values.pop(kind, {}), self._sources.pop(kind, {})
        for key in [key for key, data in sources.items() if entities.get(key) is not data]:
            del values[key]
        return values
