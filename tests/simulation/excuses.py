"""Which failures are none of the engine's: what else is raised is a violation."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from tests.simulation.model import Violation

from ptb_s3._format.blobs import UnknownEntityError
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    ForeignStoreError,
    HeadLostError,
    NoConditionalPutError,
    NothingThereError,
    PersistenceError,
    RestorePointError,
    SerializationError,
    StorageUnavailableError,
    UnknownKeyError,
    UnknownTypeError,
)

# What may come of a storage that loses and truncates.
BAD_WEATHER = (StorageUnavailableError, DamagedObjectError, HeadLostError)
# What may come of objects that an outsider has put in the place of others.
# Gone on from, an older head of the revision before looks like a storage that lets two win.
MEDDLED = (
    ConflictError,
    DamagedObjectError,
    ForeignStoreError,
    NoConditionalPutError,
    NothingThereError,
    UnknownKeyError,  # the id of a key is what was garbled
)


# Whose data only newer instances can read, and whose data `merge=` cannot settle.
NEWER, DISPUTED = 4, 5
# What is said of a storage that has refused what was right several times in a row: the weather may.
_BY_CHANCE = "on a condition that holds"
# Virtual seconds after it was mended for which a failure may still be of what was there before.
AFTERMATH = 40.0


class Excuses:
    """Judges failures.

    Args:
        features: What may fail in a schedule.

    Attributes:
        spoiled: Names of the objects that an outsider has put something else in the place of.
        branched: Whether a bot has gone on from an older head that was put back: what others have
            in memory is of the branch that was given up.
        weather: Errors that a storage out of reach explains.
        asked: Whether somebody has asked for blobs that nothing makes due.
    """

    def __init__(self, features: Collection[str]) -> None:
        self.spoiled: set[str] = set()
        self.branched = False
        self.asked = False
        self._calm_from = 0.0
        self.weather: tuple[type[Exception], ...] = BAD_WEATHER
        self._features = features

    @property
    def meddled(self) -> bool:
        """Whether what an outsider did may be why something fails."""
        now = asyncio.get_running_loop().time()
        return bool(self.spoiled) or self.branched or now < self._calm_from

    def mended(self, name: str) -> None:
        """Note that an object is again one that a bot has written."""
        if name in self.spoiled:
            self.spoiled.discard(name)
            self._calm_from = asyncio.get_running_loop().time() + AFTERMATH

    def judge(self, failure: BaseException) -> tuple[str, Any] | None:
        """Return the kind and key of the entity that was refused; None: nothing was saved.

        Raises:
            Violation: It is a failure without a cause.
        """
        kind, key = getattr(failure, "kind", None), getattr(failure, "key", None)
        if isinstance(failure, UnknownEntityError):
            raise Violation("an entity was used that had not been read") from failure
        if isinstance(failure, UnknownTypeError) and "versions" in self._features:
            return None
        if isinstance(failure, SerializationError | ConflictError) and kind is not None:
            if self._may_be_refused(kind, key):
                return kind, key
            raise Violation(f"{kind} {key!r} was refused without a cause: {failure}")
        if isinstance(failure, self.weather) or _is_by_chance(failure):
            return None
        if type(failure) is ConflictError and self._refuses():
            return None  # at the end, of what was told before
        if isinstance(failure, asyncio.CancelledError) and "cancel" in self._features:
            return None
        if isinstance(failure, MEDDLED) and self.meddled:
            return None
        if isinstance(failure, PersistenceError | asyncio.CancelledError):
            raise Violation(f"{type(failure).__name__} without a cause: {failure}")
        raise failure

    def of_a_start(self, failure: BaseException) -> bool:
        """Tell whether a bot may have failed to start for this."""
        return (
            isinstance(failure, (*self.weather, RestorePointError))
            or (isinstance(failure, UnknownTypeError) and "versions" in self._features)
            or (isinstance(failure, asyncio.CancelledError) and "cancel" in self._features)
            or (isinstance(failure, MEDDLED) and self.meddled)
        )

    def _refuses(self) -> bool:
        return not {"refusals", "versions", "huge", "types"}.isdisjoint(self._features)

    def _may_be_refused(self, kind: str, key: Any) -> bool:
        data = kind in ("user_data", "chat_data", "bot_data")
        return (
            ("refusals" in self._features and (kind, key) == ("user_data", DISPUTED))
            or ("versions" in self._features and (kind, key) == ("user_data", NEWER))
            or (data and not {"huge", "types"}.isdisjoint(self._features))
            # Spelled out, after a branch, it holds all words; see `Audit`.
            or (self.branched and "huge" in self._features)
        )


def _is_by_chance(failure: BaseException) -> bool:
    return isinstance(failure, NoConditionalPutError) and _BY_CHANCE in str(failure)
