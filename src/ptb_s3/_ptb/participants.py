"""Participants: what is saved besides PTB's maps, in the same commits.

PTB hands over its maps by calls of its persistence. A participant has no such call: it is asked
whenever a group of calls begins to be committed, told what others have committed, and rolled back
with the update that changed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from ptb_s3._format.entities import EntityKey, Kind

if TYPE_CHECKING:
    from ptb_s3._ptb.group_commit import GroupCommit


class Contribution(NamedTuple):
    """Changes of one participant for the next commit.

    Attributes:
        kind: Kind of all these entities.
        values: New values by entity key, which nobody changes any more.
        dropped: Keys of the entities that were removed.
    """

    kind: Kind
    values: Mapping[EntityKey, object]
    dropped: tuple[EntityKey, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything to commit."""
        return bool(self.values or self.dropped)


class Participant(Protocol):
    """Part of the state that takes part in the commits of a persistence."""

    def begin(self, commits: GroupCommit) -> None:
        """Begin with the state that was loaded.

        Raises:
            PersistenceError: It cannot be read. The bot does not start.
        """
        ...

    def settle(self) -> None:
        """Note that the application is built and begins to work."""
        ...

    def contribute(self) -> Contribution:
        """Return, once, what has changed since the last call."""
        ...

    def bring_in(self) -> None:
        """Take over what other writers have committed."""
        ...

    def take_back(self) -> None:
        """Reset to what is committed: the update that has changed it is taken back."""
        ...


@runtime_checkable
class Counted(Protocol):
    """Participant with figures of its own among the statistics."""

    def figures(self, now: datetime) -> Mapping[str, float]:
        """Return fields of `Stats`, from any thread.

        Args:
            now: The present.
        """
        ...
