"""What is staged, and what the caller has seen of it, for every combination of the two.

An entity's caller holds an object made from the bytes that it last saw. Where others have changed
the entity since, it is overtaken, and what the caller makes of its object is merged first:

========= ======================== ============================= ==========================
overtaken given                    outcome of the merge          staged
========= ======================== ============================= ==========================
no        anything                 not merged                    what is given
yes       what the caller had seen theirs stays                  nothing
yes       anything else            a value                       that value
yes       anything else            contested, in a transaction   nothing; OvertakenError
yes       anything else            cannot be merged              nothing; ConflictError once
========= ======================== ============================= ==========================

Whatever happens, what the caller has seen is what it has given last, or else what it saw before.
"""

from __future__ import annotations

import itertools

import pytest
from tests.support import BOT_ID

from ptb_s3._engine.staging import Staged
from ptb_s3._format.committed import Base, Identity
from ptb_s3._format.entities import Changes, EntityKey, Kind, Resolution
from ptb_s3._format.head import Head
from ptb_s3.errors import ConflictError, OvertakenError

USER = Kind.USER_DATA
BASES = (None, b"base")
NOT_STAGED = "not staged"  # None is a deletion
STAGED = (NOT_STAGED, b"base", b"staged", None)
GIVEN = (b"base", b"staged", b"given", None)
CANNOT = ConflictError("they cannot be merged")


class Merge:
    """A merge that settles what one side alone has changed, and has a known outcome elsewhere."""

    def __init__(self, outcome: Resolution | ConflictError) -> None:
        self.outcome = outcome
        self.asked = 0

    def __call__(
        self,
        kind: Kind,
        key: EntityKey,
        base: bytes | None,
        ours: bytes | None,
        theirs: bytes | None,
    ) -> Resolution:
        assert (kind, key) == (USER, 1)
        self.asked += 1
        if ours in (base, theirs):
            return Resolution(theirs)
        if theirs == base:
            return Resolution(ours)
        if isinstance(self.outcome, ConflictError):
            raise self.outcome
        return self.outcome


OURS_WINS = Merge(Resolution(b"ours"))


def on(base: bytes | None) -> Staged:
    """Return the state on a base with one user, or with none."""
    made = Base(Identity("0" * 32, "pickle5"), Head(revision=1, commit="", bot=BOT_ID))
    if base is not None:
        made.entities[USER][1] = base
    return Staged(made)


def put(staged: Staged, value: bytes | str | None) -> Staged:
    """Stage a value of the user, unless there is none to stage."""
    if not isinstance(value, str):
        staged.stage(USER, 1, value, None)
    return staged


def take_over(staged: Staged, theirs: bytes | None, merge: Merge = OURS_WINS) -> None:
    """Let another writer commit a value of the user."""
    changes: Changes = {USER: {1: theirs}}
    staged.take_over(changes, staged.rebase(changes, merge))


def is_overtaken(staged: Staged) -> bool:
    return 1 in staged.overtaken[USER]


# Staging ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "before", "given"), list(itertools.product(BASES, STAGED, GIVEN)))
def test_what_is_not_overtaken_is_staged_as_it_is(
    base: bytes | None, before: bytes | str | None, given: bytes | None
) -> None:
    """Nothing is merged; what differs from the base is a change, and nothing else."""
    staged, merge = put(on(base), before), Merge(CANNOT)
    assert staged.stage(USER, 1, given, merge, transactional=True) is None
    assert merge.asked == 0
    assert staged.get(USER, 1) == staged.seen(USER, 1) == given
    assert staged.entities(USER) == ({} if given is None else {1: given})
    assert not is_overtaken(staged)
    assert staged.changes({}) == ({} if given == base else {USER: {1: given}})
    assert staged.base.entities[USER] == ({} if base is None else {1: base})
    if isinstance(before, str):
        assert staged.clean == (given == base)


