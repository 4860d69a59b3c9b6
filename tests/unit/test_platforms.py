"""What Heroku, Render, Railway, Fly and GitHub read: each field known, and in step with ours."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its types are a package of their own

from ptb_s3._options import Options
from ptb_s3.hosts.webhook import ALIVE, GRACE, READY, _parser
from ptb_s3.settings import describe

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
PAGE = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
WORKFLOWS = sorted(INFRA.glob("github/deploy*.yml"))
PATIENCE = Options.flush_timeout + 2 * GRACE
"""Seconds that a host has to wait after SIGTERM at least."""
HEROKU_ANSWERS_WITHIN = 30.0
"""Seconds, by https://devcenter.heroku.com/articles/request-timeout."""
SECRETS = {
    *("PTB_S3_KEY", "TELEGRAM_BOT_TOKEN", "TELEGRAM_SECRET_TOKEN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}
RENDER = {
    "": {"services"},
    "services": {
        *("type", "name", "runtime", "plan", "region", "numInstances", "healthCheckPath"),
        *("maxShutdownDelaySeconds", "envVars"),
    },
    "services.envVars": {"key", "value", "sync"},
}
"""Fields that are used, of those in https://render.com/docs/blueprint-spec."""
RAILWAY = {
    "": {"$schema", "build", "deploy"},
    "build": {"builder", "dockerfilePath"},
    "deploy": {
        *("healthcheckPath", "healthcheckTimeout", "restartPolicyType", "restartPolicyMaxRetries"),
        *("overlapSeconds", "drainingSeconds"),
    },
}
"""Fields that are used, of those in https://docs.railway.com/config-as-code/reference."""
FLY = {
    "": {
        *("app", "primary_region", "kill_signal", "kill_timeout", "build", "processes", "env"),
        *("http_service", "vm"),
    },
    "build": {"dockerfile"},
    "processes": {"app"},
    "env": {name for name, _, _ in describe()} | {"PORT"},
    "http_service": {
        *("processes", "internal_port", "force_https", "auto_stop_machines"),
        *("auto_start_machines", "min_machines_running", "checks"),
    },
    "http_service.checks": {"method", "path", "grace_period", "interval", "timeout"},
    "vm": {"size", "memory"},
}
"""Fields that are used, of those in https://fly.io/docs/reference/configuration."""


def fields(value: Any, place: str = "") -> set[str]:
    """Return where each field of a file stands, as in ``services.envVars.key``."""
    if isinstance(value, list):
        return {field for entry in value for field in fields(entry, place)}
    if not isinstance(value, dict):
        return set()
    paths = {name: f"{place}.{name}".lstrip(".") for name in value}
    below = [fields(value[name], path) for name, path in paths.items()]
    return {*paths.values()}.union(*below)


def documented(table: dict[str, set[str]]) -> set[str]:
    return {f"{place}.{name}".lstrip(".") for place, names in table.items() for name in names}


# Heroku -------------------------------------------------------------------------------------------


def test_heroku_starts_the_service() -> None:
    """One process for the web, which gives up before Heroku's router does."""
    lines = (INFRA / "heroku" / "Procfile").read_text().splitlines()
    (command,) = (line.removeprefix("web: ") for line in lines)
    module, arguments = shlex.split(command)[:3], shlex.split(command)[3:]
    assert module == ["python", "-m", "ptb_s3.hosts.webhook"]
    asked = _parser().parse_args(arguments)
    assert asked.build == "shop.bot:build"
    assert 0 < asked.update_timeout < HEROKU_ANSWERS_WITHIN
    assert f"`--update-timeout {asked.update_timeout:g}`" in PAGE


def test_heroku_runs_a_python_that_will_do() -> None:
    """That of the container of the other hosts."""
    version = (INFRA / "heroku" / ".python-version").read_text().strip()
    assert f"FROM python:{version}-slim\n" in (INFRA / "cloudrun" / "Dockerfile").read_text()


# Fly ----------------------------------------------------------------------------------------------


def fly() -> Any:
    return tomllib.loads((INFRA / "fly" / "fly.toml").read_text())


def test_fly_knows_each_field() -> None:
    """What else is of it is in tests/integration/test_deployments.py."""
    assert fields(fly()) <= documented(FLY)


# Render -------------------------------------------------------------------------------------------


def render() -> Any:
    return yaml.safe_load((INFRA / "render" / "render.yaml").read_text())


def test_render_knows_each_field() -> None:
    """One that is misspelled is refused, or worse, passed over."""
    assert fields(render()) <= documented(RENDER)


def test_render_runs_the_image() -> None:
    """Its probe is of the process, and the window at the end is longer than a flush."""
    (service,) = render()["services"]
    assert (service["type"], service["runtime"], service["numInstances"]) == ("web", "docker", 1)
    assert service["healthCheckPath"] == ALIVE
    assert PATIENCE <= service["maxShutdownDelaySeconds"] <= 300


def test_render_asks_for_secrets() -> None:
    """None has a value in the file, each that is needed is asked for, and all are read."""
    (service,) = render()["services"]
    asked = {entry["key"] for entry in service["envVars"] if entry.get("sync") is False}
    given = {entry["key"] for entry in service["envVars"] if "value" in entry}
    assert asked == SECRETS
    assert given <= {name for name, _, _ in describe()}
    assert {name for name, default, _ in describe() if default == "required"} <= asked | given


# Railway ------------------------------------------------------------------------------------------


def railway() -> Any:
    return json.loads((INFRA / "railway" / "railway.json").read_text())


def test_railway_knows_each_field() -> None:
    """As for Render."""
    assert fields(railway()) <= documented(RAILWAY)


def test_railway_waits_for_the_service() -> None:
    """By itself, it kills at once; a deploy is live when the state is loaded."""
    deploy = railway()["deploy"]
    assert deploy["drainingSeconds"] >= PATIENCE
    assert deploy["healthcheckPath"] == READY
    assert railway()["build"] == {"builder": "DOCKERFILE", "dockerfilePath": "Dockerfile"}


def test_railway_is_given_all_secrets() -> None:
    """By standard input, one at a time."""
    (names,) = re.findall(r"^for name in (.+); do$", PAGE, re.MULTILINE)
    assert set(names.split()) == SECRETS


@pytest.mark.parametrize(
    ("file", "table", "wrong"),
    [
        (render, RENDER, {"services": [{"healthcheckPath": "/healthz"}]}),
        (railway, RAILWAY, {"deploy": {"drainSeconds": 30}}),
        (fly, FLY, {"kill_timeouts": "10s"}),
    ],
)
def test_a_misspelled_field_would_be_found(file: Any, table: Any, wrong: Any) -> None:
    """Or the tests above would prove nothing."""
    assert fields({**file(), **wrong}) - documented(table)


# GitHub -------------------------------------------------------------------------------------------


def checked(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run check-jsonschema, which brings GitHub's schema with it."""
    program = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    return subprocess.run(  # noqa: S603 - a test dependency
        [program, "--builtin-schema", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_github_takes_the_workflow(workflow: Path) -> None:
    """By the schema of GitHub's workflows."""
    run = checked("vendor.github-workflows", workflow)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_wrong_workflow_would_be_found(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    wrong = tmp_path / "deploy.yml"
    wrong.write_text(WORKFLOWS[-1].read_text().replace("timeout-minutes: 15", "timeout: 15"))
    assert checked("vendor.github-workflows", wrong).returncode == 1


def test_compose_takes_its_file() -> None:
    """By the schema of Compose's files."""
    run = checked("vendor.compose-spec", INFRA / "compose.yaml")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_little(workflow: Path) -> None:
    """It reads the code; only the job that deploys, after the tests, is known to the cloud."""
    read = yaml.safe_load(workflow.read_text())
    assert read["permissions"] == {"contents": "read"}
    test, deploy = read["jobs"]["test"], read["jobs"]["deploy"]
    assert "permissions" not in test
    assert deploy["permissions"] == {"contents": "read", "id-token": "write"}
    assert (deploy["needs"], deploy["environment"]) == ("test", "production")
    assert read["concurrency"] == {"group": "deploy", "cancel-in-progress": False}
    triggers = read[True]  # YAML 1.1 takes "on" for a boolean
    assert triggers == {"push": {"branches": ["main"]}, "workflow_dispatch": None}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(workflow: Path) -> None:
    """By a whole commit, with the version beside it, which is the same wherever it is used."""
    lines = re.findall(r"uses: (.+)$", workflow.read_text(), re.MULTILINE)
    assert len(lines) >= 6
    pins: dict[str, tuple[str, str]] = {}
    for line in lines:
        found = re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
        assert found, line
        pin = (found[2], found[3])
        assert pins.setdefault(found[1], pin) == pin


def test_workflows_agree() -> None:
    """What tests a bot is the same for each host."""
    first, second = (yaml.safe_load(path.read_text())["jobs"]["test"] for path in WORKFLOWS)
    assert first == second


def test_the_role_lets_one_environment_put_code_into_one_function() -> None:
    """cfn-lint takes it; who may assume it is compared whole, and what it may is two actions."""
    template = INFRA / "github" / "role.yaml"
    program = Path(sysconfig.get_path("scripts")) / "cfn-lint"
    run = subprocess.run(  # noqa: S603 - a test dependency
        [program, template], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    text = template.read_text()
    assert "StringLike" not in text
    assert "*" not in text.partition("Resources:")[2]
    assert re.findall(r"- (lambda:\w+)", text) == [
        "lambda:UpdateFunctionCode",
        "lambda:GetFunction",
    ]
    assert ":sub: !Sub repo:${Repository}:environment:${Environment}\n" in text
    (allowed,) = re.findall(r"AllowedPattern: (\S+@\S+)$", text, re.MULTILINE)
    for name, is_one in (
        ("octocat/shop-bot", True),
        ("octocat@583231/shop.bot@456789", True),
        ("octocat/*", False),
        ("octocat/shop-bot:ref:refs/heads/x", False),
    ):
        assert bool(re.fullmatch(allowed, name)) is is_one


def test_the_page_sets_each_variable_of_the_workflows() -> None:
    """And the commands name the outputs and parameters that the role's template has."""
    page = (ROOT / "docs" / "github.md").read_text(encoding="utf-8")
    used = {name for path in WORKFLOWS for name in re.findall(r"vars\.(\w+)", path.read_text())}
    assert set(re.findall(r"gh variable set (\w+) --env production", page)) == used
    template = (INFRA / "github" / "role.yaml").read_text()
    for name in ("Repository", "Function", "ProviderArn", "RoleArn"):
        assert f"\n  {name}:\n" in template
        assert name in page
