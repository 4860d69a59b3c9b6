"""Recovered bases: a state from the versions, or from elsewhere, to be committed on top of a place.

Nobody can have seen what such a commit brings: its revision comes after every one that was ever
given in the store, and it is of a line of its own. Kinds whose current objects are no base for it
are *misplaced*: their blobs are written before the head. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ptb_s3._format.blobs import Blob
from ptb_s3._format.committed import Base, Identity, Stored, ref_of
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import MAX_LINES, MAX_WRITERS, Head, Line, Ref, Writer
from ptb_s3._history.current import Current
from ptb_s3._history.recovery import Found
from ptb_s3.errors import DamagedObjectError

# The version id of objects in a bucket without versioning (Amazon S3 User Guide, "How S3 Versioning
# works").
_UNVERSIONED = "null"
# Reference to an object that is no blob: older than any, so that the first real one replaces it.
_NO_BLOB = Ref(0, None, 0, 0, "", "")


def base_of(found: Found, current: Mapping[str, Current]) -> Base:
    """Return the base of a commit on top of what was found in the versions.

    Args:
        found: The state that the versions give.
        current: The current objects by name, each looked at by itself.
    """
    header = found.header
    erasures = found.erasures[0] if found.erasures else None
    head = replace(found.head, restored=found.restored, erasures=erasures)
    identity, size = Identity(header.store, header.serializer), found.commit.version.size
    base = Base(identity, head, None, {HEAD: Stored(header, size)}, entities=found.entities)
    note_current_objects(
        base, current, [kind for kind, of in found.of.items() if of == header.revision]
    )
    return base


def note_current_objects(
    base: Base, current: Mapping[str, Current], whole: Collection[Kind]
) -> None:
    """Note the objects that lie there now, to be replaced by a state that is in memory.

    Args:
        base: The state.
        current: The current objects by name, each looked at by itself.
        whole: Kinds whose current blobs will do, if they are such as the state's head takes.
    """
    blobs, objects, misplaced = dict[Kind, Blob](), dict[str, Stored](), list[Kind]()
    for kind, part in base.head.parts.items():
        header, lying = current[kind].header, current[kind].found
        fits = kind in whole and _fits(base, current[kind])
        if fits and lying is not None and header is not None:
            blobs[kind] = Blob(lying.etag, ref_of(header, lying.version_id, len(lying.body)))
            objects[kind] = Stored(header, len(lying.body))
            continue
        if lying is not None:  # whatever it is, it is replaced by its ETag
            blobs[kind] = Blob(lying.etag, _NO_BLOB)
        if lying is not None or part.ref is not None:
            misplaced.append(kind)
    head = current[HEAD].found
    base.note_current(head.etag if head is not None else None, blobs, objects, misplaced)


def _fits(base: Base, current: Current) -> bool:
    """Tell whether a current blob opens, and is one that the head of a base takes."""
    header = current.header
    if header is None or current.fault is not None or header.store != base.identity.store:
        return False
    return base.head.takes(Kind(current.name), header)


def transplanted(base: Base) -> Base:
    """Return the base of a state that is to be written in an empty place, all blobs included.

    Args:
        base: The base of the same state where it comes from; it stays as it is.
    """
    copied = Base(
        base.identity,
        replace(base.head, conditions=None),  # they are of another storage
        objects=base.objects,
        entities={kind: dict(entities) for kind, entities in base.entities.items()},
    )
    parts = base.head.parts.items()
    copied.misplace([k for k, part in parts if part.ref is not None or part.has_changed])
    return copied


def is_lost(head: Current) -> bool:
    """Tell whether a current head is gone or garbage, rather than one of a key not at hand."""
    return head.found is None or isinstance(head.fault, DamagedObjectError)


def nothing_newer(found: Found, base: Base, head: Current) -> bool:
    """Tell whether the versions give nothing that was committed after a base, by anybody.

    Args:
        found: The newest state that they give.
        base: The base of this process.
        head: The current head, which is lost.
    """
    there = head.found and (head.found.version_id or _UNVERSIONED)
    return found.header.commit == base.head.commit and all(
        one.version.version_id == there
        or (one.header is not None and one.header.commit == base.head.commit)
        for one in found.unread
    )


def lessened(found: Found) -> list[Kind]:
    """Return the kinds of which less was found than their commit had, or nothing."""
    return [kind for kind, of in found.of.items() if of != found.header.revision]


def continued(head: Head, found: Found, line: str, commit: str) -> Head:
    """Return the head that a commit on top of what was found follows.

    It has the highest revision that was ever given. Revisions that nobody can read are of a line
    of their own: a writer that has them in memory sees that they are not here. Where kinds are
    lessened, there is such a revision in any case, and their blobs are to be of it. As blobs of
    the commit that was found, they would be taken for what whoever has seen that commit has.

    Args:
        head: The head of the state that was found.
        found: That state.
        line: Id of that line, and of its writer.
        commit: Id for the last of those revisions.
    """
    newest = max(found.newest, head.revision + bool(lessened(found)))
    if newest == head.revision:
        return head
    return replace(
        head,
        revision=newest,
        lines=(*head.lines, Line(line, head.revision + 1))[-MAX_LINES:],
        writers=(*head.writers, Writer(line, commit, newest))[-MAX_WRITERS:],
    )
