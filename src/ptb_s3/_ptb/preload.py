"""Unpickle values while the state is still arriving, so that the two overlap in a cold start.

A value is made before it is known whether its bytes belong to the state: a blob may turn out to be
too old, or a differential may replace the entity. So each is kept beside the bytes that it was made
from, and is handed out only for the very same object of bytes.
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

# Seconds for which the collector stays paused after the last part has arrived. Parts of a state
# come within milliseconds; a storage that hangs must not leave a bot without a collector.
PAUSE = 0.25


@contextmanager
def preloading(serializer: Serializer, kinds: Collection[Kind]) -> Iterator[Preload]:
    """Give a `Preload` for a load that happens inside the body of a `with`.

    Python's cyclic collector is paused while the state arrives; `load_all` says why.

    Args:
        serializer: Serializer of the values.
        kinds: Kinds whose values are asked for next.
    """
    pause = _CollectorPause(lambda: put_past_collector(preload.count))
    preload = Preload(serializer, kinds, pause.renew)
    pause.renew()
    try:
        yield preload
    finally:
        pause.end()


class _CollectorPause:
    """Pause of the cyclic collector that ends by itself unless it is renewed.

    Args:
        before_end: Called before the collector is on again.
    """

    def __init__(self, before_end: Callable[[], None]) -> None:
        self._before_end = before_end
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def renew(self) -> None:
        """Pause the collector for `PAUSE` seconds from now, unless it was off already."""
        if self._timer is not None:
            self._timer.cancel()
        self._paused = self._paused or gc.isenabled()
        gc.disable()
        self._timer = asyncio.get_running_loop().call_later(PAUSE, self.end)

    def end(self) -> None:
        """Enable the collector again, if this has disabled it."""
        if self._timer is not None:
            self._timer.cancel()
        self._before_end()
        if self._paused:
            gc.enable()
        self._paused = False


class Preload:
    """Cache of values that were unpickled before the load was complete, each taken once.

    Implements `ptb_s3._engine.loading.Ahead`.

    Args:
        serializer: Serializer of the values.
        kinds: Kinds whose values are asked for next.
        arrived: Called whenever a part of the state has arrived.
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
        """Begin anew with the words of the head that has arrived, as `Ahead.begin`."""
        self._arrived()
        if isinstance(self._serializer, PickleSerializer):
            self._serializer = self._serializer.sharing(lambda: words)
        self._values = {kind: {} for kind in self._kinds}
        self._sources = {kind: {} for kind in self._kinds}

    def make(self, kind: Kind, entries: Entries) -> None:
        """Unpickle entities that have arrived, as `Ahead.make`.

        If one of them does not load, none of these entities is kept: the getter that asks for them
        loads them again, and raises the error.
        """
        self._arrived()
        if kind in self._values:
            with suppress(PersistenceError):
                self._values[kind].update(load_all(self._serializer, kind, entries))
                self._sources[kind].update(entries)

    @property
    def count(self) -> int:
        """Return the number of values that were made and not taken yet."""
        return sum(map(len, self._values.values()))

    def take(self, kind: Kind, entities: Mapping[EntityKey, bytes]) -> dict[EntityKey, object]:
        """Pop the values of a kind whose source bytes are these, compared by identity.

        Args:
            kind: Kind of the values. Its other values are dropped.
            entities: Bytes of the loaded state, by entity key.
        """
        values, sources = self._values.pop(kind, {}), self._sources.pop(kind, {})
        for key in [key for key, data in sources.items() if entities.get(key) is not data]:
            del values[key]
        return values
