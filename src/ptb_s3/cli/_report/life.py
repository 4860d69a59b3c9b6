"""Life of one user or chat: its changes in words, redacted unless values were asked for.

Redacted, a change is the shapes before and after, such as ``dict of 3``, and how many fields
differ. A conversation's key may hold other people's ids: they are left out as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._history.order import Commit
from ptb_s3.cli import _output
from ptb_s3.cli._parsing import key_text
from ptb_s3.cli._report.facts import Field, Life, Step, Touched
from ptb_s3.cli._view import State, readable_value
from ptb_s3.cli._wording import count

STEPS = 200
"""Changes that are kept, the newest ones."""
_FIELDS = 30  # fields of one change that are shown
_LONGEST = 300  # characters of a value


class Unfolding:
    """Builder for a life, from one commit after the other, the oldest first.

    Args:
        subject: Id of the user or chat.
        values: Whether to show values.
    """

    def __init__(self, subject: int, *, values: bool) -> None:
        self._subject, self._values = subject, values
        self._steps: deque[Step] = deque(maxlen=STEPS)
        self._number, self._unreadable = 0, 0
        self._last: tuple[State, Touched] | None = None
        self._since: int | None = None

    def skip(self) -> None:
        """Note a commit that could not be opened."""
        self._unreadable += 1

    def add(self, commit: Commit, state: State, touched: Touched) -> None:
        """Add a commit.

        Args:
            commit: The commit.
            state: How its values are read; the entities in it are not looked at.
            touched: Entities of the user as of it.
        """
        old_state, old = self._last or (state, {})
        if self._since is None:
            self._since = state.revision
        for kind, key in sorted({*old, *touched}, key=repr):
            before, after = old.get((kind, key)), touched.get((kind, key))
            if before == after:
                continue
            what = "added" if before is None else "removed" if after is None else "changed"
            fields = list(self._fields(_form(old_state, before), _form(state, after), what))
            entity = describe(kind, key, self._subject, values=self._values)
            shown, left = tuple(fields[:_FIELDS]), max(len(fields) - _FIELDS, 0)
            step = Step(commit.made, state.revision, kind, entity, what, shown, left)
            self._steps.append(step)
            self._number += 1
        self._last = (state, touched)

    def result(self) -> Life:
        """Return the life, once all commits were added."""
        steps = tuple(reversed(self._steps))
        left = self._number - len(steps)
        return Life(self._subject, self._values, steps, left, self._unreadable, self._since)

    def _fields(self, before: object, after: object, what: str) -> Iterator[Field]:
        """Yield the fields that differ or, redacted, what is known of them all."""
        from ptb_s3._values.diff import ABSENT, changed_fields  # noqa: PLC0415 - takes a second

        changes = changed_fields(before, after) if what == "changed" else []
        write = _written if self._values else shape
        if not self._values or what != "changed":
            path = count(len(changes), "field") if changes else ""
            yield Field(
                path, *("" if side is _NOTHING else write(side) for side in (before, after))
            )
            return
        for path, old, new in changes:
            yield Field(path, *("" if side is ABSENT else write(side) for side in (old, new)))


_NOTHING = object()


def _form(state: State, data: bytes | None) -> object:
    return _NOTHING if data is None else readable_value(state, data)


def _written(form: object) -> str:
    """Write a readable form, cut where it is long."""
    text = _output.readable_json(form)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def shape(form: object) -> str:
    """Return the shape of a readable form in words, which tell nothing of what it holds."""
    if isinstance(form, list):
        return f"list of {len(form):,}"
    if not isinstance(form, dict):
        return _PLAIN.get(type(form), "value")
    tag = next(iter(form), "")
    if not tag.startswith("$"):
        return f"dict of {len(form):,}"
    if tag in ("$class", "$telegram"):
        return f"object of {len(form) - 1:,}"
    inside = form[tag]
    return f"{tag[1:]} of {len(inside):,}" if isinstance(inside, (list, dict)) else tag[1:]


_PLAIN = {str: "text", int: "number", float: "number", bool: "true or false", type(None): "none"}


def describe(kind: Kind, key: EntityKey, subject: int, *, values: bool) -> str:
    """Return the key of an entity in words, redacted unless values are shown."""
    if values:
        return key_text(key)
    if kind is not Kind.CONVERSATIONS or isinstance(key, int):
        return "this id"
    name, parts = key
    return f"{name} ({', '.join(_parts(parts, subject))})"


def _parts(parts: Sequence[int | str], subject: int) -> Iterator[str]:
    for part in parts:
        yield "this id" if part == subject else "another"
