"""Facts that a report is made of, as they were read: immutable, without a value of any entity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ptb_s3._doctor.findings import Finding
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._history.history import Extent
from ptb_s3._history.key_needs import Need
from ptb_s3._history.order import Commit
from ptb_s3._history.put_back import PutBack
from ptb_s3._history.verify import Report
from ptb_s3._storage.bucket_config import Unknown
from ptb_s3._storage.lifecycle import Rule
from ptb_s3.cli._wording import when


@dataclass(frozen=True, slots=True)
class Kept:
    """Extent of what the bucket keeps of one object.

    Attributes:
        versions: Number of its versions, the current one included.
        size: Their bytes.
        current: Bytes of the current one; 0 where there is none.
    """

    versions: int
    size: int
    current: int


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs and timeouts of conversations of a state, counted.

    Attributes:
        kept: Number of them, those that cannot be read here included.
        overdue: Number of those that are due, and that nobody runs.
        late: When the first of these was due; None: none is.
        next: When the next one is due that is not yet; None: none is.
    """

    kept: int
    overdue: int
    late: datetime | None
    next: datetime | None


@dataclass(frozen=True, slots=True)
class Current:
    """Current state, or the newest one that can be read.

    Attributes:
        revision: Its revision.
        created: When it was made, by its writer's clock.
        writer: Id of its writer.
        bot: Id of the bot.
        entities: Number of entities of each kind.
        differential: Number of them that changed since their blob was written.
        needs: Need of each key, by its id.
        erased: Revisions at which users or chats were erased, ascending.
        put_back: Current objects that were put back or copied.
        jobs: Jobs of the state; None: there are none.
    """

    revision: int
    created: datetime
    writer: str
    bot: int
    entities: Mapping[Kind, int]
    differential: Mapping[Kind, int]
    needs: Mapping[str, Need]
    erased: tuple[int, ...] = ()
    put_back: tuple[PutBack, ...] = ()
    jobs: Jobs | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """Field of an entity that differs, in words that hold no value unless values were asked for.

    Attributes:
        path: Its path; empty for the entity itself.
        before: Its form before; empty where it was not there.
        after: Its form after; empty where it is gone.
    """

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Step:
    """Change of one entity of a user by one commit.

    Attributes:
        made: When the commit was made.
        revision: Its revision.
        kind: Kind of the entity.
        entity: Its key in words.
        what: ``added``, ``changed`` or ``removed``.
        fields: Its fields that differ.
        left_off: How many fields more there are.
    """

    made: datetime
    revision: int
    kind: Kind
    entity: str
    what: str
    fields: tuple[Field, ...]
    left_off: int = 0

    @property
    def when(self) -> str:
        """Return when it was made, in the local zone."""
        return when(self.made)


@dataclass(frozen=True, slots=True)
class Life:
    """Life of one user or chat through the commits that were read.

    Attributes:
        subject: Its id.
        values: Whether values are shown.
        steps: The newest changes, newest first.
        left_off: How many older changes there are.
        unreadable: How many commits could not be opened, or had no blob left to build on.
        since: The oldest revision that was read, at which what was there already counts as added.
    """

    subject: int
    values: bool
    steps: tuple[Step, ...]
    left_off: int
    unreadable: int
    since: int | None


@dataclass(frozen=True, slots=True)
class Deep:
    """Facts from opened commits, which headers do not tell.

    Attributes:
        ranks: Of each kind, how often its most-changed entities changed, the most first.
        distinct: Of each kind, how many of its entities changed at all.
        restores: Revisions that restored an older state.
        unreadable: How many commits could not be opened.
    """

    ranks: Mapping[Kind, tuple[int, ...]]
    distinct: Mapping[Kind, int]
    restores: tuple[int, ...]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report tells.

    Attributes:
        place: The place as a URL.
        store: Id of the store.
        now: When it was read, with the zone to show times in.
        commits: Commits that were looked at, newest first, those without a header too.
        older: Whether there are older commits that were left out.
        extent: Extent of the whole history; of nothing where no versions are kept.
        blobs: Versions of each kind's blob, the oldest first.
        kept: Extent of what is kept of each object, earlier stores in the same place included.
        versioned: Whether the bucket keeps versions that are replaced.
        prefix: Prefix of the objects' keys.
        current: The current state; None: no state opens.
        fault: Why the current state cannot be read; empty where it can.
        exit_code: Exit code of that fault, or 0.
        keys: Ids of the keys at hand.
        rules: Lifecycle rules; None: not asked for.
        verified: Outcome of opening objects; None: not done.
        every_version: Whether every version was opened, rather than the current objects alone.
        examined: Findings of the doctor; None: not asked for.
        probed: Whether the doctor wrote as well.
        deep: Facts from opened commits; None: headers alone were read.
        life: Life of one user or chat; None: not asked for.
    """

    place: str
    store: str
    now: datetime
    commits: tuple[Commit, ...]
    older: bool
    extent: Extent
    blobs: Mapping[Kind, tuple[Commit, ...]]
    kept: Mapping[str, Kept]
    versioned: bool
    prefix: str
    current: Current | None
    fault: str = ""
    exit_code: int = 0
    keys: tuple[str, ...] = ()
    rules: tuple[Rule, ...] | Unknown | None = None
    verified: Report | None = None
    every_version: bool = False
    examined: tuple[Finding, ...] | None = None
    probed: bool = False
    deep: Deep | None = None
    life: Life | None = None


Touched = Mapping[tuple[Kind, EntityKey], bytes]
"""Entities of one user or chat as of a commit, serialised."""
