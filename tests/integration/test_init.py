"""`ptb-s3 init` on real storage: the bucket it makes, what it leaves alone, and a bot after it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.moto_server import MotoServer, running_moto
from tests.servers import PROJECT, S3Client, S3Server
from tests.support.buckets import client_of, empty_bucket, keep_versions, open_store
from tests.support.meddlingproxy import Answered, Asked, MeddlingProxy, error
from tests.support.terminal import Terminal

from ptb_s3._storage.lifecycle import read_rules
from ptb_s3.cli._init import retention
from ptb_s3.cli._init.answers import Answers
from ptb_s3.cli._init.bucket import Done, Maker, Outcome
from ptb_s3.cli._init.providers import PROVIDERS, Step
from ptb_s3.errors import AccessDeniedError, StorageError, StorageUnavailableError

PREFIX = "tea/"
WITHIN = 60
OTHERS: list[dict[str, Any]] = [
    {
        "ID": "history",
        "Status": "Enabled",
        "Filter": {"Prefix": "milk/"},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
    },
    {
        "ID": "logs",
        "Status": "Enabled",
        "Filter": {"Prefix": "logs/"},
        "Expiration": {"Days": 3},
    },
]
_BOT = """
import asyncio
from telegram.ext import ApplicationBuilder
from ptb_s3 import S3Persistence

async def main():
    persistence = S3Persistence.from_env()
    ApplicationBuilder().token("4711:A").persistence(persistence).build()
    data = await persistence.get_user_data()
    print(data.get(7, {}).get("n", 0), flush=True)
    await persistence.update_user_data(7, {"n": data.get(7, {}).get("n", 0) + 1})
    await persistence.flush()

