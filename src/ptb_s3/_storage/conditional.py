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

from ptb_s3._storage.contract import PreconditionFailed, Store, Written
from ptb_s3.errors import NoConditionalPutError

# An ETag of the form that S3's have, and of no object: a PUT on this condition must be refused.
NO_ETAG = f'"{"0" * 32}"'
# Times in a row that a storage does the wrong thing, after which it is no chance: refuses a
# condition that holds, with a read before each, or takes one that does not.
PATIENCE = 2


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
        found = await self._store.get(name, unless=if_match)
        if (found and found.etag) != if_match:
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
