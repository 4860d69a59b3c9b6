"""The README's transcripts are what the program prints on real storage."""

from __future__ import annotations

from pathlib import Path

from tests import servers
from tests.integration.transcripts import README, prepare, run, steady, transcripts

COMMANDS = {
    "doctor",
    "status",
    "history",
    "show",
    "diff",
    "verify",
    "repair",
    "restore",
    "rotate",
    "prune",
    "forget",
    "import",
    "export",
}


async def test_transcripts_are_true(tmp_path: Path) -> None:
    """Every command of the README, run in order, prints what stands there."""
    with servers.running("seaweedfs", {}) as server:
        await prepare(server, tmp_path)
        for command, output in transcripts(README.read_text()):
            assert steady(run(command, tmp_path)) == steady(output), command


def test_each_command_has_a_transcript() -> None:
    """No command of the operations page goes without."""
    shown = {
        word
        for command, output in transcripts(README.read_text())
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
