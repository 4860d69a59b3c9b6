"""Whoever has access to the bucket besides the bots.

Outsiders put back, copy, delete and garble; an operator repairs, restores, and copies the state to
another place, as the program's commands do.
"""

from __future__ import annotations

import asyncio
import random

from tests.simulation.audit import Audit, Commit
from tests.simulation.excuses import Excuses
from tests.simulation.model import Model, Violation, Write
from tests.simulation.storage import Line, Weather

from ptb_s3 import Keyring
from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError, PersistenceError

# How many commits before the current one an operator restores at most.
_FAR = 12


class Outsider:
    """Does as it likes with the objects; and mends most of it later.

    Args:
        storage: The storage.
        audit: Told of what it did.
        excuses: Told of what may fail by it.
        model: Told of states that came back.
        rng: Decides what it does.
        keys: Open every object, for an operator who repairs.
    """

    def __init__(
        self,
        storage: MemoryStore,
        audit: Audit,
        excuses: Excuses,
        model: Model,
        rng: random.Random,
        *,
        keys: Keyring,
    ) -> None:
        self._storage, self._audit, self._excuses = storage, audit, excuses
        self._model, self._keys, self._rng = model, keys, rng
        self._rolled_back: Write | None = None
        audit.on_commit.append(self._committed)

    async def run(self, end: float) -> None:
        """Meddle now and then."""
        rng, clock = self._rng, asyncio.get_running_loop().time
        while clock() < end:
            await asyncio.sleep(rng.uniform(3, 25))
            acts = [self._copy, self._delete, self._garble, self._older]
            act = rng.choice([*acts, self._copy, self._older, self._older_all])
            act()
            self._look()
            if rng.random() < 0.8:
                await asyncio.sleep(rng.choice([0.1, 1.0, 10.0, 20.0]))
                if rng.random() < 0.5 or not await self._repair():
                    self.mend()
                await rng.choice([self._restore, self._copy_elsewhere, self._do_nothing])()

    def _name(self) -> str | None:
        names = sorted(self._storage._current)
        if not names:
            return None
        return HEAD if HEAD in names and self._rng.random() < 0.4 else self._rng.choice(names)

    # What it does -------------------------------------------------------------------------------

    def _copy(self) -> None:
        """Copy an object onto itself, as a change of its storage class does."""
        name = self._name()
        if name is not None:
            self._storage.replace(name, self._storage._current[name].body)

    def _delete(self) -> None:
        name = self._name()
        if name is not None:
            self._storage.lose(name)
            self._spoil(name, None)

    def _garble(self) -> None:
        name = self._name()
        if name is not None:
            body = bytearray(self._storage._current[name].body or b"x")
            how = self._rng.choice(["flip", "cut", "random", "empty"])
            if how == "flip":
                body[self._rng.randrange(len(body))] ^= 1
            elif how == "cut":
                body = body[: self._rng.randrange(len(body))]
            else:
                body = bytearray(self._rng.randbytes(0 if how == "empty" else 50))
            self._storage.replace(name, bytes(body))
            self._spoil(name, None)

    def _older(self) -> None:
        name = self._name()
        if name == HEAD and self._rng.random() < 0.5:
            self._older_all()
        elif name is not None and self._audit.bodies[name]:
            if name == HEAD:
                self._roll_back(self._older_commit())
            else:
                self._storage.replace(name, self._rng.choice(self._audit.bodies[name][-8:]))
                self._spoil(name)

    def _older_all(self) -> None:
        """Roll all of it back to how it was once."""
        if HEAD in self._excuses.spoiled or self._audit.current == "":
            return
        commit = self._older_commit()
        for name, body in self._audit.commits[commit].objects.items():
            if name != HEAD:
                self._storage.replace(name, body)
                self._spoil(name)
        self._roll_back(commit)

    def _older_commit(self) -> str:
        return self._rng.choice([commit for commit in self._audit.commits if commit][-12:])

    def _roll_back(self, commit: str) -> None:
        if HEAD in self._excuses.spoiled or commit == self._audit.current:
            return
        self._storage.replace(HEAD, self._audit.commits[commit].objects[HEAD])
        self._spoil(HEAD, commit)
        now = asyncio.get_running_loop().time()
        there = self._audit.commits[commit]
        fields = self._audit.fields(there.state, there.words)
        self._rolled_back = self._model.begin_restore(fields, now)
        self._audit.forget_past()

    def _spoil(self, name: str, commit: str | None = None) -> None:
        """Note that an object is none of a bot's, or the head of an older commit."""
        if name == HEAD:
            self._audit.there = commit
        self._excuses.spoiled.add(name)
        self._audit.tally["meddled"] += 1

    # What becomes of it -------------------------------------------------------------------------

    def _committed(self, _: Commit) -> None:
        if self._rolled_back is not None and self._audit.is_repaired:
            self._model.forget_restore(self._rolled_back)
            self._audit.forget_past()
            self._rolled_back = None
        if self._rolled_back is not None:
            self._rolled_back.ended = asyncio.get_running_loop().time()
            self._rolled_back = None
            self._excuses.branched = True
            self._audit.tally["branched"] += 1

    async def _repair(self) -> bool:
        """Do as `ptb-s3 repair`; tell whether the newest commit was brought back."""
        if not (self._storage.versioned and self._excuses.spoiled and self._audit.current):
            return False
        repository = self._repository()
        try:
            found = (await repository.recover()).found
            if any(revision != found.header.revision for revision in found.of.values()):
                self._audit.blame(Violation("a repair loses what the versions hold"))
            await repository.mend()
            self._audit.repairing = repository, found.header.commit
            await repository.commit(publish=True, operation=Operation())
        except PersistenceError:  # a bot was first, or nothing opens: then as below
            return False
        finally:
            self._audit.repairing = None
        self._audit.tally["repaired"] += 1
        return True

    async def _restore(self) -> None:
        """Do as `ptb-s3 restore`: an older state of this branch becomes a new commit."""
        audit, past = self._audit, self._past()
        if not (self._storage.versioned and past) or self._rolled_back is not None:
            return
        commit_id, commit = self._rng.choice(past)
        repository = self._repository()
        fields = audit.fields(commit.state, commit.words)
        # From the first look on: what others commit after it stays, where nothing was to be done.
        write = self._model.begin_restore(fields, asyncio.get_running_loop().time())
        audit.forget_past()
        try:
            await repository.load()
            snapshot = await repository.restorable(RestorePoint.parse(str(commit.revision)))
            if snapshot.head.commit != commit_id:
                audit.blame(Violation(f"revision {commit.revision} is that of another branch"))
            await repository.commit_only(repository.changes_to(snapshot.entities))
        except PersistenceError as error:
            self._model.forget_restore(write)
            audit.forget_past()
            if not (self._excuses.meddled or isinstance(error, ConflictError)):
                audit.blame(Violation(f"an operator could not restore: {error}"))
            return
        write.ended = asyncio.get_running_loop().time()
        base = repository.base
        if audit.fields(base.entities, base.head.words) != fields:
            audit.blame(Violation(f"a restore of revision {commit.revision} gave another state"))
        audit.tally["restored by hand"] += 1

    def _past(self) -> list[tuple[str, Commit]]:
        """Return the commits that the current one came after, newest first, but for old ones."""
        audit, past = self._audit, list[tuple[str, Commit]]()
        commit_id = audit.current
        while commit_id and len(past) < _FAR:
            past.append((commit_id, audit.commits[commit_id]))
            commit_id = audit.commits[commit_id].before or ""
        return past

    async def _copy_elsewhere(self) -> None:
        """Do as `ptb-s3 copy`: the state is the same in an empty place."""
        if not self._audit.current:
            return
        there = MemoryStore(versioned=self._rng.random() < 0.5, clock=self._storage.clock)
        source, target, again = self._repository(), self._repository(there), self._repository(there)
        try:
            await source.load()
        except PersistenceError as error:
            if not self._excuses.meddled:
                self._audit.blame(Violation(f"an operator could not copy: {error}"))
            return
        target.begin_from(source.base)
        await target.mend()
        await target.commit(publish=True, operation=Operation())
        await again.load()
        if again.base.entities != source.base.entities:
            self._audit.blame(Violation("a copy is another state"))
        self._audit.tally["copied"] += 1

    async def _do_nothing(self) -> None: ...

    def _repository(self, elsewhere: MemoryStore | None = None) -> Repository:
        if elsewhere is not None:
            return Repository(Line(elsewhere, self._rng, Weather(), lambda _: None), self._keys)
        return Repository(
            Line(self._storage, self._rng, Weather(), self._audit.written), self._keys
        )

    def mend(self) -> None:
        """Put back the newest intact version of what is not, as an operator would."""
        if HEAD in self._excuses.spoiled:
            self._storage.replace(HEAD, self._audit.bodies[HEAD][-1])
            self._audit.there = self._audit.current
            self._excuses.mended(HEAD)
            if self._rolled_back is not None:
                self._model.forget_restore(self._rolled_back)
                self._audit.forget_past()
                self._rolled_back = None
        for name in sorted(self._excuses.spoiled):
            bodies = reversed(self._audit.bodies[name])
            fitting = next((body for body in bodies if self._audit.fits(Kind(name), body)), None)
            if fitting is not None:
                self._storage.replace(name, fitting)
                self._excuses.mended(name)

    def _look(self) -> None:
        try:
            self._audit.check_loads()
        except Violation as violation:
            self._audit.violation = self._audit.violation or violation
