"""Find out whether a storage keeps to the conditions of a PUT, before it is trusted.

It must be seen to refuse what is wrong *and* to take what is right. What is sent to find out is a
commit that records the worst: if a storage takes what it should refuse, what is there is true.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.settling import Attempt, Settler
from ptb_s3._format.container import HEAD
from ptb_s3._format.head import Conditions
from ptb_s3._storage.conditional import (
    NO_ETAG,
    current_etag,
    form_of,
    refused,
    refused_rightly,
)
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3.errors import NoConditionalPutError, StorageUnavailableError

# Times in a row that a storage does the wrong thing, after which it is no chance: refuses a right
# condition, with a read before each, or takes a wrong one.
_PATIENCE = 2
_LOGGER = logging.getLogger("ptb_s3")

Seal = Callable[[Conditions], Awaitable[tuple[Attempt, bytes]]]
"""Makes a commit of what is staged that records such conditions."""


class Trial:
    """What a storage was seen to make of conditions.

    Args:
        context: What it works with.
        settler: Knows what is committed, and settles what became of an attempt.

    Attributes:
        known: What was found out; None: nothing yet.
    """

    def __init__(self, context: EngineContext, settler: Settler) -> None:
        self.known: Conditions | None = None
        self._context = context
        self._settler = settler
        self._refusals = 0

    async def recall(self) -> None:
        """Go by what head says of this storage, if it is this one that it says it of."""
        known = self._settler.base.head.conditions
        if known is not None and known.place == await self._context.store.place():
            self._learn(known)

    def require(self) -> None:
        """Refuse a storage that is known to overwrite unseen, unless the user vouches for it.

        Raises:
            NoConditionalPutError: It is one.
        """
        if not (self._context.conditional_store.conditional or self._context.single_writer):
            raise refused(saved=False)

    async def replacing(self, seal: Seal, *, rebase: bool, unquoted: bool = False) -> bool:
        """Find out whether a storage replaces an object on a condition that cannot be true.

        Nothing can be overwritten by it but what has come since a look that is the last thing
        before. Tells whether it has, which is a commit.

        Args:
            seal: Makes the commit.
            rebase: Whether to go on top of what others have committed.
            unquoted: Whether to ask with an ETag without its quotation marks. Conditions have that
                form from then on, if this one was refused, and not before.

        Raises:
            NoConditionalPutError: It has, or knows no conditions, and nobody vouches for it.
        """
        base, place = self._settler.base, await self._context.store.place()
        if await current_etag(self._context.store, HEAD, known=base.etag) != base.etag:
            await self._settler.settle(rebase=rebase)
            return False
        attempt, body = await seal(Conditions(place, kept=False))
        try:
            written = await self._context.store.put(HEAD, body, if_match=form_of(NO_ETAG, unquoted))
        except PreconditionFailed:
            self._learn(Conditions(place, kept=True))
            self._context.conditional_store.unquoted = unquoted
            return False
        except NoConditionalPutError:
            self._learn(Conditions(place, kept=False))
            if not self._context.single_writer:
                raise
            return False
        except StorageUnavailableError as failure:
            await self._settler.settle_after(failure, rebase=rebase)
            if base.head is not attempt.head:
                raise
            written = None
        self._found_heedless(attempt, written)
        return True

    async def creating(self, seal: Seal) -> None:
        """See that the head which was just created cannot be created again.

        Ceph 16.2 does that, in a bucket with versions (seen in 2026). Once may be since somebody
        has deleted it in between.

        Raises:
            NoConditionalPutError: It was, and nobody vouches for there being one writer.
        """
        known = self.known
        if known is None or not self._context.conditional_store.conditional:
            return
        for _ in range(_PATIENCE):
            attempt, body = await seal(known._replace(kept=False))
            try:
                written = await self._context.store.put(HEAD, body, if_match=None)
            except PreconditionFailed:
                self._settler.forget(attempt)
                return
            except StorageUnavailableError:
                return  # it may have; the next commit looks
            self._settler.adopt(attempt, written.etag)
        self._found_heedless(attempt, None)

    def taken(self) -> None:
        """Note that the storage has taken a right condition."""
        self._refusals = 0

    async def not_taken(self, seal: Seal, *, rebase: bool) -> None:
        """Go by it that the storage has refused a condition while head is as it was.

        Once may be weather. After that, it is asked in another form, if it refuses what is wrong
        in that one, or by a read before the write, where there is one writer.

        Raises:
            NoConditionalPutError: There is no other way.
        """
        conditional_store = self._context.conditional_store
        if not conditional_store.conditional:
            raise StorageUnavailableError(
                "Object 'head' has changed and changed back while it was written. What changed is "
                "kept and goes with the next commit."
            )
        self._refusals += 1
        if self._refusals < _PATIENCE:
            return
        self._refusals = 0  # in the other form, or after an interruption, it counts anew
        if not conditional_store.unquoted and self._settler.base.etag is not None:
            await self.replacing(seal, rebase=rebase, unquoted=True)
            return
        conditional_store.unquoted = False
        if not self._context.single_writer:
            raise refused_rightly(exists=self._settler.base.etag is not None)
        conditional_store.conditional = False
        _LOGGER.warning(
            "The storage refuses writes on conditions that hold. As there is a single writer, "
            "there is a read before each write from now on, and no condition."
        )

    def _found_heedless(self, attempt: Attempt, written: Written | None) -> None:
        if written is not None:
            self._settler.adopt(attempt, written.etag)
        if attempt.head.conditions is not None:
            self._learn(attempt.head.conditions)
        if not self._context.single_writer:
            raise refused(saved=True)

    def _learn(self, conditions: Conditions) -> None:
        self.known, self._context.conditional_store.conditional = conditions, conditions.kept
