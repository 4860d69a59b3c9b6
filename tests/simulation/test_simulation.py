"""A few thousand schedules of the whole engine; and that they would find it broken."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from tests.simulation.__main__ import attempt
from tests.simulation.model import Violation
from tests.simulation.world import simulate

from ptb_s3 import _head
from ptb_s3._base import Base, Blob, Opening, Reader, ref_of
from ptb_s3._container import HEAD
from ptb_s3._guarded import Guarded
from ptb_s3._head import Ref
from ptb_s3._repository import Repository
from ptb_s3._state import Kind
from ptb_s3._store import Fetched, PreconditionFailed, Written

SCHEDULES = 2000
# Seconds within which whatever is broken must be found.
PATIENCE = 60.0


def test_schedules_hold_what_was_promised() -> None:
    """No acknowledged change is lost, every load was committed, every blob fits its head."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(attempt, range(SCHEDULES), chunksize=20))
    failures = [failure for _, failure in results if failure]
    assert not failures, "\n".join(failures)
    tally = sum((happened for happened, _ in results), Counter[str]())
    for what in ("killed", "conflicts", "merged", "overridden", "compactions", "restored", "words"):
        assert tally[what] >= SCHEDULES / 50, f"hardly any schedule had {what}: {tally}"
    assert tally["expired"] >= SCHEDULES
    assert tally["commits"] >= 5 * SCHEDULES


def test_a_schedule_is_the_same_each_time() -> None:
    """What a seed found once, it finds again."""
    assert simulate(3) == simulate(3)


# Six ways to break the engine -------------------------------------------------------------------


async def _without_condition(self: Guarded, name: str, body: bytes, **_: Any) -> Written:
    return await self._store.overwrite(name, body)


async def _412_is_success(
    self: Guarded, name: str, body: bytes, *, if_match: str | None
) -> Written:
    try:
        return await self._store.put(name, body, if_match=if_match)
    except PreconditionFailed:
        found = await self._store.get(name)
        assert found is not None
        return Written(found.etag, found.version_id)


async def _compact_ahead(self: Repository, kind: Kind) -> None:
    base = self.base
    entities = {**base.entities, kind: self.staged.entities(kind)}
    ahead = Base(base.identity, base.head, base.etag, base.objects, base.blobs, entities)
    await self._compactor.compact(ahead, kind)


def _without_tombstones(part: Any, changes: Any, revision: int, ref: Ref | None) -> Any:
    kept = {key: value for key, value in changes.items() if value is not None}
    return FOLLOW_PART(part, kept, revision, ref)


async def _fetch_older(self: Repository, _: Any) -> dict[str, Fetched | None]:
    found: dict[str, Fetched | None] = {HEAD: await self._means.store.get(HEAD)}
    for kind in Kind:
        versions = [version async for version in self._means.store.versions(kind)]
        older = versions[1].version_id if len(versions) > 1 else None
        found[kind] = await self._means.store.get(
            kind, version_id=older if older != "null" else None
        )
    return found


def _place_any(
    _: Reader, base: Base, kind: Kind, __: Any, fetched: Fetched | None, opening: Opening | None
) -> None:
    if fetched is not None:
        opening = opening or _._opened(kind, fetched.body)
        header, base.entities[kind] = opening.result(base.identity.store)
        ref = ref_of(header, fetched.version_id, 1)
        base.blobs[kind] = Blob(fetched.etag, ref)


def _words_at_once(self: Repository) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*self._begun.words, *self.staged.words)))


FOLLOW_PART: Callable[..., Any] = _head._follow_part
MUTANTS: dict[str, list[tuple[object, str, object]]] = {
    "skip the precondition": [(Guarded, "put", _without_condition)],
    "treat 412 as success": [(Guarded, "put", _412_is_success)],
    "write a blob ahead of its commit": [(Repository, "compact", _compact_ahead)],
    "forget a tombstone": [(_head, "_follow_part", _without_tombstones)],
    "use words before they are committed": [(Repository, "words", property(_words_at_once))],
    "take an older blob": [
        (Repository, "_fetch_all", _fetch_older),
        (Reader, "_place_blob", _place_any),
    ],
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_engine_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken in one place, the engine is caught within a minute."""
    for target, name, broken in MUTANTS[mutant]:
        monkeypatch.setattr(target, name, broken)
    with pytest.raises(Violation):
        _simulate_for(PATIENCE)


def _simulate_for(seconds: float) -> None:
    until = time.monotonic() + seconds
    seeds = itertools.count()
    while time.monotonic() < until:
        simulate(next(seeds))
