"""The order of commits: what is current first, then by line and revision, then by time."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.support import KEY

from ptb_s3._format.container import Changed, Header
from ptb_s3._history.order import MAX_SKEW, Commit, by_time, in_order, moments, put_back
from ptb_s3._storage.contract import Version

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEADER = Header(
    object="head",
    store="00000000-0000-4000-8000-000000000000",
    revision=1,
    commit="0" * 32,
    line="0" * 16,
    created=NOON,
    writer="0" * 16,
    key=KEY.id,
    serializer="pickle5",
    entities=0,
    changed=Changed(),
    size=0,
)


def version(name: str, minutes: float, *, latest: bool = False) -> Version:
    return Version(name, NOON + timedelta(minutes=minutes), 1, latest)


def commit(revision: int, minutes: float, *, latest: bool = False, made: float = 0) -> Commit:
    created = NOON + timedelta(minutes=made or minutes)
    header = msgspec.structs.replace(
        HEADER, revision=revision, created=created, commit=f"{revision}-{made or minutes}"
    )
    return Commit(version(f"v{revision}.{minutes}", minutes, latest=latest), header)


def on_line(of: Commit, line: str) -> Commit:
    assert of.header is not None
    there = f"{line}-{of.header.commit}"
    return of._replace(header=msgspec.structs.replace(of.header, line=line * 16, commit=there))


def test_what_is_current_comes_first_whatever_its_time() -> None:
    """SeaweedFS lists the version ``null`` last even where it is the latest."""
    listed = [version("b", 2), version("c", 3), version("a", 1), version("null", 0, latest=True)]
    for seed in range(10):
        random.Random(seed).shuffle(listed)  # noqa: S311 - to be repeatable is the point
        assert [v.version_id for v in by_time(listed)] == ["null", "c", "b", "a"]


def test_what_time_does_not_order_is_a_group() -> None:
    """Storages have seconds; what is current is a group of its own."""
    listed = by_time([version("a", 1), version("b", 1), version("c", 1, latest=True)])
    assert [[v.version_id for v in group] for group in moments(listed)] == [["c"], ["a", "b"]]


def test_revisions_order_commits_of_one_moment() -> None:
    """Where the storage's time says nothing, the header does."""
    commits = [commit(revision, 0) for revision in (3, 1, 4, 2)]
    assert [c.header and c.header.revision for c in in_order(commits)] == [4, 3, 2, 1]
    unreadable = Commit(version("x", 5), None)
    assert in_order([*commits, unreadable])[0] is unreadable


def test_lines_follow_one_another_whatever_their_revisions() -> None:
    """A branch that was given up stays behind the one that is current, copies of it included."""
    old = [commit(revision, revision) for revision in range(1, 10)]
    put_back_later = commit(5, 60, made=5)
    new = [on_line(commit(revision, 60 + revision), "b") for revision in (6, 7)]
    before = on_line(commit(3, -10), "c")
    commits = [*new, before, *old, put_back_later]
    for seed in range(10):
        random.Random(seed).shuffle(commits)  # noqa: S311 - as above
        ordered = [(c.header.line[0], c.header.revision) for c in in_order(commits) if c.header]
        ours = [("0", revision) for revision in (9, 8, 7, 6, 5, 5, 4, 3, 2, 1)]
        assert ordered == [("b", 7), ("b", 6), *ours, ("c", 3)]


def revisions_of(commits: list[Commit]) -> list[tuple[str, int, datetime]]:
    shuffled = random.Random(len(commits)).sample(commits, len(commits))  # noqa: S311 - as above
    return [
        (c.header.line[0], c.header.revision, c.version.modified)
        for c in in_order(shuffled)
        if c.header is not None
    ]


