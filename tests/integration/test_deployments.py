"""What deploys the hosts of infra/: that it is taken, names files that exist, and fits the code."""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import yaml  # type: ignore[import-untyped] # its types are a package of their own
from tests.integration.hosts import EXAMPLE, INFRA, Json
from tests.servers import PROJECT
from tests.support.bucket_templates import TEMPLATE as BUCKET_TEMPLATE
from tests.support.bucket_templates import _tag_loader as tag_loader
from tests.support.page_commands import run

from ptb_s3._options import Load
from ptb_s3.hosts.aws_lambda import COMPACT, RESERVE, RUN_DUE
from ptb_s3.hosts.webhook import GRACE, READY
from ptb_s3.settings import describe

TEMPLATE = INFRA / "lambda" / "template.yaml"
DOCKERFILE = INFRA / "cloudrun" / "Dockerfile"
FLY = INFRA / "fly" / "fly.toml"
CODE = [*(PROJECT / "src" / "ptb_s3" / "hosts").glob("*.py")]
ARCHITECTURE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
"""That of this machine, as build.sh names it, so that it imports what it has built."""
SERVICE = ["python", "-m", "ptb_s3.hosts.webhook", "shop.bot:build"]
READMES = [INFRA / host / "README.md" for host in ("lambda", "cloudrun", "fly")]


def template() -> Json:
    read: Json = yaml.load(TEMPLATE.read_text(), tag_loader())  # noqa: S506 - a safe one
    return read


def variables() -> set[str]:
    """Return what may be set: what hosts read, and ptb-s3's settings."""
    code = "".join(path.read_text() for path in CODE)
    own = re.findall(r'variable\("(\w+)"', code)
    assert len(own) >= 5
    return {*own, *(name for name, _, _ in describe())}


def script() -> str:
    return (INFRA / "lambda" / "build.sh").read_text()


# Lambda -------------------------------------------------------------------------------------------


