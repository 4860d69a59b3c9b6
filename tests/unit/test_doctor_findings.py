"""What `ptb-s3 doctor` makes of its evidence: how each check ends, and what there is to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ptb_s3._doctor import setup, trials
from ptb_s3._doctor.evidence import NOTHING_ELSE, SAME_AS_SEEN, Latency, Left, Race, Verdict
from ptb_s3._doctor.findings import Check, Finding, Status, broken, completed, failed, ok
from ptb_s3._storage.bucket_config import PublicAccess, Unknown, Versioning
from ptb_s3._storage.lifecycle import Rule
from ptb_s3.errors import SettingsError, StorageError, UnknownKeyError

OK, WARNING, FAILED, UNKNOWN = Status.OK, Status.WARNING, Status.FAILED, Status.UNKNOWN
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOT_TOLD = Unknown("GetSomething", denied=True)
KEYS = ["bot/head", "bot/user_data"]


# Errors -------------------------------------------------------------------------------------------


def test_an_error_is_what_is_so_and_what_to_do() -> None:
    """Its first sentence is the one, the rest the other; the exit code is its own."""
    finding = broken(Check.STATE, UnknownKeyError("head", "abc", ["def"]))
    assert finding.found.endswith("which is not at hand (there is: def)")
    assert finding.remedy.startswith("Put that key into PTB_S3_RETIRED_KEYS")
    assert (finding.status, finding.exit_code) == (FAILED, 4)


def test_several_faults_stay_together() -> None:
    """Each line of an error is a fault with a remedy."""
    finding = broken(Check.SETTINGS, SettingsError("A is wrong. Do a.\nB is missing. Do b."))
    assert (finding.found, finding.remedy) == ("A is wrong; B is missing", "Do a. Do b.")


def test_an_error_without_a_remedy() -> None:
    """There is always something to do."""
    finding = broken(Check.CONNECTION, StorageError("It is broken."))
    assert finding.found == "It is broken"
    assert finding.remedy


def test_what_was_not_looked_into_says_why() -> None:
    """There is a finding for each check, in order, and the first failure is the reason."""
    findings = {
        Check.LATENCY: failed(Check.LATENCY, "slow", "Run."),
        Check.BUCKET: failed(Check.BUCKET, "none", "Make one."),
        Check.CLOCK: ok(Check.CLOCK, "right"),
    }
    whole = completed(findings)
    asked_always = [check for check in Check if check is not Check.KEY_SERVICE]
    assert [finding.check for finding in whole] == asked_always
    for finding in whole:
        if finding.check in findings:
            assert finding is findings[finding.check]
        else:
            assert finding.status is UNKNOWN
            assert finding.found == "not looked into, because of: bucket"


# Clock --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        (0, OK),
        (60, OK),
        (-60, OK),
        (62, WARNING),
        (-62, WARNING),
        (900, WARNING),
        (902, FAILED),
        (-902, FAILED),
    ],
)
def test_a_clock(seconds: int, status: Status) -> None:
    """A minute is no matter, and a quarter of an hour is what S3 puts up with."""
    theirs = format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)
    assert setup.clock(theirs, NOON, NOON).status is status


@pytest.mark.parametrize(
    ("began", "ended", "skew"),
    [(-0.9, 3.0, 0), (0.9, 1.5, 0), (-2.0, -1.0, 1), (1.5, 2.0, -1.5)],
)
def test_the_time_that_a_request_takes_is_no_skew(began: float, ended: float, skew: float) -> None:
    """Nor is the fraction of a second that HTTP leaves out."""
    first, last = (NOON + timedelta(seconds=seconds) for seconds in (began, ended))
    finding = setup.clock(format_datetime(NOON, usegmt=True), first, last)
    assert finding.data["skew_seconds"] == skew


@pytest.mark.parametrize("date", ["", "today", "Thu, 01 Jan 2026 12:00:00 -0000"])
def test_a_clock_that_nobody_tells(date: str) -> None:
    """A date that is none, or without a zone, is no date."""
    assert setup.clock(date, NOON, NOON).status is UNKNOWN


# Bucket -------------------------------------------------------------------------------------------


def test_the_owner() -> None:
    """Where the storage minds whose it is, it is a warning not to ask for one, and nowhere else."""
    unasked = setup.owner(None, accepted=True, minds=True, on_aws=True)
    assert (unasked.status, "your AWS account" in unasked.remedy) == (WARNING, True)
    unasked = setup.owner(None, accepted=True, minds=True)
    assert (unasked.status, "AWS account" in unasked.remedy) == (WARNING, False)
    assert setup.owner(None, accepted=True, minds=False).status is OK
    assert setup.owner("1", accepted=True, minds=True).found.startswith("account 1, checked")
    assert setup.owner("1", accepted=True, minds=False).found.endswith("does not mind")
    assert setup.owner("1", accepted=False, minds=True).status is FAILED


@pytest.mark.parametrize(
    ("actual", "status"),
    [
        ("eu-west-1", OK),
        ("eu-west-3", WARNING),
        ("us-gov-west-1", WARNING),
        ("us-west-004", WARNING),
        ("fr-par", WARNING),
        ("default", OK),
        ("WEUR", OK),
        ("EU", OK),
        ("", OK),
        ("us-east-1\nPTB_S3_KEY=x", OK),
        (Unknown("GetBucketLocation", denied=True), OK),
    ],
)
def test_the_region(actual: str | Unknown, status: Status) -> None:
    """Another one than the bucket's costs time; one that is accepted and not told is right.

    What has not the form of a region is none to set.
    """
    assert setup.region("eu-west-1", actual).status is status


@pytest.mark.parametrize(
    ("said", "shown", "status"),
    [
        (Versioning.ENABLED, True, OK),
        (Versioning.ENABLED, None, OK),
        (Versioning.SUSPENDED, False, WARNING),
        (Versioning.NEVER, False, WARNING),
        (NOT_TOLD, True, OK),
        (NOT_TOLD, False, WARNING),
        (NOT_TOLD, None, UNKNOWN),
    ],
)
def test_versioning(
    said: Versioning | Unknown,
    shown: bool | None,  # noqa: FBT001 - parameters of a table
    status: Status,
) -> None:
    """What a write was given decides where the bucket does not say."""
    assert setup.versioning(said, shown=shown).status is status


BLOCKED = PublicAccess((), public_policy=False, public_acl=False)
REFUSED = {"list": False, "read": False}


@pytest.mark.parametrize(
    ("said", "tried", "status"),
    [
        (BLOCKED, REFUSED, OK),
        (BLOCKED, {}, OK),
        (BLOCKED, {"list": False, "read": True}, FAILED),
        (BLOCKED._replace(unblocked=("BlockPublicAcls",)), REFUSED, WARNING),
        (PublicAccess(NOT_TOLD, public_policy=True, public_acl=False), REFUSED, WARNING),
        (PublicAccess(NOT_TOLD, public_policy=NOT_TOLD, public_acl=True), REFUSED, WARNING),
        (PublicAccess(NOT_TOLD, NOT_TOLD, NOT_TOLD), REFUSED, OK),
        (PublicAccess(NOT_TOLD, NOT_TOLD, NOT_TOLD), {"list": None}, UNKNOWN),
        (None, REFUSED, OK),
        (None, {}, UNKNOWN),
    ],
)
def test_public_access(
    said: PublicAccess | None, tried: dict[str, bool | None], status: Status
) -> None:
    """What was tried is stronger than what is said; without either, nothing is known."""
    assert setup.public_access(said, tried).status is status


# Lifecycle ----------------------------------------------------------------------------------------

RETENTION = Rule("history", "bot/", noncurrent_days=30)


@pytest.mark.parametrize(
    ("rules", "status", "said"),
    [
        ([RETENTION], OK, "rule 'history' removes what was replaced 30 days ago"),
        (
            [RETENTION._replace(noncurrent_days=1, newest_kept=5)],
            OK,
            "replaced 1 day ago, but for the newest 5",
        ),
        ([RETENTION, Rule("doctor", "bot/doctor/", expires=True)], OK, "'history'"),
        ([RETENTION, Rule("tags", "", tagged=True, sure=False, expires=True)], OK, "'history'"),
        ([], WARNING, "grows for ever"),
        ([Rule("elsewhere", "other/", noncurrent_days=3)], WARNING, "grows for ever"),
        ([Rule("one", "bot/head", noncurrent_days=3)], WARNING, "grows for ever"),
        ([RETENTION._replace(sure=False)], WARNING, "grows for ever"),
        ([RETENTION, Rule("x", "bot/", expires=True)], FAILED, "'x' removes the current state"),
        ([RETENTION, Rule("x", "", sure=False, expires=True)], FAILED, "'x' removes"),
        ([RETENTION, Rule("x", "bot/user", expires=True)], FAILED, "'x' removes"),
        ([RETENTION, Rule("x", "", moves_to=("GLACIER",))], FAILED, "cannot be read"),
        ([RETENTION, Rule("x", "", moves_to=("STANDARD_IA",))], WARNING, "to STANDARD_IA"),
        (
            [RETENTION._replace(noncurrent_moves_to=("DEEP_ARCHIVE",))],
            WARNING,
            "moves the history to DEEP_ARCHIVE",
        ),
    ],
)
def test_lifecycle(rules: Sequence[Rule], status: Status, said: str) -> None:
    """History may go, and should; a rule that may take the current state must not be there."""
    finding = setup.lifecycle(rules, KEYS, history=True)
    assert finding.status is status
    assert said in finding.found


def test_lifecycle_without_a_history() -> None:
    """There is nothing to remove then; but the current state is at risk as before."""
    assert setup.lifecycle([], KEYS, history=False).status is OK
    harmful = Rule("x", "bot/", expires=True)
    assert setup.lifecycle([harmful], KEYS, history=False).status is FAILED
    assert setup.lifecycle(NOT_TOLD, KEYS, history=True).status is UNKNOWN


# Conditional writes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("winners", "undecided", "kept", "verdict"),
    [
        (1, 0, True, Verdict.PROVEN),
        (1, 1, True, Verdict.OPEN),
        (0, 16, False, Verdict.OPEN),
        (0, 0, False, Verdict.OPEN),
        (1, 0, False, Verdict.BROKEN),
        (1, 1, False, Verdict.BROKEN),
        (2, 0, True, Verdict.BROKEN),
        (2, 14, True, Verdict.BROKEN),
    ],
)
def test_a_race(winners: int, undecided: int, kept: bool, verdict: Verdict) -> None:  # noqa: FBT001 - parameters of a table
    """One winner whose write stays is a proof if all have heard; two are one of the contrary."""
    assert Race(NOTHING_ELSE, 16, winners, undecided, kept=kept).verdict is verdict


PROVEN = [Race(condition, 16, 1, 0, kept=True) for condition in (NOTHING_ELSE, SAME_AS_SEEN)]


@pytest.mark.parametrize(
    ("races", "accepted", "status", "said"),
    [
        (PROVEN, [], OK, "one winner among 16 writers, for If-None-Match and for If-Match"),
        (PROVEN, ["If-Match with an outdated ETag"], FAILED, "with an outdated ETag"),
        ([PROVEN[0], PROVEN[1]._replace(winners=3)], [], FAILED, "If-Match: 3 of 16 writers won"),
        (
            [PROVEN[0]._replace(kept=False), PROVEN[1]],
            [],
            FAILED,
            "the one winner wrote is not there",
        ),
        ([PROVEN[0]._replace(undecided=1), PROVEN[1]], [], UNKNOWN, "(If-None-Match)"),
        ([PROVEN[0]._replace(undecided=1), PROVEN[1]], ["x"], FAILED, "must refuse"),
        (PROVEN, None, UNKNOWN, "(what must be refused)"),
        ([PROVEN[0], PROVEN[1]._replace(winners=3)], None, FAILED, "won a race"),
    ],
)
def test_conditional_writes(
    races: list[Race], accepted: list[str] | None, status: Status, said: str
) -> None:
    """What is accepted and must not be is named; what is open is not taken for proven."""
    finding = trials.conditional_put(races, accepted)
    assert finding.status is status
    assert said in finding.found
    if status is FAILED:
        assert finding.found.startswith("the storage accepts conditional writes that it must")
        assert "Do not keep a bot's state there." in finding.remedy


# Permissions, latency, what is left ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "status"),
    [
        ({"PutObject": True, "ListBucketVersions": True}, OK),
        ({"PutObject": False, "ListBucketVersions": True}, FAILED),
        ({"PutObject": True, "ListBucketVersions": False}, WARNING),
        ({"PutObject": True, "ListBucketVersions": None}, UNKNOWN),
        ({"PutObject": False, "ListBucketVersions": None}, FAILED),
    ],
)
def test_permissions(granted: dict[str, bool | None], status: Status) -> None:
    """Without what a bot needs it has failed; what is only for going back is a warning."""
    assert trials.permissions(granted).status is status


@pytest.mark.parametrize(
    ("left", "outside", "found", "status"),
    [
        (Left({}, deleted=3), {"read": False}, "may delete versions", WARNING),
        (Left({"k": 1}, denied=True), {"read": False, "write": False}, "may not delete", OK),
        (Left({"k": 1}, denied=True, hidden=True), {}, "may delete objects", WARNING),
        (Left({"k": 1}, denied=True), {"write": True}, "may write outside the prefix", WARNING),
        (Left({"k": 1}, denied=True), {"read": None}, "read outside the prefix", UNKNOWN),
        (Left({"k": 1}, fault="No."), {}, "delete versions", UNKNOWN),
    ],
)
def test_excess(left: Left, outside: dict[str, bool | None], found: str, status: Status) -> None:
    """What no bot needs is a warning as soon as one thing of it is known."""
    finding = trials.excess(left, outside)
    assert finding.status is status
    assert found in finding.found


def test_latency() -> None:
    """There is no judgement but for a PUT so slow that the last flush may not end in time."""
    quick, slow = Latency(20, 5.04, 9.96), Latency(20, 500, 2001)
    assert trials.latency(slow, quick).status is OK
    finding = trials.latency(quick, slow)
    assert finding.status is WARNING
    assert finding.found.startswith("GET 5 ms (median), 10 ms (95th percentile); PUT 500 ms")
    assert finding.data["get"] == {"requests": 20, "median_ms": 5.0, "p95_ms": 10.0}


SWEEPING = [
    Rule("history", "bot/", noncurrent_days=30, clears_markers=True),
    Rule("doctor", "bot/doctor/", expires=True),
]


def clean_up(left: Left, rules: Sequence[Rule] | Unknown | None = SWEEPING) -> Finding:
    return trials.clean_up(left, rules, "bot/doctor/", versioned=True)


STAYS = Left({"bot/doctor/x": 3}, denied=True)


def test_nothing_left() -> None:
    """That is said, with how much was deleted; and where nobody could count it, that as well."""
    assert clean_up(Left({}, deleted=1)).found == "nothing is left of 1 version"
    assert clean_up(Left({})).found == "nothing is left"
    assert "it lists no versions" in clean_up(Left({}, deleted=2, counted=False)).found


def test_what_is_left_and_removed_by_a_rule() -> None:
    """The objects, their versions and the rules are named."""
    finding = clean_up(STAYS)
    assert finding.status is OK
    assert finding.found == (
        "3 versions of 'bot/doctor/x' left: they may not be deleted; "
        "lifecycle removes them (rules 'doctor', 'history')"
    )
    assert finding.data["left"] == {"bot/doctor/x": 3}


@pytest.mark.parametrize(
    ("rules", "status"),
    [([], WARNING), (SWEEPING[1:], WARNING), (NOT_TOLD, UNKNOWN), (None, UNKNOWN)],
)
def test_what_is_left_and_by_no_rule_removed(
    rules: Sequence[Rule] | Unknown | None, status: Status
) -> None:
    """It is said where it is, and who can delete it."""
    finding = clean_up(STAYS, rules)
    assert finding.status is status
    assert "'bot/doctor/'" in finding.remedy
    assert "operator" in finding.remedy


def test_what_is_left_under_a_marker() -> None:
    """Then the rules for what was replaced are enough."""
    assert clean_up(STAYS._replace(hidden=True), SWEEPING[:1]).status is OK
    assert clean_up(STAYS, SWEEPING[:1]).status is WARNING


def test_what_could_not_be_cleared_away() -> None:
    """The reason is named, and not taken for a missing permission."""
    finding = clean_up(Left({}, fault="The storage answered 503. Later."), [])
    assert finding.found == "something may be left: The storage answered 503"