@pytest.mark.parametrize("other", ["a", "0"])
def test_a_line_that_goes_on_after_a_roll_back_is_newer_than_what_came_before(other: str) -> None:
    """Whoever was behind goes on with the line of the head that was put back.

    What was given up is of a line that had begun by then, or of the same one.
    """
    old = [commit(revision, revision) for revision in range(1, 9)]
    given_up = [on_line(commit(revision, 4 + revision), other) for revision in (9, 10)]
    later = [commit(revision, 60 + revision) for revision in (9, 10, 11)]
    begun = on_line(commit(12, 80), "b")
    put_back_now = old[7]._replace(version=version("copy", 61))
    ordered = revisions_of([*old, *given_up, *later, begun, put_back_now])
    newest = [("b", 12), *(("0", revision) for revision in (11, 10, 9))]
    assert [(line, revision) for line, revision, _ in ordered[:4]] == newest
    assert ordered[3][2] == NOON + timedelta(minutes=69)
    assert [revision for _, revision, _ in ordered[4:]] == [10, 9, 8, 8, *range(7, 0, -1)]


def test_a_version_that_was_locked_stays_in_its_place() -> None:
    """SeaweedFS gives it the time at which it was locked, as if it had been written then."""
    line = [commit(revision, revision) for revision in range(1, 9)]
    line[4] = commit(5, 10, made=5)
    assert [revision for _, revision, _ in revisions_of(line)] == [*range(8, 0, -1)]


@pytest.mark.long
def test_many_commits_take_no_time() -> None:
    """Of one line, as of a bot that never restarts, or of thousands, as of one that always does."""
    one_line = [commit(revision, revision / 60) for revision in range(1, 50_001)]
    many = [on_line(commit(revision, revision), f"{revision}/") for revision in range(1, 5_001)]
    for commits in (one_line, many):
        begun = time.process_time()
        assert [c.header and c.header.revision for c in in_order(commits)] == [
            *range(len(commits), 0, -1)
        ]
        assert (
            time.process_time() - begun < 5
        )  # 0.3 s; what grows with the square takes many times that


def test_clocks_of_one_storage_may_differ() -> None:
    """Two commits of a line a second the wrong way round are no roll-back; a minute, they are."""
    one, two, three = commit(1, 0), commit(2, 1), commit(3, 2)
    sooner = three._replace(version=version("three", 1 - 1 / 60))
    assert [revision for _, revision, _ in revisions_of([one, two, sooner])] == [3, 2, 1]
    much_sooner = commit(3, 0.5)
    assert [revision for _, revision, _ in revisions_of([one, two, much_sooner])] == [2, 3, 1]


def test_a_copied_bucket_goes_by_revisions() -> None:
    """The order in which versions were copied says nothing."""
    copied = [commit(revision, 900 - revision, made=revision) for revision in range(1, 6)]
    assert [revision for _, revision, _ in revisions_of(copied)] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(("minutes", "expected"), [(14, False), (15, False), (16, True)])
def test_a_copy_is_told_by_the_storages_time(minutes: int, *, expected: bool) -> None:
    """Clocks may differ by 15 minutes, or S3 refuses the request; beyond that it is a copy."""
    assert put_back(HEADER, NOON + timedelta(minutes=minutes)) is expected
    assert put_back(HEADER, NOON + MAX_SKEW) is False


def test_a_large_object_may_be_long_on_its_way() -> None:
    """Its time of arrival is later by what a slow line takes."""
    large = msgspec.structs.replace(HEADER, size=2**30)
    assert put_back(large, NOON + timedelta(hours=4)) is False
    assert put_back(large, NOON + timedelta(hours=5)) is True


def test_a_commit_was_made_when_the_storage_took_it() -> None:
    """By one clock for all writers; a copy goes by its writer's."""
    assert commit(1, 30, made=20).made == NOON + timedelta(minutes=30)
    assert commit(1, 60, made=20).made == NOON + timedelta(minutes=20)
    assert Commit(version("x", 60), None).made == NOON + timedelta(minutes=60)


def test_a_storage_that_tells_no_fractions_leaves_them_to_the_writer() -> None:
    """Within the second that the storage has told, the writer's clock says when it was."""
    at = datetime(2026, 11, 29, 12, 0, 1, tzinfo=UTC)
    for seconds, told in ((0.5, 0.5), (-600, 0), (600, 0.999999)):
        header = msgspec.structs.replace(HEADER, created=at + timedelta(seconds=seconds))
        whole = Commit(Version("v", at, 1, is_latest=False), header)
        assert whole.made == at + timedelta(seconds=told)
        exact = at + timedelta(milliseconds=3)
        assert Commit(Version("v", exact, 1, is_latest=False), header).made == exact
