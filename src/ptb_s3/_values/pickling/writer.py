"""Writer of values: which form a value gets, and what is done to its pickle after.

A value is written bare if its store has words and it can be (see `shared_strings`), else as a
pickle of its own. One of four passes writes it in the end:

| the value | written by |
|---|---|
| plain, or with objects, as nearly all are | the pickler in C, once |
| with sets | the same, and again with the sets in canonical order (`canonical_sets`) |
| with classes of `__main__` | the pickler in C, and the name replaced (`main_names`) |
| with both, or where the name may be data | the pickler in Python |
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

from telegram import Bot

from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.first_party import MAIN
from ptb_s3._values.pickling import canonical_sets, sets
from ptb_s3._values.pickling.failures import explain
from ptb_s3._values.pickling.main_names import respell, respell_all
from ptb_s3._values.pickling.pickler import NumberingPickler, Pickler, SlowPickler
from ptb_s3._values.pickling.reader import ValueReader
from ptb_s3._values.pickling.reductions import BUILT_IN, PROTOCOL
from ptb_s3._values.pickling.uninterned import UninternedNames
from ptb_s3._values.plain_copies import with_words
from ptb_s3._values.shared_strings import Memo, Words, has_bare_form, strip


class ValueWriter:
    """Writer bound to one allow-list, bot and set of words: equal values get equal bytes.

    Args:
        allow_list: The allow-list.
        bot: Returns the bot that objects may belong to.
        words: The words of the store.
        reader: Reader with the same words, to make copies of values by.

    Attributes:
        foreign: Whether something that was written belonged to another bot.
    """

    def __init__(
        self,
        allow_list: AllowList,
        bot: Callable[[], Bot | None],
        words: Words,
        reader: ValueReader,
    ) -> None:
        self.foreign = False
        self._main = str(allow_list.main)
        self._words = words
        self._reader = reader
        # Bound to classes: to set all that on each of a hundred thousand picklers takes a while.
        bound = {
            "allow_list": allow_list,
            "bot": staticmethod(bot),
            "reductions": {},
            "names": UninternedNames({}),
        }
        self._pickler: type[Pickler] = type("_Pickler", (Pickler,), bound)
        slowly = {**bound, "reductions": dict.fromkeys(BUILT_IN)}
        self._slow_pickler: type[SlowPickler] = type("_SlowPickler", (SlowPickler,), slowly)
        numbering = {**bound, "numbers": words.numbers}
        self._numbering = type("_NumberingPickler", (NumberingPickler,), numbering)
        self._names_with_words = UninternedNames(words.own)

    def dump(self, value: object) -> bytes:
        """Return a value as bytes.

        Raises:
            UntrustedTypeError: It holds an object of a class that is not on the list.
            SerializationError: It holds something else that cannot be saved.
        """
        bare = self._dump_bare(value) if self._words.spelled else None
        return self._dump(value) if bare is None else bare

    def draft(self, value: object) -> bytes | None:
        """Return roughly the bytes of a value, to learn whether it can be saved, and its size.

        Returns:
            The pickle before sets and names are put right, or None: the value cannot be saved. It
            is not looked for why, which takes a multiple of the time.
        """
        file = io.BytesIO()
        with contextlib.suppress(Exception):  # objects' own code may raise anything
            self._pickler(file, PROTOCOL).dump(value)
            return file.getvalue()
        return None

    def _dump_bare(self, value: object) -> bytes | None:
        """Return the bare form of a value, or None: it has none.

        Raises:
            SerializationError: It cannot be saved in any form.
        """
        words = self._words
        memoized = self._dump(value, memo=words.memoizing)
        if words.in_full.search(memoized):
            value = self._with_words(value)
            memoized = self._dump(value, memo=words.memoizing)
        if not has_bare_form(memoized):
            return None
        if sets.may_hold_sets(memoized) and sets.holds_sets(value, self._pickler.to):
            return None
        of_main: list[type] = []
        bare = strip(memoized, self._dump(value, memo=words.memo, fast=True, of_main=of_main))
        if bare is None or not of_main:
            return bare
        if MAIN in words.own:  # then it is a number where it names a module, and cannot be replaced
            return None
        return respell_all(bare, of_main, self._main)

    def _with_words(self, value: object) -> object:
        """Return a copy that has the words themselves where the value has strings of its own.

        A value has such strings if it was saved before its store had words, or if they come from
        elsewhere.
        """
        plain = with_words(value, self._words.own)
        if plain is not None:
            return plain
        file = io.BytesIO()
        with contextlib.suppress(Exception):  # what cannot be copied that way can yet be saved
            self._numbering(file, PROTOCOL).dump(value)
            return self._reader.load_pickle(file.getvalue())
        return value

    def _dump(
        self,
        value: object,
        *,
        memo: Memo | None = None,
        fast: bool = False,
        of_main: list[type] | None = None,
    ) -> bytes:
        """Return one pass over a value: a finished pickle without `memo`, else a raw one.

        Args:
            value: The value.
            memo: The memo to begin with, which has the words.
            fast: Whether to memoize nothing.
            of_main: Is given the classes of ``__main__`` that were met.

        Raises:
            SerializationError: The value cannot be saved.
        """
        file = io.BytesIO()
        pickler = self._pickler(file, PROTOCOL)
        if memo is not None:
            pickler.memo, pickler.fast, pickler.names = memo, fast, self._names_with_words
        try:
            pickler.dump(value)
            data = file.getvalue()
            if memo is None:
                data = self._finish(value, data, pickler)
            elif of_main is not None:
                of_main += pickler.of_main or ()
        except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
            failure = explain(error, pickler, value)
        else:
            self.foreign = self.foreign or pickler.foreign
            return data
        # Here, where no exception is being handled: a chained one would show values in a log.
        raise failure

    def _finish(self, value: object, data: bytes, pickler: Pickler) -> bytes:
        """Return a pickle with its sets in order, and classes of ``__main__`` by another name."""
        may_hold_sets = sets.may_hold_sets(data)
        if not pickler.of_main:
            if not may_hold_sets:
                return data
            return canonical_sets.write(value, data, pickler, pickler.to)
        respelled = None
        if not may_hold_sets:
            respelled = respell(data, pickler.of_main, self._main, pickler.memo)
        if respelled is not None:
            return respelled
        file = io.BytesIO()
        slow = self._slow_pickler(file, PROTOCOL)
        slow.dump(value)
        data = file.getvalue()
        return canonical_sets.write(value, data, slow, slow.to) if may_hold_sets else data