OVERTAKEN = [
    (seen, theirs, given)
    for seen, theirs in ((None, b"theirs"), (b"base", b"theirs"), (b"base", None))
    for given in (b"base", b"theirs", b"ours", None)
]


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize(
    ("outcome", "contested"),
    list(itertools.product([b"ours", b"theirs", b"both", None], [False, True])),
)
@pytest.mark.parametrize(("seen", "theirs", "given"), OVERTAKEN)
def test_what_is_overtaken_is_merged(  # noqa: PLR0917 - a case
    seen: bytes | None,
    theirs: bytes | None,
    given: bytes | None,
    outcome: bytes | None,
    contested: bool,  # noqa: FBT001 - a case
    transactional: bool,  # noqa: FBT001 - a case
) -> None:
    """What the caller gives goes on top of theirs; what it had seen is the common base."""
    staged = on(seen)
    take_over(staged, theirs)
    assert is_overtaken(staged)
    assert (staged.get(USER, 1), staged.seen(USER, 1)) == (theirs, seen)

    merge = Merge(Resolution(outcome, overridden=1, contested=contested))
    if given not in (seen, theirs) and contested and transactional:
        with pytest.raises(OvertakenError):
            staged.stage(USER, 1, given, merge, transactional=True)
        assert (staged.get(USER, 1), staged.seen(USER, 1)) == (theirs, seen)
        assert staged.clean
        return
    merged = staged.stage(USER, 1, given, merge, transactional=transactional)
    expected = theirs if given in (seen, theirs) else outcome
    assert staged.get(USER, 1) == expected
    assert staged.seen(USER, 1) == given
    assert is_overtaken(staged) == (given != expected)
    assert staged.changes({}) == ({} if expected == theirs else {USER: {1: expected}})
    assert (merged is None) == (given == seen), "what the caller did not change is not counted"
    if merged is not None and given != theirs:
        assert merged == merge.outcome


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize(
    ("seen", "theirs", "given"), [each for each in OVERTAKEN if each[2] not in each[:2]]
)
def test_what_cannot_be_merged_is_refused_once(
    seen: bytes | None,
    theirs: bytes | None,
    given: bytes | None,
    transactional: bool,  # noqa: FBT001 - a case
) -> None:
    """Theirs stays. The same change is refused once, and staged when it can be merged."""
    staged = on(seen)
    take_over(staged, theirs)
    with pytest.raises(ConflictError) as caught:
        staged.stage(USER, 1, given, Merge(CANNOT), transactional=transactional)
    assert (caught.value.kind, caught.value.key) == (USER.value, 1)
    assert (staged.get(USER, 1), staged.seen(USER, 1)) == (theirs, given)
    assert staged.clean
    assert staged.stage(USER, 1, given, Merge(CANNOT), transactional=transactional) is None
    assert staged.clean
    with pytest.raises(ConflictError):
        staged.stage(USER, 1, b"another", Merge(CANNOT), transactional=transactional)
    staged.retry(Merge(CANNOT))
    assert (staged.get(USER, 1), staged.seen(USER, 1)) == (theirs, b"another")
    staged.retry(Merge(Resolution(b"both")))
    assert (staged.get(USER, 1), staged.seen(USER, 1)) == (b"both", b"another")
    assert staged.changes({}) == {USER: {1: b"both"}}
    staged.advance({USER: {1: b"both"}})
    staged.retry(Merge(Resolution(b"again")))
    assert staged.clean, "it is retried until it was staged"


def test_what_is_taken_back_is_not_tried_again() -> None:
    """Neither is what could not be merged: its caller is told that all of it was taken back."""
    staged = on(b"base")
    take_over(staged, b"theirs")
    with pytest.raises(ConflictError):
        staged.stage(USER, 1, b"ours", Merge(CANNOT))
    staged.discard()
    staged.retry(Merge(Resolution(b"both")))
    assert staged.clean


@pytest.mark.parametrize(("base", "before"), list(itertools.product(BASES, STAGED)))
def test_a_drop_is_staged_where_there_is_anything(
    base: bytes | None, before: bytes | str | None
) -> None:
    """Whatever others have made of it; afterwards the caller has seen that it is gone."""
    for theirs in (NOT_STAGED, b"theirs"):
        staged = put(on(base), before)
        if theirs is not NOT_STAGED:
            take_over(staged, b"theirs")
        there = staged.base.entities[USER].get(1)
        staged.drop(USER, 1)
        assert staged.get(USER, 1) is staged.seen(USER, 1) is None
        assert staged.entities(USER) == {}
        assert staged.changes({}) == ({} if there is None else {USER: {1: None}})


