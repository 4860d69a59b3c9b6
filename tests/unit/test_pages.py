"""README and pages tell the truth: blocks run, links lead somewhere, tables are in step."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest
import yaml  # type: ignore[import-untyped] # its types are a package of their own
from telegram import Chat, Message, Update
from telegram.ext import ApplicationBuilder

from ptb_s3 import PersistentApplication, S3Persistence
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Key
from ptb_s3._values import allow_list
from ptb_s3.cli._app import app
from ptb_s3.settings import describe, load_settings

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
"""What a user reads: every block of these is run or checked here."""
OTHERS = [
    *sorted((ROOT / "infra").glob("README.md")),
    *sorted((ROOT / "infra").glob("*/README.md")),
    *sorted((ROOT / "src").rglob("*.md")),
    ROOT / "findings" / "README.md",
    ROOT / "tests" / "vectors" / "README.md",
]
"""What is beside code. Tests of the deployments run their blocks; links are checked here."""
README_LINES = 200
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[((?:[^\[\]]|`[^`]*`)+)\]\(([^)\s]+)\)")
_HEREDOC = re.compile(r"^cat >\.env <<EOF\n(.*?)^EOF\n", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    """How the report names a page."""
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


README = text_of(ROOT / "README.md")
BLOCKS = [(path, *block) for path in PAGES for block in _BLOCK.findall(text_of(path))]
LINKS = [
    pytest.param(path, text, target, id=f"{named(path)}-{target}")
    for path in [*PAGES, *OTHERS]
    for text, target in _LINK.findall(_BLOCK.sub("", text_of(path)))
]


def page(name: str) -> str:
    return text_of(ROOT / "docs" / name)


def blocks(language: str) -> list[Any]:
    """The blocks of all pages in one language, each named by its page."""
    return [
        pytest.param(text, id=f"{named(path)}-{number}")
        for number, (path, found, text) in enumerate(BLOCKS)
        if found == language
    ]


def slug(heading: str) -> str:
    """Name that a heading is linked to by, as GitHub and MyST make it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTB_S3_BUCKET", "my-bucket")
    monkeypatch.setenv("PTB_S3_KEY", Key(bytes(32)).reveal())


def test_the_readme_is_short() -> None:
    """Nobody reads a long one."""
    assert len(README.splitlines()) <= README_LINES


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    """No block is in a language that no test here looks at."""
    assert {language for _, language, _ in BLOCKS} == {
        "sh",
        "python",
        "ini",
        "json",
        "text",
        "yaml",
        "console",  # tests/integration/test_transcripts.py runs them
    }


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python block runs as it stands; what it calls a persistence is one."""
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123456:ABC-DEF")
    monkeypatch.setattr(PersistentApplication, "run_polling", lambda _: None)
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())
    monkeypatch.setattr(prometheus_client, "start_http_server", lambda *_, **__: None)
    names: dict[str, object] = {"TOKEN": "123456:ABC-DEF", "__name__": "__main__"}
    exec(compile(code, "page", "exec"), names)  # noqa: S102 - the pages' own code
    assert isinstance(names.get("persistence"), S3Persistence | None)


def test_python_makes_persistences() -> None:
    """The test above would not notice blocks that have lost their persistence."""
    assert sum("persistence = " in text for _, language, text in BLOCKS if language == "python") > 6


async def test_the_handler_for_migrations_is_safe_with_any_application() -> None:
    """Telegram sends two messages, in either order; data is neither lost nor left behind."""
    (code,) = (text for _, _, text in BLOCKS if "def migrate" in text)
    names: dict[str, Any] = {"TOKEN": "123456:ABC-DEF"}
    exec(compile(code, "page", "exec"), names)  # noqa: S102 - the pages' own code
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


@pytest.mark.parametrize("text", blocks("yaml"))
def test_secrets_lie_where_the_variable_looks(text: str) -> None:
    """Docker Compose mounts the file whose path it gives to the bot."""
    host = yaml.safe_load(text)
    bot = host["services"]["bot"]
    given, (secret,) = bot["environment"], bot["secrets"]
    assert secret in host["secrets"]
    mounted = f"/run/secrets/{secret}"  # Compose specification, services: secrets
    assert given == {"PTB_S3_BUCKET": "my-bucket", "PTB_S3_KEY_FILE": mounted}


def test_the_unit_gives_the_credential_that_it_loads() -> None:
    """As the example above, for systemd."""
    (unit,) = (text for _, _, text in BLOCKS if "LoadCredential=" in text)
    credentials = re.findall(r"^LoadCredential=(\w+):(/etc/shop-bot/\w+)$", unit, re.MULTILINE)
    assert "Environment=PTB_S3_KEY_FILE=%d/ptb_s3_key\n" in unit
    assert [name for name, _ in credentials] == ["ptb_s3_key", "token"]
    for _, path in credentials:
        assert f"sudo install -m 0600 /dev/null {path}\n" in page("systemd.md")


@pytest.mark.parametrize("text", blocks("sh"))
def test_settings_that_commands_write_are_taken(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each here-document that becomes `.env` is a complete, valid one."""
    monkeypatch.delenv("PTB_S3_BUCKET")
    monkeypatch.delenv("PTB_S3_KEY")
    for written in _HEREDOC.findall(text):
        (tmp_path / ".env").write_text(
            written.replace("$(ptb-s3 keys new)", Key(bytes(32)).reveal())
        )
        assert load_settings().bucket == "my-bucket"


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=named)
def test_files_are_there(path: Path) -> None:
    """What a page names as a file of ours is one."""
    code = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text_of(path)))
    for name in re.findall(r"(?:^|\s)((?:tests|src|infra|findings)/[\w./-]+)", "\n".join(code)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=named)
