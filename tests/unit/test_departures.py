"""What the tests run on: a server that cannot be had, and how those that can differ from S3."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests import departures, servers

INTEGRATION = Path(__file__).parents[1] / "integration"


def test_each_departure_is_of_a_test_that_is_there() -> None:
    """A test that is renamed takes its departures with it, and each is stated once."""
    files = [*INTEGRATION.glob("test_*.py"), INTEGRATION.parent / "store_contract.py"]
    there = "".join(file.read_text() for file in files)
    for server, known in departures.DEPARTURES.items():
        assert server in servers.CHOICES
        named = [test for departure in known for test in departure.tests]
        assert len(set(named)) == len(named)
        for test in named:
            *classes, name = test.partition("[")[0].split("::")
            assert f"def {name}(" in there
            assert all(f"class {cls}(" in there for cls in classes)


def test_departures_cite_findings_that_are_there() -> None:
    """A reason that names a script names one that can be run."""
    for known in departures.DEPARTURES.values():
        for departure in known:
            for cited in re.findall(r"findings/\S+\.sh", departure.reason):
                assert (servers.PROJECT / cited).is_file()


@pytest.mark.parametrize("choice", ["minio", "versitygw"])
def test_a_program_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, choice: str
) -> None:
    """Neither skipped, nor passed over: usage, with what would help."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(pytest.UsageError, match=f"sh infra/{choice}.sh builds it"):
        servers.describe(choice)
    with pytest.raises(pytest.UsageError, match="not to be had"), servers.running(choice, {}):
        pass


@pytest.mark.parametrize("choice", ["seaweed", "ftp://host"])
def test_what_is_no_server_is_an_error(choice: str) -> None:
    """A name that is none, and a URL that is none, name those that are."""
    with (
        pytest.raises(pytest.UsageError, match="seaweedfs, minio, moto, versitygw"),
        servers.running(choice, {}),
    ):
        pass
