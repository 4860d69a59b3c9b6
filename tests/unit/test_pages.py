"""The README tells the truth: blocks run, links lead somewhere, tables are in step."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from telegram import Chat, Message, Update
from telegram.ext import ApplicationBuilder

from ptb_s3 import S3Persistence
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Key
from ptb_s3._values import allow_list
from ptb_s3.settings import describe, load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTB_S3_BUCKET", "my-bucket")
    monkeypatch.setenv("PTB_S3_KEY", Key(bytes(32)).reveal())


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    """No block is in a language that no test here looks at."""
    assert {language for language, _ in BLOCKS} == {
        "sh",
        "python",
        "ini",
        "json",
        "text",
        "console",  # tests/integration/test_transcripts.py runs them
    }


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str) -> None:
    """Each Python block runs as it stands, and makes a persistence."""
    names: dict[str, object] = {"TOKEN": "123456:ABC-DEF", "__name__": "__main__"}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - the README's own code
    assert isinstance(names["persistence"], S3Persistence)


async def test_the_handler_for_migrations_is_safe_with_any_application() -> None:
    """Telegram sends two messages, in either order; data is neither lost nor left behind."""
    (code,) = (text for text in blocks("python") if "def migrate" in text)
    names: dict[str, Any] = {"TOKEN": "123456:ABC-DEF"}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - the README's own code
    date = datetime.now(UTC)
    messages = [
        Message(1, date, Chat(-5, "group"), migrate_to_chat_id=-1005),
        Message(2, date, Chat(-1005, "supergroup"), migrate_from_chat_id=-5),
    ]
    for order in (messages, messages[::-1]):
        application = ApplicationBuilder().token("1:A").build()
        application.chat_data[-5]["rules"] = "be kind"
        for number, message in enumerate(order):
            context = SimpleNamespace(application=application)
            await names["migrate"](Update(number, message=message), context)
        assert dict(application.chat_data) == {-1005: {"rules": "be kind"}}


@pytest.mark.parametrize("text", blocks("ini"))
def test_settings_are_taken(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each block of variables is a complete, valid `.env`."""
    monkeypatch.delenv("PTB_S3_BUCKET")
    monkeypatch.delenv("PTB_S3_KEY")
    (tmp_path / ".env").write_text(text)
    assert load_settings().bucket == "my-bucket"


def test_commands_are_there() -> None:
    """Each command line names a script, a module or an extra that exists."""
    for line in "".join(blocks("sh")).splitlines():
        if line.startswith("sh "):
            assert (ROOT / line.split()[1]).is_file()
        else:
            python, option, module, *_ = line.split()
            assert (python, option) == ("python", "-m")
            assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"ptb-s3\[(\w+)\]", README):
        assert extra in extras["optional-dependencies"]


def test_the_two_commands_come_first() -> None:
    """The first block is the two commands, and no more."""
    assert BLOCKS[0] == ("sh", "sh infra/demo.sh\nsh infra/test.sh\n")


def test_the_policy_is_what_a_running_bot_needs() -> None:
    """The policy allows the four actions of the design, and nothing else."""
    (policy,) = (json.loads(text) for text in blocks("json"))
    actions: set[str] = set()
    for statement in policy["Statement"]:
        action = statement["Action"]
        actions |= {action} if isinstance(action, str) else set(action)
    assert actions == {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:ListBucket"}


def test_the_picture_shows_all_six_objects() -> None:
    """The picture and the code have the same objects."""
    (picture,) = blocks("text")
    for name in ("head", *Kind):
        assert f" {name}" in picture


def test_what_is_allowed_by_default_is_listed() -> None:
    """Whatever of Python's may be saved stands in the table, and what is not there may not."""
    (table,) = re.findall(r"\| from \| what may be saved \|\n(.+?)\n\n", README, re.DOTALL)
    named = set(re.findall(r"`([\w.]+)`", table))
    for module, names in allow_list._VALUE_TYPES.items():
        assert module == "builtins" or module in named
        for name in names.split():
            whole = module in {"ipaddress", "pathlib"} and name not in {"Path", "PurePath"}
            assert whole or name in named, name
    assert "object" not in named


def test_settings_are_in_step() -> None:
    """The table of settings is the one that the code would write."""
    rows = "".join(
        f"| `{n}` | {f'`{d}`' if d and d != 'required' else d} | {t} |\n" for n, d, t in describe()
    )
    assert "| variable | default | meaning |\n|---|---|---|\n" + rows in README


@pytest.mark.parametrize(("text", "target"), re.findall(r"\[([^\]]+)\]\(([^)]+)\)", README))
def test_links_lead_somewhere(text: str, target: str) -> None:
    """A link names a file that is there, and a test in it where it names a test."""
    if target.startswith("https://"):
        return
    if target.startswith("#"):
        assert f"## {text}\n" in README
        return
    path = ROOT / target
    assert path.is_file()
    if text.startswith("`test_"):
        assert f"def {text.strip('`')}(" in path.read_text()


def test_each_promise_has_its_test() -> None:
    """Six promises, and none without a link to what keeps it."""
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \|$", README.split("What it does not do")[0], re.MULTILINE
    )
    promises = [kept for promise, kept in rows if promise.endswith(".")]
    assert len(promises) == 6
    assert all("(tests/" in kept for kept in promises)
