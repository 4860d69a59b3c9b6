"""`ptb-s3 init`: what it asks, what it writes and what it leaves alone, without a storage."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import aioboto3
import pytest
from tests.support.bucket_templates import Json, Values, Written, in_cloudformation, in_terraform
from typer.testing import CliRunner, Result

from ptb_s3._keys.keyring import Key
from ptb_s3._storage.lifecycle import read_rules
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli import _env_file, _opened
from ptb_s3.cli._app import app
from ptb_s3.cli._init import retention
from ptb_s3.cli._init.answers import Answers
from ptb_s3.cli._init.policy import bot_policy
from ptb_s3.cli._init.providers import PROVIDERS, Step
from ptb_s3.cli._init.script import script
from ptb_s3.errors import SettingsError
from ptb_s3.settings import load_settings

ACCOUNT = "0123456789abcdef0123456789abcdef"
NEEDED: dict[str, tuple[str, ...]] = {
    "aws": (),
    "r2": ("--account-id", ACCOUNT),
    "b2": ("--region", "eu-central-003", "--single-writer"),
    "tigris": (),
    "minio": (),
}
"""Options of each provider for which there is no proposal."""
TOKEN = "TELEGRAM_BOT_TOKEN=123456:ABC-DEF\n"  # noqa: S105 - BotFather's own example
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, links and shells of POSIX")


@pytest.fixture(scope="module")
def session() -> Any:
    """One session for all, which loads no certificates: both take long, and nobody is asked."""
    made = aioboto3.Session()
    made._session.set_config_variable("ca_bundle", False)  # noqa: FBT003 - none
    return made


@pytest.fixture(autouse=True)
def folder(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bot's folder, which is the working directory."""
    path = tmp_path / "Shop Bot"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setattr(_opened, "S3Store", partial(S3Store, session=session))
    with mock.patch.dict(os.environ):  # a file's credentials go there
        yield path


def init(*options: str, yes: bool = True) -> Result:
    result = CliRunner().invoke(app, ["init", *options, *(["--yes"] if yes else [])])
    assert result.exception is None or isinstance(result.exception, SystemExit), result
    return result


def provided(name: str, *options: str) -> Result:
    """Run it for a provider, with what there is no proposal for."""
    return init("--provider", name, *NEEDED[name], *options)


def written(path: str = ".env") -> dict[str, str]:
    return dict(line.split("=", 1) for line in Path(path).read_text().splitlines())


def refused(result: Result, *said: str) -> None:
    """It is a usage error with these words, and shows nothing else."""
    assert (result.exit_code, result.stdout) == (2, ""), result
    for text in (*said, "Nothing was changed."):
        assert text in result.stderr, result.stderr


# The file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_file_is_a_bots_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot starts with it as it is; its key is new, and is shown nowhere."""
    result = provided(name)
    assert result.exit_code == 0, result
    settings = load_settings()
    assert settings.prefix == "shop-bot/"
    assert re.fullmatch(r"shop-bot-[0-9a-f]{8}", settings.bucket)
    assert settings.single_writer == (not PROVIDERS[name].conditional)
    assert settings.key is not None
    key = settings.key.reveal()
    assert key[9:20] not in result.stdout + result.stderr
    assert Key.parse(key).id in result.stderr
    assert "second copy" in result.stderr
    monkeypatch.chdir("..")
    assert provided(name).exit_code == 0
    assert load_settings().key != settings.key


@posix
def test_a_new_file_is_for_its_owner_alone() -> None:
    """Whatever the umask says."""
    before = os.umask(0)
    try:
        assert provided("aws").exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600


