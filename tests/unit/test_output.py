"""What tables look like in a terminal that is not wide."""

from __future__ import annotations

import pytest
from rich.console import Console

from ptb_s3.cli import _output

ID = "aa6a0fc07956b0d7"
COLUMNS = ["revision", "time", "writer", "changed", "size", ""]
ROW = ["8", "2026-11-29 14:20:29", ID, "user 2, bot 1, conversations 2", "4.5 kB", "#" * 12]


@pytest.mark.parametrize(
    ("width", "bar", "writer"), [(120, True, True), (100, False, True), (80, False, False)]
)
def test_what_does_not_fit_goes(
    width: int,
    bar: bool,  # noqa: FBT001 - a parameter
    writer: bool,  # noqa: FBT001 - as above
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bars first, then the writer; and an id is there as a whole, or not at all."""
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    _output.table(COLUMNS, [ROW], right=["revision", "size"], spare=["", "writer"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert ("####" in printed, ID in printed) == (bar, writer)
    assert ID[:8] not in printed.replace(ID, "")


def test_an_id_is_never_broken_in_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where something has to give way, it is what has spaces."""
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    rows = [["user_data", "6713760bcd71b43a19ed6f793c16dd45", "it does not begin like an object"]]
    _output.table(["object", "version", "cannot be read, since"], rows)
    assert "6713760bcd71b43a19ed6f793c16dd45" in capsys.readouterr().out