def test_cloudformation_takes_the_template() -> None:
    """cfn-lint, which knows the resources' schemas and IAM's actions, finds nothing."""
    program = Path(sysconfig.get_path("scripts")) / "cfn-lint"
    run = subprocess.run(  # noqa: S603 - a test dependency
        [program, TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr


def test_the_function_is_what_is_built() -> None:
    """The handler is a name of a module of the project; README shows that module as it is."""
    function = template()["Resources"]["Function"]["Properties"]
    module, name = function["Handler"].rsplit(".", 1)
    code = (EXAMPLE / f"{module}.py").read_text()
    names = [node.targets[0] for node in ast.parse(code).body if isinstance(node, ast.Assign)]
    assert [ast.unparse(node) for node in names] == [name]
    shown = (INFRA / "lambda" / "README.md").read_text().partition("```python\n")[2]
    assert code.endswith(shown.partition("```")[0])
    assert function["Code"] == "build/"
    assert "\nbuild=$PWD/infra/lambda/build\n" in script()


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `build.sh` of a checkout in ``checkout``, on ``project``.

    pip is a double: what it installs is not what the tests are about.
    """
    checkout = folder / "checkout"
    (checkout / "infra" / "lambda").mkdir(parents=True)
    for script in ("build.sh", "import_handler.py"):
        shutil.copy(INFRA / "lambda" / script, checkout / "infra" / "lambda")
    python = folder / "python"
    python.write_text(
        _PYTHON.format(python=sys.executable, package=str(PROJECT / "src" / "ptb_s3"))
    )
    python.chmod(0o755)
    return subprocess.run(  # noqa: S603 - our own script
        ["/bin/sh", checkout / "infra" / "lambda" / "build.sh", "project"],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHON": str(python), "ARCHITECTURE": ARCHITECTURE},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_build_takes_the_project_and_no_secret(tmp_path: Path) -> None:
    """All modules of a project are in the function; what is hidden, as .env is, stays out of it."""
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".env", ".git/config", "venv/x.py", "vendor/x.whl", "data/texts.json"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("x")
    assert built(tmp_path).returncode == 0
    build = tmp_path / "checkout" / "infra" / "lambda" / "build"
    files = {str(path.relative_to(build)) for path in build.rglob("*") if path.is_file()}
    ours = {name for name in files if name.startswith("ptb_s3/")}
    assert not [name for name in ours if name.startswith("ptb_s3/cli/")]
    assert {name for name in files - ours if "__pycache__" not in name} == {
        *("installed", "handler.py", "data/texts.json"),
        *("shop/__init__.py", "shop/bot.py", "shop/texts.py"),
    }
    assert (build / "installed").read_text() == f"{project} -r requirements.txt"
    assert any("__pycache__/bot." in name for name in files)
    kept = {path.name for path in (build / "botocore" / "data").iterdir()}
    assert kept == {"s3", "sts", "kms", "sso", "sso-oidc"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Lambda's own kind of machine imports it")
def test_a_module_that_is_missing_fails_the_build(tmp_path: Path) -> None:
    """One that the project imports, and that is neither its own nor installed."""
    assert '\n    "Linux $machine") "$python" -I -S infra/lambda/import_handler.py' in script()
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "shop" / "texts.py").unlink()
    ran = built(tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith("The handler cannot be imported: ")
    assert "Built" not in ran.stdout


@pytest.mark.parametrize(
    ("handler", "code", "said"),
    [
        (None, 0, ""),
        ("import no_such_module", 1, "The handler cannot be imported: No module named 'no_such_"),
        ("import os; os.environ['MINE']", 0, "The handler was not tried to its end: KeyError."),
    ],
)
def test_the_build_imports_the_handler(
    handler: str | None, code: int, said: str, tmp_path: Path
) -> None:
    """The example's can be; a module that is missing fails the build, and no variable does."""
    build = tmp_path / "build"
    shutil.copytree(EXAMPLE, build, ignore=shutil.ignore_patterns("__pycache__"))
    (build / "ptb_s3").symlink_to(PROJECT / "src" / "ptb_s3")
    if handler is not None:
        (build / "handler.py").write_text(handler)
    ran = subprocess.run(  # noqa: S603 - our own script; with -S, it would need all packages there
        [sys.executable, "-I", INFRA / "lambda" / "import_handler.py", build],
        cwd=tmp_path,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr[: len(said)]) == (code, said)
    assert bool(ran.stderr) is bool(said)


_PYTHON = """#!{python}
import os, pathlib, shutil, sys
arguments = sys.argv[1:]
if arguments[:3] == ["-I", "-S", "infra/lambda/import_handler.py"]:
    arguments.remove("-S")  # it would need all packages in the build
if "pip" not in arguments:
    os.execv({python!r}, [{python!r}, *arguments])
target = pathlib.Path(arguments[arguments.index("--target") + 1])
for service in ("s3", "sts", "kms", "sso", "sso-oidc", "ec2", "iam"):
    (target / "botocore" / "data" / service).mkdir(parents=True)
shutil.copytree({package!r}, target / "ptb_s3", ignore=shutil.ignore_patterns("__pycache__"))
(target / "installed").write_text(" ".join([os.getcwd(), *arguments[-2:]]))
"""


def test_the_function_may_use_the_bucket_and_its_log_and_no_more() -> None:
    """Its role has the bot's policy of infra/bucket, and writes to its own log group."""
    role = template()["Resources"]["Role"]["Properties"]
    assert role["ManagedPolicyArns"] == [{"!Ref": "BotPolicyArn"}]
    (policy,) = role["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": {"!GetAtt": "Log.Arn"},
    }
    assert "\n  BotPolicyArn:\n" in BUCKET_TEMPLATE.read_text().partition("\nOutputs:\n")[2]


def test_the_function_is_given_what_it_reads() -> None:
    """All that is required, and nothing unknown; CloudFormation shows no secret."""
    function = template()["Resources"]["Function"]["Properties"]
    given = function["Environment"]["Variables"]
    required = {name for name, default, _ in describe() if default == "required"}
    assert {*required, "TELEGRAM_BOT_TOKEN", "TELEGRAM_SECRET_TOKEN"} <= given.keys() <= variables()
    hidden = {n for n, it in template()["Parameters"].items() if it.get("NoEcho")}
    others = {"RetiredKeys", "HistoryKeys"}
    assert hidden == {"Key", *others, "TelegramToken", "TelegramSecretToken"}
    assert not any("Default" in template()["Parameters"][n] for n in hidden - others)


def test_what_a_start_reads_is_chosen() -> None:
    """By a parameter that takes what the setting takes, all of it by default."""
    function = template()["Resources"]["Function"]["Properties"]
    assert function["Environment"]["Variables"]["PTB_S3_LOAD"] == {"!Ref": "Load"}
    asked = template()["Parameters"]["Load"]
    assert (asked["Default"], tuple(asked["AllowedValues"])) == ("all", get_args(Load))


def test_there_is_time_to_give_up_in() -> None:
    """The shortest time-out is well above what the handler keeps in reserve."""
    timeout = template()["Parameters"]["Timeout"]
    assert timeout["MinValue"] >= 2 * RESERVE


def permissions() -> list[Json]:
    """Return who may invoke the function."""
    resources = template()["Resources"].values()
    return [it["Properties"] for it in resources if it["Type"] == "AWS::Lambda::Permission"]


def test_a_schedule_is_off_unless_asked_for() -> None:
    """It sends the event that the handler takes, and that rule alone may do so."""
    asked = {"!Equals": [{"!Ref": "RunDue"}, "yes"]}
    assert template()["Conditions"]["RunsDue"] == asked
    assert template()["Parameters"]["RunDue"]["Default"] == "no"
    rule = template()["Resources"]["EachMinute"]
    (target,) = rule["Properties"]["Targets"]
    assert json.loads(target["Input"]) == RUN_DUE
    assert rule["Properties"]["ScheduleExpression"] == "rate(1 minute)"
    assert permission_of("EachMinute") in permissions()
    conditions = {it.get("Condition") for it in template()["Resources"].values()}
    assert conditions == {None, "RunsDue", "Compacts"}


def permission_of(rule: str) -> Json:
    """Return what lets a rule invoke the function."""
    return {
        "FunctionName": {"!Ref": "Function"},
        "Principal": "events.amazonaws.com",
        "Action": "lambda:InvokeFunction",
        "SourceArn": {"!GetAtt": f"{rule}.Arn"},
    }


def test_a_daily_compaction_is_off_unless_asked_for() -> None:
    """It sends the event that the handler takes; the two rules alone may invoke the function."""
    asked = {"!Equals": [{"!Ref": "Compact"}, "yes"]}
    assert template()["Conditions"]["Compacts"] == asked
    assert template()["Parameters"]["Compact"]["Default"] == "no"
    rule = template()["Resources"]["EachDay"]
    assert rule["Condition"] == template()["Resources"]["MayCompact"]["Condition"] == "Compacts"
    (target,) = rule["Properties"]["Targets"]
    assert json.loads(target["Input"]) == COMPACT
    assert rule["Properties"]["ScheduleExpression"] == "rate(1 day)"
    others = [it for it in permissions() if it["Principal"] != "*"]
    assert others == [permission_of("EachMinute"), permission_of("EachDay")]


def test_the_url_is_open_to_telegram() -> None:
    """No AWS identity is asked for; both permissions that URLs need by now are there."""
    resources = template()["Resources"].values()
    (url,) = (it["Properties"] for it in resources if it["Type"] == "AWS::Lambda::Url")
    assert url["AuthType"] == "NONE"
    by_action = {it.pop("Action"): it for it in permissions() if it["Principal"] == "*"}
    everybody = {"FunctionName": {"!Ref": "Function"}, "Principal": "*"}
    assert by_action == {
        "lambda:InvokeFunctionUrl": {**everybody, "FunctionUrlAuthType": "NONE"},
        "lambda:InvokeFunction": {**everybody, "InvokedViaFunctionUrl": True},
    }


# The service --------------------------------------------------------------------------------------


def test_the_image_is_made_of_the_project() -> None:
    """All of it but secrets; the service runs without a shell, and finds the project's function."""
    ignored = DOCKERFILE.with_name(".dockerignore").read_text().splitlines()
    assert {".env*", "*.env", ".git", ".venv"} <= {*ignored}
    lines = DOCKERFILE.read_text().splitlines()
    assert [line for line in lines if line.startswith("COPY")] == ["COPY . ."]
    assert json.loads(lines[-1].removeprefix("CMD ")) == SERVICE
    assert (EXAMPLE / "requirements.txt").is_file()


POLLING = (PROJECT / "docs" / "polling.md").read_text()
IMAGES = {
    "webhook": DOCKERFILE.read_text(),
    "polling": re.findall(r"^```text\n(FROM .*?)^```$", POLLING, re.MULTILINE | re.DOTALL)[0],
}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_in_order(image: str, tmp_path: Path) -> None:
    """Instructions, in an order that works; what is installed is what the project names.

    No engine is asked: `RUN` is run with doubles in the folder that `COPY` has filled, and `CMD` by
    tests/integration/test_webhook_commands.py.
    """
    joined = IMAGES[image].replace("\\\n", " ").splitlines()
    lines = [line.partition(" ") for line in joined if line and not line.startswith("#")]
    assert [name for name, _, _ in lines] == ["FROM", "WORKDIR", "COPY", "RUN", "USER", "CMD"]
    steps = {name: text for name, _, text in lines}
    folder = tmp_path / "app"
    if image == "webhook":
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        assert steps["COPY"].split() == ["requirements.txt", "bot.py", "./"]
        folder.mkdir()
        (folder / "requirements.txt").touch()
    ran = run(steps["RUN"], folder)
    install, *others = ran.calls
    assert (ran.code, install[:2], install[-2:]) == (
        0,
        ["pip", "install"],
        ["-r", "requirements.txt"],
    )
    assert (folder / install[-1]).is_file()
    assert others in ([], [["python", "-m", "compileall", "-q", "."]])
    assert steps["USER"] in {"nobody", "65534"}
    assert json.loads(steps["CMD"])[0] == "python"


def test_the_example_has_the_wheel_of_this_version() -> None:
    """What `pip wheel` makes of a checkout is what its requirements name."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wheel = f"./vendor/{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl"
    assert wheel in (EXAMPLE / "requirements.txt").read_text().splitlines()


def test_fly_runs_the_service() -> None:
    """The image, port, health check and variables are those of the service."""
    fly = tomllib.loads(FLY.read_text())
    assert fly["build"]["dockerfile"] == DOCKERFILE.name
    assert shlex.join(SERVICE) in fly["processes"]["app"]
    assert fly["env"].keys() <= variables()
    assert fly["http_service"]["internal_port"] == int(fly["env"]["PORT"])
    (check,) = fly["http_service"]["checks"]
    assert check["path"] == READY


_SHOWN = """
import asyncio, json
from ptb_s3._storage.s3 import S3Store
from ptb_s3.settings import load_settings

async def main():
    it = load_settings(None)
    store = S3Store(it.bucket, it.prefix, addressing_style=it.addressing_style)
    access = await store.access()
    object = {"Bucket": it.bucket, "Key": "k"}
    url = await (await store._client()).generate_presigned_url("get_object", object)
    await store.close()
    print(json.dumps([access.region, access.credentials, url.partition("?")[0]]))

def build():
    asyncio.run(main())
    raise SystemExit
"""


def test_fly_uses_what_its_storage_sets(tmp_path: Path) -> None:
    """The very variables of `fly storage create`, and those of fly.toml, lead to the bucket."""
    fly = tomllib.loads(FLY.read_text())
    assert fly["http_service"]["processes"] == [*fly["processes"]]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "bot.py").write_text(_SHOWN)
    set_by_fly = {
        "AWS_ACCESS_KEY_ID": "tid_x",
        "AWS_ENDPOINT_URL_S3": "https://fly.storage.tigris.dev",
        "AWS_REGION": "auto",
        "AWS_SECRET_ACCESS_KEY": "tsec_x",
        "BUCKET_NAME": "summer-grass-2004",
    }
    environment = {
        **fly["env"],
        **set_by_fly,
        "PTB_S3_KEY": "ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoOeXryU",
        "TELEGRAM_SECRET_TOKEN": "s",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "PYTHONPATH": str(PROJECT / "src"),
        "HOME": str(tmp_path),
    }
    ran = subprocess.run(  # noqa: S603 - the command of fly.toml
        shlex.split(fly["processes"]["app"]),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in ran.stderr.splitlines() if not line.startswith("INFO ")] == []
    assert json.loads(ran.stdout) == [
        "auto",
        "env",
        "https://summer-grass-2004.fly.storage.tigris.dev/k",
    ]


def test_fly_waits_for_the_service() -> None:
    """It sends SIGTERM, and kills no sooner than the service has promised to end."""
    fly = tomllib.loads(FLY.read_text())
    assert fly["kill_signal"] == "SIGTERM"
    flush = float(fly["env"]["PTB_S3_FLUSH_TIMEOUT"])
    assert float(fly["kill_timeout"].removesuffix("s")) >= flush + 2 * GRACE


# What is said of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.parent.name))
def test_the_readmes_are_in_step(readme: Path) -> None:
    """Files, variables and parameters that they name exist; the webhook is set with the secret."""
    text = readme.read_text()
    for file in re.findall(r"\b(?:infra|src)/[\w./-]+\w", text):
        assert (PROJECT / file).exists() or file.startswith("infra/lambda/build/"), file
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (readme.parent / link).exists(), link
    assert set(re.findall(r"\b(?:PTB_S3|TELEGRAM)_[A-Z_]+\b", text)) <= variables()
    assert "secret_token=" in text


def test_the_readme_of_lambda_names_the_parameters() -> None:
    """Each in its table with its default, and in the command those that have none."""
    text = (INFRA / "lambda" / "README.md").read_text()
    for name, it in template()["Parameters"].items():
        default = it.get("Default", "required")
        shown = "" if default == "" else default if default == "required" else f"`{default}`"
        assert f"\n| `{name}` | {shown} | " in text
        if default == "required":
            assert f'"{name}=' in text
    assert set(re.findall(r"OutputKey=='(\w+)'", text)) <= template()["Outputs"].keys()


def test_infras_readme_has_them_all() -> None:
    """A row for each folder."""
    text = (INFRA / "README.md").read_text()
    for folder in INFRA.iterdir():
        assert not folder.is_dir() or f"`{folder.name}/`" in text, folder.name
