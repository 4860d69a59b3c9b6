"""Going back: which jobs of an older state are brought back, and as what. Pure.

An older state holds jobs that have run since, and what they sent cannot be taken back. So a restore
does not run them again, unless it is asked to:

======================================  =====================================================
the older state has a job that is       it is brought back
======================================  =====================================================
not due yet, or paused                  as it was
overdue by now, and there still         as it was, but due when it is due now, with its claim
overdue by now, and not there any more  not at all: it has run, or was cancelled
======================================  =====================================================

A value that cannot be read might be any of these: what is there now stays. Conversation timeouts
are treated like jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol


class Codec(Protocol):
    """Reads and writes values."""

    def loads(self, data: bytes) -> object:
        """Return a value."""
        ...

    def dumps(self, value: object) -> bytes:
        """Return the bytes of a value."""
        ...


class JobsOfPast:
    """Judge of the jobs of an older state, given to the engine from above.

    Args:
        codec: Reads their values and writes those that are changed.
        now: The present.
    """

    def __init__(self, codec: Codec, now: datetime) -> None:
        self._codec = codec
        self._now = now

    def __call__(self, older: bytes, current: bytes | None) -> bytes | None:
        """Return what an older job becomes when it is brought back.

        Args:
            older: Its bytes in the older state.
            current: Its bytes now; None: it is not there.

        Returns:
            Its bytes; None: it is left out.
        """
        try:
            value = self._codec.loads(older)
            if not is_overdue(value, self._now):
                return older
            return current and self._going_on(value, self._codec.loads(current))
        except Exception:  # noqa: BLE001 - bad bytes may raise anything
            return current

    def _going_on(self, older: Any, current: Any) -> bytes:  # noqa: ANN401 - values of entities
        return self._codec.dumps(going_on(older, current))


def is_overdue(value: Any, now: datetime) -> bool:  # noqa: ANN401 - the value of an entity
    """Tell whether a job, by its value, is due by now.

    Raises:
        Exception: It is no job's.
    """
    due = value["next"]
    return due is not None and due <= now


def going_on(older: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Return an older job that goes on from where it is now.

    Raises:
        LookupError: One of them is no job's.
    """
    return {**older, "next": current["next"], "claim": current["claim"]}
