"""Jobs in a file of JSON: out, and back without loss or by name."""

from __future__ import annotations

import decimal
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from telegram.ext import DictPersistence

from ptb_s3._format.entities import Entities, Kind
from ptb_s3._jobs.listing import fault_of_job
from ptb_s3._jobs.record import JobRecord
from ptb_s3._transfer.json_files import read_json, write_json
from ptb_s3._transfer.json_jobs import jobs_form, read_jobs, value_of
from ptb_s3._transfer.maps import Skipped
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import DamagedFileError

CODEC = PickleSerializer(trusted=())
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
FILE = Path("state.json")


def job(data: object, job_id: str = "a1", **members: Any) -> JobRecord:
    """Return a job with some data."""
    trigger = ("interval", {"seconds": 60.0, "start": NOW, "end": None, "zone": "UTC"})
    return JobRecord(job_id, "tea", "shop:remind", trigger, NOW, -5, 7, data, **members)


def entities(*jobs: JobRecord) -> Entities:
    return {one.key: CODEC.dumps(one.value()) for one in jobs}


def values(read: Entities) -> dict[Any, Any]:
    return {key: CODEC.loads(data) for key, data in read.items()}


def taken(form: Any) -> tuple[Entities, list[Skipped]]:
    """Return what is read of a member, and what is left out."""
    left_out: list[Skipped] = []
    read = read_jobs(FILE, json.loads(json.dumps(form)), fault_of_job, left_out.append)
    return read, left_out


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"text": "Grüße", "n": [1, 2.5, True, None]},
        ("a", ("b",), [("c",)]),
        {1: "one", (2, "x"): {"$tuple": "a key like a tag"}},
        {
            "at": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            "when": NOW.replace(tzinfo=None),
        },
    ],
)
def test_plain_data_comes_back(data: object) -> None:
    """Types and all; its claim and its options, too."""
    before = entities(
        job(data, fixed=1, options={"misfire_grace_time": None}),
        job(data, "b2", claim={"id": "c", "by": "b", "until": NOW}),
    )
    read, left_out = taken(jobs_form(before))
    assert (values(read), left_out) == (values(before), [])
    assert repr(values(read)) == repr(values(before))


@pytest.mark.parametrize(
    "data", [decimal.Decimal(1), {1, 2}, b"bytes", float("inf"), NOW.date(), [2**20_000]]
)
def test_what_json_has_no_form_for_is_named(data: object) -> None:
    """By the job's key, and all others come back."""
    bad, good = job({"x": data}), job("plain", "b2")
    read, left_out = taken(jobs_form(entities(bad, good)))
    assert values(read) == values(entities(good))
    assert [(one.kind, one.key) for one in left_out] == [("jobs", bad.key)]
    assert "no form for" in left_out[0].reason


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"[]": {}}, "its key is none of a job"),
        ({"tea": {}}, "its key is none of a job"),
        ({"[" * 100_000: {}}, "its key is none of a job"),
        ({'["a", [5]]': {"name": "tea"}}, "it lacks 'callback'"),
        ({'["a", [5]]': 3}, "it is not a job's"),
        ({'["a", [5]]': {"$tuple": 3}}, "its data holds values that JSON has no form for"),
        ({'["a", [5]]': {"$datetime": "soon"}}, "its data holds values that JSON has no form for"),
        ({'["a", [5]]': {"$dict": [[[], 1]]}}, "its data holds values that JSON has no form for"),
        ({'["timeout:order", [5]]': {"next": 3}}, "it is no timeout's"),
    ],
)
def test_what_no_bot_could_start_with_is_named(form: Any, reason: str) -> None:
    """Whoever wrote it by hand learns why it is not there."""
    read, left_out = taken(form)
    assert read == {}
    assert [one.reason for one in left_out] == [reason]


def test_jobs_are_an_object() -> None:
    """Anything else is no file of ours."""
    with pytest.raises(DamagedFileError, match="its jobs are no object"):
        taken([1])


def test_a_form_with_more_than_its_tag_is_for_people() -> None:
    """As of a time in a zone of its own: the offset alone would lose the zone."""
    with pytest.raises(Exception, match="no form for"):
        value_of({"$datetime": "2026-01-01T00:00:00+01:00", "zone": {"$zone": "Europe/Berlin"}})


def test_a_file_has_jobs_only_where_there_are_some(tmp_path: Path) -> None:
    """Without any, it is DictPersistence's to the last member; with some, these come back."""
    file = tmp_path / "state.json"
    kinds: dict[Kind, Entities] = {kind: {} for kind in Kind}
    write_json(file, kinds)
    assert Kind.JOBS not in json.loads(file.read_text())
    kinds[Kind.JOBS] = entities(job(("plain",)))
    write_json(file, kinds, overwrite=True)
    members = json.loads(file.read_text())
    assert members["jobs"]['["a1", [-5, 7]]']["name"] == "tea"
    DictPersistence(user_data_json=json.dumps(members["user_data"]))
    read = read_json(file, vet_job=fault_of_job)[Kind.JOBS]
    assert values(read) == values(kinds[Kind.JOBS])
