"""What must be true, said as simply as possible: a register for each field of the state.

A write begins when a handler makes it, and ends when it is acknowledged. A field may have any value
but one that was over before an acknowledged write to the same field began.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tests.simulation.values import ABSENT, Field, Fields


class Violation(AssertionError):  # noqa: N818 - of what must be true, rather than an error
    """Something that must be true is not."""


class Excused(Violation):
    """Something that is known not to hold, and is said so: the schedule ends there."""


class Write:
    """What one handler did to some fields.

    Attributes:
        values: What they became; `ABSENT`: they were deleted.
        began: When, in virtual seconds.
        ended: After which it cannot take effect any more; infinite as long as it can.
        sure: Whether it must have taken effect by then. What deletes something need not, where that
            was not there, or was not saved yet: its bot may then have nothing to say to what
            another one has made of it.
        handed_over: Whether its bot has given it to its persistence.
    """

    def __init__(self, values: Mapping[Field, object], began: float, *, sure: bool = True) -> None:
        self.values = dict(values)
        self.began = began
        self.ended = math.inf
        self.sure = sure
        self.handed_over = False

    def gives(self, field: Field) -> object:
        return self.values.get(field, ABSENT)

    @property
    def acknowledged(self) -> bool:
        return self.sure and self.ended < math.inf


class _Seen(NamedTuple):
    began: float
    ended: float


class Model:
    """Every write so far."""

    def __init__(self) -> None:
        self._writes: defaultdict[Field, list[Write]] = defaultdict(list)
        self._to_entity: defaultdict[tuple[str, Any], list[Write]] = defaultdict(list)
        self._to_all: list[Write] = []
        self._settled: set[Field] = set()
        self._initial = _Seen(-math.inf, -math.inf)

    def begin(self, field: Field, value: object, now: float, *, sure: bool = True) -> Write:
        """Note a write to one field."""
        write = Write({field: value}, now, sure=sure)
        self._writes[field].append(write)
        return write

    def begin_drop(self, kind: str, key: Any, now: float) -> Write:
        """Note that all fields of an entity may be deleted, also those that are not known."""
        write = Write({}, now, sure=False)
        self._to_entity[kind, key].append(write)
        return write

    def begin_restore(self, values: Fields, now: float) -> Write:
        """Note a write to all fields there are and will be: those without a value are deleted."""
        write = Write(values, now)
        self._to_all.append(write)
        return write

    def forget_restore(self, write: Write) -> None:
        """Take back a restore that was not carried out."""
        self._to_all.remove(write)

    @property
    def restoring(self) -> bool:
        """Whether what was there once may come back."""
        return any(write.ended == math.inf for write in self._to_all)

    def was_replaced(self, kind: str, key: Any) -> bool:
        """Tell whether an entity may have been dropped, or all been restored."""
        return bool(self._to_all or self._to_entity.get((kind, key)))

    def is_all_or_nothing(self, field: Field) -> bool:
        """Tell whether an element is of a list or set of which one side may win as a whole.

        As where one has deleted all of it, and another one added to it.
        """
        within = "+" in field[2] or "in" in field[2]
        return within and self.was_replaced(*field[:2])

    def check(self, fields: Fields, what: str, only: Iterable[Field] | None = None) -> None:
        """See that every field has a value that it may have.

        Args:
            fields: The values of all fields, or of those that are looked at.
            what: What has them.
            only: Fields to look at; None: all of them.

        Raises:
            Violation: One has not.
        """
        for field in {*self._writes, *fields} if only is None else only:
            if self.is_all_or_nothing(field):
                continue
            value = fields.get(field, ABSENT)
            writes = [*self._writes.get(field, ()), *self._to_all]
            writes += self._to_entity.get(field[:2], ())
            sources = [_Seen(w.began, w.ended) for w in writes if w.gives(field) == value]
            if value is ABSENT:
                sources.append(self._initial)
            later = max((w.began for w in writes if w.acknowledged), default=-math.inf)
            if not any(source.ended >= later for source in sources):
                lost = [w.gives(field) for w in writes if w.acknowledged and w.began == later]
                known = f"{lost[0]!r} was acknowledged" if lost else "nobody wrote that"
                raise Violation(f"{what}: {field} is {value!r}, and {known}")

    def settled(self, field: Field) -> None:
        """Note that a field may have fewer values now than before."""
        self._settled.add(field)

    def take_settled(self) -> set[Field]:
        """Return, once, the fields that may have fewer values than when this was last asked."""
        settled, self._settled = self._settled, set()
        return settled
