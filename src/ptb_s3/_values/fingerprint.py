"""Fingerprints of values that cannot be saved, by which they are known again.

To look for the culprit in a value takes long, so it is not to be done at each interval for a value
that has not changed. A fingerprint covers what could be saved of it, and the classes of the rest:

    {"positions": {"BTC": 1.5}, "client": <Client object>}      one fingerprint
    a deep copy of it                                           the same
    {"positions": {"BTC": 1.6}, "client": <Client object>}      another
    the client has reconnected within itself                    the same
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import types
from typing import Any, Final, cast

from ptb_s3._values.allow_list import AllowList, full_name
from ptb_s3._values.canonical_form import AnyPickler
from ptb_s3._values.copies import Uncopied
from ptb_s3._values.pickling.reductions import PROTOCOL

# Objects that are known by their names. Functions are never saved.
_NAMED: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
# Bytes of a fingerprint: enough that two values do not meet by chance.
_SIZE: Final = 16


class _FingerprintPickler(AnyPickler):
    """Pickler that writes an object as its class where it is not allowed, or has no bytes."""

    allowed: AllowList

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - as what it overrides
        """Return how an object is written: one that is refused, by the name of its class."""
        cls: Any = type(obj)
        if obj is str:
            return NotImplemented  # the names below are written as calls of it
        if cls is Uncopied:
            return str, (cast("Uncopied", obj).reason,)
        if issubclass(cls, _NAMED):
            return str, (full_name(cast("type", obj)),)
        with contextlib.suppress(Exception):  # objects' own code may raise anything
            if self.allowed.allows(cls):
                reduction = super().reducer_override(obj)
                return obj.__reduce_ex__(PROTOCOL) if reduction is NotImplemented else reduction
        return str, (f"{full_name(cls)} object",)


def fingerprint(value: object, allow_list: AllowList) -> bytes:
    """Return the fingerprint of a value that cannot be saved.

    Args:
        value: The value.
        allow_list: Allow-list that says what of the value could be saved.

    Returns:
        16 bytes, by BLAKE2b.
    """
    file = io.BytesIO()
    pickler = _FingerprintPickler(file, PROTOCOL)
    pickler.allowed = allow_list
    try:
        pickler.dump(value)
        data = file.getvalue()
    except Exception as error:  # noqa: BLE001 - objects' own code; nested too deeply, for one
        data = type(error).__name__.encode()
    return hashlib.blake2b(data, digest_size=_SIZE).digest()