asyncio.run(main())
"""


# The bucket ---------------------------------------------------------------------------------------


class Site(NamedTuple):
    """A server, by a way that can meddle, and the name of a bucket that is not there yet.

    Attributes:
        provider: Name of the provider whose steps are taken there.
        proxy: The way.
        client: Looks behind it.
        bucket: The name.
    """

    provider: str
    proxy: MeddlingProxy
    client: S3Client
    bucket: str

    async def make(self, *, prefix: str = PREFIX, days: int = 30) -> dict[Step, Outcome]:
        """Have the bucket made; return what came of each step."""
        answers = Answers(
            provider=PROVIDERS[self.provider],
            bucket=self.bucket,
            prefix=prefix,
            region=self.proxy.server.region_name,
            endpoint_url=self.proxy.server.endpoint_url,
            history_days=days,
        )
        reported: list[Done] = []
        store = open_store(self.proxy.server, self.bucket)
        try:
            done = await Maker(store, answers, reported.append).make()
        finally:
            await store.close()
        assert tuple(reported) == done
        return {one.step: one.outcome for one in done}

    @property
    def steps(self) -> tuple[Step, ...]:
        return PROVIDERS[self.provider].steps

    async def rules(self) -> list[dict[str, Any]]:
        found = await self.client.get_bucket_lifecycle_configuration(Bucket=self.bucket)
        return list(found["Rules"])

    async def versioning(self) -> str:
        return str((await self.client.get_bucket_versioning(Bucket=self.bucket)).get("Status", ""))

    @property
    def changes(self) -> list[str]:
        """All requests so far that could have changed something."""
        asked = self.proxy.asked
        return [f"{it.method} {it.target}" for it in asked if it.method not in {"GET", "HEAD"}]


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with running_moto() as server:
        yield server


@pytest.fixture(params=["minio", "aws"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """The server of the run as a MinIO, and moto as AWS."""
    if request.param == "aws":
        anybody = {"AccessKeyId": "anybody", "SecretAccessKey": "any"}
        server: S3Server = request.getfixturevalue("moto").identity(anybody)
    else:
        server = request.getfixturevalue("s3_server")
    bucket = f"ptb-s3-test-{secrets.token_hex(8)}"
    async with MeddlingProxy(server) as proxy, client_of(server) as client:
        yield Site(request.param, proxy, client, bucket)
        with suppress(client.exceptions.NoSuchBucket):
            await empty_bucket(client, bucket)
            await client.delete_bucket(Bucket=bucket)


async def test_a_new_bucket(site: Site) -> None:
    """It keeps versions, lets them expire, and is closed to the public where that can be said."""
    assert await site.make(days=9) == dict.fromkeys(site.steps, Outcome.MADE)
    assert await site.versioning() == "Enabled"
    rules = await site.rules()
    assert read_rules({"Rules": rules}) == read_rules({"Rules": retention.rules(PREFIX, 9)})
    if site.provider == "aws":
        assert rules == retention.rules(PREFIX, 9)
        block = await site.client.get_public_access_block(Bucket=site.bucket)
        assert set(block["PublicAccessBlockConfiguration"].values()) == {True}


async def test_the_second_time_changes_nothing(site: Site) -> None:
    """Not even by a request that could: each step looks first, whatever the days were."""
    await site.make()
    before = await site.rules()
    site.proxy.asked.clear()
    assert await site.make() == dict.fromkeys(site.steps, Outcome.THERE)
    assert await site.make(days=400) == dict.fromkeys(site.steps, Outcome.THERE)
    assert site.changes == []
    assert await site.rules() == before


async def test_a_bucket_that_is_there(site: Site) -> None:
    """It is used as it is: what lies there stays, and who may see it is not for us to say."""
    await site.client.create_bucket(Bucket=site.bucket)
    await site.client.put_object(Bucket=site.bucket, Key="page.html", Body=b"hello")
    done = await site.make()
    assert done.pop(Step.PRIVACY, Outcome.LEFT) is Outcome.LEFT
    made = {Step.VERSIONS: Outcome.MADE, Step.RETENTION: Outcome.MADE}
    assert done == {Step.BUCKET: Outcome.THERE, **made}
    assert not [change for change in site.changes if "ublicAccess" in change]
    assert not [it for it in site.changes if it.rstrip("/") == f"PUT /{site.bucket}"]
    assert await site.versioning() == "Enabled"
    page = await site.client.get_object(Bucket=site.bucket, Key="page.html")
    assert await page["Body"].read() == b"hello"


async def test_rules_of_others_stay(site: Site) -> None:
    """PutBucketLifecycleConfiguration replaces all there are, so all there are are sent again."""
    await site.client.create_bucket(Bucket=site.bucket)
    await site.client.put_bucket_lifecycle_configuration(
        Bucket=site.bucket, LifecycleConfiguration={"Rules": OTHERS}
    )
    before = await site.rules()
    assert (await site.make())[Step.RETENTION] is Outcome.MADE
    after = await site.rules()
    assert [rule for rule in after if rule in before] == before
    rules = read_rules({"Rules": after})
    assert {rule.id for rule in rules} == {"history", "logs", "history of tea/", "doctor"}
    assert (await site.make(prefix="milk/", days=7))[Step.RETENTION] is Outcome.MADE
    ids = [rule["ID"] for rule in await site.rules()]
    assert sorted(ids) == ["doctor", "doctor of milk/", "history", "history of tea/", "logs"]


async def test_a_suspension_is_left(site: Site) -> None:
    """Somebody has wished it."""
    await site.client.create_bucket(Bucket=site.bucket)
    await keep_versions(site.client, site.bucket)
    suspended = {"Status": "Suspended"}
    await site.client.put_bucket_versioning(Bucket=site.bucket, VersioningConfiguration=suspended)
    assert (await site.make())[Step.VERSIONS] is Outcome.LEFT
    assert await site.versioning() == "Suspended"


def denying(*queries: str, methods: str) -> Callable[[Asked], Asked | Answered]:
    """Return what denies requests about settings of a bucket; "" is the bucket itself."""

    def change(asked: Asked) -> Asked | Answered:
        about = next((it for it in asked.query if it in {"versioning", "lifecycle"}), "")
        listing = "list-type" in asked.query
        if asked.method in methods.split() and about in queries and not listing:
            return error(403, "AccessDenied")
        return asked

    return change


@pytest.mark.parametrize("methods", ["GET PUT", "PUT"])
@pytest.mark.parametrize(
    ("query", "step"), [("versioning", Step.VERSIONS), ("lifecycle", Step.RETENTION)]
)
async def test_what_is_not_allowed_is_left_to_others(
    site: Site, query: str, step: Step, methods: str
) -> None:
    """The other steps are taken."""
    site.proxy.change = denying(query, methods=methods)
    done = await site.make()
    assert done == dict.fromkeys(site.steps, Outcome.MADE) | {step: Outcome.DENIED}
    site.proxy.change = lambda asked: asked
    assert (await site.make())[step] is Outcome.MADE


async def test_a_bucket_that_may_not_be_made(site: Site) -> None:
    """Nothing of it can be done then."""
    site.proxy.change = denying("", methods="PUT")
    assert await site.make() == dict.fromkeys(site.steps, Outcome.DENIED)
    assert len(site.changes) == 1


async def test_a_storage_without_such_settings(site: Site) -> None:
    """That is said, and is no error: a bot can do without."""
    site.proxy.change = lambda asked: (
        error(501, "NotImplemented") if "lifecycle" in asked.query else asked
    )
    assert (await site.make())[Step.RETENTION] is Outcome.UNABLE


async def test_a_bucket_that_may_not_be_looked_at(site: Site) -> None:
    """It is somebody else's, as far as can be seen: an error, and nothing is changed."""
    await site.client.create_bucket(Bucket=site.bucket)
    site.proxy.change = lambda _: error(403, "AccessDenied")
    with pytest.raises(AccessDeniedError, match="somebody else's, or they lack ListBucket"):
        await site.make()
    assert site.changes == []


