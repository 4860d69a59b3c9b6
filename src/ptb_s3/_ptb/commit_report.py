"""Collect what could not be saved until somebody is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ptb_s3.errors import OvertakenError, PersistenceError, StorageUnavailableError


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
        unread: Why data could not be read that a listener's work has asked for, last of all. The
            error was raised there; a transaction is taken back for it, since PTB gives it to the
            error handlers and goes on.
    """

    def __init__(self) -> None:
        self.faults: list[PersistenceError] | None = None
        self.unheard: list[PersistenceError] = []
        self.overtaken: OvertakenError | None = None
        self.unread: StorageUnavailableError | None = None

    def tell(self, faults: Iterable[Exception]) -> None:
        """Add faults to the listener's list, if somebody listens."""
        if self.faults is not None:
            self.faults += [fault for fault in faults if isinstance(fault, PersistenceError)]

    @contextmanager
    def noting_unread(self) -> Iterator[None]:
        """Note a storage that is out of reach in the body of a `with`, which reads data."""
        try:
            yield
        except StorageUnavailableError as failure:
            self.unread = None if self.faults is None else failure  # it holds on to its frames
            raise

    def take_unheard(self) -> list[PersistenceError]:
        """Return the unheard faults, once."""
        unheard, self.unheard = self.unheard, []
        return unheard
