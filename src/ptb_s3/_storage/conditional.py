"""Conditional PUT, or the nearest thing to it, on storage that has none."""

from __future__ import annotations

from ptb_s3._storage.contract import NotModified, PreconditionFailed, Store, Written
from ptb_s3.errors import NoConditionalPutError

# An ETag that no object has: a PUT on this condition must be refused.
NO_ETAG = '"00000000000000000000000000000000"'


class ConditionalStore:
    """Puts objects of a store on a condition.

    Args:
        store: The store.

    Attributes:
        conditional: Whether the store itself sees to it. Where it cannot, and the user vouches that
            there is one writer, a read before each write finds out most of those who are wrong.
        unquoted: Whether conditions are ETags without their quotation marks. Some storages refuse a
            right one that has them (DigitalOcean Spaces, slatedb issue 1818; versitygw issue 1710).
    """

    def __init__(self, store: Store) -> None:
        self.conditional = True
        self.unquoted = False
        self._store = store

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        """See `Store.put`."""
        if self.conditional:
            condition = None if if_match is None else form_of(if_match, self.unquoted)
            return await self._store.put(name, body, if_match=condition)
        if not await is_unchanged(self._store, name, if_match):
            raise PreconditionFailed(name)
        return await self._store.overwrite(name, body)


async def is_unchanged(store: Store, name: str, etag: str | None) -> bool:
    """Tell whether an object still has an ETag or, for None, still does not exist."""
    try:
        found = await store.get(name, if_none_match=etag)
    except NotModified:
        return True
    return found is None and etag is None


def form_of(etag: str, unquoted: bool) -> str:  # noqa: FBT001 - as `ConditionalStore.unquoted`
    """Return an ETag as it is sent for a condition."""
    return etag.strip('"') if unquoted else etag


def refused(*, saved: bool) -> NoConditionalPutError:
    """Return the error for a storage on which two writers would overwrite each other.

    Args:
        saved: Whether what changed has been written all the same.
    """
    kept = "What changed has been saved" if saved else "Nothing was overwritten"
    return NoConditionalPutError(
        "The storage takes a write that it was told to refuse (conditional PUT, If-Match): two "
        f"instances of the bot would overwrite each other's state unseen. {kept}. Use a storage "
        "that keeps to conditions; the README lists some. If there is never more than one "
        "instance, not even during a deploy, vouch for it with single_writer=True "
        "(PTB_S3_SINGLE_WRITER=true)."
    )


def refused_rightly(*, exists: bool) -> NoConditionalPutError:
    """Return the error for a storage that does not take a write whose condition holds.

    Args:
        exists: Whether there is an object to replace, rather than one to create.
    """
    remedy = "If its versioning was suspended, turn it on again (SeaweedFS refuses for that)."
    if not exists:
        remedy = (
            "If the object was deleted, the storage may look at what lies beneath the delete "
            "marker (versitygw, S3Mock): remove the marker and the versions by its own means, or "
            "use another prefix."
        )
    return NoConditionalPutError(
        f"The storage refuses to {'replace' if exists else 'create'} object 'head' on a condition "
        "that holds (conditional PUT), each time that it is asked. Nothing was written; what "
        f"changed is kept in memory. {remedy} ptb-s3 doctor says what the storage does. If there "
        "is never more than one instance, not even during a deploy, vouch for it with "
        "single_writer=True (PTB_S3_SINGLE_WRITER=true), and conditions are not needed."
    )


def two_winners(revision: int) -> NoConditionalPutError:
    """Return the error for a storage that let two conditional writes of one revision win."""
    return NoConditionalPutError(
        f"Object 'head' holds another commit of revision {revision} than the one that was "
        "acknowledged to this process: the storage let two writers win, and what this one had "
        "committed was overwritten. It is kept in memory, and in the bucket's history if it keeps "
        "versions. Nothing more is written. Run ptb-s3 doctor, use a storage that keeps to "
        "conditions, and stop all instances but one."
    )