@pytest.mark.parametrize(
    ("code", "raised"),
    [("BucketAlreadyExists", AccessDeniedError), ("BucketAlreadyOwnedByYou", None)],
)
async def test_a_name_that_is_taken(site: Site, code: str, raised: type[Exception] | None) -> None:
    """By somebody else, it is an error; by ourselves at this very moment, it is our bucket."""

    def change(asked: Asked) -> Asked | Answered:
        return error(409, code) if asked.method == "PUT" and not asked.query else asked

    site.proxy.change = change
    if raised:
        with pytest.raises(raised, match=r"is somebody else's: .* Choose another name"):
            await site.make()
        assert len(site.changes) == 1
        return
    await site.client.create_bucket(Bucket=site.bucket)
    site.proxy.change = lambda asked: (
        error(404, "NoSuchBucket") if "list-type" in asked.query else change(asked)
    )
    assert (await site.make())[Step.VERSIONS] is Outcome.MADE


@pytest.mark.parametrize(
    ("status", "code", "raised"),
    [
        (403, "InvalidAccessKeyId", AccessDeniedError),
        (503, "SlowDown", StorageUnavailableError),
        (301, "PermanentRedirect", StorageError),
    ],
)
async def test_errors_are_no_answers(
    site: Site, status: int, code: str, raised: type[Exception]
) -> None:
    """What is neither "no such bucket" nor "not allowed" ends it."""
    site.proxy.change = lambda _: error(status, code)
    with pytest.raises(raised):
        await site.make()
    assert site.changes == []


@pytest.mark.parametrize("site", ["aws"], indirect=True)
async def test_a_region_of_aws_is_named(site: Site) -> None:
    """There a bucket lies where the request says, and us-east-1 is not to be said."""
    answers = Answers(
        provider=PROVIDERS["aws"],
        bucket=site.bucket,
        prefix=PREFIX,
        region="eu-central-1",
        endpoint_url=site.proxy.server.endpoint_url,
    )
    store = open_store(site.proxy.server, site.bucket, region_name="eu-central-1")
    try:
        await Maker(store, answers, lambda _: None).make()
    finally:
        await store.close()
    place = await site.client.get_bucket_location(Bucket=site.bucket)
    assert place["LocationConstraint"] == "eu-central-1"


# The program --------------------------------------------------------------------------------------


