"""Rewrite of blobs on demand: those that are due, and a head that refers to them.

A bot does so by itself where its host gives it the time. The command does it beside a running bot:
a blob is as good a base for the head that the bot has committed meanwhile, so a conflict is no more
than a reason to look again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3.errors import ConflictError

TRIES = 8
"""Tries, each but the first after another writer's commit. A bot commits once an interval; one that
commits with every update leaves pauses of the length of a commit."""


class Rewrite(NamedTuple):
    """Outcome of a rewrite.

    Attributes:
        kinds: Kinds whose blobs were written.
        bytes: Bytes that were sent for them and for head.
        before: Bytes of head before.
        after: Bytes of head afterwards.
    """

    kinds: list[Kind]
    bytes: int
    before: int
    after: int


def to_rewrite(repository: Repository, *, everything: bool) -> list[Kind]:
    """Return the kinds whose blobs are to be written anew, smallest first.

    Args:
        repository: The state, loaded.
        everything: Whether to take all that have a differential; else those that are due.
    """
    if not everything:
        return [kind for _, kind in repository.due_by_size()]
    base = repository.base
    due = repository.due()
    return [
        kind
        for kind, part in base.head.parts.items()
        if kind in due
        or (part.has_changed and (kind not in base.blobs or base.blobs[kind].ref == part.ref))
    ]


async def rewrite(
    load: Callable[[], Awaitable[Repository]],
    repository: Repository,
    kinds: list[Kind],
    done: Callable[[str], None] = lambda _: None,
) -> Rewrite:
    """Write these kinds' blobs anew, and a head that refers to them, whoever commits meanwhile.

    May end anywhere: a blob that no head refers to yet is as good as the one before.

    Args:
        load: Loads the state again.
        repository: The state, loaded.
        kinds: The kinds.
        done: Called with the name of each object that is written.

    Raises:
        ConflictError: Others have committed first each time.
        StorageError: An object is not known to be written. The state is as safe as before.
    """
    before, sent, written = repository.base.objects[HEAD].size, 0, list[Kind]()
    for number in range(TRIES):
        counters = repository.counters
        try:
            for kind in kinds:
                if kind not in written:
                    await repository.compact(kind)
                    written.append(kind)
                    done(kind)
            blobs = counters.bytes_sent
            await repository.commit(publish=True)
            done(HEAD)
            # Nothing is sent where a bot has found the blobs first, and refers to them.
            after = counters.bytes_sent - blobs or repository.base.objects[HEAD].size
            return Rewrite(written, sent + counters.bytes_sent, before, after)
        except ConflictError:
            sent += counters.bytes_sent
            if number == TRIES - 1:
                raise
            repository = await load()
    raise AssertionError  # pragma: no cover - the last try returns or raises
