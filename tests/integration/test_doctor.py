"""`ptb-s3 doctor`: what it finds on storage of every kind, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from unittest import mock

import pytest
from tests.servers import S3Client, S3Server
from tests.support import KEY, OTHER_KEY, make_persistence, state_of, update
from tests.support.buckets import open_store
from tests.support.meddlingproxy import Answered, Asked, Change, MeddlingProxy, error

from ptb_s3 import Keyring
from ptb_s3._doctor import attempts, scratch
from ptb_s3._doctor import examination as examination_module
from ptb_s3._doctor.evidence import Part, Verdict
from ptb_s3._doctor.examination import Examination
from ptb_s3._doctor.findings import Check, Finding, Status
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import StorageUnavailableError

FOLDER = "bot/doctor/"
OK, WARNING, FAILED, UNKNOWN = Status.OK, Status.WARNING, Status.FAILED, Status.UNKNOWN
RETENTION = {
    "ID": "history",
    "Status": "Enabled",
    "Filter": {"Prefix": "bot/"},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
    "Expiration": {"ExpiredObjectDeleteMarker": True},
}
SWEEPING = {
    "ID": "doctor",
    "Status": "Enabled",
    "Filter": {"Prefix": FOLDER},
    "Expiration": {"Days": 1},
}
Findings = dict[Check, Finding]


def examination(store: S3Store, key: Any = KEY) -> Examination:
    return Examination(
        store,
        Keyring(key),
        f"s3://{store.bucket}/{store.prefix}",
        token=secrets.token_hex(8),
        now=lambda: datetime.now(UTC),
    )


WITHOUT_KMS = [check for check in Check if check is not Check.KEY_SERVICE]


async def examine(
    server: S3Server, bucket: str, *, writers: int = 3, key: Any = KEY, **options: object
) -> Findings:
    """Return what is found; with few writers and requests, where it is not about them."""
    store = open_store(server, bucket, **options)
    timed = 20 if writers == 16 else 2
    # SeaweedFS has each of sixteen wait for its turn, for up to ten seconds.
    with (
        mock.patch.object(scratch, "WRITERS", writers),
        mock.patch.object(examination_module, "_TIMED", timed),
        mock.patch.object(attempts, "_ENOUGH", 0.0),
    ):
        findings = await examination(store, key).run()
    await store.close()
    assert [finding.check for finding in findings] == WITHOUT_KMS
    for finding in findings:
        assert bool(finding.remedy) == (finding.status is not OK)
        assert bool(finding.exit_code) == (finding.status is FAILED)
    return {finding.check: finding for finding in findings}


def statuses(findings: Findings, *others: Status) -> dict[Check, Status]:
    """Return the checks that did not end as most do."""
    usual = {OK, *others}
    return {c: finding.status for c, finding in findings.items() if finding.status not in usual}


async def entries(client: S3Client, bucket: str) -> list[dict[str, Any]]:
    """Return every version and delete marker in a bucket."""
    page = await client.list_object_versions(Bucket=bucket)
    return [*page.get("Versions", []), *page.get("DeleteMarkers", [])]


async def set_rules(client: S3Client, bucket: str, *rules: Mapping[str, object]) -> None:
    await client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}
    )


def deny(denied: Callable[[Asked], bool]) -> Change:
    return lambda asked: error(403, "AccessDenied") if denied(asked) else asked


def deletes_versions(asked: Asked) -> bool:
    return "delete" in asked.query or (asked.method == "DELETE" and "versionId" in asked.query)


def deletes(asked: Asked) -> bool:
    return "delete" in asked.query or asked.method == "DELETE"


def is_put(asked: Asked) -> bool:
    return asked.method == "PUT" and bool(asked.key)


# Where all is well --------------------------------------------------------------------------------


async def test_a_bucket_as_it_should_be(
    s3_server: S3Server, s3_client: S3Client, bucket: str
) -> None:
    """Sixteen writers race on either condition, one wins, and no version or marker is left."""
    await set_rules(s3_client, bucket, RETENTION, SWEEPING)
    found = await examine(s3_server, bucket, writers=16)
    # The tests' credentials may do everything.
    assert statuses(found) == {Check.EXCESS: WARNING}
    assert "delete versions" in found[Check.EXCESS].found
    assert "write outside the prefix" in found[Check.EXCESS].found
    assert found[Check.CONDITIONAL_PUT].found == (
        "one winner among 16 writers, for If-None-Match and for If-Match"
    )
    for race in found[Check.CONDITIONAL_PUT].data["races"]:
        assert (race["writers"], race["winners"], race["undecided"]) == (16, 1, 0)
    assert found[Check.RANGES].found == "a part of an object is served by itself"
    assert found[Check.VERSIONING].found == "enabled"
    assert found[Check.LIFECYCLE].found == ("rule 'history' removes what was replaced 30 days ago")
    assert found[Check.PUBLIC_ACCESS].found.startswith("refused without credentials")
    assert found[Check.CLEAN_UP].found == "nothing is left of 40 versions"
    for latency in found[Check.LATENCY].data.values():
        assert 0 < latency["median_ms"] <= latency["p95_ms"]
        assert latency["requests"] == 20
    assert await entries(s3_client, bucket) == []


async def test_a_bucket_without_versions(
    s3_server: S3Server, s3_client: S3Client, unversioned_bucket: str
) -> None:
    """That there will be no history is a warning; all else is proven, and nothing is left."""
    found = await examine(s3_server, unversioned_bucket, writers=16)
    assert statuses(found) == {Check.VERSIONING: WARNING, Check.EXCESS: WARNING}
    assert found[Check.VERSIONING].found == "never enabled: there is no history to go back to"
    assert "GetObjectVersion" not in found[Check.PERMISSIONS].data["granted"]
    assert await entries(s3_client, unversioned_bucket) == []


async def test_a_bucket_whose_versioning_is_suspended(
    s3_server: S3Server, s3_client: S3Client, bucket: str
) -> None:
    """It is told from one that never had any, and nothing is left."""
    await s3_client.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    found = await examine(s3_server, bucket)
    assert found[Check.VERSIONING].status is WARNING
    assert found[Check.VERSIONING].found.startswith("suspended")
    assert await entries(s3_client, bucket) == []


async def test_without_a_prefix(s3_server: S3Server, s3_client: S3Client, bucket: str) -> None:
    """All of the bucket is the bot's: there is nothing outside to try, and nothing is left."""
    store = S3Store(bucket, endpoint_url=s3_server.endpoint_url, session=s3_server.session())
    with mock.patch.object(scratch, "WRITERS", 2):
        findings = await examination(store).run()
    await store.close()
    (excess,) = (finding for finding in findings if finding.check is Check.EXCESS)
    assert excess.found == "may delete versions"
    assert await entries(s3_client, bucket) == []


