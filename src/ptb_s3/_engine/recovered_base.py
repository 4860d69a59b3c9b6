"""Begin with what the versions gave: the base of a commit on top of whatever lies there. Pure.

Nobody can have seen what is committed so: its revision comes after every one that was ever given,
and it is of a line of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ptb_s3._format.committed import Base, Blob, Identity, Stored, ref_of
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import MAX_LINES, Head, Line, Ref
from ptb_s3._history.current import Current
from ptb_s3._history.recovery import Found
from ptb_s3.errors import DamagedObjectError

_UNVERSIONED = "null"


def base_of(found: Found, current: Mapping[str, Current]) -> Base:
    """Return the base that a commit on top of what was found begins with.

    Kinds whose current object is no base for it are *misplaced*: they have to be written first.
    """
    header = found.header
    erasures = found.erasures[0] if found.erasures else None
    head = replace(found.head, restored=found.restored, erasures=erasures)
    base = Base(Identity(header.store, header.serializer), head, entities=found.entities)
    base.objects[HEAD] = Stored(header, found.commit.version.size)
    place(base, current, [kind for kind, of in found.of.items() if of == header.revision])
    return base


def place(base: Base, current: Mapping[str, Current], whole: Collection[Kind]) -> None:
    """Note what lies there now, to be replaced by a state that is in memory.

    Args:
        base: The state.
        current: What lies there.
        whole: Kinds whose current blobs will do, if they are such as its head takes.
    """
    lying = current[HEAD].found
    base.etag = lying.etag if lying is not None else None
    for kind, part in base.head.parts.items():
        header, lying = current[kind].header, current[kind].found
        base.blobs.pop(kind, None)
        if (
            lying is not None
            and header is not None
            and kind in whole
            and _fits(base, current[kind])
        ):
            base.blobs[kind] = Blob(lying.etag, ref_of(header, lying.version_id, len(lying.body)))
            base.objects[kind] = Stored(header, len(lying.body))
            continue
        if lying is not None:  # whatever it is
            base.blobs[kind] = Blob(lying.etag, Ref(0, None, 0, 0, "", ""))
        if lying is not None or part.ref is not None:
            base.misplaced.add(kind)


def _fits(base: Base, current: Current) -> bool:
    header = current.header
    if header is None or current.fault is not None or header.store != base.identity.store:
        return False
    return base.head.takes(Kind(current.name), header)


def transplanted(base: Base) -> Base:
    """Return the base of a state that is to be written in an empty place, all blobs included."""
    copied = Base(
        base.identity,
        replace(base.head, conditions=None),  # of another storage
        objects=dict(base.objects),
        entities={kind: dict(entities) for kind, entities in base.entities.items()},
    )
    parts = base.head.parts.items()
    copied.misplaced |= {k for k, part in parts if part.ref is not None or part.has_changed}
    return copied


def is_lost(head: Current) -> bool:
    """Tell whether a current head is gone or garbage, rather than one of a key not at hand."""
    return head.found is None or isinstance(head.fault, DamagedObjectError)


def nothing_newer(found: Found, base: Base, head: Current) -> bool:
    """Tell whether the versions give nothing that was committed after a base, by anybody.

    Args:
        found: What they give.
        base: What was committed, as far as this process knows.
        head: The current head, which is lost.
    """
    there = head.found and (head.found.version_id or _UNVERSIONED)
    return found.header.commit == base.head.commit and all(
        one.version.version_id == there
        or (one.header is not None and one.header.commit == base.head.commit)
        for one in found.unread
    )


def continued(head: Head, found: Found, line: str) -> Head:
    """Return the head that a commit on top of what was found follows.

    Its revision comes after every one that was ever given, and those that nobody can read are of a
    line of their own, which no blob is of. Whoever has them in memory sees that they are not here.

    Args:
        head: The head of what was found.
        found: The same.
        line: Id of that line.
    """
    gap = (Line(line, head.revision + 1),) if found.newest > head.revision else ()
    return replace(
        head,
        revision=max(head.revision, found.newest),
        lines=(*head.lines, *gap)[-MAX_LINES:],
    )
