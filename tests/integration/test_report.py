"""`ptb-s3 report` on real storage: the page, the file, the exit code, and nothing written."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.operators import (
    ADDRESS,
    ALICE,
    BOB,
    CANARIES,
    COMMITS,
    GROUP,
    IN_HEADER,
    ROTATED,
    Operator,
    employed,
    live,
)
from tests.servers import S3Server
from tests.support import KEY, OTHER_KEY
from tests.support.reports import words_of

SECRETS = (KEY.reveal(), OTHER_KEY.reveal())


@dataclass(frozen=True)
class Saved:
    """A file that a report is saved to."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> str:
        return self.path.read_text()

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def is_there(self) -> bool:
        return self.path.exists()

    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)

    def neighbours(self) -> list[str]:
        return [path.name for path in self.path.parent.iterdir()]


@pytest.fixture
def file(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "report.html")


def plain(file: Saved) -> str:
    """Return the text of a page, and see that no secret and nobody's id or value is in it."""
    text = file.read()
    assert not [canary for canary in (*CANARIES, *SECRETS) if canary in text]
    return re.sub(r"\s+", " ", words_of(text))


async def test_a_report_tells_and_writes_nothing(onlooker: Operator, file: Saved) -> None:
    """The page is written, for its owner alone; in the bucket all is as it was."""
    outcome = await onlooker.done("report", file)
    assert re.fullmatch(r"[A-Z][\w ]+\. Wrote .+, [\d.]+ kB\.\n", outcome.stdout)
    assert file.mode() == 0o600
    text = plain(file)
    assert f"s3://{onlooker.bucket}/bot/" in text
    assert f"{COMMITS} commits, from " in text
    assert "6 current objects, opened and intact." in text
    assert "checks of the storage passed" in text
    assert "not tried, since that takes writing. Run ptb-s3 doctor." in text
    assert KEY.id in text


async def test_deep_and_every_version(onlooker: Operator, file: Saved) -> None:
    """Commits are opened, and every version is; still nothing personal shows."""
    await onlooker.done("report", file, "--deep", "--verify-history")
    text = plain(file)
    assert "changes of those that changed most" in text
    assert re.search(r"\d+ versions, opened and intact", text)


async def test_one_user(onlooker: Operator, file: Saved) -> None:
    """A life shows what changed: shapes first, values and keys where they are asked for."""
    await onlooker.done("report", file, "--user", ALICE)
    redacted = file.read()
    assert str(ALICE) in redacted
    assert ADDRESS not in redacted
    assert str(BOB) not in redacted
    outcome = await onlooker.done("report", file, "--user", ALICE, "--values")
    assert "holds values of a user" in outcome.stderr
    text = file.read()
    assert ADDRESS in text
    assert f"[&#34;order&#34;,[{ALICE},{ALICE}]]" in text
    await onlooker.done("report", file, "--user", BOB)
    assert str(abs(GROUP)) not in file.read()


async def test_only_a_report_is_replaced(onlooker: Operator, file: Saved) -> None:
    """A report takes the place of an older one; any other file stays, unless that is said."""
    await onlooker.done("report", file, "--no-doctor")
    first = file.read()
    await onlooker.done("report", file, "--no-doctor", "--no-verify")
    assert file.read() != first
    assert "Not checked" in file.read()
    file.write("<!doctype html> my diary, and of ptb-s3 report")
    said = await onlooker.fails(2, "report", file)
    assert "is there already, and was not touched" in said
    assert "--overwrite" in said
    assert file.read() == "<!doctype html> my diary, and of ptb-s3 report"
    await onlooker.done("report", file, "--no-doctor", "--overwrite")
    assert "my diary" not in file.read()
    assert file.neighbours() == ["report.html"]


async def test_standard_output(onlooker: Operator) -> None:
    """- is standard output, which holds the page and nothing else."""
    outcome = await onlooker.done("report", "-", "--no-doctor")
    assert outcome.stdout.startswith("<!doctype html>\n")
    assert outcome.stdout.endswith("</html>")