# The state ----------------------------------------------------------------------------------------


async def save(server: S3Server, bucket: str) -> None:
    """Let a bot save a state."""
    persistence = make_persistence(open_store(server, bucket))
    await state_of(persistence)
    await update(persistence, {"bot_data": {"a": 1}})
    await persistence.flush()


async def test_a_state_is_opened(s3_server: S3Server, s3_client: S3Client, bucket: str) -> None:
    """Its revision, bot and key are named, and it is left as it was."""
    await save(s3_server, bucket)
    before = await entries(s3_client, bucket)
    found = await examine(s3_server, bucket)
    assert found[Check.STATE].status is OK
    assert f"of bot 4711, sealed with key {KEY.id}" in found[Check.STATE].found
    assert await entries(s3_client, bucket) == before


async def test_a_state_that_another_key_sealed(s3_server: S3Server, bucket: str) -> None:
    """That is exit code 4, and the rest is looked into all the same."""
    await save(s3_server, bucket)
    found = await examine(s3_server, bucket, key=OTHER_KEY)
    assert statuses(found, WARNING) == {Check.STATE: FAILED}
    assert found[Check.STATE].exit_code == 4
    assert KEY.id in found[Check.STATE].found
    assert "PTB_S3_RETIRED_KEYS" in found[Check.STATE].remedy


@pytest.mark.parametrize(
    ("ruin", "said"),
    [
        (lambda s3, bucket: s3.put_object(Bucket=bucket, Key="bot/head", Body=b"x"), "damaged"),
        (lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="bot/head"), "bot_data remain"),
    ],
    ids=["damaged", "gone"],
)
async def test_a_state_that_is_ruined(
    s3_server: S3Server, s3_client: S3Client, bucket: str, ruin: Any, said: str
) -> None:
    """That is exit code 5: a head that is gone is none of a new store, where blobs remain."""
    await save(s3_server, bucket)
    await ruin(s3_client, bucket)
    found = await examine(s3_server, bucket)
    assert (found[Check.STATE].status, found[Check.STATE].exit_code) == (FAILED, 5)
    assert said in found[Check.STATE].found


# Where nobody is let in ---------------------------------------------------------------------------


async def test_no_such_bucket(s3_server: S3Server) -> None:
    """That is exit code 3; credentials and clock are judged, and nothing else is made up."""
    found = await examine(s3_server, "ptb-s3-no-such-bucket")
    assert statuses(found, UNKNOWN) == {Check.BUCKET: FAILED}
    assert found[Check.BUCKET].exit_code == 3
    for check in (Check.CREDENTIALS, Check.CONNECTION, Check.CLOCK):
        assert found[check].status is OK
    unknown = {finding.found for finding in found.values() if finding.status is UNKNOWN}
    assert unknown == {"not looked into, because of: bucket"}


@pytest.mark.parametrize(
    ("credentials", "remedy"),
    [
        ({"aws_secret_access_key": "not-the-secret-of-this-key"}, "AWS_SECRET_ACCESS_KEY"),
        ({"aws_access_key_id": "nobody-has-this-key"}, "AWS_ACCESS_KEY_ID"),
    ],
    ids=["secret", "key"],
)
async def test_credentials_that_are_wrong(
    s3_server: S3Server, bucket: str, credentials: dict[str, str], remedy: str
) -> None:
    """That is exit code 7, and neither of them is shown."""
    session = s3_server.session(**credentials)
    found = await examine(s3_server, bucket, session=session)
    assert statuses(found, UNKNOWN) == {Check.CREDENTIALS: FAILED}
    assert found[Check.CREDENTIALS].exit_code == 7
    assert remedy in found[Check.CREDENTIALS].remedy
    for secret in (s3_server.secret_key, s3_server.access_key, *credentials.values()):
        assert secret not in str(found)


async def test_credentials_that_are_missing(proxy: MeddlingProxy, bucket: str) -> None:
    """Without any, nobody is asked anything."""
    found = await examine(proxy.server, bucket, session=None)
    assert statuses(found, UNKNOWN) == {Check.CREDENTIALS: FAILED}
    assert found[Check.CREDENTIALS].found == "there are none"
    assert proxy.asked == []


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_is_down(s3_server: S3Server) -> None:
    """That is exit code 7, and names the address."""
    nobody = replace(s3_server, endpoint_url="http://127.0.0.1:1")
    found = await examine(nobody, "bucket")
    assert statuses(found, UNKNOWN) == {Check.CONNECTION: FAILED}
    assert found[Check.CONNECTION].exit_code == 7
    assert "http://127.0.0.1:1" in found[Check.CONNECTION].found