class Ran(NamedTuple):
    """What became of a program."""

    code: int | None
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tea").mkdir()
    return tmp_path / "tea"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "AWS_EC2_METADATA_DISABLED": "true",
        "TERM": "dumb",
        **variables,
    }


async def start(
    folder: Path,
    *options: str,
    terminal: Terminal | None = None,
    variables: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ptb_s3.cli", "init", *options),
        cwd=folder,
        env=environment(folder, **(variables or {})),
        stdin=terminal.slave if terminal else DEVNULL,
        stdout=PIPE,
        stderr=terminal.slave if terminal else PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ran:
    async with asyncio.timeout(WITHIN):
        out, err = await process.communicate()
    return Ran(process.returncode, out.decode(), (err or b"").decode())


def bot(folder: Path, **variables: str) -> int:
    """Have a bot count one up with what `.env` says; return how far it had come before."""
    ran = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", _BOT],
        cwd=folder,
        env=environment(folder, **variables),
        stdout=subprocess.PIPE,
        check=True,
        timeout=WITHIN,
    )
    return int(ran.stdout)


@pytest.fixture
async def by_program(s3_server: S3Server) -> AsyncIterator[Site]:
    """A way to the server of the run, for the program in a process of its own."""
    bucket = f"ptb-s3-test-{secrets.token_hex(8)}"
    async with MeddlingProxy(s3_server) as proxy, client_of(s3_server) as client:
        yield Site("minio", proxy, client, bucket)
        with suppress(client.exceptions.NoSuchBucket):
            await empty_bucket(client, bucket)
            await client.delete_bucket(Bucket=bucket)


def options_of(site: Site, *others: str) -> tuple[str, ...]:
    url = ("--endpoint-url", site.proxy.server.endpoint_url)
    return ("--provider", "minio", "--bucket", site.bucket, "--prefix", PREFIX, *url, *others)


async def test_from_nothing_to_a_bot(by_program: Site, folder: Path) -> None:
    """One command; then a bot starts with the file, and finds its state again."""
    site, credentials = by_program, by_program.proxy.server.environment
    ran = await ended(await start(folder, *options_of(site, "--create"), variables=credentials))
    assert ran.code == 0, ran
    assert re.findall(r"^(\w+): made\.$", ran.err, re.MULTILINE) == [*site.steps]
    assert re.search(r"^ok +versioning +enabled\.$", ran.out, re.MULTILINE), ran.out
    assert re.search(r"^ok +conditional PUT ", ran.out, re.MULTILINE), ran.out
    assert not re.search("^mc (mb|version|ilm) ", ran.out, re.MULTILINE)
    assert re.search("^mc admin user add ", f"{ran.out}\n".replace("| mc", "\nmc"), re.MULTILINE)
    written = settings_of(folder)
    for secret in (written["PTB_S3_KEY"], site.proxy.server.secret_key):
        assert secret not in ran.out + ran.err
    assert await asyncio.to_thread(bot, folder, **credentials) == 0
    assert await asyncio.to_thread(bot, folder, **credentials) == 1


async def test_credentials_of_the_file_are_used(by_program: Site, folder: Path) -> None:
    """An access key that lies there already is enough for bucket, doctor and bot."""
    lines = (f"{k}={v}\n" for k, v in by_program.proxy.server.environment.items())
    (folder / ".env").write_text("".join(lines))
    told = await ended(await start(folder, *options_of(by_program, "--create", "--json")))
    assert told.code == 0, told
    shown = json.loads(told.out)
    assert [one["outcome"] for one in shown["created"]] == ["made"] * 3
    assert {check["status"] for check in shown["doctor"]["checks"]} <= {"ok", "warning"}
    assert await asyncio.to_thread(bot, folder) == 0


async def test_the_exit_code_is_doctors(by_program: Site, folder: Path) -> None:
    """Without `--create` there is no bucket: doctor says so, as it would by itself."""
    credentials = by_program.proxy.server.environment
    ran = await ended(await start(folder, *options_of(by_program), variables=credentials))
    failed = re.findall(r"^FAILED +(\S+)", ran.out, re.MULTILINE)
    assert (ran.code, failed) == (3, ["bucket"])
    assert "mc mb " in ran.out


