"""Conditional PUT, or the nearest thing to it, on storage that has none.

Rule: this module alone says which answers to a condition are right, which forms a condition has,
and which two writes make two winners. The engine's probe and ptb-s3 doctor go by it.

===========================================  ==============  =======================================
condition                                    right answer    the other one means
===========================================  ==============  =======================================
If-Match of the ETag just read               taken           nothing can be saved; maybe the other
                                                             form is taken (`has_other_form`)
If-None-Match where there is no object       taken           no state can be begun
If-Match of another ETag (`NO_ETAG`, an      refused         two writers overwrite each other
outdated one), or where there is no object
If-None-Match where there is an object       refused         two writers create head twice
===========================================  ==============  =======================================

A refusal is right only if the object, when it is read, is another one than the condition names. And
it may be the refusal of a second try whose first one took effect: see `_engine.conditional_writer`.
"""

from __future__ import annotations

from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import NotModified, PreconditionFailed, Store, Written
from ptb_s3.errors import NoConditionalPutError

# An ETag of the form that S3's have, and of no object: a PUT on this condition must be refused.
NO_ETAG = f'"{"0" * 32}"'
# Times in a row that a storage does the wrong thing, after which it is no chance: refuses a
# condition that holds, with a read before each, or takes one that does not.
PATIENCE = 2


class ConditionalStore:
    """Conditional PUT on a store, in the form that the storage was found to take.

    Args:
        store: The store.

    Attributes:
        conditional: Whether the storage keeps to conditions. Where it does not, and the user
            vouches for a single writer, a read before each write finds most of those who are wrong,
            but not two writers at the same moment.
        unquoted: Whether conditions are ETags without their quotation marks. Some storages refuse a
            right one that has them (DigitalOcean Spaces, slatedb issue 1818; versitygw issue 1710).
    """

    def __init__(self, store: Store) -> None:
        self.conditional = True
        self.unquoted = False
        self._store = store

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        """See `Store.put`."""
        if self.conditional:
            condition = None if if_match is None else form_of(if_match, self.unquoted)
            return await self._store.put(name, body, if_match=condition)
        if await current_etag(self._store, name, known=if_match) != if_match:
            raise PreconditionFailed(name)
        return await self._store.overwrite(name, body)


def has_other_form(if_match: str | None, unquoted: bool) -> bool:  # noqa: FBT001 - as `form_of`
    """Tell whether a condition that holds, and was refused, can be given in another form.

    Args:
        if_match: The condition: an ETag; None: that there is no object.
        unquoted: Whether it was given without its quotation marks already.
    """
    return if_match is not None and not unquoted


def let_two_win(winners: int, *, kept: bool) -> bool:
    """Tell whether a storage has let two writes win that had the same condition.

    Args:
        winners: Number of them that it has acknowledged.
        kept: Whether what lies there is what an acknowledged one wrote. If not, a write took effect
            that was refused, or whose condition did not hold any more.
    """
    return winners > 1 or (winners > 0 and not kept)


async def current_etag(store: Store, name: str, *, known: str | None) -> str | None:
    """Return an object's ETag now, without a transfer of the body where it is the known one.

    Args:
        store: The store.
        name: Name of the object.
        known: ETag that it had when it was last seen; None: there was none.

    Returns:
        The ETag, or None if there surely is no object. Whoever compares it with an ETag in memory
        reads that one anew: a takeover may have replaced it meanwhile.
    """
    try:
        found = await store.get(name, if_none_match=known)
    except NotModified:
        return known
    return None if found is None else found.etag


def form_of(etag: str, unquoted: bool) -> str:  # noqa: FBT001 - as `ConditionalStore.unquoted`
    """Return an ETag in the form in which the storage takes it as a condition."""
    return etag.strip('"') if unquoted else etag


def refused(*, saved: bool) -> NoConditionalPutError:
    """Return the error for a storage that accepted a write which it had to refuse.

    Args:
        saved: Whether the changes have been written all the same, by that very write.
    """
    kept = "What changed has been saved" if saved else "Nothing was overwritten"
    return NoConditionalPutError(
        "The storage takes a write that it was told to refuse (conditional PUT, If-Match): two "
        f"instances of the bot would overwrite each other's state unseen. {kept}. Use a storage "
        "that keeps to conditions; docs/providers.md lists some. If there is never more than one "
        "instance, not even during a deploy, vouch for it with single_writer=True "
        "(PTB_S3_SINGLE_WRITER=true)."
    )


def refused_rightly(*, exists: bool) -> NoConditionalPutError:
    """Return the error for a storage that refuses a write whose condition holds.

    Args:
        exists: Whether the write was to replace an object, rather than to create one.
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