async def test_a_name_that_no_bucket_has(s3_server: S3Server) -> None:
    """It is a matter of settings, and stays so, though they could be read."""
    found = await examine(s3_server, "white space")
    assert statuses(found, UNKNOWN) == {Check.SETTINGS: FAILED}
    assert found[Check.SETTINGS].exit_code == 2


@pytest.mark.parametrize("status", [200, 412])
async def test_a_server_that_is_none_of_s3s(proxy: MeddlingProxy, bucket: str, status: int) -> None:
    """A captive portal is not taken for storage, whatever it says."""
    proxy.change = lambda _: Answered(status, {"Content-Type": "text/html"}, b"<html/>")
    found = await examine(proxy.server, bucket)
    assert statuses(found, UNKNOWN) == {Check.CONNECTION: FAILED}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "answer", [error(301, "PermanentRedirect"), error(400, "AuthorizationHeaderMalformed")]
)
async def test_a_bucket_in_another_region(
    proxy: MeddlingProxy, bucket: str, answer: Answered
) -> None:
    """Where the storage does not let us in for it, the check of the region has failed."""
    region = {"x-amz-bucket-region": "eu-central-1"}
    proxy.change = lambda _: replace(answer, headers={**answer.headers, **region})
    found = await examine(proxy.server, bucket)
    assert statuses(found, UNKNOWN) == {Check.REGION: FAILED}
    assert "(eu-central-1)" in found[Check.REGION].remedy


async def test_a_server_that_sends_one_elsewhere(proxy: MeddlingProxy, bucket: str) -> None:
    """A redirect that names neither a region nor an address is none of S3's."""
    proxy.change = lambda _: error(301, "PermanentRedirect")
    found = await examine(proxy.server, bucket)
    assert statuses(found, UNKNOWN) == {Check.CONNECTION: FAILED}
    assert "PTB_S3_ENDPOINT_URL" in found[Check.CONNECTION].remedy


async def test_a_region_that_costs_a_detour(proxy: MeddlingProxy, bucket: str) -> None:
    """Where the storage minds less, it is a warning with the region to set."""
    region = {"x-amz-bucket-region": "eu-central-1"}
    proxy.amend = lambda _, told: replace(told, headers={**told.headers, **region})
    found = await examine(proxy.server, bucket)
    assert found[Check.REGION].status is WARNING
    assert "PTB_S3_REGION=eu-central-1" in found[Check.REGION].remedy


# Whose bucket it is -------------------------------------------------------------------------------


def _belongs_to(account: str) -> Change:
    return deny(lambda asked: asked.headers.get("x-amz-expected-bucket-owner", account) != account)


async def test_a_bucket_of_the_right_owner(proxy: MeddlingProxy, bucket: str) -> None:
    """The account is asked for with every request that is signed."""
    proxy.change = _belongs_to("111122223333")
    found = await examine(proxy.server, bucket, expected_bucket_owner="111122223333")
    assert found[Check.OWNER].status is OK
    assert all("x-amz-expected-bucket-owner" in asked.headers for asked in proxy.asked)


async def test_a_bucket_of_somebody_else(proxy: MeddlingProxy, bucket: str) -> None:
    """That is told from a missing permission, and nothing is written there."""
    proxy.change = _belongs_to("111122223333")
    found = await examine(proxy.server, bucket, expected_bucket_owner="444455556666")
    assert statuses(found, UNKNOWN) == {Check.OWNER: FAILED}
    assert found[Check.OWNER].found == "the bucket does not belong to account 444455556666"
    assert not any(map(is_put, proxy.asked))


# Clocks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "status", "said"),
    [
        (0, OK, "agree"),
        (3, WARNING, "the storage's is 0:0"),
        (-14, WARNING, "behind this machine's"),
        (20, FAILED, "ahead of this machine's"),
    ],
)
async def test_a_clock_that_is_off(
    proxy: MeddlingProxy, bucket: str, minutes: int, status: Status, said: str
) -> None:
    """From a minute on it is a warning; where S3 would refuse requests, it has failed."""
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    proxy.amend = lambda _, told: replace(told, headers={**told.headers, "date": date})
    found = (await examine(proxy.server, bucket, writers=1))[Check.CLOCK]
    assert found.status is status
    assert said in found.found


async def test_a_clock_for_which_nobody_is_let_in(proxy: MeddlingProxy, bucket: str) -> None:
    """How far it is off is told from the refusal itself."""
    date = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    refusal = error(403, "RequestTimeTooSkewed")
    proxy.change = lambda _: replace(refusal, headers={**refusal.headers, "date": date})
    found = await examine(proxy.server, bucket)
    assert statuses(found, UNKNOWN) == {Check.CREDENTIALS: FAILED, Check.CLOCK: FAILED}
    assert found[Check.CLOCK].found.startswith("the storage's is 1:00:0")


async def test_a_server_without_a_clock(proxy: MeddlingProxy, bucket: str) -> None:
    """What it does not say is not known."""
    proxy.amend = lambda _, told: replace(told, headers={**told.headers, "date": "today"})
    assert (await examine(proxy.server, bucket, writers=1))[Check.CLOCK].status is UNKNOWN


# Conditional writes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("if-none-match", "If-None-Match: 16 of 16 writers won a race"),
        ("if-match", "If-Match: 16 of 16 writers won a race"),
    ],
)
async def test_storage_that_ignores_a_condition(
    proxy: MeddlingProxy, s3_client: S3Client, unversioned_bucket: str, header: str, said: str
) -> None:
    """It is named as such, by the condition, and nothing is left there."""
    proxy.change = lambda asked: asked.without(header)
    found = await examine(proxy.server, unversioned_bucket, writers=16)
    verdict = found[Check.CONDITIONAL_PUT]
    assert (verdict.status, verdict.exit_code) == (FAILED, 7)
    assert verdict.found.startswith("the storage accepts conditional writes that it must refuse")
    assert said in verdict.found
    assert "two writers would overwrite each other" in verdict.found
    assert found[Check.LATENCY].status is OK
    # Whether it would write outside the prefix cannot be tried where a condition may be ignored.
    assert found[Check.EXCESS].data["granted"]["write outside the prefix"] is None
    assert await entries(s3_client, unversioned_bucket) == []


