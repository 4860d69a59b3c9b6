"""What must be true, said as simply as possible: a register for each field of the state.

A write begins when a handler makes it, and ends when it is acknowledged. A field may have any value
but one that was over before an acknowledged write to the same field began.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# (kind, entity's key, name of the field); the name is None where an entity is one value.
Field = tuple[str, Any, str | None]
# The value of each field that is there.
Fields = dict[Field, object]

ABSENT = None


class Violation(AssertionError):  # noqa: N818 - of what must be true, rather than an error
    """Something that must be true is not."""


class Write:
    """What one handler did to some fields.

    Attributes:
        values: What they became; `ABSENT`: they were deleted.
        began: When, in virtual seconds.
        ended: When it was acknowledged; infinite as long as it was not.
    """

    def __init__(self, values: Mapping[Field, object], began: float) -> None:
        self.values = dict(values)
        self.began = began
        self.ended = math.inf

    def gives(self, field: Field) -> object:
        return self.values.get(field, ABSENT)


class _Seen(NamedTuple):
    began: float
    ended: float


class Model:
    """Every write so far."""

    def __init__(self) -> None:
        self._writes: defaultdict[Field, list[Write]] = defaultdict(list)
        self._to_all: list[Write] = []
        self._initial = _Seen(-math.inf, -math.inf)

    def begin(self, field: Field, value: object, now: float) -> Write:
        write = Write({field: value}, now)
        self._writes[field].append(write)
        return write

    def begin_restore(self, values: Fields, now: float) -> Write:
        """Note a write to all fields there are and will be: those without a value are deleted."""
        write = Write(values, now)
        self._to_all.append(write)
        return write

    def forget_restore(self, write: Write) -> None:
        """Take back a restore that was not carried out."""
        self._to_all.remove(write)

    def check(self, fields: Fields, what: str) -> None:
        """See that every field has a value that it may have.

        Raises:
            Violation: One has not.
        """
        for field in {*self._writes, *fields}:
            value, writes = fields.get(field, ABSENT), [*self._writes[field], *self._to_all]
            sources = [_Seen(w.began, w.ended) for w in writes if w.gives(field) == value]
            if value is ABSENT:
                sources.append(self._initial)
            later = max((w.began for w in writes if w.ended < math.inf), default=-math.inf)
            if not any(source.ended >= later for source in sources):
                lost = [w.gives(field) for w in writes if w.ended < math.inf and w.began == later]
                known = f"{lost[0]!r} was acknowledged" if lost else "nobody wrote that"
                raise Violation(f"{what}: {field} is {value!r}, and {known}")


def fields_of(kind: str, entities: Mapping[Any, object]) -> Iterable[tuple[Field, object]]:
    """Take values apart into fields: dictionaries by key, all else as one."""
    for key, value in entities.items():
        if isinstance(value, dict):
            yield from (((kind, key, name), part) for name, part in value.items())
        else:
            yield (kind, key, None), value
