"""Probe: find out whether a storage keeps to the conditions of a PUT, before it is trusted.

It must be seen to refuse a wrong condition *and* to take a right one (`_storage.conditional` says
which is which). Each probe is a commit of what is staged that records the worst: if a storage takes
what it should refuse, what lies there then is true.

===============================  ==================================================================
seen                             what follows
===============================  ==================================================================
a wrong If-Match is refused      recorded in head with the commit; asked once in the life of a store
a wrong If-Match is taken        refused from then on, unless there is a single writer
If-None-Match is taken again     the same
a right one is refused,          asked without the ETag's quotation marks, if a wrong one of that
`PATIENCE` times in a row        form is refused; else read before each write, with a single writer
===============================  ==================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ptb_s3._engine.attempts import Attempt, Attempts
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.settling import Settler
from ptb_s3._format.container import HEAD
from ptb_s3._format.head import Conditions
from ptb_s3._storage.conditional import (
    NO_ETAG,
    PATIENCE,
    current_etag,
    form_of,
    has_other_form,
    refused,
    refused_rightly,
)
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3.errors import NoConditionalPutError, StorageUnavailableError

_LOGGER = logging.getLogger("ptb_s3")

Seal = Callable[[Conditions], Awaitable[tuple[Attempt, bytes]]]
"""Seals a commit of what is staged that records such conditions; see `HeadBuilder.seal`."""


class Probe:
    """Probe of a storage's conditional PUT, whose outcome `head` records.

    Args:
        context: The store, and whether there is a single writer.
        settler: Follows head, and settles attempts.
        attempts: Forgets an attempt that was surely refused.

    Attributes:
        known: The outcome; None: nothing was tried yet.
    """

    def __init__(self, context: EngineContext, settler: Settler, attempts: Attempts) -> None:
        self.known: Conditions | None = None
        self._context = context
        self._settler = settler
        self._attempts = attempts
        self._refusals = 0

    async def recall(self) -> None:
        """Go by the outcome that head records, if it is of this very storage and bucket."""
        known = self._settler.base.head.conditions
        if known is not None and known.place == await self._context.store.place():
            self._learn(known)

    def require(self) -> None:
        """Refuse a storage that is known to overwrite unseen, unless there is a single writer.

        Raises:
            NoConditionalPutError: It is one, and nobody vouches for a single writer.
        """
        if not (self._context.conditional_store.conditional or self._context.single_writer):
            raise refused(saved=False)

    async def replacing(self, seal: Seal, *, rebase: bool, unquoted: bool = False) -> bool:
        """Try to replace head on a condition that cannot hold.

        Head is read immediately before: nothing but what came in between could be overwritten.

        Args:
            seal: Seals the commit that is sent.
            rebase: Whether to go on top of what others have committed.
            unquoted: Whether to ask with an ETag without its quotation marks. Conditions have that
                form from then on, if this one was refused, and not before.

        Returns:
            Whether the storage has replaced it, which is a commit.

        Raises:
            NoConditionalPutError: It has, or knows no conditions, and nobody vouches for a single
                writer.
            StorageUnavailableError: There was no answer, and head does not show it.
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
        """Try to create the head that was just created once more.

        Ceph 16.2 does that, in a bucket with versions (seen in 2026). It may happen once where
        somebody has deleted head in between.

        Args:
            seal: Seals an empty commit.

        Raises:
            NoConditionalPutError: It was created again, and nobody vouches for a single writer.
        """
        known = self.known
        if known is None or not self._context.conditional_store.conditional:
            return
        for _ in range(PATIENCE):
            attempt, body = await seal(known._replace(kept=False))
            try:
                written = await self._context.store.put(HEAD, body, if_match=None)
            except PreconditionFailed:
                self._attempts.forget(attempt)
                return
            except StorageUnavailableError:
                return  # it may have; the next commit looks
            self._settler.adopt(attempt, written.etag)
        self._found_heedless(attempt, None)

    def taken(self) -> None:
        """Note that the storage has taken a condition that holds."""
        self._refusals = 0

    async def not_taken(self, seal: Seal, *, rebase: bool) -> None:
        """Note that the storage has refused a condition while head is as it was.

        Once may be weather. After `PATIENCE` times it is asked in the other form, if it refuses
        wrong conditions of that form, or by a read before each write, where there is one writer.

        Args:
            seal: Seals the commit that is sent to try.
            rebase: Whether to go on top of what others have committed.

        Raises:
            NoConditionalPutError: There is no other way.
            StorageUnavailableError: The conditions are ours to check, and head has changed and
                changed back.
        """
        conditional_store = self._context.conditional_store
        if not conditional_store.conditional:
            raise StorageUnavailableError(
                "Object 'head' has changed and changed back while it was written. What changed is "
                "kept and goes with the next commit."
            )
        self._refusals += 1
        if self._refusals < PATIENCE:
            return
        self._refusals = 0  # in the other form, or after an interruption, it counts anew
        etag = self._settler.base.etag
        if has_other_form(etag, conditional_store.unquoted):
            await self.replacing(seal, rebase=rebase, unquoted=True)
            return
        conditional_store.unquoted = False
        if not self._context.single_writer:
            raise refused_rightly(exists=etag is not None)
        conditional_store.conditional = False
        _LOGGER.warning(
            "The storage refuses writes on conditions that hold. As there is a single writer, "
            "there is a read before each write from now on, and no condition."
        )

    def _found_heedless(self, attempt: Attempt, written: Written | None) -> None:
        """Go on from a commit that the storage took on a wrong condition.

        Args:
            attempt: The commit.
            written: The storage's answer; None: the attempt is adopted already.
        """
        if written is not None:
            self._settler.adopt(attempt, written.etag)
        if attempt.head.conditions is not None:
            self._learn(attempt.head.conditions)
        if not self._context.single_writer:
            raise refused(saved=True)

    def _learn(self, conditions: Conditions) -> None:
        self.known, self._context.conditional_store.conditional = conditions, conditions.kept
