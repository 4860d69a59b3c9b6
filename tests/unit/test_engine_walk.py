"""Repositories in both modes commit, compact and read at once: each holds what its head says.

A seeded walk on one event loop with virtual time. Each request takes a random number of turns of
the loop before it takes effect, and after; some are refused, and some replies are lost. The value
of an entity is a set of tokens that are given once, so that a lost one shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any, ParamSpec, TypeVar, cast

import pytest
from tests.simulation.loop import run
from tests.simulation.on_demand import Blocking
from tests.support import BOT_ID, KEY, StoreAround
from tests.support.on_demand import DEMANDED, small_segments

from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Entities, EntityKey, Kind, Resolution
from ptb_s3._format.openers import OpenedHead
from ptb_s3._format.reader import Reader
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.contract import Fetched, PreconditionFailed, Received
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError, PersistenceError, StorageError, StorageUnavailableError

COUNT, ROUNDS = 30, 10
State = dict[Kind, Entities]
_P = ParamSpec("_P")
_R = TypeVar("_R")


@pytest.fixture(autouse=True)
def _small_segments() -> Iterator[None]:
    with small_segments(60):
        yield


def tokens(value: bytes | None) -> frozenset[bytes]:
    return frozenset((value or b"").split())


def value_of(held: frozenset[bytes]) -> bytes | None:
    return b" ".join(sorted(held)) or None


def merged(
    _: Kind, __: EntityKey, base: bytes | None, ours: bytes | None, theirs: bytes | None
) -> Resolution:
    before, own = tokens(base), tokens(ours)
    return Resolution(value_of((tokens(theirs) | (own - before)) - (before - own)))


class Road(StoreAround):
    """Way of one repository to the storage."""

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk.memory)
        self._walk = walk

    async def get(self, name: str, **how: Any) -> Any:
        return await self._walk.ask(lambda: super(Road, self).get(name, **how))

    async def stream(self, name: str, *how: Any, **more: Any) -> Any:
        return await self._walk.ask(lambda: super(Road, self).stream(name, *how, **more))

    async def get_range(self, name: str, *how: Any, **version: Any) -> Any:
        return await self._walk.ask(lambda: super(Road, self).get_range(name, *how, **version))

    async def put(self, name: str, body: Any, *, if_match: str | None) -> Any:
        async def put() -> Any:
            written = await super(Road, self).put(name, body, if_match=if_match)
            self._walk.note_written(name)
            return written

        return await self._walk.ask(put, written=name)


class Walk:
    """Walk over what repositories do at once, in an order that a seed gives."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)  # noqa: S311 - to be the same again
        self.memory = MemoryStore(versioned=seed % 2 == 0)
        self._faults = rng.choice([0.0, 0.0, 0.02])
        self._turns = rng.choice([(0, 0, 1), (0, 1, 2, 5, 20), (0, 0, 0, 0, 1, 2, 200)])
        # Few things that are done often meet in more ways than many.
        acts = [self._write, self._rewrite, self._compact, self._publish, self._sync, self._read]
        acts.append(self._compact_amid)
        self._acts = rng.sample(acts, rng.randrange(2, 7))
        self._kinds = DEMANDED[: rng.randrange(1, 3)]
        self._quiet = True
        self._reader = Reader(Keyring(KEY))
        self._states: dict[str, State] = {"": {kind: {} for kind in DEMANDED}}
        self._last = ""
        self._serial = 0
        self._ever: set[bytes] = set()
        self._removed: set[bytes] = set()
        self.repositories: list[Repository] = []

    # The storage --------------------------------------------------------------------------------

    async def wait(self) -> None:
        for _ in range(0 if self._quiet else self.rng.choice(self._turns)):
            await asyncio.sleep(0)

    async def ask(self, act: Callable[[], Awaitable[Any]], *, written: str = "") -> Any:
        await self.wait()
        fate = None
        if not self._quiet and self.rng.random() < self._faults:
            fate = self.rng.choice(["lost", "unanswered", "refused"])
        if fate == "refused" and written:
            raise PreconditionFailed(written)
        if fate in ("lost", "refused"):
            raise StorageUnavailableError("Lost on its way.")
        answer = await act()
        await self.wait()
        self.check()
        if fate is not None:
            raise StorageUnavailableError("The answer was lost.")
        return answer

    def note_written(self, name: str) -> None:
        """Note what a head commits, and see that whoever starts now reads just that."""
        stored = self.memory._current[HEAD]
        opened = OpenedHead(*self._reader.open_head(stored.body), len(stored.body))
        head = opened.head
        if name == HEAD:
            before = self._states[self._last]
            after = self._states[head.commit] = {kind: {**before[kind]} for kind in DEMANDED}
            for kind in DEMANDED:
                for key, (revision, value) in head.parts[kind].differential.items():
                    if revision == head.revision:
                        self._note_change(after[kind], key, value)
            self._last = head.commit
        there = self.memory._current
        blobs: dict[str, Fetched | Received | None] = dict.fromkeys(DEMANDED)
        for one in there.keys() & blobs.keys():
            blob = there[one]
            blobs[one] = Fetched(blob.body, *blob.written, blob.modified)
        read = self._reader.build(opened, stored.written.etag, blobs)
        assert {kind: read.entities[kind] for kind in DEMANDED} == self._states[head.commit]

    def _note_change(self, entities: Entities, key: EntityKey, value: bytes | None) -> None:
        before, after = tokens(entities.pop(key, None)), tokens(value)
        assert before - after <= self._removed, "a commit takes away what another has brought"
        assert not (after - before) & self._ever, "a commit brings back what was removed"
        self._ever |= after
        if value is not None:
            entities[key] = value

    # What holds ---------------------------------------------------------------------------------

    def check(self) -> None:
        """See that each repository holds the state of the head that it knows."""
        for repository in self.repositories:
            base = repository.base
            state = self._states[base.head.commit]
            for kind in DEMANDED:
                held = base.entities[kind]
                if kind in base.partial:
                    assert held.items() <= state[kind].items()
                    assert not (base.partial[kind].absent - held.keys()) & state[kind].keys()
                else:
                    assert held == state[kind]
                assert base.head.parts[kind].entities == len(state[kind])

    def staged(self, repository: Repository, kind: Kind) -> Entities:
        """Return the entities of a kind as they are staged."""
        state = {**self._states[repository.base.head.commit][kind], **repository.staged.dirty[kind]}
        return {key: value for key, value in state.items() if value is not None}

    # Repositories -------------------------------------------------------------------------------

    async def begin(self, *, on_demand: bool) -> Repository:
        rng, resolve = self.rng, cast("Any", merged)  # whose first two have no names

        async def offload(func: Callable[_P, _R], /, *given: _P.args, **named: _P.kwargs) -> _R:
            await self.wait()
            done = func(*given, **named)
            await self.wait()
            return done

        repository = Repository(
            Road(self),
            Keyring(KEY),
            bot=BOT_ID,
            serializer="pickle5",
            randomness=rng.randbytes,
            offload=offload,
            resolve=resolve,
            on_demand=DEMANDED if on_demand else (),
            blocking=Blocking(self.memory),
        )
        await repository.load()
        return repository

    async def act(self, repository: Repository) -> None:
        """Do something, like a bot whose handlers, saves and compactions run at once."""
        for _ in range(self.rng.randrange(1, 4)):
            kind, keys = self.rng.choice(self._kinds), self.rng.sample(range(COUNT), 3)
            with suppress(ConflictError, StorageError):
                await self.rng.choice(self._acts)(repository, kind, keys)
            await self.wait()

    async def _write(self, repository: Repository, kind: Kind, keys: list[int]) -> None:
        await repository.fetch({kind: keys})
        brought = set()
        for key in keys:
            repository.staged.catch_up(kind, [key])
            held = tokens(repository.staged.get(kind, key))
            if self.rng.random() < 0.4:
                self._removed |= held
                repository.stage(kind, key, None)
                continue
            self._serial += 1
            brought.add(b"%d" % self._serial)
            repository.stage(kind, key, value_of(held | {b"%d" % self._serial}))
        await repository.commit()
        assert brought <= self._ever | self._removed, "what was acknowledged is not committed"

    async def _rewrite(self, repository: Repository, kind: Kind, keys: list[int]) -> None:
        await self._write(repository, kind, keys)
        await self._compact(repository, kind, keys)
        await repository.commit(publish=True)

    async def _compact(self, repository: Repository, kind: Kind, _: list[int]) -> None:
        await repository.compact(kind)

    async def _compact_amid(self, repository: Repository, kind: Kind, keys: list[int]) -> None:
        """Compact while what was read from is replaced, and head goes on, once more."""
        other = self.rng.choice(self.repositories)
        await other.compact(kind)
        await other.commit(publish=True)
        await repository.sync()

        async def replaced() -> None:
            await self._rewrite(other, kind, keys)
            await repository.sync()

        work = repository.compact(kind), replaced()
        faults = [one for one in await asyncio.gather(*work, return_exceptions=True) if one]
        for fault in sorted(faults, key=lambda one: isinstance(one, PersistenceError)):
            raise fault

    async def _publish(self, repository: Repository, _: Kind, __: list[int]) -> None:
        await repository.commit(publish=True)

    async def _sync(self, repository: Repository, _: Kind, __: list[int]) -> None:
        await repository.sync()

    async def _read(self, repository: Repository, kind: Kind, keys: list[int]) -> None:
        how = self.rng.choice(["fetch", "fetch", "now", "keys", "all"])
        if how == "now" and kind in repository.base.partial:
            repository.fetch_now(kind, keys)
        elif how == "keys":
            assert sorted(repository.keys_now(kind)) == sorted(self.staged(repository, kind))
        elif how == "all":
            assert await repository.fetch_all(kind) == self.staged(repository, kind)
        else:
            await repository.fetch({kind: self.rng.sample(range(COUNT), 8)})

    async def main(self) -> None:
        first = await self.begin(on_demand=False)
        for kind in DEMANDED:
            for key in range(COUNT):
                first.stage(kind, key, f"{kind}{key}".encode())
        await first.commit()
        await first.seal_anew(DEMANDED)
        self.repositories = [first, *[await self.begin(on_demand=True) for _ in range(2)]]
        for _ in range(ROUNDS):
            self._quiet = False
            await asyncio.gather(*(self.act(one) for one in self.repositories for _ in range(3)))
            self._quiet = True
            for repository in 2 * self.repositories:
                await repository.commit(publish=True)
            self.check()
            number = self.rng.randrange(3)
            self.repositories[number] = await self.begin(on_demand=number > 0)


@pytest.mark.parametrize("seed", range(12))
def test_each_holds_what_its_head_says(seed: int) -> None:
    run(Walk(seed).main())
