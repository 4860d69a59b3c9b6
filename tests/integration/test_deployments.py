"""What deploys the hosts of infra/: that it is taken, names files that exist, and fits the code."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its types are a package of their own
from tests.integration.hosts import INFRA, Json
from tests.servers import PROJECT
from tests.support.bucket_templates import TEMPLATE as BUCKET_TEMPLATE
from tests.support.bucket_templates import _tag_loader as tag_loader

from ptb_s3.settings import describe

TEMPLATE = INFRA / "lambda" / "template.yaml"
DOCKERFILE = INFRA / "cloudrun" / "Dockerfile"
FLY = INFRA / "fly" / "fly.toml"
CODE = [INFRA / name for name in ("webhook/webhook.py", "lambda/handler.py", "cloudrun/service.py")]
READMES = [INFRA / host / "README.md" for host in ("lambda", "cloudrun", "fly")]


def template() -> Json:
    read: Json = yaml.load(TEMPLATE.read_text(), tag_loader())  # noqa: S506 - a safe one
    return read


def constant(file: str, name: str) -> Any:
    """Return a constant of a module, without importing what the module imports."""
    tree = ast.parse((INFRA / file).read_text())
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    (value,) = (node.value for node in assignments if ast.unparse(node.targets[0]) == name)
    return ast.literal_eval(value)


def variables() -> set[str]:
    """Return what may be set: what infra's own code reads, and ptb-s3's settings."""
    code = "".join(path.read_text() for path in CODE)
    own = re.findall(r'(?:environ\.get|_required)\("(\w+)"', code)
    assert len(own) >= 5
    return {*own, *(name for name, _, _ in describe())}


def files_of_build() -> list[str]:
    """Return the files that build.sh puts beside the packages."""
    (line,) = re.findall(r"^cp (.+) \"\$build\"$", script(), re.MULTILINE)
    return str(line).split()


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
    """The handler is a function of a module that build.sh puts there, with all that it imports."""
    function = template()["Resources"]["Function"]["Properties"]
    module, name = function["Handler"].rsplit(".", 1)
    built = {Path(file).stem: PROJECT / file for file in files_of_build()}
    tree = ast.parse(built[module].read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert built.keys() == {"handler", "bot", "webhook"}
    assert all(path.is_file() for path in built.values())
    assert function["Code"] == "build/"
    assert "\nbuild=infra/lambda/build\n" in script()


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
    assert {*required, "TELEGRAM_TOKEN", "TELEGRAM_SECRET_TOKEN"} <= given.keys() <= variables()
    hidden = {n for n, it in template()["Parameters"].items() if it.get("NoEcho")}
    others = {"RetiredKeys", "HistoryKeys"}
    assert hidden == {"Key", *others, "TelegramToken", "TelegramSecretToken"}
    assert not any("Default" in template()["Parameters"][n] for n in hidden - others)


def test_there_is_time_to_give_up_in() -> None:
    """The shortest time-out is well above what the handler keeps in reserve."""
    timeout = template()["Parameters"]["Timeout"]
    assert timeout["MinValue"] >= 2 * constant("lambda/handler.py", "RESERVE")


def test_the_url_is_open_to_telegram() -> None:
    """No AWS identity is asked for; both permissions that URLs need by now are there."""
    resources = template()["Resources"].values()
    (url,) = (it["Properties"] for it in resources if it["Type"] == "AWS::Lambda::Url")
    assert url["AuthType"] == "NONE"
    permissions = [it["Properties"] for it in resources if it["Type"] == "AWS::Lambda::Permission"]
    by_action = {it.pop("Action"): it for it in permissions}
    everybody = {"FunctionName": {"!Ref": "Function"}, "Principal": "*"}
    assert by_action == {
        "lambda:InvokeFunctionUrl": {**everybody, "FunctionUrlAuthType": "NONE"},
        "lambda:InvokeFunction": {**everybody, "InvokedViaFunctionUrl": True},
    }


# The service --------------------------------------------------------------------------------------


def test_the_image_is_made_of_files_that_exist() -> None:
    """Each is there, and let through to the build; the service finds what it imports."""
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    assert "*" in ignore
    copied = [
        source
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    ]
    for source in copied:
        assert (PROJECT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), source
    assert {"infra/cloudrun/service.py", "infra/webhook/bot.py", "infra/webhook/webhook.py"} <= {
        *copied
    }
    assert DOCKERFILE.read_text().splitlines()[-1] == 'CMD ["python", "service.py"]'


def test_fly_runs_the_service() -> None:
    """The image, port, health check and variables are those of the service."""
    fly = tomllib.loads(FLY.read_text())
    assert (FLY.parent / fly["build"]["dockerfile"]).resolve() == DOCKERFILE
    assert fly["env"].keys() <= variables()
    assert fly["http_service"]["internal_port"] == int(fly["env"]["PORT"])
    (check,) = fly["http_service"]["checks"]
    assert check["path"] == constant("cloudrun/service.py", "HEALTH")


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

asyncio.run(main())
"""


def test_fly_uses_what_its_storage_sets(tmp_path: Path) -> None:
    """The very variables of `fly storage create`, and those of fly.toml, lead to the bucket."""
    fly = tomllib.loads(FLY.read_text())
    assert fly["http_service"]["processes"] == [*fly["processes"]]
    (tmp_path / "service.py").write_text(_SHOWN)
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
    assert ran.stderr == ""
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
    grace = constant("cloudrun/service.py", "GRACE")
    assert float(fly["kill_timeout"].removesuffix("s")) >= flush + 2 * grace


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
            assert f" {name}=" in text
    assert set(re.findall(r"OutputKey=='(\w+)'", text)) <= template()["Outputs"].keys()


def test_infras_readme_has_them_all() -> None:
    """A row for each folder."""
    text = (INFRA / "README.md").read_text()
    for folder in ("webhook", "lambda", "cloudrun", "fly"):
        assert f"`{folder}/`" in text
