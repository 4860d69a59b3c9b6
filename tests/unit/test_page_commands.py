"""Commands of all pages: bash takes them, they set what they use, and show no secret in `ps`."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its types are a package of their own
from tests.servers import PROJECT
from tests.support.page_commands import SECRET, Ran, arguments_with_secrets, commands, run

PAGES = [
    path
    for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("infra/**/*.md")]
    if commands(path.read_text(encoding="utf-8"))
]
WORKFLOWS = sorted(PROJECT.glob("infra/github/deploy*.yml"))
_TO_ABSOLUTE_PATH = re.compile(r">\s*/(?!dev/null)")

PROGRAMS = frozenset(
    {
        *("awk", "aws", "cat", "chmod", "cp", "curl", "docker", "fly", "gcloud", "gh", "git"),
        *("grep", "heroku", "journalctl", "kubectl", "mkdir", "mktemp", "npx", "openssl", "pip"),
        *("pre-commit", "printenv", "ptb-s3", "pytest", "railway", "rm", "sed", "sudo", "sudoedit"),
        *("terraform", "uv"),
    }
)
"""Programs that pages may use, besides ``sh`` and ``python``, whose arguments are looked at."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages are for a POSIX shell")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


def named(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def understood(script: str) -> str:
    """Return what bash says of a script that it only reads."""
    read = subprocess.run(
        ["/bin/bash", "-n"], input=script, capture_output=True, text=True, check=False
    )
    return read.stderr


def steps(workflow: Path) -> list[Any]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [(job, step) for job in jobs.values() for step in job["steps"]]


def test_pages_have_commands() -> None:
    """The tests below would not notice that all blocks are gone."""
    assert {"README.md", "docs/systemd.md", "infra/lambda/README.md"} <= {*map(named, PAGES)}
    assert len(PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_are_whole(page: Path, folder: Path) -> None:
    """In one shell, from an empty folder: no syntax error, and no variable that is set nowhere."""
    script = commands(page.read_text(encoding="utf-8"))
    assert understood(script) == ""
    assert not _TO_ABSOLUTE_PATH.search(script), "it would write outside of the folder, here"
    ran = run(script, folder)
    assert "unbound variable" not in ran.said
    assert ran.calls
    assert arguments_with_secrets(ran.calls) == []
    assert [call for call in ran.calls if not is_there(call)] == []


def is_there(call: list[str]) -> bool:
    """Tell whether a page's program is known, or the script or module that it names is there."""
    program, *arguments = call
    if program == "sh":
        return (PROJECT / arguments[0]).is_file()
    if program in {"python", "python3"}:
        is_ours = arguments[0] == "bot.py" or arguments[:2] == ["-m", "venv"]
        if arguments[:2] == ["-m", "pytest"]:
            return all((PROJECT / path).exists() for path in arguments if path.startswith("tests/"))
        return is_ours or (PROJECT / arguments[1].replace(".", "/") / "__main__.py").is_file()
    return program in PROGRAMS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=named)
def test_steps_of_workflows_show_no_secret(workflow: Path, folder: Path) -> None:
    """What a step uses is in its job's variables, and no expression is pasted into a script."""
    scripts = [(job, step["run"]) for job, step in steps(workflow) if "run" in step]
    assert len(scripts) >= 4
    for number, (job, script) in enumerate(scripts):
        assert "${{" not in script, "an expression in a script is code that its value may write"
        assert understood(script) == ""
        place = folder / str(number) / "bot"
        place.mkdir(parents=True)
        ran = run(script, place, **job.get("env", {}))
        assert "unbound variable" not in ran.said
        assert arguments_with_secrets(ran.calls) == []
    assert "secrets." not in workflow.read_text(encoding="utf-8")


LOAD = "set -a && . ./.env && set +a\n"


@pytest.mark.parametrize(
    "command",
    [
        "fly secrets set PTB_S3_KEY=$PTB_S3_KEY",
        "fly secrets set PTB_S3_KEY=abc",
        "heroku config:set TELEGRAM_BOT_TOKEN=abc",
        "gcloud run deploy --set-env-vars A=b,PTB_S3_KEY=$PTB_S3_KEY",
        "gcloud run deploy --set-env-vars PTB_S3_RETIRED_KEYS=abc,A=b",
        "docker run -e PTB_S3_KEY=abc shop-bot",
        "docker run --env AWS_SECRET_ACCESS_KEY=abc shop-bot",
        "env TELEGRAM_SECRET_TOKEN=abc python bot.py",
        "sudo PTB_S3_KEY=abc systemctl start shop-bot",
        'curl "https://api.telegram.org/bot$TELEGRAM_BOT_TOKEN/setWebhook"',
        "curl https://api.telegram.org/bot123456:ABC-DEF-GHI/getMe",
        'url="https://api.telegram.org/bot$TELEGRAM_BOT_TOKEN/getMe"; curl "$url"',
        'curl --data secret_token="$TELEGRAM_SECRET_TOKEN" https://api.telegram.org',
        'railway variable set "PTB_S3_KEY=$(ptb-s3 keys new)"',
        "key=$(ptb-s3 keys new); ptb-s3 --key $key status",
        "kubectl create secret generic a --from-literal=key=abc",
        "ptb-s3 keys new | xargs fly secrets set",
        "fly secrets set ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7",
        'gh secret set NAME --body "$(openssl rand -hex 32)"',
        'grep "$PTB_S3_KEY" notes.txt',
        "(cd . && python bot.py $TELEGRAM_SECRET_TOKEN)",
    ],
)
def test_a_secret_in_an_argument_is_found(command: str, folder: Path) -> None:
    """Whichever way it has come there, the rule above is kept by something."""
    assert len(arguments_with_secrets(run(LOAD + command, folder).calls)) == 1


@pytest.mark.parametrize(
    "command",
    [
        'printf %s "$PTB_S3_KEY" | gcloud secrets create shop-bot-key --data-file=-',
        "fly secrets import <<EOF\nPTB_S3_KEY=$PTB_S3_KEY\nEOF",
        "fly secrets import <.env",
        "printenv PTB_S3_KEY | railway variable set PTB_S3_KEY --stdin",
        'curl --config - <<<"$PTB_S3_KEY"',
        'echo "PTB_S3_KEY=$(ptb-s3 keys new)" >>.env',
        "TELEGRAM_BOT_TOKEN=123456:ABC-DEF-GHI python bot.py",
        "docker run -e PTB_S3_KEY -e PTB_S3_KEY_FILE=/run/key --env-file .env shop-bot",
        "gcloud run deploy --set-secrets PTB_S3_KEY=shop-bot-key:latest",
        "sed -n 's/^PTB_S3_KEY=//p' .env >key",
    ],
)
def test_a_secret_that_goes_another_way_is_none(command: str, folder: Path) -> None:
    """Variables, files and standard input are not shown to others."""
    ran = run(LOAD + command, folder)
    assert ran.calls
    assert arguments_with_secrets(ran.calls) == []


def test_a_variable_that_is_set_nowhere_is_found(folder: Path) -> None:
    """Also one of `.env`, where that is not loaded."""
    ran = run('printf %s "$PTB_S3_KEY" | fly secrets import', folder)
    assert "PTB_S3_KEY: unbound variable" in ran.said


def test_doubles_note_what_they_are_given(folder: Path) -> None:
    """As the shell has expanded it; what they print can be used."""
    ran = run('export A=~/b\nurl=$(gh api x)\n.venv/bin/ptb-s3 "$A" \'$A\' "$url"', folder)
    expanded = ["ptb-s3", f"{folder.parent}/b", "$A", "output-of-gh"]
    assert ran == Ran(0, "", [["gh", "api", "x"], expanded])


# What pages leave behind --------------------------------------------------------------------------


def left_by(page: str, folder: Path) -> list[list[str]]:
    return run(commands((PROJECT / page).read_text(encoding="utf-8")), folder).calls


@pytest.mark.parametrize(
    ("page", "files"),
    [
        ("infra/cloudrun/README.md", {"Dockerfile", ".dockerignore"}),
        ("infra/fly/README.md", {"Dockerfile", ".dockerignore", "fly.toml"}),
        (
            "docs/platforms.md",
            {
                *("Procfile", ".python-version", "render.yaml", "railway.json"),
                *("Dockerfile", ".dockerignore"),
            },
        ),
        ("docs/kubernetes.md", {"shop-bot.yaml"}),
        (
            "docs/github.md",
            {".github/workflows/deploy.yml", ".github/workflows/deploy-cloudrun.yml"},
        ),
    ],
)
def test_an_empty_folder_gets_the_hosts_files(page: str, files: set[str], folder: Path) -> None:
    """What the page copies is there; secrets that it writes to files are gone at its end."""
    left_by(page, folder)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left - {".env", "activate"} == files


def test_kubernetes_is_given_the_key_as_a_file(folder: Path) -> None:
    """The key alone in the one Secret, and all else in the other: both at once is an error."""
    script = commands((PROJECT / "docs" / "kubernetes.md").read_text(encoding="utf-8"))
    run(script.replace("rm ptb_s3_key shop-bot.env", ""), folder)
    assert (folder / "ptb_s3_key").read_text() == f"{SECRET}\n"
    assert (folder / "ptb_s3_key").stat().st_mode & 0o077 == 0
    others = (folder / "shop-bot.env").read_text()
    assert "PTB_S3_KEY=" not in others
    assert f"TELEGRAM_BOT_TOKEN={SECRET}\n" in others


def test_each_host_is_asked_for_its_webhook_with_the_secret() -> None:
    """Four pages, six hosts: Telegram is given an address that ends as the service wants it."""
    found = []
    for page in ("infra/lambda", "infra/cloudrun", "infra/fly", "docs/platforms"):
        path = PROJECT / (f"{page}.md" if page.startswith("docs") else f"{page}/README.md")
        text = path.read_text(encoding="utf-8")
        found += re.findall(r'^data = "url=(.+)"$', text, re.MULTILINE)
        assert text.count("secret_token=$TELEGRAM_SECRET_TOKEN") == text.count('data = "url=')
    assert len(found) == 6
    assert [shlex.split(url)[0] for url in found if not url.endswith("webhook")] == ["$url"]