async def test_what_is_not_allowed_is_printed(by_program: Site, folder: Path) -> None:
    """As a command of the script, for somebody who may; what was done is not in it."""
    by_program.proxy.change = denying("lifecycle", methods="PUT")
    credentials = by_program.proxy.server.environment
    ran = await ended(
        await start(folder, *options_of(by_program, "--create"), variables=credentials)
    )
    assert ran.code == 0, ran
    assert "retention: not allowed. The command is below" in ran.err
    assert "mc ilm rule add --prefix tea/ --noncurrent-expire-days 30" in ran.out
    assert not re.search("^mc (mb|version) ", ran.out, re.MULTILINE)


async def test_a_break_off_says_how_to_go_on(by_program: Site, folder: Path) -> None:
    """The file is whole, and the same again makes the rest."""
    credentials = by_program.proxy.server.environment
    by_program.proxy.change = lambda asked: (
        error(503, "SlowDown") if "versioning" in asked.query else asked
    )
    command = options_of(by_program, "--create")
    ran = await ended(await start(folder, *command, variables=credentials))
    assert ran.code == 7, ran
    again = "The same again goes on from here: ptb-s3 init --provider minio --create."
    assert again in ran.err
    before = (folder / ".env").read_bytes()
    by_program.proxy.change = lambda asked: asked
    again_ran = await ended(
        await start(folder, "--provider", "minio", "--create", "--json", variables=credentials)
    )
    assert again_ran.code == 0, again_ran
    outcomes = [one["outcome"] for one in json.loads(again_ran.out)["created"]]
    assert outcomes == ["there already", "made", "made"]
    assert (folder / ".env").read_bytes() == before


async def test_ctrl_c_while_it_is_made(by_program: Site, folder: Path) -> None:
    """As above: exit code 130."""
    reached = asyncio.Event()

    def change(asked: Asked) -> Asked:
        if "versioning" in asked.query:
            reached.set()
            by_program.proxy.open.clear()
        return asked

    by_program.proxy.change = change
    credentials = by_program.proxy.server.environment
    process = await start(folder, *options_of(by_program, "--create"), variables=credentials)
    async with asyncio.timeout(WITHIN):
        await reached.wait()
    process.send_signal(signal.SIGINT)
    ran = await ended(process)
    by_program.proxy.open.set()
    assert ran.code == 130, ran
    assert "The same again goes on from here" in ran.err
    assert (folder / ".env").read_text().count("PTB_S3_KEY=") == 1


def settings_of(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def contents(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# Questions ----------------------------------------------------------------------------------------


async def test_questions_on_a_terminal(folder: Path) -> None:
    """Each has its proposal; a wrong answer is asked for again, with what is wrong."""
    dialogue = (
        ("Provider (aws, r2, b2, tigris, minio): ", "azure"),
        ("There are: aws, r2, b2, tigris, minio.", "r2"),
        ("Id of the Cloudflare account: ", "0123456789abcdef0123456789abcdef"),
        ("Name of the bucket [tea-", "Tea Shop"),
        ("lower-case letters, digits and hyphens", "tea-shop"),
        ("Prefix of the bot's objects [tea/]: ", ""),
    )
    async with Terminal() as terminal:
        process = await start(folder, terminal=terminal)
        for question, answer in dialogue:
            async with asyncio.timeout(WITHIN):
                await terminal.until(question)
            terminal.shown = ""
            terminal.type(f"{answer}\n")
        ran = await ended(process)
        shown = terminal.shown
    assert ran.code == 0, (ran, shown)
    assert "npx wrangler r2 bucket create tea-shop\n" in ran.out
    written = settings_of(folder)
    assert written.pop("PTB_S3_KEY") not in shown
    assert written == {
        "PTB_S3_BUCKET": "tea-shop",
        "PTB_S3_PREFIX": "tea/",
        "PTB_S3_ENDPOINT_URL": "https://0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com",
        "PTB_S3_REGION": "auto",
    }


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 0)])
async def test_a_single_instance_is_vouched_for(folder: Path, answer: str, code: int) -> None:
    """B2 is not safe for two; who does not vouch for one gets no file."""
    options = ("--provider", "b2", "--region", "eu-central-003", "--bucket", "tea-shop")
    async with Terminal() as terminal:
        process = await start(folder, *options, "--prefix", PREFIX, terminal=terminal)
        async with asyncio.timeout(WITHIN):
            await terminal.until("[y/N]")
        terminal.type(f"{answer}\n")
        ran = await ended(process)
    assert ran.code == code, ran
    there = (folder / ".env").exists()
    assert there == (code == 0)
    if there:
        assert "PTB_S3_SINGLE_WRITER=true\n" in (folder / ".env").read_text()