def test_variables_are_settings(path: Path) -> None:
    """No page names a variable that would be refused, or goes into a `.env` by another name."""
    known = {name for name, _, _ in describe()} | {"PTB_S3_"}  # as in `PTB_S3_*`
    assert set(re.findall(r"\bPTB_S3_\w*", text_of(path))) <= known


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_our_commands_and_extras_exist(path: Path) -> None:
    """Each command of `ptb-s3` that a page names is one, and so is each extra."""
    groups = {group.name for group in app.registered_groups}
    known = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    }
    found = re.findall(
        r"(?:`|\$ |^)ptb-s3 (?:--env-file \S+ )?([a-z][a-z-]+)", text_of(path), re.MULTILINE
    )
    assert set(found) <= known | groups
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for named_extras in re.findall(r"ptb-s3\[([\w,]+)\]", text_of(path)):
        assert set(named_extras.split(",")) <= extras["optional-dependencies"].keys()


def test_the_two_commands_come_first() -> None:
    """The first block of README is the two commands, and no more."""
    assert _BLOCK.findall(README)[0] == ("sh", "sh infra/demo.sh\nsh infra/test.sh\n")


def test_the_policy_is_what_a_running_bot_needs() -> None:
    """The policy allows the four actions of the design, and nothing else."""
    policies = [text for _, language, text in BLOCKS if language == "json" and "Statement" in text]
    (policy,) = map(json.loads, policies)
    actions: set[str] = set()
    for statement in policy["Statement"]:
        action = statement["Action"]
        actions |= {action} if isinstance(action, str) else set(action)
    assert actions == {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:ListBucket"}


def test_the_picture_shows_all_objects() -> None:
    """The first picture of the architecture and the code have the same objects."""
    picture = next(text for language, text in _BLOCK.findall(page("architecture.md")))
    for name in ("head", *Kind):
        assert f" {name}" in picture


def test_what_is_allowed_by_default_is_listed() -> None:
    """Whatever of Python's may be saved stands in the table, and what is not there may not."""
    (table,) = re.findall(
        r"\| from \| what may be saved \|\n(.+?)\n\n", page("values.md"), re.DOTALL
    )
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
    assert "| variable | default | meaning |\n|---|---|---|\n" + rows in page("settings.md")


@pytest.mark.parametrize(("path", "text", "target"), LINKS)
def test_links_lead_somewhere(path: Path, text: str, target: str) -> None:
    """A link names a file, and a heading or a test in it where it names one."""
    if target.startswith("https://"):
        return
    file, _, anchor = target.partition("#")
    there = (path.parent / file).resolve() if file else path
    assert there.is_file()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text_of(there)), re.MULTILINE)
        assert anchor in map(slug, headings)
    if text.startswith("`test_"):
        assert f"def {text.strip('`')}(" in text_of(there)


def test_each_promise_has_its_test() -> None:
    """Seven promises, and none without a link to a test that keeps it."""
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \|$", README.split("What it does not do")[0], re.MULTILINE
    )
    promises = [kept for promise, kept in rows if promise.endswith(".")]
    assert len(promises) == 7
    assert all("(tests/" in kept for kept in promises)


def test_every_page_is_in_the_contents() -> None:
    """No page is an orphan, and README or the index leads to what a user needs."""
    contents = re.findall(r"^([a-z-]+)$", page("index.md"), re.MULTILINE)
    assert sorted(contents) == sorted(path.stem for path in DOCS if path.stem != "index")


def test_findings_are_listed() -> None:
    """The index of findings has each script once, and no other."""
    scripts = [path.name for path in (ROOT / "findings").glob("*.sh")]
    rows = re.findall(
        r"^\| \[([\w-]+)\]\(([\w.-]+)\)", text_of(ROOT / "findings" / "README.md"), re.MULTILINE
    )
    assert sorted(target for _, target in rows) == sorted(scripts)
    assert all(target == f"{name}.sh" for name, target in rows)


def test_hooks_are_the_suites_programs() -> None:
    """What runs before a commit is what `infra/test.sh` runs, from the same environment."""
    hooks = re.findall(
        r"entry: \.venv/bin/(\w+(?: (?:check|format))?)", text_of(ROOT / ".pre-commit-config.yaml")
    )
    suite = re.findall(
        r'"\$venv/bin/((?:ruff|mypy))"(?: (\w+))?', text_of(ROOT / "infra" / "test.sh")
    )
    assert hooks == [" ".join(filter(None, step)) for step in suite]


def test_the_changelog_is_kept() -> None:
    """It begins with what is not released, and groups changes by the six words of the format."""
    changelog = text_of(ROOT / "CHANGELOG.md")
    versions = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    groups = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= groups