class Lenient:
    """Storage that lets one write pass that must be refused, and refuses all others: no race shows.

    Attributes:
        tolerates: What it tolerates.
    """

    def __init__(self, tolerates: str) -> None:
        self.tolerates = tolerates
        self._first: dict[str, str] = {}

    def change(self, asked: Asked) -> Asked:
        first = self._first.get(asked.key)
        if not is_put(asked) or "-race" in asked.key:
            return asked
        if self.tolerates == "If-Match on an object that does not exist":
            return asked.without("if-match") if asked.key.endswith("-missing") else asked
        if self.tolerates == "If-Match with an outdated ETag":
            return asked.without("if-match") if asked.headers.get("if-match") == first else asked
        return asked.without("if-none-match") if first else asked

    def amend(self, asked: Asked, answered: Answered) -> Answered:
        if is_put(asked) and "etag" in answered.headers:
            self._first.setdefault(asked.key, answered.headers["etag"])
        return answered


@pytest.mark.parametrize(
    "tolerates",
    [
        "If-Match on an object that does not exist",
        "If-Match with an outdated ETag",
        "If-None-Match on an object that exists",
    ],
)
async def test_storage_that_lets_one_write_pass(
    proxy: MeddlingProxy, s3_client: S3Client, unversioned_bucket: str, tolerates: str
) -> None:
    """Each write that must be refused is tried on its own; no race has to show it."""
    lenient = Lenient(tolerates)
    proxy.change, proxy.amend = lenient.change, lenient.amend
    found = (await examine(proxy.server, unversioned_bucket))[Check.CONDITIONAL_PUT]
    assert found.status is FAILED
    assert found.data["accepted"] == [tolerates]
    assert tolerates in found.found
    assert await entries(s3_client, unversioned_bucket) == []


@pytest.mark.parametrize("writes", [True, False])
async def test_storage_that_loses_what_it_has_accepted(
    proxy: MeddlingProxy,
    unversioned_bucket: str,
    writes: bool,  # noqa: FBT001 - parameters of a table
) -> None:
    """One winner is no proof if nothing is there afterwards, or what another wrote."""
    refusal = error(412, "PreconditionFailed")
    told: set[str] = set()

    def change(asked: Asked) -> Asked | Answered:
        if not is_put(asked) or "-race" not in asked.key:
            return asked
        if asked.key not in told:
            told.add(asked.key)
            return Answered(200, {"ETag": '"1"'})
        return asked if writes else refusal

    def amend(asked: Asked, answered: Answered) -> Answered:
        accepted = is_put(asked) and "-race" in asked.key and "etag" in answered.headers
        return refusal if accepted else answered

    proxy.change, proxy.amend = change, amend
    found = (await examine(proxy.server, unversioned_bucket))[Check.CONDITIONAL_PUT]
    assert found.status is FAILED
    assert "If-None-Match: what the one winner wrote is not there" in found.found