@pytest.mark.parametrize("typed", ["\x03", "\x04"])
@pytest.mark.parametrize("at", range(4))
async def test_ctrl_c_at_any_question(folder: Path, at: int, typed: str) -> None:
    """And the end of the input: nothing was written."""
    dialogue = (
        ("Provider", "aws"),
        ("Region [us-east-1]: ", "eu-central-1"),
        ("Name of the bucket", "tea-shop"),
        ("Prefix of the bot's objects", ""),
    )
    async with Terminal() as terminal:
        process = await start(folder, terminal=terminal)
        for number, (question, answer) in enumerate(dialogue):
            async with asyncio.timeout(WITHIN):
                await terminal.until(question)
            if number == at:
                break
            terminal.shown = ""
            terminal.type(f"{answer}\n")
        if typed == "\x03":
            # A signal, since this terminal is not the one that controls the program.
            process.send_signal(signal.SIGINT)
        else:
            terminal.type(typed)
        ran = await ended(process)
        shown = terminal.shown
    assert (ran.code, ran.out) == (130, "")
    assert "Nothing was changed." in shown
    assert contents(folder) == []


# The paths of README ------------------------------------------------------------------------------


def readme_command(title: str) -> tuple[str, ...]:
    """Return the options of `ptb-s3 init` in a path of README, whose other line is the venv's."""
    path = (PROJECT / "README.md").read_text().split(f"### {title}\n")[1].split("\n### ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```$", path, re.MULTILINE | re.DOTALL)
    activate, command = block.splitlines()
    assert activate == ". .venv/bin/activate"
    program, name, *options = command.split()
    assert (program, name) == ("ptb-s3", "init")
    return tuple(options)


async def answered(
    folder: Path,
    options: tuple[str, ...],
    dialogue: tuple[tuple[str, str], ...],
    variables: Mapping[str, str] | None = None,
) -> Ran:
    """Run it on a terminal, and answer its questions."""
    async with Terminal() as terminal:
        process = await start(folder, *options, terminal=terminal, variables=variables)
        for question, answer in dialogue:
            async with asyncio.timeout(WITHIN):
                await terminal.until(question)
            terminal.type(f"{answer}\n")
        ran = await ended(process)
        return ran._replace(err=terminal.shown)


async def test_the_path_of_r2(folder: Path) -> None:
    """The command as it stands, on a terminal; the rest is Cloudflare's."""
    dialogue = (("account", "0123456789abcdef0123456789abcdef"), ("bucket", ""), ("Prefix", ""))
    ran = await answered(folder, readme_command("On Cloudflare R2"), dialogue)
    assert ran.code == 0, ran
    assert re.search(r"^npx wrangler r2 bucket create tea-[0-9a-f]{8}$", ran.out, re.MULTILINE)
    assert ran.out.endswith("\ncat >>.env\nptb-s3 doctor\n")


