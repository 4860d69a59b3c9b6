"""Where a server that the tests run on is known to differ from S3, test by test.

Each test named here has to fail there, in the way that is stated: one that passes is an error, so
that the table ends with the fault. Nothing is skipped. A server given by its URL has no departures.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from ptb_s3._storage.contract import PreconditionFailed

NOT_RAISED: type[BaseException] = pytest.fail.Exception
"""What pytest raises where an expected error does not come."""


class Departure(NamedTuple):
    """A difference from S3.

    Attributes:
        reason: What the server does.
        raises: What comes of it in the tests.
        tests: Their names, with class and parameters where they have any.
    """

    reason: str
    raises: type[BaseException]
    tests: tuple[str, ...]


DEPARTURES: dict[str, tuple[Departure, ...]] = {
    "moto": (
        Departure(
            "the first PUT after a suspension of versioning drops all older versions "
            "(findings/moto-suspension-drops-versions.sh)",
            AssertionError,
            ("test_what_is_current_is_not_pruned_where_it_is_listed_last",),
        ),
    ),
    "versitygw": (
        Departure(
            "above a delete marker, conditions look at the version beneath "
            "(findings/versitygw-conditions-see-below-a-marker.sh)",
            NOT_RAISED,
            ("TestS3Store::test_after_a_deletion",),
        ),
        Departure(
            "as above: a deleted blob cannot be created on a condition, so repair stops there",
            AssertionError,
            ("test_no_room_half_way[repair]",),
        ),
        Departure(
            "an object is a file and a prefix a folder, so 'head' and 'head/' cannot both be",
            PreconditionFailed,
            ("TestS3Store::test_neighbours_are_no_history[head/]",),
        ),
        Departure(
            "HeadObject hides the lock of a version that is not current "
            "(findings/versitygw-hides-locks-of-older-versions.sh)",
            AssertionError,
            (
                "test_what_is_locked_stays_with_what_it_needs",
                "test_a_held_blob_stays_alone",
                "test_a_purge_says_what_it_could_not_delete",
                "test_a_lock_that_nobody_told_of",
            ),
        ),
    ),
}


def of(server: str) -> dict[str, Departure]:
    """Return the departures of a server, by the name of the test, with its class if it has one."""
    return {test: departure for departure in DEPARTURES.get(server, ()) for test in departure.tests}