async def test_storage_without_conditional_writes(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """Where it says so itself, that is named, and nothing is written."""
    conditions = {"if-match", "if-none-match"}
    proxy.change = lambda asked: (
        asked if conditions.isdisjoint(asked.headers) else error(501, "NotImplemented")
    )
    found = await examine(proxy.server, bucket)
    assert (found[Check.CONDITIONAL_PUT].status) is FAILED
    assert "no conditional writes" in found[Check.CONDITIONAL_PUT].remedy
    assert await entries(s3_client, bucket) == []


async def test_storage_that_refuses_what_it_must_accept(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """A bot could save nothing there, so that is no proof of conditional writes."""
    proxy.change = lambda asked: (
        error(412, "PreconditionFailed") if "if-match" in asked.headers else asked
    )
    found = (await examine(proxy.server, bucket))[Check.CONDITIONAL_PUT]
    assert found.status is FAILED
    assert "refuses a write" in found.found
    assert await entries(s3_client, bucket) == []


@pytest.mark.parametrize("spared", [0, 1])
async def test_answers_that_are_lost_prove_nothing(
    proxy: MeddlingProxy, s3_client: S3Client, unversioned_bucket: str, spared: int
) -> None:
    """Where a writer was told nothing, the race is not taken for won, whoever else has won it."""
    asked_for: dict[str, int] = {}

    def change(asked: Asked) -> Asked | Answered:
        if not is_put(asked) or "-race" not in asked.key:
            return asked
        asked_for[asked.key] = asked_for.get(asked.key, 0) + 1
        return asked if asked_for[asked.key] <= spared else error(503, "SlowDown")

    proxy.change = change
    found = (await examine(proxy.server, unversioned_bucket, writers=4))[Check.CONDITIONAL_PUT]
    assert found.status is UNKNOWN
    assert found.found.startswith("inconclusive (If-None-Match)")
    assert found.data["races"][0]["undecided"] == 4 - spared
    assert [*asked_for.values()] == [4, 4, 4]  # three races, and no writer asked twice in one
    assert await entries(s3_client, unversioned_bucket) == []


async def test_a_race_that_cannot_be_run_is_not_left_out(
    proxy: MeddlingProxy, s3_client: S3Client, unversioned_bucket: str
) -> None:
    """The other one alone is no proof."""
    proxy.change = deny(lambda asked: is_put(asked) and "-race" in asked.key)
    found = await examine(proxy.server, unversioned_bucket)
    assert found[Check.CONDITIONAL_PUT].status is FAILED
    assert "-race0" in found[Check.CONDITIONAL_PUT].found
    assert await entries(s3_client, unversioned_bucket) == []


@pytest.mark.usefixtures("impatient")
async def test_who_races_waits_longer_than_others(
    proxy: MeddlingProxy, unversioned_bucket: str
) -> None:
    """An attempt that is given up may take effect when all is over: in a race, none is."""
    store = open_store(proxy.server, unversioned_bucket, read_timeout=0.2)
    proxy.open.clear()
    tried = scratch.Scratch(store, "x")
    race = asyncio.create_task(tried.race(None))
    with pytest.raises(StorageUnavailableError):
        await store.get("head")  # as long as others wait
    proxy.open.set()
    assert (await race).verdict is Verdict.PROVEN
    assert (await tried.clear()).deleted == 1
    await store.close()


async def test_a_race_is_run_again_until_it_is_decided(
    proxy: MeddlingProxy, unversioned_bucket: str
) -> None:
    """One lost answer is no reason to leave it open."""
    proxy.change = lambda asked: (
        error(503, "SlowDown") if is_put(asked) and asked.key.endswith("-race0") else asked
    )
    found = await examine(proxy.server, unversioned_bucket)
    assert found[Check.CONDITIONAL_PUT].status is OK


# Ranges -------------------------------------------------------------------------------------------


def _of_another_place(asked: Asked) -> Asked:
    moved = {"range": "bytes=0-1"} if "range" in asked.headers else {}
    return replace(asked, headers={**asked.headers, **moved})


@pytest.mark.parametrize(
    ("change", "part", "says"),
    [
        (lambda a: a.without("range"), Part.WHOLE, "is served with all of it"),
        (_of_another_place, Part.OTHER, "is served wrong, or not at all"),
        (
            lambda a: error(501, "NotImplemented") if "range" in a.headers else a,
            Part.OTHER,
            "is served wrong, or not at all",
        ),
    ],
    ids=["whole", "another", "refused"],
)
async def test_a_storage_that_does_not_know_ranges(
    proxy: MeddlingProxy, bucket: str, change: Change, part: Part, says: str
) -> None:
    """All else is as it was: a bot that reads everything needs none."""
    proxy.change = change
    found = await examine(proxy.server, bucket)
    assert found[Check.RANGES].status is WARNING
    assert says in found[Check.RANGES].found
    assert 'load="all"' in found[Check.RANGES].remedy
    assert found[Check.RANGES].data["part"] == part
    assert found[Check.CONDITIONAL_PUT].status is found[Check.PERMISSIONS].status is OK


# Permissions --------------------------------------------------------------------------------------


def _reads(asked: Asked) -> bool:
    return asked.method == "GET" and bool(asked.key)


@pytest.mark.parametrize(
    ("denied", "missing", "status"),
    [
        (is_put, ["PutObject"], FAILED),
        (lambda a: _reads(a) and "versionId" not in a.query, ["GetObject"], FAILED),
        (lambda a: _reads(a) and "versionId" in a.query, ["GetObjectVersion"], FAILED),
        (
            lambda a: "list-type" in a.query or (_reads(a) and a.key.endswith("-absent")),
            ["ListBucket"],
            FAILED,
        ),
        (lambda a: "versions" in a.query, ["ListBucketVersions"], WARNING),
    ],
    ids=["PutObject", "GetObject", "GetObjectVersion", "ListBucket", "ListBucketVersions"],
)
async def test_a_permission_that_is_missing(  # noqa: PLR0917 - parameters of a table
    proxy: MeddlingProxy,
    s3_client: S3Client,
    bucket: str,
    denied: Callable[[Asked], bool],
    missing: list[str],
    status: Status,
) -> None:
    """It is named, with what a bot needs it for; and still nothing is left."""
    proxy.change = deny(denied)
    found = await examine(proxy.server, bucket)
    permissions = found[Check.PERMISSIONS]
    assert permissions.status is status
    assert [name for name, may in permissions.data["granted"].items() if may is False] == missing
    assert missing[0] in permissions.remedy + permissions.found
    assert found[Check.CREDENTIALS].status is OK
    assert await entries(s3_client, bucket) == []


async def test_credentials_that_may_do_no_more_than_a_bot(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """They are praised for it, and what they cannot delete is what a rule removes: it is named."""
    await set_rules(s3_client, bucket, RETENTION, SWEEPING)
    proxy.change = deny(lambda a: deletes(a) or bool(a.key and not a.key.startswith("bot/")))
    found = await examine(proxy.server, bucket)
    assert statuses(found) == {}
    assert found[Check.EXCESS].found == (
        "may not delete versions, delete objects, read outside the prefix, write outside the prefix"
    )
    left = await entries(s3_client, bucket)
    assert {entry["Key"].startswith(FOLDER) for entry in left} == {True}
    assert sum(found[Check.CLEAN_UP].data["left"].values()) == len(left)
    assert {entry["Key"] for entry in left} == {*found[Check.CLEAN_UP].data["left"]}
    assert "lifecycle removes them (rules 'doctor', 'history')" in found[Check.CLEAN_UP].found


@pytest.mark.parametrize(
    "rules", [[RETENTION], [SWEEPING], [RETENTION, {**SWEEPING, "Status": "Disabled"}]]
)
async def test_nothing_is_written_that_nobody_would_remove(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str, rules: list[dict[str, object]]
) -> None:
    """Neither by the credentials nor by a rule: then what takes a write is not tried."""
    await set_rules(s3_client, bucket, *rules)
    proxy.change = deny(deletes)
    found = await examine(proxy.server, bucket)
    assert not any(map(is_put, proxy.asked))
    assert await entries(s3_client, bucket) == []
    for check in (Check.CONDITIONAL_PUT, Check.PERMISSIONS, Check.RANGES, Check.LATENCY):
        assert found[check].status is UNKNOWN
        assert found[check].found.startswith("not tried: what it writes would stay")
    assert found[Check.CLEAN_UP].found == "nothing is left"


async def test_nothing_is_written_where_it_would_be_locked(
    s3_server: S3Server, s3_client: S3Client
) -> None:
    """Nobody may delete it then, whatever the credentials."""
    bucket = f"ptb-s3-test-{secrets.token_hex(8)}"
    await s3_client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    await s3_client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},
    )
    found = await examine(s3_server, bucket)
    assert await entries(s3_client, bucket) == []
    await s3_client.delete_bucket(Bucket=bucket)
    assert "since new versions are locked" in found[Check.CONDITIONAL_PUT].found


async def test_what_is_left_where_the_rules_are_not_known(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """It is said what it is, where it is, and that nobody said whether a rule removes it."""
    proxy.change = deny(lambda asked: deletes(asked) or "lifecycle" in asked.query)
    found = await examine(proxy.server, bucket)
    left = await entries(s3_client, bucket)
    assert len(left) == sum(found[Check.CLEAN_UP].data["left"].values()) > 0
    assert found[Check.CLEAN_UP].status is UNKNOWN
    assert repr(FOLDER) in found[Check.CLEAN_UP].remedy
    assert found[Check.LIFECYCLE].found == (
        "not known: the credentials have no GetLifecycleConfiguration"
    )


async def test_what_may_only_be_hidden_is_hidden(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """Where versions may not be deleted but objects may, no current version stays."""
    await set_rules(s3_client, bucket, RETENTION, SWEEPING)
    proxy.change = deny(deletes_versions)
    found = await examine(proxy.server, bucket)
    page = await s3_client.list_object_versions(Bucket=bucket)
    assert page["Versions"]
    assert not any(entry["IsLatest"] for entry in page["Versions"])
    entries_left = len(page["Versions"]) + len(page["DeleteMarkers"])
    assert sum(found[Check.CLEAN_UP].data["left"].values()) == entries_left
    assert found[Check.EXCESS].found.startswith("may delete objects")
    assert found[Check.CLEAN_UP].status is OK


async def test_what_may_be_hidden_but_not_listed_is_known(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """A marker on top of what was written is not taken for its end."""
    await set_rules(s3_client, bucket, RETENTION, SWEEPING)
    proxy.change = deny(lambda asked: deletes_versions(asked) or "versions" in asked.query)
    found = await examine(proxy.server, bucket)
    page = await s3_client.list_object_versions(Bucket=bucket)
    beneath = [marker for marker in page["DeleteMarkers"] if not marker["IsLatest"]]
    known = len(page["Versions"]) + len(beneath)
    assert sum(found[Check.CLEAN_UP].data["left"].values()) == known


async def test_an_unlisted_object_is_deleted_as_well(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """Where versions may be deleted but not listed, those that were written are known."""
    proxy.change = deny(lambda asked: "versions" in asked.query)
    found = await examine(proxy.server, bucket)
    assert found[Check.CLEAN_UP].status is OK
    assert await entries(s3_client, bucket) == []


# Where a request is not to be had -----------------------------------------------------------------


def _deletes_many(asked: Asked) -> bool:
    return asked.method == "POST" and "delete" in asked.query


def _deletes_by_id(asked: Asked) -> bool:
    return asked.method == "DELETE" and "versionId" in asked.query


@pytest.mark.parametrize(
    "refusal", [error(400, "MissingContentMD5"), error(501, "NotImplemented")], ids=["md5", "none"]
)
async def test_nothing_is_left_without_delete_objects(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str, refusal: Answered
) -> None:
    """Each version and marker is deleted by itself then."""
    proxy.change = lambda asked: refusal if _deletes_many(asked) else asked
    found = await examine(proxy.server, bucket)
    assert found[Check.CLEAN_UP].status is OK
    assert found[Check.EXCESS].found.startswith("may delete versions")
    assert await entries(s3_client, bucket) == []


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "lists none"])
@pytest.mark.parametrize(
    "refusal", [error(400, "InvalidArgument"), error(501, "NotImplemented")], ids=["id", "ids"]
)
async def test_nothing_is_left_where_versions_have_no_ids(
    proxy: MeddlingProxy,
    s3_client: S3Client,
    unversioned_bucket: str,
    refusal: Answered,
    *,
    lists: bool,
) -> None:
    """What is refused by the id `null` is deleted by its key."""

    def change(asked: Asked) -> Asked | Answered:
        if _deletes_many(asked) or ("versions" in asked.query and not lists):
            return error(501, "NotImplemented")
        return refusal if _deletes_by_id(asked) else asked

    proxy.change = change
    found = await examine(proxy.server, unversioned_bucket)
    assert found[Check.CLEAN_UP].status is OK
    assert found[Check.CLEAN_UP].found.startswith("nothing is left of")
    assert found[Check.HISTORY].found == "none: no versions are kept"
    assert await entries(s3_client, unversioned_bucket) == []


async def test_nothing_is_left_of_a_write_whose_answer_was_lost(
    proxy: MeddlingProxy, s3_client: S3Client, unversioned_bucket: str
) -> None:
    """Also where nothing is listed, and so its version's id is not known."""
    proxy.change = lambda asked: (
        error(501, "NotImplemented") if "versions" in asked.query else asked
    )
    proxy.amend = lambda asked, told: (
        error(500, "InternalError") if is_put(asked) and "-race" in asked.key else told
    )
    await examine(proxy.server, unversioned_bucket)
    assert await entries(s3_client, unversioned_bucket) == []


async def test_an_access_key_that_is_looked_for_in_vain(proxy: MeddlingProxy, bucket: str) -> None:
    """That it is answered by 404 makes it no wrong address (versitygw 1.8.0)."""
    proxy.change = lambda _: error(404, "XAdminUserNotFound")
    found = await examine(proxy.server, bucket)
    assert statuses(found, UNKNOWN) == {Check.CREDENTIALS: FAILED}
    assert "AWS_ACCESS_KEY_ID" in found[Check.CREDENTIALS].remedy


@pytest.mark.parametrize("region", ["default", "WEUR"])
async def test_a_region_without_the_form_of_one_is_not_advised(
    proxy: MeddlingProxy, bucket: str, region: str
) -> None:
    """A storage that says so takes what we sign for."""
    told = {"x-amz-bucket-region": region}
    proxy.amend = lambda _, answer: replace(answer, headers={**answer.headers, **told})
    found = await examine(proxy.server, bucket, writers=1)
    assert found[Check.REGION].status is OK
    assert found[Check.REGION].found == "requests are signed for us-east-1, which is accepted"


async def test_an_owner_that_could_be_checked(proxy: MeddlingProxy, bucket: str) -> None:
    """Where the storage minds, and is not asked to, that is a warning, on whatever storage."""
    proxy.change = _belongs_to("111122223333")
    found = await examine(proxy.server, bucket, writers=1)
    assert found[Check.OWNER].status is WARNING
    assert "PTB_S3_EXPECTED_BUCKET_OWNER" in found[Check.OWNER].remedy


async def test_an_owner_that_nobody_minds(s3_server: S3Server, bucket: str) -> None:
    """It is not said to be checked where any account would do."""
    found = await examine(s3_server, bucket, writers=1, expected_bucket_owner="111122223333")
    assert found[Check.OWNER].found == (
        "account 111122223333 is asked for; this storage does not mind"
    )


# Right conditions that are refused ----------------------------------------------------------------


@pytest.mark.parametrize("fault", ["If-Match is taken", "If-None-Match is refused"])
async def test_conditions_that_go_by_what_was_deleted(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str, fault: str
) -> None:
    """Above a delete marker there is no object: that is tried, and is not unsafe (versitygw)."""
    deleted: set[str] = set()

    def change(asked: Asked) -> Asked | Answered:
        if asked.method == "DELETE" and "versionId" not in asked.query:
            deleted.add(asked.key)
        if not is_put(asked) or asked.key not in deleted:
            return asked
        if fault == "If-Match is taken":
            return asked.without("if-match")
        return error(412, "PreconditionFailed") if "if-none-match" in asked.headers else asked

    proxy.change = change
    found = (await examine(proxy.server, bucket))[Check.CONDITIONAL_PUT]
    assert found.status is WARNING
    assert found.data["above_marker"] == [fault]
    assert f"above a delete marker, {fault}" in found.found
    assert "ptb-s3 repair" in found.remedy
    assert await entries(s3_client, bucket) == []


async def test_etags_that_are_taken_without_quotation_marks_alone(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """A bot gives them so there; it is proven so, and no fault (DigitalOcean Spaces)."""

    def change(asked: Asked) -> Asked | Answered:
        etag = asked.headers.get("if-match", "")
        if not is_put(asked) or not etag:
            return asked
        if etag.startswith('"'):
            return error(412, "PreconditionFailed")
        return replace(asked, headers={**asked.headers, "if-match": f'"{etag}"'})

    proxy.change = change
    found = (await examine(proxy.server, bucket))[Check.CONDITIONAL_PUT]
    assert found.status is OK
    assert found.found.endswith("without their quotation marks alone")
    assert await entries(s3_client, bucket) == []


async def test_conditions_above_a_marker_that_may_not_be_laid(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """A bot may not delete; then it is not tried, and all else is proven."""
    await set_rules(s3_client, bucket, RETENTION, SWEEPING)
    proxy.change = deny(deletes)
    found = (await examine(proxy.server, bucket))[Check.CONDITIONAL_PUT]
    assert (found.status, found.data["above_marker"]) == (OK, None)


async def suspended(client: S3Client, server: S3Server, bucket: str) -> None:
    """Suspend versioning above the head of a bot."""
    await save(server, bucket)
    await client.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    )


async def test_a_head_that_is_older_than_a_suspension(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """SeaweedFS looks at the digest first, so nothing is proven; head is as it was."""
    await suspended(s3_client, proxy.server, bucket)
    before = await entries(s3_client, bucket)
    found = await examine(proxy.server, bucket)
    assert found[Check.CONDITIONAL_PUT].data["before_suspension"] == "unproven"
    assert "and head is from before that" in found[Check.VERSIONING].found
    assert "take no commit on top of such a head" in found[Check.VERSIONING].remedy
    assert await entries(s3_client, bucket) == before


async def test_a_head_that_cannot_be_replaced_after_a_suspension(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """Where the storage looks at the condition first, the fault is found without a write."""
    await suspended(s3_client, proxy.server, bucket)
    before = await entries(s3_client, bucket)
    proxy.change = lambda asked: (
        error(412, "PreconditionFailed") if is_put(asked) and asked.key == "bot/head" else asked
    )
    found = (await examine(proxy.server, bucket))[Check.CONDITIONAL_PUT]
    assert found.status is FAILED
    assert "no commit will succeed" in found.found
    assert "Turn on versioning" in found.remedy
    assert await entries(s3_client, bucket) == before


async def test_a_head_is_never_written_where_digests_are_not_looked_at(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """There, nothing would keep the storage from taking it."""
    await suspended(s3_client, proxy.server, bucket)
    proxy.change = lambda asked: asked.without("content-md5")
    proxy.asked.clear()
    found = await examine(proxy.server, bucket)
    assert not [asked for asked in proxy.asked if is_put(asked) and asked.key == "bot/head"]
    assert found[Check.CONDITIONAL_PUT].data["before_suspension"] == "unproven"


# What is told of versions -------------------------------------------------------------------------


def _on_pages(change: Callable[[bytes], bytes]) -> Callable[[Asked, Answered], Answered]:
    """Change the pages of the list that is compared with what was written."""
    return lambda asked, answer: (
        replace(answer, body=change(answer.body))
        if "versions" in asked.query and "max-keys" in asked.query
        else answer
    )


_ENTRY = re.compile(rb"<Version>.*?</Version>", re.DOTALL)


def _reversed(page: bytes) -> bytes:
    entries = _ENTRY.findall(page)
    return _ENTRY.sub(lambda _: entries.pop(), page)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda page: _ENTRY.sub(b"", page, count=1), "3 of 12 are not in it"),
        (_reversed, "it is not in order, the newest first"),
        (
            lambda page: page.replace(b"<IsLatest>true", b"<IsLatest>false"),
            "what it calls the latest is not what a read gives",
        ),
        (
            lambda page: re.sub(rb"<Next\w+>.*?</Next\w+>", b"", page),
            "a list of several pages comes to no end",
        ),
        (
            lambda page: page.replace(b"<IsTruncated>true", b"<IsTruncated>false"),
            "7 of 12 are not in it",
        ),
    ],
    ids=["hidden", "oldest first", "latest", "endless", "early"],
)
async def test_a_list_that_cannot_be_relied_on(
    proxy: MeddlingProxy,
    s3_client: S3Client,
    bucket: str,
    change: Callable[[bytes], bytes],
    said: str,
) -> None:
    """It is compared, page by page, with what was written; a bot can live there all the same."""
    proxy.amend = _on_pages(change)
    found = await examine(proxy.server, bucket)
    assert found[Check.HISTORY].status is WARNING
    assert said in found[Check.HISTORY].found
    assert await entries(s3_client, bucket) == []


async def test_a_list_that_is_right(s3_server: S3Server, bucket: str) -> None:
    """All of several pages is served as it is listed."""
    found = (await examine(s3_server, bucket))[Check.HISTORY]
    assert found.found == "12 versions are listed as they are served, newest first"


async def test_version_ids_that_are_not_heeded(proxy: MeddlingProxy, bucket: str) -> None:
    """What is current is no older version, whatever the storage gives for its id."""

    def change(asked: Asked) -> Asked:
        if asked.method != "GET" or "versionId" not in asked.query:
            return asked
        return replace(asked, target=asked.target.partition("?")[0])

    proxy.change = change
    found = (await examine(proxy.server, bucket))[Check.HISTORY]
    assert found.status is WARNING
    assert "11 of 12 are not what a read by their id gives" in found.found


@pytest.mark.parametrize("status", [403, 501])
async def test_versions_that_are_not_listed(proxy: MeddlingProxy, bucket: str, status: int) -> None:
    """They are kept; by the credentials or by the storage, there is only one way to them."""
    code = {403: "AccessDenied", 501: "NotImplemented"}[status]
    proxy.change = lambda asked: error(status, code) if "versions" in asked.query else asked
    found = (await examine(proxy.server, bucket))[Check.HISTORY]
    assert found.status is WARNING
    assert found.found.startswith("versions are kept and not listed")


# Who else is let in -------------------------------------------------------------------------------


async def test_a_bucket_that_is_open_to_anybody(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str
) -> None:
    """That is tried without credentials, and has failed; what was written for it is gone."""
    proxy.lets_anybody_in = True
    found = (await examine(proxy.server, bucket))[Check.PUBLIC_ACCESS]
    assert (found.status, found.exit_code) == (FAILED, 7)
    assert found.found == "anybody may list, read, write, without any credentials"
    assert any("authorization" not in asked.headers for asked in proxy.asked)
    assert await entries(s3_client, bucket) == []


# Ctrl-C and failure -------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [1, 3, 10, 30])
async def test_an_examination_that_is_interrupted_clears_away(
    proxy: MeddlingProxy, s3_client: S3Client, bucket: str, moment: int
) -> None:
    """Whichever of its writes is under way: that one has taken effect, and is gone as well."""
    puts, reached = itertools.count(1), asyncio.Event()

    def change(asked: Asked) -> Asked:
        if is_put(asked) and next(puts) == moment:
            reached.set()
        return asked

    proxy.change = change
    store = open_store(proxy.server, bucket)
    with mock.patch.object(scratch, "WRITERS", 4):
        examined = examination(store)
        run = asyncio.create_task(examined.run())
        await reached.wait()
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
    await store.close()
    assert examined.cleared is not None
    assert examined.cleared.found.startswith("nothing is left of")
    assert await entries(s3_client, bucket) == []


@pytest.mark.usefixtures("impatient")
async def test_storage_that_goes_away_in_the_middle(proxy: MeddlingProxy, bucket: str) -> None:
    """What may be left is named, and where it is."""
    puts = itertools.count(1)
    down = asyncio.Event()

    def change(asked: Asked) -> Asked | Answered:
        if is_put(asked) and next(puts) > 2:
            down.set()
        return error(503, "ServiceUnavailable") if down.is_set() else asked

    proxy.change = change
    found = await examine(proxy.server, bucket)
    assert found[Check.CONDITIONAL_PUT].status in (UNKNOWN, FAILED)
    assert found[Check.LATENCY].exit_code == 7
    assert found[Check.CLEAN_UP].status is WARNING
    assert f" of '{FOLDER}" in found[Check.CLEAN_UP].found
    assert repr(FOLDER) in found[Check.CLEAN_UP].remedy