@pytest.mark.parametrize("there", ["PTB_S3_KEY=x", "export PTB_S3_SYNC=1", "ptb_s3_bucket=b"])
def test_settings_are_never_written_over(there: str, folder: Path) -> None:
    """A file with any of them stays as it is, byte by byte."""
    content = f"{TOKEN}\r\n# mine\n{there}".encode()
    Path(".env").write_bytes(content)
    refused(provided("aws"), ".env has settings already", "--env-file")
    assert Path(".env").read_bytes() == content
    assert [path.name for path in folder.iterdir()] == [".env"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
@pytest.mark.parametrize("content", ["", TOKEN, TOKEN.rstrip(), f"# a\r\n{TOKEN}".rstrip()])
def test_a_file_without_them_is_added_to(content: str, mode: int, folder: Path) -> None:
    """Its content and its mode stay; that others may read it is said."""
    file = Path(".env")
    file.write_bytes(content.encode())
    file.chmod(mode)
    result = provided("aws")
    assert result.exit_code == 0, result
    assert "the settings are added at its end" in result.stderr
    assert ("may be read by other users" in result.stderr) == bool(mode & 0o044)
    assert file.read_bytes().startswith(content.encode())
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert load_settings().prefix == "shop-bot/"
    assert [path.name for path in folder.iterdir()] == [".env"]


@posix
def test_a_link_stays_one(tmp_path: Path) -> None:
    """What it leads to is added to."""
    (tmp_path / "secrets").write_text(TOKEN)
    Path(".env").symlink_to(tmp_path / "secrets")
    assert provided("aws").exit_code == 0
    assert Path(".env").is_symlink()
    assert (tmp_path / "secrets").read_text().startswith(f"{TOKEN}PTB_S3_BUCKET=")


@pytest.mark.parametrize("there", [None, TOKEN])
def test_an_interrupted_write_leaves_nothing(
    there: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between making the file and filling it."""
    if there:
        Path(".env").write_text(there)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fdopen", interrupted)
    result = CliRunner().invoke(app, ["init", "--provider", "aws", "--yes"])
    assert result.exit_code == 130
    assert {path.name: path.read_text() for path in folder.iterdir()} == (
        {".env": there} if there else {}
    )


@pytest.mark.parametrize("there", [None, TOKEN])
def test_a_folder_that_cannot_be_written_to(
    there: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the system's reason."""
    if there:
        Path(".env").write_text(there)
    real = os.open

    def denied(path: Any, flags: int, *mode: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *mode, **options)

    monkeypatch.setattr(os, "open", denied)
    result = provided("aws")
    assert (result.exit_code, ".env cannot be written: Permission" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("path", "said"), [("no/.env", "there is no such folder"), (".", "is not a file")]
)
def test_no_place_for_a_file(path: str, said: str) -> None:
    """It is said before anything is asked."""
    result = init("--env-file", path, yes=False)
    assert (result.exit_code, said in result.stderr) == (2, True), result


def test_another_file(folder: Path) -> None:
    """Every command of the script names it, quoted for the shell."""
    result = provided("aws", "--env-file", "my bot.env")
    assert result.exit_code == 0, result
    assert [path.name for path in folder.iterdir()] == ["my bot.env"]
    assert result.stdout.count("'my bot.env'") == 3
    assert result.stdout.endswith("ptb-s3 --env-file 'my bot.env' doctor\n")


@pytest.mark.parametrize(
    "name", ["PTB_S3_KEY", "PTB_S3_BUCKET", "PTB_S3_KEY_FILE", "PTB_S3_KMS_KEY_ID"]
)
def test_variables_that_would_win_over_the_file(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot would not use what is written: so nothing is."""
    monkeypatch.setenv(name, "canary")
    result = provided("aws")
    refused(result, name, "Unset that first")
    assert "canary" not in result.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no Git to ask")
@pytest.mark.parametrize(
    ("repository", "ignored", "warned"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_git_is_to_ignore_the_file(
    *, repository: bool, ignored: bool, warned: bool, folder: Path
) -> None:
    """In a work tree, a file with a key that could be committed is a warning."""
    if repository:
        subprocess.run(["git", "init", "-q", folder], check=True)  # noqa: S603, S607 - a test's own
    if ignored:
        Path(".gitignore").write_text(".env\n")
    assert ("Git does not ignore .env" in provided("aws").stderr) == warned


def test_written_anew_is_an_error() -> None:
    """Whoever else has made the file in the meantime keeps it."""
    Path("there").write_text(TOKEN)
    with pytest.raises(SettingsError, match="File exists"):
        _env_file.write(Path("there"), {"A": "b"})
    assert Path("there").read_text() == TOKEN


# Answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "provider"),
    [
        ("--provider", "aws"),
        ("--bucket", "aws"),
        ("--prefix", "aws"),
        ("--region", "aws"),
        ("--region", "b2"),
        ("--account-id", "r2"),
        ("--endpoint-url", "minio"),
        ("--single-writer", "b2"),
    ],
)
def test_what_is_missing_is_named(option: str, provider: str, folder: Path) -> None:
    """Where nobody is there to ask, it is a usage error."""
    options = complete(provider)
    del options[option]
    refused(init(*flat(options), yes=False), f"{option} is missing")
    assert list(folder.iterdir()) == []


def complete(provider: str) -> dict[str, str | None]:
    """Options that leave no question open, by name; None for those without a value."""
    options: dict[str, str | None] = {
        "--provider": provider,
        "--bucket": "tea-shop",
        "--prefix": "tea/",
    }
    match provider:
        case "aws":
            options["--region"] = "eu-central-1"
        case "r2":
            options["--account-id"] = ACCOUNT
        case "b2":
            options |= {"--region": "eu-central-003", "--single-writer": None}
        case "minio":
            options["--endpoint-url"] = "http://127.0.0.1:9000"
    return options


def flat(options: Mapping[str, str | None]) -> list[str]:
    return [word for pair in options.items() for word in pair if word is not None]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_options_that_leave_no_question(provider: str) -> None:
    """Nobody has to be there."""
    result = init(*flat(complete(provider)), yes=False)
    assert result.exit_code == 0, result
    assert written()["PTB_S3_BUCKET"] == "tea-shop"


@pytest.mark.parametrize("provider", ["", "b2", "r2"])
def test_what_has_no_proposal_is_not_made_up(provider: str, folder: Path) -> None:
    """`--yes` takes what is proposed, and no more."""
    refused(init(*(["--provider", provider] if provider else [])), "is missing")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "provider"),
    [
        ("--provider", "azure", "aws"),
        ("--bucket", "ab", "aws"),
        ("--bucket", "a" * 64, "aws"),
        ("--bucket", "Tea", "aws"),
        ("--bucket", "tea_shop", "aws"),
        ("--bucket", "-tea", "aws"),
        ("--bucket", "tea.shop", "aws"),
        ("--bucket", "xn--tea", "aws"),
        ("--bucket", "tea-s3alias", "aws"),
        ("--bucket", "short", "b2"),
        ("--bucket", "s3://tea-shop", "aws"),
        ("--prefix", "tea", "aws"),
        ("--prefix", "", "aws"),
        ("--prefix", "/tea/", "aws"),
        ("--prefix", "tea//", "aws"),
        ("--prefix", "tea*/", "aws"),
        ("--prefix", "../tea/", "aws"),
        ("--prefix", "it's/", "aws"),
        ("--region", "frankfurt", "aws"),
        ("--region", "eu-central-1", "b2"),
        ("--region", "a b", "minio"),
        ("--account-id", "me@example.com", "r2"),
        ("--endpoint-url", "minio:9000", "minio"),
        ("--endpoint-url", "https://me:secret@minio:9000", "minio"),
        ("--endpoint-url", "https://tea-shop.s3.amazonaws.com", "aws"),
    ],
)
def test_wrong_answers(option: str, value: str, provider: str, folder: Path) -> None:
    """Each is refused at once in the name of its option, and nothing is written."""
    result = init(*flat(complete(provider) | {option: value}), yes=False)
    assert (result.exit_code, result.stdout) == (2, ""), result
    assert re.match(f"error: ({option}|--bucket): ", result.stderr), result.stderr
    assert "secret" not in result.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "region", ["us-east-1", "ap-southeast-5", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1"]
)
def test_regions_of_aws(region: str) -> None:
    """There is no list of them: their form is what is known."""
    assert init(*flat(complete("aws") | {"--region": region}), yes=False).exit_code == 0


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_of_the_environment_is_proposed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has one for AWS means that."""
    monkeypatch.setenv(name, "eu-west-3")
    assert provided("aws").exit_code == 0
    assert written()["PTB_S3_REGION"] == "eu-west-3"


@pytest.mark.parametrize(
    ("folder_name", "prefix"), [("Tea & Co.", "tea-co/"), ("чай", "my-bot/"), ("_", "my-bot/")]
)
def test_proposals_can_be_used(
    folder_name: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the folder is called."""
    (tmp_path / folder_name).mkdir()
    monkeypatch.chdir(tmp_path / folder_name)
    assert provided("aws").exit_code == 0
    assert written()["PTB_S3_PREFIX"] == prefix


def test_for_programs() -> None:
    """With `--json` there is one value, and no secret in it."""
    result = provided("aws", "--json")
    told = json.loads(result.stdout)
    key = written()["PTB_S3_KEY"]
    assert key[9:20] not in result.stdout + result.stderr
    assert told["variables"] == {k: v for k, v in written().items() if k != "PTB_S3_KEY"}
    assert (told["created"], told["doctor"]) == ([], None)
    assert told["script"].endswith("\nptb-s3 doctor\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_create_without_credentials(*, as_json: bool) -> None:
    """It is an error that says how to go on; the file is there, and the same again goes on."""
    result = provided("aws", "--create", *(["--json"] if as_json else []))
    assert result.exit_code == 7, result
    assert "no bucket was made" in result.stderr
    before = Path(".env").read_bytes()
    if as_json:
        assert json.loads(result.stdout)["error"]["kind"] == "AccessDeniedError"
    else:
        assert result.stdout.startswith("# With the AWS CLI")
    assert init("--provider", "aws", "--create").exit_code == 7
    assert Path(".env").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--bucket", "another", "PTB_S3_BUCKET"),
        ("--prefix", "another/", "PTB_S3_PREFIX"),
        ("--endpoint-url", "http://127.0.0.1:1", "PTB_S3_ENDPOINT_URL"),
    ],
)
def test_create_does_not_change_a_file(option: str, value: str, named: str) -> None:
    """An option that says otherwise than the file is an error."""
    assert provided("aws").exit_code == 0
    before = Path(".env").read_bytes()
    refused(init("--provider", "aws", "--create", option, value), f"another {named}")
    assert Path(".env").read_bytes() == before


# Policy and rules ---------------------------------------------------------------------------------


def allowed(policy: Json) -> set[tuple[str, str]]:
    """What a policy allows of S3: actions, each with its resource."""
    return {
        (action, statement["Resource"])
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
        if action.startswith("s3:")
    }


@pytest.mark.parametrize("template", [in_cloudformation, in_terraform])
def test_the_policy_is_that_of_the_templates(template: Any) -> None:
    """The bot's, and of the operator's what looks at the bucket: what doctor asks for."""
    values = Values()
    there: Written = template(values)
    looks = {pair for pair in allowed(there.operator_policy) if pair[1] == values.arn}
    assert allowed(bot_policy(values.bucket, values.prefix)) == allowed(there.bot_policy) | looks
    words = {action for action, _ in looks}
    assert not [word for word in words if not word.startswith(("s3:Get", "s3:List"))]


@pytest.mark.parametrize("template", [in_cloudformation, in_terraform])
@pytest.mark.parametrize("days", [1, 30, 400])
def test_the_rules_are_those_of_the_templates(template: Any, days: int) -> None:
    """Word by word."""
    values = Values(prefix="tea/", history_days=days)
    assert retention.rules("tea/", days) == template(values).lifecycle


OTHER = {
    "ID": "logs",
    "Status": "Enabled",
    "Filter": {"Prefix": "logs/"},
    "Expiration": {"Days": 7},
}


def rule(**changed: Any) -> dict[str, Any]:
    return retention.rules("tea/", 30)[0] | changed


@pytest.mark.parametrize(
    ("there", "added"),
    [
        ([], {"history", "doctor"}),
        ([OTHER], {"history", "doctor"}),
        ([rule()], {"doctor"}),
        ([rule(ID="mine", Filter={"Prefix": ""})], {"doctor"}),
        ([rule(Filter={"Prefix": "milk/"})], {"history of tea/", "doctor"}),
        ([rule(Status="Disabled")], {"history of tea/", "doctor"}),
        ([rule(Filter={"Tag": {"Key": "a", "Value": "b"}})], {"history of tea/", "doctor"}),
        (retention.rules("tea/", 30), None),
        (retention.rules("tea/", 7), None),
        (retention.rules("tea/", 30)[::-1], None),
    ],
)
def test_rules_are_added_to_those_that_are_there(
    there: list[dict[str, Any]], added: set[str] | None
) -> None:
    """What is there stays as it is and in its order; what it does already is not added."""
    request = retention.merged({"Rules": there}, "tea/", retention.rules("tea/", 30))
    if added is None:
        assert request is None
        return
    assert request is not None
    rules = request["LifecycleConfiguration"]["Rules"]
    assert rules[: len(there)] == there
    assert {it["ID"] for it in rules[len(there) :]} == added
    again = retention.merged({"Rules": rules}, "tea/", retention.rules("tea/", 30))
    assert again is None


def test_rules_of_the_older_form() -> None:
    """S3 takes rules with a prefix in a place of its own, or with filters, but not both."""
    old = {"ID": "logs", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 7}}
    request = retention.merged({"Rules": [old]}, "tea/", retention.rules("tea/", 30))
    assert request is not None
    rules = request["LifecycleConfiguration"]["Rules"]
    assert [("Prefix" in it, "Filter" in it) for it in rules] == [(True, False)] * 3
    ours = read_rules({"Rules": rules})[1:]
    assert ours == read_rules({"Rules": retention.rules("tea/", 30)})


def test_sizes_of_transitions_stay() -> None:
    """A PUT that leaves this setting out would change it for everybody's rules."""
    name, value = "TransitionDefaultMinimumObjectSize", "varies_by_storage_class"
    wanted = retention.rules("tea/", 30)
    request = retention.merged({"Rules": [OTHER], name: value}, "tea/", wanted)
    assert request is not None
    assert request[name] == value
    plain = retention.merged({"Rules": [OTHER]}, "tea/", wanted)
    assert plain is not None
    assert name not in plain


# Scripts ------------------------------------------------------------------------------------------

# What each command prints, as its documentation has it; and what is typed where it asks.
_STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"$ROOT/commands"
case "$(basename "$0") $*" in
    "aws iam create-access-key "*) printf 'the-id\\tthe-secret\\n' ;;
    "aws sts get-caller-identity "*) echo 123456789012 ;;
    "b2 key create "*) echo "the-id the-secret" ;;
    "mc admin user add storage") cat >"$ROOT/typed" ;;
    "mc admin policy create "*) cat >"$ROOT/policy" ;;
