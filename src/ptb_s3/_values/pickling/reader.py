"""Reader of values: which unpickler takes which bytes, and how bare values are completed."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Callable, Sequence

from telegram import Bot

from ptb_s3._format.words import is_bare
from ptb_s3._values.allow_list import AllowList, is_value_name
from ptb_s3._values.pickling.unpickler import (
    CarefulUnpickler,
    HoldsBotError,
    NamingUnpickler,
    UnknownClassError,
    Unpickler,
)
from ptb_s3._values.shared_strings import Words


class ValueReader:
    """Reader bound to one allow-list, bot and set of words: nothing of it changes.

    Args:
        allow_list: The allow-list.
        bot: Returns the bot that objects are to belong to.
        words: The words of the store.

    Attributes:
        words: As above.
    """

    def __init__(self, allow_list: AllowList, bot: Callable[[], Bot | None], words: Words) -> None:
        self.words = words
        # Bound to classes: to set all that on each of a hundred thousand unpicklers takes a while.
        bound = {"allow_list": allow_list, "bot": staticmethod(bot), "words": words}
        self._unpickler = type("_Unpickler", (Unpickler,), bound)
        self._naming = type("_NamingUnpickler", (NamingUnpickler,), bound)
        self._careful = type("_CarefulUnpickler", (CarefulUnpickler,), bound)

    def load(self, data: bytes) -> object:
        """Return the value that these bytes were made from.

        Raises:
            UnknownClassError: Classes are gone, or not trusted.
            Exception: The bytes are damaged, or a class does not take its own old state.
        """
        if is_bare(data):
            (value,) = self._load_bare([data])
            return value
        return self.load_pickle(data)

    def load_many(self, data: Sequence[bytes]) -> list[object]:
        """Return the values of many, of which all bare ones are read as one pickle.

        Raises:
            Exception: One does not load. `load` of each tells which.
        """
        bare = [one for one in data if is_bare(one)]
        if not bare:
            return self._load_pickles(data)
        values = iter(self._load_bare(bare))
        if len(bare) == len(data):
            return list(values)
        return [next(values) if is_bare(one) else self.load_pickle(one) for one in data]

    def _load_pickles(self, data: Sequence[bytes]) -> list[object]:
        """Return the values of pickles that are whole, with as little as possible around each."""
        unpickler, values = self._unpickler, list[object]()
        try:
            for one in data:
                file = io.BytesIO(one)
                reader = unpickler(file)
                values.append(reader.load())
                if reader.unknown or file.tell() != len(one):
                    break
            else:
                return values
        except HoldsBotError:
            pass
        return [self.load_pickle(one) for one in data]

    def load_pickle(self, data: bytes) -> object:
        """Return the value of a pickle that is whole, as `load` does of any bytes."""
        try:
            return self._load(self._unpickler, data)
        except HoldsBotError:
            return self.load_carefully(data)

    def load_carefully(self, data: bytes) -> object:
        """Return the value of a pickle that may hold a bot, which takes longer."""
        return self._load(self._careful, data)

    def classes_in(self, data: bytes) -> frozenset[str]:
        """Return the full names of the classes whose own code these bytes run.

        Returns:
            The names; none if the bytes are damaged.
        """
        whole = self.words.complete([data]) if is_bare(data) else data
        reader = self._naming(io.BytesIO(whole))
        with contextlib.suppress(Exception):
            reader.load()
            return frozenset(name for name in reader.unknown if not is_value_name(name))
        return frozenset()

    def _load_bare(self, data: Sequence[bytes]) -> list[object]:
        values = self.load_pickle(self.words.complete(data)) if data else []
        if not isinstance(values, list) or len(values) != len(data):
            raise pickle.UnpicklingError("not as many values as there should be")
        return values

    def _load(self, unpickler: type[Unpickler | CarefulUnpickler], data: bytes) -> object:
        file = io.BytesIO(data)
        reader = unpickler(file)
        try:
            value = reader.load()
        except HoldsBotError:
            raise
        except Exception:
            if reader.unknown:  # an error that a placeholder led to is of no interest
                raise UnknownClassError(reader.unknown) from None
            raise
        if reader.unknown:
            raise UnknownClassError(reader.unknown)
        if file.read(1):
            raise pickle.UnpicklingError("bytes after the end of the pickle")
        return value