# Following what is committed ----------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [b"ours", b"theirs", b"both", None, CANNOT])
@pytest.mark.parametrize("theirs", [b"base", b"theirs", b"staged", None])
@pytest.mark.parametrize(("base", "before"), list(itertools.product(BASES, STAGED)))
def test_what_others_commit_becomes_the_base(
    base: bytes | None,
    before: bytes | str | None,
    theirs: bytes | None,
    outcome: bytes | ConflictError | None,
) -> None:
    """What is staged goes on top; the caller has seen what it saw before, until it catches up."""
    staged = put(on(base), before)
    seen = staged.get(USER, 1)
    dirty = dict(staged.dirty[USER])
    conflict = isinstance(outcome, ConflictError)
    merge = Merge(CANNOT if isinstance(outcome, ConflictError) else Resolution(outcome))
    take_over(staged, theirs, merge)

    expected = theirs
    if dirty and seen not in (base, theirs):
        expected = seen if theirs == base else theirs if conflict else merge.outcome.value  # type: ignore[union-attr]  # no conflict
    assert staged.base.entities[USER] == ({} if theirs is None else {1: theirs})
    assert staged.get(USER, 1) == expected
    assert staged.seen(USER, 1) == seen
    assert is_overtaken(staged) == (expected != seen)
    assert staged.changes({}) == ({} if expected == theirs else {USER: {1: expected}})
    staged.retry(Merge(Resolution(b"both")))
    if dirty and conflict and seen not in (base, theirs) and theirs != base:
        expected = b"both"  # what was left out is not lost
    assert staged.get(USER, 1) == expected
    staged.catch_up(USER, [1, 2])
    assert staged.seen(USER, 1) == expected
    assert not is_overtaken(staged)


@pytest.mark.parametrize(("base", "before"), list(itertools.product(BASES, STAGED)))
@pytest.mark.parametrize("theirs", [NOT_STAGED, b"theirs", None])
def test_what_is_taken_back_is_overtaken(
    base: bytes | None, before: bytes | str | None, theirs: bytes | str | None
) -> None:
    """The caller's object is what it was, and no successor of what is there."""
    staged = put(on(base), before)
    seen = staged.get(USER, 1)
    if not isinstance(theirs, str):
        take_over(staged, theirs)
    committed = staged.base.entities[USER].get(1)
    staged.discard()
    assert staged.clean
    assert staged.discarded == 1
    assert staged.get(USER, 1) == committed
    assert staged.seen(USER, 1) == seen
    assert is_overtaken(staged) == (committed != seen)


SENT_LAST, TAKEN_BACK = "nothing is staged after it", "all is taken back"


@pytest.mark.parametrize("later", [SENT_LAST, TAKEN_BACK, b"base", b"later", None])
@pytest.mark.parametrize("sent", [b"sent", None])
@pytest.mark.parametrize("base", BASES)
def test_what_we_commit_becomes_the_base(
    base: bytes | None, sent: bytes | None, later: bytes | str | None
) -> None:
    """What has been staged since the attempt is still to be sent, though it be as it was before."""
    staged = put(on(base), sent)
    changes = staged.changes({})
    put(staged, later)
    if later == TAKEN_BACK:
        staged.discard()
    seen, now = staged.seen(USER, 1), staged.get(USER, 1)
    if changes and not isinstance(later, str):
        in_flight = {USER: changes[USER].keys()}
        assert staged.changes(in_flight) == {USER: {1: later}}, "the attempt may yet take effect"

    staged.advance(changes)
    assert staged.base.entities[USER] == ({} if sent is None else {1: sent})
    assert staged.seen(USER, 1) == seen
    expected = sent if later == TAKEN_BACK else now
    assert staged.get(USER, 1) == expected
    assert is_overtaken(staged) == (expected != seen)
    assert staged.changes({}) == ({} if expected == sent else {USER: {1: expected}})


def test_a_value_changed_back_is_no_change() -> None:
    """It is dirty until that is looked at: an undecided attempt may yet commit the other one."""
    staged = put(put(on(b"base"), b"changed"), b"base")
    assert not staged.clean
    assert staged.changes({}) == {}
    assert staged.changes({USER: {1}}) == {USER: {1: b"base"}}
    staged.forget()
    assert staged.changes({USER: {1}}) == {}
    assert staged.get(USER, 1) == b"base"


def test_all_of_a_kind_are_caught_up_with() -> None:
    """Of that kind alone."""
    staged = on(b"base")
    staged.base.entities[Kind.CHAT_DATA][1] = b"chat"
    changes: Changes = {USER: {1: b"theirs", 2: b"new"}, Kind.CHAT_DATA: {1: None}}
    staged.take_over(changes, staged.rebase(changes, OURS_WINS))
    staged.catch_up(USER)
    assert staged.seen(USER, 1) == b"theirs"
    assert staged.seen(USER, 2) == b"new"
    assert staged.seen(Kind.CHAT_DATA, 1) == b"chat"