async def test_the_path_of_aws(folder: Path) -> None:
    """The command as it stands, on moto; then the commands that it prints, by the AWS CLI."""
    _need_the_cli()
    dialogue = (("Region", "eu-central-1"), ("Name of the bucket", "tea-shop"), ("Prefix", ""))
    with running_moto() as server:
        admin = _admin(server)
        variables = {**admin.environment, "AWS_ENDPOINT_URL": server.endpoint_url}
        ran = await answered(folder, readme_command("On AWS"), dialogue, variables)
        assert ran.code == 0, ran
        assert [*re.findall(r"^(\w+): made\.\r?$", ran.err, re.MULTILINE)] == [*Step]
        script, _, table = ran.out.partition("\nptb-s3 doctor\n")
        assert table.split()[:2] == ["check", "found"]
        assert "create-bucket" not in script
        await _have_run(script, folder, server, admin)
        await _is_as_the_script_says(server, admin)
        elsewhere = {"AWS_ENDPOINT_URL": server.endpoint_url}
        assert await asyncio.to_thread(bot, folder, **elsewhere) == 0
        assert await asyncio.to_thread(bot, folder, **elsewhere) == 1


async def test_the_script_of_aws(folder: Path) -> None:
    """The AWS CLI runs all of it on moto; its access key is enough for a bot and for doctor."""
    _need_the_cli()
    with running_moto() as server:
        admin = _admin(server)
        place = ("--region", "eu-central-1", "--bucket", "tea-shop", "--prefix", PREFIX)
        url = ("--endpoint-url", server.endpoint_url)
        ran = await ended(await start(folder, "--provider", "aws", *place, *url))
        assert ran.code == 0, ran
        script, _, doctor = ran.out.rstrip().rpartition("\n")
        assert doctor == "ptb-s3 doctor"
        outcome = await _have_run(script, folder, server, admin)
        written = settings_of(folder)
        assert written["PTB_S3_EXPECTED_BUCKET_OWNER"] == "123456789012"
        for name in ("AWS_SECRET_ACCESS_KEY", "PTB_S3_KEY"):
            assert written[name] not in outcome.out + outcome.err + ran.out + ran.err
        assert await asyncio.to_thread(bot, folder) == 0
        await _is_as_the_script_says(server, admin)
        checked = await _doctor(folder)
    assert {name for name, status in checked.items() if status == "failed"} == set()
    for name in ("versioning", "lifecycle", "permissions", "excess permissions", "public access"):
        assert checked[name] == "ok", (name, checked)


def _need_the_cli() -> None:
    """Without it, test_scripts_run of the unit tests has a stand-in."""
    if shutil.which("aws") is None:
        pytest.skip("optional check: there is no AWS CLI to run what ptb-s3 init prints for AWS")


async def _have_run(script: str, folder: Path, server: MotoServer, admin: S3Server) -> Ran:
    """Have somebody who may do everything run a script."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-eu", "-c", script),
        cwd=folder,
        env={
            **environment(folder, **admin.environment),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": "",  # the CLI has a Python of its own
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "AWS_DEFAULT_REGION": "eu-central-1",
        },
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    ran = await ended(process)
    assert ran.code == 0, ran
    return ran


def _admin(server: MotoServer) -> S3Server:
    """Make a user who may do everything, and have permissions checked from now on."""
    iam = server.client("iam", server.identity({"AccessKeyId": "any", "SecretAccessKey": "any"}))
    iam.create_user(UserName="admin")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="admin")["AccessKey"]
    server.enforce()
    return server.identity(key)


async def _is_as_the_script_says(server: MotoServer, admin: S3Server) -> None:
    s3 = server.client("s3", admin)
    rules = s3.get_bucket_lifecycle_configuration(Bucket="tea-shop")["Rules"]
    assert rules == retention.rules(PREFIX, 30)
    assert s3.get_bucket_versioning(Bucket="tea-shop")["Status"] == "Enabled"
    assert s3.get_bucket_location(Bucket="tea-shop")["LocationConstraint"] == "eu-central-1"
    block = s3.get_public_access_block(Bucket="tea-shop")["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}


async def _doctor(folder: Path) -> dict[str, str]:
    """Run the doctor with the file alone; return the status of each check."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ptb_s3.cli", "doctor", "--json"),
        cwd=folder,
        env=environment(folder),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    ran = await ended(process)
    return {check["check"]: check["status"] for check in json.loads(ran.out)["checks"]}
