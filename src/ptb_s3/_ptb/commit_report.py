"""Collect what could not be saved until somebody is told of it."""

from __future__ import annotations

from collections.abc import Iterable

from ptb_s3.errors import OvertakenError, PersistenceError


class CommitReport:
    """Collector of faults: for a listener, if there is one, and for callers yet to come.

    Attributes:
        faults: Listener: a list that every fault is added to, such as a transaction's, which has to
            know what its update could not save. None while nobody listens.
        unheard: Faults whose callers were cancelled before they could hear of them. Told by the
            next group of calls, or by a flush, so that none is lost.
        overtaken: Why a whole update was taken back in a commit that somebody else had asked for;
            see `Repository.transactional`. Kept here and not raised, since it is no error of the
            bot's: the update is processed again.
    """

    def __init__(self) -> None:
        self.faults: list[PersistenceError] | None = None
        self.unheard: list[PersistenceError] = []
        self.overtaken: OvertakenError | None = None

    def tell(self, faults: Iterable[Exception]) -> None:
        """Add faults to the listener's list, if somebody listens."""
        if self.faults is not None:
            self.faults += [fault for fault in faults if isinstance(fault, PersistenceError)]

    def take_unheard(self) -> list[PersistenceError]:
        """Return the unheard faults, once."""
        unheard, self.unheard = self.unheard, []
        return unheard