esac
"""
TYPED = "AWS_ACCESS_KEY_ID=the-id\nAWS_SECRET_ACCESS_KEY=the-secret\n"
PROGRAMS = {"aws": "aws", "r2": "npx", "b2": "b2", "tigris": "tigris", "minio": "mc"}


def run_script(text: str, root: Path, program: str) -> list[list[str]]:
    """Run a script with stand-ins for the programs it calls; return their command lines."""
    (root / "bin").mkdir()
    for name in (program, "ptb-s3"):
        stand_in = root / "bin" / name
        stand_in.write_text(_STAND_IN)
        stand_in.chmod(0o755)
    subprocess.run(  # noqa: S603 - our own script, and stand-ins
        ["/bin/sh", "-eu", "-c", text],
        input=TYPED,
        env={"PATH": f"{root / 'bin'}{os.pathsep}{os.defpath}", "ROOT": str(root)},
        text=True,
        check=True,
        capture_output=True,
        timeout=30,
    )
    return [shlex.split(line) for line in _lines((root / "commands").read_text())]


def _lines(text: str) -> list[str]:
    """Lines, with those of JSON documents left out: they end where the next command begins."""
    names = "|".join((*PROGRAMS.values(), "ptb-s3"))
    return [line for line in text.splitlines() if re.match(rf"({names}) ", line)]


@posix
@pytest.mark.parametrize("name", PROVIDERS)
def test_scripts_run(name: str, tmp_path: Path) -> None:
    """As they stand: the access key ends up in the file, and no secret in any argument."""
    result = init(*flat(complete(name)), yes=False)
    commands = run_script(result.stdout, tmp_path, PROGRAMS[name])
    assert {command[0] for command in commands} == {PROGRAMS[name], "ptb-s3"}
    assert commands[-1] == ["ptb-s3", "doctor"]
    given = written()
    secret = given["AWS_SECRET_ACCESS_KEY"]
    assert given["AWS_ACCESS_KEY_ID"] == ("tea" if name == "minio" else "the-id")
    for hidden in (secret, given["PTB_S3_KEY"]):
        assert hidden not in (tmp_path / "commands").read_text()
        assert hidden not in result.stdout
    if name == "minio":
        assert (tmp_path / "typed").read_text() == f"tea\n{secret}\n"
        assert re.fullmatch(r"[0-9a-f]{40}", secret)
    assert load_settings().bucket == "tea-shop"
    if name == "aws":
        assert given["PTB_S3_EXPECTED_BUCKET_OWNER"] == "123456789012"


MAKING = {
    Step.BUCKET: ("s3api create-bucket ", "bucket create ", "tigris mk ", "mc mb "),
    Step.PRIVACY: ("put-public-access-block ",),
    Step.VERSIONS: ("put-bucket-versioning ", "mc version enable "),
    Step.RETENTION: (
        "put-bucket-lifecycle-configuration ",
        "--lifecycle-rule ",
        "mc ilm rule add ",
    ),
}
"""What the commands of each step begin with, or hold."""


@pytest.mark.parametrize("left", [(), *((step,) for step in Step)], ids=str)
@pytest.mark.parametrize("name", PROVIDERS)
def test_scripts_have_the_steps_that_are_left(name: str, left: tuple[Step, ...]) -> None:
    """What was made already is not made again; user and access key are in each of them."""
    answers = Answers(
        provider=PROVIDERS[name],
        bucket="tea-shop",
        prefix="tea/",
        region="eu-central-1",
        endpoint_url="http://127.0.0.1:9000",
    )
    text = script(answers, ".env", left)
    found = {step for step, words in MAKING.items() if any(word in text for word in words)}
    both = {Step.BUCKET, Step.RETENTION} if name == "b2" and Step.BUCKET in left else set()
    assert found == ({*left} & {*PROVIDERS[name].steps}) | both
    assert ">>.env" in text
    assert text.endswith("\nptb-s3 doctor\n")


@posix
@pytest.mark.parametrize("name", PROVIDERS)
def test_scripts_say_what_the_storage_cannot_do(name: str) -> None:
    """Each limit comes first, as a comment; and docs/providers.md knows the provider."""
    result = init(*flat(complete(name)), yes=False)
    limits = [f"# {limit}" for limit in PROVIDERS[name].limits]
    assert result.stdout.splitlines()[: len(limits)] == limits
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
    (row,) = re.findall(
        rf"^\| {re.escape(PROVIDERS[name].title)} \|(.*)\|.*\|$", page, re.MULTILINE
    )
    going_back, safe = (cell.strip() for cell in row.split("|")[:2])
    assert (going_back == "yes") == (name in {"aws", "b2", "minio"})
    assert (safe != "no") == PROVIDERS[name].conditional


@pytest.mark.parametrize("name", ["aws", "tigris", "minio"])
def test_policies_have_no_action_that_is_refused(name: str) -> None:
    """The document in the script is our policy, less what the provider does not know."""
    result = init(*flat(complete(name)), yes=False)
    (document,) = re.findall(r'(\{"Version".*?^\]\})', result.stdout, re.MULTILINE | re.DOTALL)
    actions = {action for action, _ in allowed(json.loads(document))}
    whole = {action for action, _ in allowed(bot_policy("tea-shop", "tea/"))}
    unknown = {f"s3:{action}" for action in PROVIDERS[name].unknown_actions}
    assert unknown <= whole
    assert actions == whole - unknown
    assert {"s3:GetObject", "s3:PutObject", "s3:ListBucket"} <= actions


def test_the_rule_of_b2() -> None:
    """It is of a form of its own, and lets no two rules be about the same object."""
    result = init(*flat(complete("b2") | {"--history-days": "9"}), yes=False)
    rules = re.findall(r"--lifecycle-rule '(.*?)'", result.stdout)
    assert [json.loads(it) for it in rules] == [
        {
            "daysFromHidingToDeleting": 9,
            "daysFromUploadingToHiding": None,
            "fileNamePrefix": "tea/",
        }
    ]
    (plain,) = retention.rules("tea/", 9, overlapping=False)
    assert plain.keys() == {"ID", "Status", "Filter", "NoncurrentVersionExpiration"}
