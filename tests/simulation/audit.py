"""What the storage holds, looked at by its own reader after each write, on its own account."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.simulation import values
from tests.simulation.excuses import Excuses
from tests.simulation.model import Excused, Model, Violation
from tests.simulation.values import Field, Fields, Path

from ptb_s3 import Keyring
from ptb_s3._engine.repository import Repository
from ptb_s3._format import entities as _state
from ptb_s3._format.committed import Base, overlay
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head, due
from ptb_s3._format.openers import OpenedHead
from ptb_s3._format.reader import Reader, TornReadError
from ptb_s3._storage.contract import Fetched
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.loading import load_all
from ptb_s3.errors import DamagedObjectError, PersistenceError

# Times that one process may write a blob anew for its key alone: before it meets another, which
# may seal by the key that it takes for the retired one, and once more if the answer was lost.
EXCHANGES = 2
# The revision of what is sent to see whether the first commit can be created again.
FIRST_TRIED = 2
# So many writes to one look at all that is there.
LOADED = 3

State = dict[Kind, Entities]


@dataclass
class Commit:
    """One commit that the storage took.

    Attributes:
        revision: Its revision.
        state: The state that it makes.
        at: When the storage took it, by the storage's clock.
        restores: Whether it has carried out a request to go back.
        objects: All objects as they were then.
        before: Id of the commit before.
        words: What its values refer to.
    """

    revision: int = 0
    state: State = field(default_factory=lambda: {kind: {} for kind in Kind})
    at: datetime | None = None
    objects: dict[str, bytes] = field(default_factory=dict)
    before: str | None = None
    words: tuple[str, ...] = ()
    restores: bool = False


class Audit:
    """Every commit so far, and what is there now.

    Args:
        storage: The storage.
        model: Says which values are right.
        keys: Open every object.
        bot: Id of the bot.
        excuses: Knows which objects are none of the bots'.
        now: Gives the storage's time.

    Attributes:
        commits: Every commit, by its id; "" is the empty state before the first.
        current: Id of the last commit.
        there: Id of the commit whose head is there now: an older one's, where it was put back;
            None: what is there is no head.
        repairing: What an operator repairs with, and the commit that it brings back.
        is_repaired: Whether the last commit is such a one, or of a bot that rewrites what is lost.
        rewrites: Whether there are such bots.
        bodies: What bots have written, by object, oldest first.
        on_commit: Called with each commit.
        with_model: Whether every value was written under the eyes of the model.
        thorough: Whether to load all that is there after each write, rather than now and then.
        violation: The first thing that was wrong.
        tally: What happened.
    """

    def __init__(
        self,
        storage: MemoryStore,
        model: Model,
        *,
        keys: Keyring,
        bot: int,
        excuses: Excuses,
        now: Callable[[], datetime],
    ) -> None:
        self.commits: dict[str, Commit] = {"": Commit()}
        self.current = ""
        self.there: str | None = ""
        self.bodies: dict[str, list[bytes]] = {name: [] for name in (HEAD, *Kind)}
        self.is_repaired = False
        self.rewrites = False
        self.repairing: tuple[Repository, str] | None = None
        self.violation: Violation | None = None
        self.tally: Counter[str] = Counter()
        self.on_commit: list[Callable[[Commit], None]] = []
        self.with_model = True
        self.thorough = False
        self._writes = 0
        self._storage, self._model, self._now = storage, model, now
        self._excuses = excuses
        self._serializer = values.serializer().sharing(self._words)
        self._reader = Reader(keys, bot, self._serializer.id)
        self._known_words: tuple[str, ...] = ()
        self._parts: dict[tuple[str, Any, bytes], Fields] = {}
        self._blobs: dict[str, Header] = {}
        self._head: Head | None = None
        self._restored: dict[str, tuple[str, ...]] = {"": ()}
        self._exchanged: Counter[tuple[str, str, str]] = Counter()
        self._past: defaultdict[Field, set[object]] = defaultdict(set)

    def _words(self) -> tuple[str, ...]:
        """The current head's will do for all values that were ever committed on its branch."""
        return self._known_words

    def blame(self, violation: Violation) -> None:
        """Note that something is not as it must be; the first time counts."""
        if self.violation is None:
            self.violation = violation

    @property
    def is_over(self) -> bool:
        """Whether something was wrong, so that nothing more is to be learnt."""
        return self.violation is not None

    # After each write ---------------------------------------------------------------------------

    def written(self, name: str) -> None:
        """Look at what a bot has just written."""
        self.bodies[name].append(self._storage._current[name].body)
        try:
            if name == HEAD:
                self._check_commit(self._opened_head())
            else:
                self._check_opens(name)
            # A blob may have been on its way for long, and find what it was to replace deleted.
            if name == HEAD or self.fits(Kind(name), self.bodies[name][-1]):
                self._excuses.mended(name)
            self._writes += 1
            if self.thorough or self._writes % LOADED == 0:
                self.check_loads()
        except Violation as violation:
            self.violation = self.violation or violation

    def _check_opens(self, name: str) -> None:
        try:
            header, _ = self._reader.open(name, self._storage._current[name].body)
        except PersistenceError as error:
            raise Violation(f"a blob was written that no reader opens: {error}") from error
        before, self._blobs[name] = self._blobs.get(name), header
        part = self._head.parts[Kind(name)] if self._head is not None else None
        if before is None or part is None or due(part) or self._excuses.meddled:
            return
        if self._excuses.asked:
            return
        if header.key != before.key and header.store == before.store:
            self._exchanged[header.writer, header.key, name] += 1
            if self._exchanged[header.writer, header.key, name] > EXCHANGES:
                raise Violation(f"{name} is written again and again for its key alone")

    def _opened_head(self) -> Head:
        try:
            return self._reader.open_head(self._storage._current[HEAD].body)[1]
        except PersistenceError as error:
            raise Violation(f"a head was written that no reader opens: {error}") from error

    def _before(self, head: Head) -> tuple[str, Commit]:
        """Return the id of the commit that a new one is on top of, and that commit."""
        operator = self.repairing and self.repairing[0]._run.writer  # another one, perhaps, by now
        repair = operator == head.writers[-1].writer
        self.is_repaired = repair
        if repair:
            self._check_repair(head)
        newest = self.commits[self.current]
        if self.there is None and self.rewrites and head.revision == newest.revision + 1:
            self.there, self.is_repaired = self.current, True
            self.tally["rewritten"] += 1
        if self.there is None and head.revision == 1:
            # S3 takes a first commit again above a delete marker, and a bot may not list versions.
            raise Excused("a new store was begun where an outsider had deleted one meanwhile")
        if self.there is None and head.revision == FIRST_TRIED and not _kept(head):
            # See `Probe.creating`: to the storage, it is an object like any that is new.
            raise Excused("a head was deleted while it was tried whether it can be created again")
        if self.there is None:
            raise Violation("what an outsider has put in the place of head was overwritten unseen")
        before = self.commits[self.there]
        if head.revision != before.revision + 1 and not repair:
            raise Violation(f"revision {head.revision} came after {before.revision}")
        return self.there, before

    def _check_commit(self, head: Head) -> None:
        before_id, before = self._before(head)
        state = {kind: dict(entities) for kind, entities in before.state.items()}
        changed: set[tuple[Kind, Any]] = set()
        for kind, part in head.parts.items():
            for key, entry in part.differential.items():
                if entry.revision == head.revision:
                    large = entry.value is not None and len(entry.value) > _state.MAX_ENTITY
                    # Spelled out, after a branch, it may be: far below the limit, where words are.
                    if large and not self._excuses.meddled:
                        raise Violation(f"an entity of {kind} is larger than one may be")
                    _set(state[kind], key, entry.value)
                    changed.add((kind, key))
        self._learn_words(head.words)
        for kind, part in head.parts.items():
            if part.entities != len(state[kind]):
                raise Violation(f"{part.entities} of {kind} are counted, of {len(state[kind])}")
        self._check_refs(head, state, before)
        self._head = head
        commit = Commit(head.revision, state, self._now(), self._storage.current(), before_id)
        commit.words = head.words
        commit.restores = head.restored != self._restored.get(before_id)
        self._restored[head.commit] = head.restored
        self.commits[head.commit] = commit
        self.current = self.there = head.commit
        if self.with_model:
            self._check_fields(before.state, state, changed, f"revision {head.revision}")
        for look in self.on_commit:
            look(commit)
        self.tally["commits"] += 1
        self.tally["words"] += len(head.words) > 0
        most = max(len(part.differential) for part in head.parts.values())
        self.tally["pages"] += most > _state.MAX_ENTRIES

    def _check_repair(self, head: Head) -> None:
        """See that an operator brings back the newest commit, and gives no revision twice."""
        assert self.repairing is not None
        if self.repairing[1] != self.current:
            raise Violation("a repair brought back another commit than the newest one")
        given = max(commit.revision for commit in self.commits.values())
        if head.revision <= given:
            raise Violation(f"a repair gave revision {head.revision}, and {given} was given before")
        self.there = self.repairing[1]

    def _check_refs(self, head: Head, state: State, before: Commit) -> None:
        """See that the differential builds on the blobs that the head names."""
        refs = {kind: part.ref for kind, part in head.parts.items() if part.ref is not None}
        for kind, ref in refs.items():
            if self._head is not None and self._head.parts[kind].ref == ref:
                continue
            built_on = before
            while built_on.revision > ref.revision and built_on.before is not None:
                built_on = self.commits[built_on.before]
            entities = dict(built_on.state[kind])
            overlay(entities, head.parts[kind])
            if entities != state[kind] and ref.revision <= before.revision:
                raise Violation(f"{kind} does not build on the blob that head names")

    def _learn_words(self, words: tuple[str, ...]) -> None:
        if words[: len(self._known_words)] != self._known_words:
            self._parts.clear()  # of another branch
        self._known_words = words

    @contextmanager
    def _with(self, words: tuple[str, ...]) -> Iterator[None]:
        """Read values of another branch, perhaps."""
        known = self._known_words
        if known[: len(words)] != words:
            self._learn_words(words)
        try:
            yield
        finally:
            self._learn_words(known)

    def check_loads(self) -> None:
        """See that a bot which starts now gets what was committed, or an error if it may."""
        found = {name: self._fetched(name) for name in (HEAD, *Kind)}
        if self.there == "":
            return  # blobs come after the first head
        try:
            base = self._reader.assemble(found, bytes)
        except (TornReadError, PersistenceError) as error:
            if self._excuses.spoiled:
                return
            fault = error.fault if isinstance(error, TornReadError) else error
            if self._excuses.branched and isinstance(fault, DamagedObjectError):
                # Whoever was on the branch that was given up has written it, and is to mend it.
                self._excuses.spoiled.add(fault.object_name)
                return
            raise Violation(f"what is there does not load: {fault}") from error
        self.check_base(base)

    def _fetched(self, name: str) -> Fetched | None:
        stored = self._storage._current.get(name)
        return stored and Fetched(stored.body, *stored.written)

    def check_base(self, base: Base) -> None:
        """See that what was put together is what was committed."""
        commit = self.commits.get(base.head.commit)
        if commit is None:
            raise Violation(f"revision {base.head.revision} was loaded, which nobody committed")
        for kind, entities in base.entities.items():
            if kind in base.partial:
                self._check_partial(base, kind, commit)
            elif entities != commit.state[kind]:
                raise Violation(f"{kind} is not as revision {commit.revision} was committed")

    def _check_partial(self, base: Base, kind: Kind, commit: Commit) -> None:
        """See that what is known of a kind that is read on demand is what was committed."""
        state = commit.state[kind]
        known = {key: state[key] for key in state.keys() & base.entities[kind].keys()}
        if base.entities[kind] != known or not state.keys().isdisjoint(base.partial[kind].absent):
            raise Violation(f"{kind}, as far as known, is not as revision {commit.revision}")

    def fits(self, kind: Kind, body: bytes) -> bool:
        """Tell whether a blob makes, with the head that is there, what was committed."""
        fetched = self._fetched(HEAD)
        if fetched is None or self.there is None:
            return False
        blob = Fetched(body, "", "")
        try:
            opened = OpenedHead(*self._reader.open_head(fetched.body), len(fetched.body))
            base = self._reader.build(opened, fetched.etag, {kind: blob})
        except (TornReadError, PersistenceError):
            return False
        return base.entities[kind] == self.commits[self.there].state[kind]

    # Fields -------------------------------------------------------------------------------------

    def _check_fields(
        self, before: State, after: State, changed: set[tuple[Kind, Any]], what: str
    ) -> None:
        fields: Fields = {}
        looked_at: set[Field] = set()
        for kind, key in changed:
            was, parts = (self.parts(kind, key, s[kind].get(key)) for s in (before, after))
            self._check_once(was, parts, what)
            looked_at |= was.keys() | parts.keys()
            fields |= parts
        for field_ in self._model.take_settled():
            kind, key = entity_of(field_)
            fields |= self.parts(kind, key, after[kind].get(key))
            looked_at.add(field_)
        self._model.check(fields, what, looked_at)

    def _check_once(self, before: Fields, after: Fields, what: str) -> None:
        """See that nothing takes effect again that another write has been over already."""
        for field_ in before.keys() | after.keys():
            was, now = before.get(field_), after.get(field_)
            if was == now or not is_unique(field_):
                continue
            again = now is not None and now in self._past[field_]
            excused = self._model.restoring or self._model.is_all_or_nothing(field_)
            if again and not excused:
                raise Violation(f"{what}: {field_} is {now!r} again, which was over already")
            self._past[field_].add(was)

    def forget_past(self) -> None:
        """Let values come back that were there before, as they do by a restore."""
        self._past.clear()

    def parts(self, kind: Kind, key: Any, data: bytes | None) -> Fields:
        """Take an entity apart into fields."""
        if data is None:
            return {}
        known = self._parts.get((kind, key, data))
        if known is None:
            known = self._parts[kind, key, data] = self._take_apart(kind, key, data)
        return known

    def _take_apart(self, kind: Kind, key: Any, data: bytes) -> Fields:
        try:
            value = load_all(self._serializer, kind, [(key, data)])[key]
        except PersistenceError as error:
            raise Violation(f"a value of {kind} does not load: {error}") from error
        own = {"conversations": lambda: key[1], "callback_data": lambda: key[1]}
        name = own.get(kind.value, lambda: key)()
        if kind is Kind.CALLBACK_DATA and key[0] != "k":
            return {}
        parts: list[tuple[Path, object]] = list(values.parts_of(value))
        return {(kind.value, name, path): part for path, part in parts}

    def fields(self, state: Mapping[Kind, Entities], words: tuple[str, ...]) -> Fields:
        """Return all fields of a state, whose values refer to these words."""
        fields: Fields = {}
        with self._with(words):
            for kind, entities in state.items():
                for key, data in entities.items():
                    fields |= self.parts(kind, key, data)
        return fields


def _kept(head: Head) -> bool:
    return head.conditions is None or head.conditions.kept


def is_unique(field_: Field) -> bool:
    """Tell whether each value of a field is written once."""
    path = field_[2]
    return not {"in", "flag", ".flag"}.intersection(path)


def entity_of(field_: Field) -> tuple[Kind, Any]:
    """Return the entity that a field belongs to."""
    kind, key, _ = field_
    at = {"conversations": ("order", key), "callback_data": ("k", key)}.get(kind, key)
    return Kind(kind), at


def _set(entities: Entities, key: Any, value: bytes | None) -> None:
    if value is None:
        entities.pop(key, None)
    else:
        entities[key] = value
