"""`infra/test.sh` says what did not run, and why; where CI has to have it, that is a failure."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = (Path(__file__).parents[2] / "infra" / "test.sh").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the script is for a POSIX shell")


def result(calls: str, **environment: str) -> str:
    """Return the last lines of the suite, after some calls of its functions."""
    functions = re.findall(r"^not_run\w*\(\) \{\n.*?^\}$", SCRIPT, re.MULTILINE | re.DOTALL)
    assert len(functions) == 2
    end = SCRIPT[SCRIPT.index('if [ -n "$left_out" ]') :]
    script = "\n".join(["set -eu", "failed='' left_out=''", *functions, calls, end])
    ran = subprocess.run(  # noqa: S603 - a part of our own script
        ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    return f"{ran.stdout}{ran.stderr}{ran.returncode}"


def test_nothing_is_named_where_all_has_run() -> None:
    """No line about it, and no failure."""
    assert result("") == "0"


def test_what_did_not_run_is_named() -> None:
    """Each with its reason, and none of it is a failure where it is optional."""
    calls = "not_run Terraform 'no provider'; not_run_in_ci_a_failure versitygw 'no Go'"
    named = "Did not run: Terraform (no provider); versitygw (no Go).\n"
    assert result(calls) == f"{named}0"
    failed = "Failed: no versitygw, which CI has to have.\n"
    assert result(calls, CI="true") == f"{named}{failed}1"


def test_whatever_knows_two_ways_to_load_is_run_in_both() -> None:
    """The script runs each suite once more whose applications read what `TESTED_LOAD` says."""
    folder = Path(__file__).parent
    reading = {
        path.name
        for path in folder.glob("test_*.py")
        if path != Path(__file__)
        and re.search("TESTED_LOAD|application_memory", path.read_text(encoding="utf-8"))
    }
    again = SCRIPT[SCRIPT.index("TESTED_LOAD=on_demand") :].partition("code=$?")[0]
    ran = set(re.findall(r"test_\w+\.py", again))
    assert len(reading) > 5
    assert reading - ran == set()
    assert all((folder / name).exists() for name in ran)


def test_each_optional_check_is_named_by_the_suite() -> None:
    """What tests skip as optional has a line in the script that says so."""
    for name in (
        "Lambda's package",
        "AWS's client",
        "terraform validate",
        "systemd-analyze verify",
        "versitygw",
    ):
        assert re.search(rf"not_run(_in_ci_a_failure)? ['\"]?{name}", SCRIPT), name