async def test_for_programs(onlooker: Operator, file: Saved) -> None:
    """JSON: the verdict, its reasons, and the exit code."""
    told = (await onlooker.done("report", file, "--json", "--no-doctor")).json
    assert (told["file"], told["verdict"], told["exit_code"]) == (str(file), "All is well", 0)
    assert {"grade": "good", "told": "6 current objects, opened and intact.", "command": ""} in (
        told["reasons"]
    )


async def test_options_that_make_no_sense(onlooker: Operator, file: Saved, tmp_path: Path) -> None:
    """Values are a user's, standard output takes one thing, and a folder is no file."""
    assert "--user" in await onlooker.fails(2, "report", file, "--values")
    assert "directory" in await onlooker.fails(2, "report", tmp_path)
    missing = tmp_path / "none" / "report.html"
    assert "cannot be written" in await onlooker.fails(2, "report", missing, "--no-doctor")
    outcome = await onlooker.run("report", "-", "--json")
    assert outcome.exit_code == 2
    assert not file.is_there()


async def test_probing_writes_and_clears_away(operator: Operator, file: Saved) -> None:
    """--probe proves what doctor proves, and leaves nothing of it."""
    before = await operator.listing()
    await operator.run("report", file, "--probe")
    text = plain(file)
    assert "one winner among 16 writers" in text
    assert await operator.listing() == before


async def test_limits(onlooker: Operator, file: Saved) -> None:
    """The newest commits alone, and how many are left out."""
    await onlooker.done("report", file, "--limit", 3, "--no-doctor")
    assert f"{COMMITS - 3} older ones were left out" in plain(file)


async def test_damage_is_told_by_page_and_exit_code(operator: Operator, file: Saved) -> None:
    """The page of a damaged state is written, shows the rest, and the exit code is verify's."""
    await operator.damage("user_data")
    outcome = await operator.run("report", file, "--no-doctor")
    assert outcome.exit_code == (await operator.run("verify")).exit_code == 5
    text = plain(file)
    assert "Not well" in text
    assert "user_data" in text
    assert f"{COMMITS} commits, from " in text
    await operator.damage("head", IN_HEADER)
    assert (await operator.run("report", file, "--no-doctor")).exit_code == 5
    assert "1 version of head cannot be read" in plain(file)


async def test_a_missing_key(operator: Operator, file: Saved) -> None:
    """Without the key, the page tells what headers tell, and whose key it takes."""
    await operator.done("rotate", "--while-running", **ROTATED)
    outcome = await operator.run("report", file, "--no-doctor")
    assert outcome.exit_code == 4
    text = plain(file)
    assert OTHER_KEY.id in text
    assert "commits, from " in text
    await operator.done("report", file, "--no-doctor", **ROTATED)
    assert "key changed" in plain(file)


async def test_nothing_there(empty: Operator, file: Saved) -> None:
    """Where no bot has saved anything, there is no page."""
    await empty.fails(3, "report", file)
    assert not file.is_there()


@pytest.mark.usefixtures("impatient")
async def test_storage_out_of_reach(onlooker: Operator, file: Saved) -> None:
    """Where nobody answers, there is no page, and an older one stays."""
    await onlooker.done("report", file, "--no-doctor")
    older = file.read()
    nowhere = {"PTB_S3_ENDPOINT_URL": "http://127.0.0.1:1"}
    outcome = await onlooker.run("report", file, **nowhere)
    assert (outcome.exit_code, outcome.stdout) == (7, "")
    assert file.read() == older


async def test_without_versions(s3_server: S3Server, file: Saved) -> None:
    """A bucket that keeps none: the state, and a word that there is no going back."""
    async with employed(s3_server, versioned=False) as operator:
        await live(operator.store())
        await operator.run("report", file)
        text = plain(file)
        assert "there is no history to go back to" in text
        assert "1 commit, from " in text
        assert "Look into this" in text
