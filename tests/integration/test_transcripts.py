"""The transcripts of the pages are what the program prints on real storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import servers
from tests.integration.transcripts import PAGES, prepare, run, steady, transcripts

COMMANDS = {
    "init",
    "doctor",
    "status",
    "history",
    "show",
    "diff",
    "jobs",
    "verify",
    "repair",
    "report",
    "restore",
    "rotate",
    "compact",
    "prune",
    "forget",
    "import",
    "export",
}


@pytest.mark.parametrize("text", [pytest.param(page.read_text(), id=page.stem) for page in PAGES])
async def test_transcripts_are_true(text: str, tmp_path: Path) -> None:
    """Every command of a page, run in order, prints what stands there."""
    with servers.running("seaweedfs", {}) as server:
        await prepare(server, tmp_path)
        for command, output in transcripts(text):
            assert steady(run(command, tmp_path)) == steady(output), command


def test_each_command_has_a_transcript() -> None:
    """No command that operators need goes without."""
    shown = {
        word
        for page in PAGES
        for command, output in transcripts(page.read_text())
        for word in command.split()
        if word in COMMANDS and output
    }
    assert shown == COMMANDS


def test_what_differs_is_seen() -> None:
    """The comparison passes over times and ids, and over nothing else."""
    assert steady("revision  3, 5 seconds ago") == steady("revision 3, 2 minutes ago")
    assert steady("revision 3") != steady("revision 4")
    assert steady("3 entities") != steady("4 entities")
    assert steady("Deleted 3 versions, 1.2 kB.") == steady("Deleted 3 versions, 900 Bytes.")
