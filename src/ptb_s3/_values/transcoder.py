"""Transcoder: values from bytes and back to bytes, without their classes.

The program `ptb-s3` shows, exports and takes over data of bots whose code it must not run. What is
on the allow-list's fixed list becomes what it is; for every other class there is a placeholder
(`placeholders`), and nothing is imported for it.
"""

from __future__ import annotations

import io
import pickle
from typing import Final

from ptb_s3._values.pickling import canonical_sets, sets
from ptb_s3._values.pickling.failures import explain
from ptb_s3._values.placeholder_pickler import (
    PlaceholderMetError,
    PlaceholderPickler,
    PlaceholderPtbPickler,
    PlainPickler,
    PlainPtbPickler,
)
from ptb_s3._values.placeholder_unpickler import PlaceholderUnpickler
from ptb_s3._values.placeholders import Placeholders
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import SerializationError


class Transcoder:
    """Serializer that runs nobody's code: it has a placeholder where a class would be loaded.

    It writes a value that it has read to the bytes that `PickleSerializer` would have made of the
    objects themselves.

    Attributes:
        family: The placeholders for all names in what it has read.
    """

    id: Final = PickleSerializer.id

    def __init__(self) -> None:
        self.family = Placeholders()

    def loads(self, data: bytes) -> object:
        """Return a value that the bot saved, or the content of a file of PicklePersistence's.

        Raises:
            Exception: The bytes are damaged. It is of any class, and its text may quote values.
        """
        file = io.BytesIO(data)
        value = PlaceholderUnpickler(file, self.family).load()
        if file.read(1):
            raise pickle.UnpicklingError("bytes after the end of the pickle")
        return value

    def dumps(self, value: object) -> bytes:
        """Return a value that was loaded here as bytes that the bot will load.

        Raises:
            SerializationError: It cannot be saved.
        """
        try:
            return _dump(PlainPickler, value)
        except PlaceholderMetError:
            return _dump(PlaceholderPickler, value)

    def dumps_for_ptb(self, value: object) -> bytes:
        """Return values that were loaded here as PicklePersistence would have written them.

        Raises:
            SerializationError: They cannot be saved.
        """
        return _dump(PlaceholderPtbPickler if self.family else PlainPtbPickler, value)


def _dump(pickler_class: type[PlainPickler | PlaceholderPickler], value: object) -> bytes:
    file = io.BytesIO()
    pickler = pickler_class(file)
    failure: SerializationError
    try:
        pickler.dump(value)
    except PlaceholderMetError:
        raise
    except Exception as error:  # noqa: BLE001 - as in `PickleSerializer.dumps`
        failure = explain(error, pickler, value)
    else:
        plain = file.getvalue()
        if not sets.may_hold_sets(plain):
            return plain
        return canonical_sets.write(value, plain, pickler, pickler_class.to)
    raise failure
