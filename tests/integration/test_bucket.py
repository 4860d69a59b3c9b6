"""infra/bucket/: what it sets up, and that its policies let a bot run and take nothing away.

On moto, with IAM enforced. What moto's CloudFormation passes over is applied by `make_up_for_moto`;
that AWS would take the template as it stands is for cfn-lint to say.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from tests.moto_server import AwsClient, MotoServer, running_moto
from tests.servers import PROJECT, S3Server
from tests.support import settled
from tests.support.bots import PREFIX, Bots, persistence_of, remembering, say
from tests.support.bucket_templates import (
    FOLDER,
    TEMPLATE,
    Json,
    Values,
    Written,
    in_cloudformation,
    in_terraform,
)
from tests.support.kms import new_kms_key

from ptb_s3 import KmsKeyring
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Key
from ptb_s3._storage.kms import CONTEXT
from ptb_s3.errors import KeyServiceError
from ptb_s3.settings import load_settings

HEAD_KEY = PREFIX + HEAD
SCRATCH = f"{PREFIX}doctor/scratch"
ELSEWHERE = "another-bot/head"
KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OLD, OLD_ELSEWHERE = "{old}", "{old elsewhere}"
"""Stand for version ids that are known once the objects are there."""

Request = tuple[str, Json]
"""Name of a client's method, and its arguments but for the bucket."""


@dataclass(frozen=True)
class Account:
    """An account on moto in which IAM is enforced, and who may do everything in it."""

    server: MotoServer
    admin: S3Server
    admin_arn: str

    def client(self, service: str, identity: S3Server | None = None) -> AwsClient:
        """Return a client of a service, with the rights of the admin or of somebody else."""
        return self.server.client(service, identity or self.admin)


@dataclass(frozen=True)
class Stack:
    """The template, applied; and two who have assumed a role with one of its policies each."""

    outputs: dict[str, str]
    bot: S3Server
    operator: S3Server

    @property
    def bucket(self) -> str:
        return self.outputs["BucketName"]


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running_moto() as server:
        anybody = {"AccessKeyId": "anybody", "SecretAccessKey": "any"}
        iam = server.client("iam", server.identity(anybody))
        user = iam.create_user(UserName="admin")["User"]
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=_policy(everything))
        key = iam.create_access_key(UserName="admin")["AccessKey"]
        server.enforce()
        yield Account(server, server.identity(key), user["Arn"])


@pytest.fixture(scope="module")
def stack(account: Account) -> Stack:
    """A stack for looking at, and for trying what is denied."""
    return apply_template(account, "stack")


@pytest.fixture(scope="module")
def old_versions(account: Account, stack: Stack) -> dict[str, str]:
    """A bot's head and another's, with an old version each: the ids of these."""
    s3 = account.client("s3")
    ids = {}
    for name, key in ((OLD, HEAD_KEY), (OLD_ELSEWHERE, ELSEWHERE)):
        ids[name] = s3.put_object(Bucket=stack.bucket, Key=key, Body=b"1")["VersionId"]
        s3.put_object(Bucket=stack.bucket, Key=key, Body=b"2")
    s3.put_object(Bucket=stack.bucket, Key=SCRATCH, Body=b"")
    return ids


@pytest.fixture
async def bots(account: Account) -> AsyncIterator[Bots]:
    """Runs of bots with the bot's policy alone, on a new bucket as the template makes it."""
    new = apply_template(account, f"bots-{secrets.token_hex(4)}")
    url = account.server.endpoint_url
    async with account.admin.session().client("s3", endpoint_url=url) as client:
        yield Bots(new.bot, client, new.bucket)


def apply_template(account: Account, name: str, **parameters: str) -> Stack:
    """Make a stack of the template, and two roles that have its policies."""
    parameters = {"Prefix": PREFIX, **parameters}
    cloudformation = account.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=template_for_moto(has_key="KmsKeyArn" in parameters),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (made,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    bucket = outputs["BucketName"]
    written = in_cloudformation(Values(bucket, parameters["Prefix"]))
    make_up_for_moto(account.client("s3"), bucket, written)
    return Stack(
        outputs,
        bot=_assume_role(account, f"{name}-bot", outputs["BotPolicyArn"]),
        operator=_assume_role(account, f"{name}-operator", outputs["OperatorPolicyArn"]),
    )


def template_for_moto(*, has_key: bool) -> str:
    """Return the template, whose statements about KMS are left out here where there is no key.

    CloudFormation leaves out an item that comes to AWS::NoValue; moto 5.2 puts null in its place.
    """
    text = TEMPLATE.read_text()
    statement = r"^          - !If\n            - HasKmsKey\n(?:            .*\n)+"
    without, left_out = re.subn(statement, "", text, flags=re.MULTILINE)
    assert left_out == 2
    return text if has_key else without


def make_up_for_moto(s3: AwsClient, bucket: str, written: Written) -> None:
    """Apply what moto's CloudFormation (5.2) passes over, in the words of the template.

    All but the bucket policy, which would keep us out: the way to moto is plain HTTP.
    """
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": written.versioning})
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=written.public_access)
    s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": written.ownership}]}
    )
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": written.lifecycle}
    )


def _assume_role(account: Account, name: str, policy_arn: str) -> S3Server:
    iam, sts = account.client("iam"), account.client("sts")
    admin = {"AWS": account.admin_arn}
    trust = _policy({"Effect": "Allow", "Principal": admin, "Action": "sts:AssumeRole"})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
    iam.attach_role_policy(RoleName=name, PolicyArn=policy_arn)
    assumed = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="test")
    return account.server.identity(assumed["Credentials"])


def _policy(*statements: Json) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def answer(s3: AwsClient, bucket: str, request: Request, ids: dict[str, str] | None = None) -> str:
    """Make a request; return the error code of the answer, and "" for success."""
    method, arguments = request
    filled_in = {k: (ids or {}).get(str(v), v) for k, v in arguments.items()}
    try:
        getattr(s3, method)(Bucket=bucket, **filled_in)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def versions_in(account: Account, bucket: str) -> list[tuple[str, str, bool]]:
    """Return all versions in a bucket, markers too: key, version id, is it current."""
    page = account.client("s3").list_object_versions(Bucket=bucket)
    entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
    return sorted((entry["Key"], entry["VersionId"], entry["IsLatest"]) for entry in entries)


def settings_of(account: Account, bucket: str) -> tuple[object, ...]:
    """Return what a bucket is set to, as S3 tells it."""
    s3 = account.client("s3")
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    ownership = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    return (
        s3.get_bucket_versioning(Bucket=bucket)["Status"],
        s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        [rule["ObjectOwnership"] for rule in ownership["Rules"]],
        [rule["ApplyServerSideEncryptionByDefault"] for rule in encryption["Rules"]],
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
    )


def allowed(policy: Json) -> set[tuple[str, str]]:
    """Return what an IAM policy allows: actions, each with a resource."""
    pairs = set()
    for statement in policy["Statement"]:
        assert statement.keys() - {"Sid"} == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            pairs.add((action, statement["Resource"]))
    return pairs


# What is set up -----------------------------------------------------------------------------------


def test_the_bucket_is_set_up_as_it_should_be(account: Account, stack: Stack) -> None:
    """Versions, nothing public, one owner, encryption; what was replaced goes after 30 days."""
    assert settings_of(account, stack.bucket) == (
        "Enabled",
        {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        ["BucketOwnerEnforced"],
        [{"SSEAlgorithm": "AES256"}],
        [
            {
                "ID": "history",
                "Status": "Enabled",
                "Filter": {"Prefix": "bot/"},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
            },
            {
                "ID": "doctor",
                "Status": "Enabled",
                "Filter": {"Prefix": "bot/doctor/"},
                "Expiration": {"Days": 1},
            },
        ],
    )


@pytest.mark.parametrize("prefix", ["", "bot/", "shops/tea/"])
def test_no_rule_removes_a_current_object_of_the_state(prefix: str) -> None:
    """What is current expires below doctor/ only, and nothing expires beyond the prefix."""
    for rule in in_cloudformation(Values(prefix=prefix)).lifecycle:
        covered = rule["Filter"]["Prefix"]
        assert covered.startswith(prefix)
        if rule["Expiration"] != {"ExpiredObjectDeleteMarker": True}:
            assert not any((prefix + name).startswith(covered) for name in (HEAD, *Kind))


def test_nothing_goes_without_tls(account: Account) -> None:
    """The bucket policy makes nothing public, and over plain HTTP it keeps even the admin out."""
    bucket = apply_template(account, "tls-only").bucket
    policy = in_cloudformation(Values(bucket)).bucket_policy
    (statement,) = policy["Statement"]
    assert statement == {
        "Sid": "NothingWithoutTLS",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3 = account.client("s3")
    s3.put_object(Bucket=bucket, Key=HEAD_KEY, Body=b"")
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    assert not s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    # Over TLS, moto would say the same: it takes a condition that it does not know for met.
    for method in ("get_object", "put_object", "delete_object"):
        assert answer(s3, bucket, (method, {"Key": HEAD_KEY})) == "403"


def test_the_parameters_are_heeded(account: Account) -> None:
    """A bucket of that name; without a prefix, the policies are for all that is in it."""
    named = apply_template(account, "named", BucketName="tea-shop", Prefix="")
    assert named.bucket == "tea-shop"
    for identity in (named.bot, named.operator):
        for method in ("put_object", "get_object"):
            s3 = account.client("s3", identity)
            assert answer(s3, named.bucket, (method, {"Key": HEAD})) == ""


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("BucketName", ["", "tea-shop", "a1b"], ["ab", "-tea", "Tea", "tea.shop", "a" * 64]),
        (
            "KmsKeyArn",
            ["", KMS_KEY],
            ["alias/bot", KMS_KEY.replace("key/", "alias/"), "*", "mrk-1"],
        ),
        ("Prefix", ["", "bot/", "a/b-c_d/"], ["bot", "/", "/bot/", "bot*/", "${aws:userid}/"]),
    ],
)
def test_the_parameters_are_checked(name: str, good: list[str], bad: list[str]) -> None:
    """A prefix ends in a slash and holds no wildcard, since it goes into the policies."""
    pattern = re.compile(in_cloudformation(Values()).patterns[name])
    assert [value for value in good + bad if pattern.fullmatch(value)] == good


def test_the_bot_takes_its_settings_from_the_stack(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output Environment is an .env file that lacks nothing but the key."""
    monkeypatch.setenv("PTB_S3_KEY", Key(bytes(32)).reveal())
    env_file = tmp_path / ".env"
    env_file.write_text(stack.outputs["Environment"])
    settings = load_settings(env_file)
    assert (settings.bucket, settings.prefix) == (stack.bucket, PREFIX)
    assert (settings.region, settings.expected_bucket_owner) == ("us-east-1", "123456789012")


# What is allowed ----------------------------------------------------------------------------------


async def test_a_bot_runs_with_the_bots_policy(bots: Bots) -> None:
    """A first start, commits, a compaction, a flush, and a second start that finds all of it."""
    async with bots.run(remembering()) as app:
        persistence = persistence_of(app)
        for text in ("tea", "milk"):
            await say(app, text, user=1)
            await app.update_persistence()
            await settled(persistence)
        await say(app, "sugar", user=2)
    assert persistence.stats.commits >= 3
    assert persistence.stats.compactions
    assert not persistence.stats.failures
    assert (await bots.load()).user_data == {1: {"said": "milk"}, 2: {"said": "sugar"}}


@pytest.mark.parametrize("missing", [None, "GenerateDataKey", "Decrypt"])
async def test_kms_takes_both_actions(
    account: Account, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    """The two actions are enough, and the error for either names it.

    For any key and context, since moto 5.2 knows of a request to KMS neither the one nor the other.
    """
    (statement,) = in_cloudformation(Values(kms_key_arn=KMS_KEY)).bot_policy["Statement"][-1:]
    actions = [action for action in statement["Action"] if action != f"kms:{missing}"]
    name, iam = f"kms-{secrets.token_hex(4)}", account.client("iam")
    allow = _policy({"Effect": "Allow", "Action": actions, "Resource": "*"})
    made = iam.create_policy(PolicyName=name, PolicyDocument=allow)["Policy"]
    bot = _assume_role(account, name, made["Arn"])
    for variable, value in bot.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", account.server.endpoint_url)
    ring = KmsKeyring(new_kms_key(account.server, account.admin))

    async def both() -> None:
        await ring.prepare_sealing()
        await ring.kms.prove()

    try:
        if missing is None:
            await both()
            return
        with pytest.raises(KeyServiceError, match=f"are not allowed kms:{missing}"):
            await both()
    finally:
        await ring.close()


async def test_the_key_goes_into_the_stack(account: Account) -> None:
    """With the key's ARN, the stack's policies and settings have it."""
    new = apply_template(account, "with-kms", KmsKeyArn=KMS_KEY)
    assert f"PTB_S3_KMS_KEY_ID={KMS_KEY}" in new.outputs["Environment"]
    for output in ("BotPolicyArn", "OperatorPolicyArn"):
        version = account.client("iam").get_policy_version(
            PolicyArn=new.outputs[output], VersionId="v1"
        )
        assert version["PolicyVersion"]["Document"]["Statement"][-1]["Resource"] == KMS_KEY


async def test_a_bot_goes_back_with_the_bots_policy(bots: Bots) -> None:
    """PTB_S3_RESTORE is carried out, be it a revision, a time, or the version id of a head."""
    async with bots.run(remembering()) as app:
        revision, time, version = {}, {}, {}
        for text in ("tea", "milk"):
            await say(app, text)
            await app.update_persistence()
            await settled(persistence_of(app))
            revision[text] = str(persistence_of(app).stats.revision)
            time[text] = datetime.now(UTC).isoformat()
            (version[text],) = (v for k, v, last in await bots.versions() if k == HEAD_KEY and last)
        await say(app, "sugar")
    assert (await bots.load()).user_data == {1: {"said": "sugar"}}
    for text, request in (("tea", revision), ("milk", time), ("tea", version)):
        assert (await bots.load(restore=request[text])).user_data == {1: {"said": text}}


def test_the_operator_deletes_versions(account: Account) -> None:
    """One version of the state goes for good, by its id; so does what doctor has written."""
    own = apply_template(account, "operated")
    s3 = account.client("s3", own.operator)
    old, new = (s3.put_object(Bucket=own.bucket, Key=HEAD_KEY)["VersionId"] for _ in range(2))
    s3.delete_object(Bucket=own.bucket, Key=HEAD_KEY, VersionId=old)
    scratch = s3.put_object(Bucket=own.bucket, Key=SCRATCH)["VersionId"]
    marker = s3.delete_object(Bucket=own.bucket, Key=SCRATCH)["VersionId"]
    for version in (scratch, marker):
        s3.delete_object(Bucket=own.bucket, Key=SCRATCH, VersionId=version)
    assert versions_in(account, own.bucket) == [(HEAD_KEY, new, True)]


# Of these, moto knows but the first five by their action; for the others it asks for ListBucket.
LOOK: list[Request] = [
    ("get_bucket_versioning", {}),
    ("get_bucket_lifecycle_configuration", {}),
    ("get_bucket_policy_status", {}),
    ("get_bucket_location", {}),
    ("list_object_versions", {"Prefix": PREFIX}),
    ("get_public_access_block", {}),
    ("get_bucket_encryption", {}),
    ("get_object_lock_configuration", {}),
    ("get_bucket_replication", {}),
]


def test_the_operator_looks_at_the_bucket(account: Account, stack: Stack) -> None:
    """What `ptb-s3 doctor` looks at can be seen, or is known not to be there."""
    s3 = account.client("s3", stack.operator)
    answers = {method: answer(s3, stack.bucket, (method, rest)) for method, rest in LOOK}
    assert {method: code for method, code in answers.items() if code} == {
        "get_bucket_policy_status": "NoSuchBucketPolicy",
        "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
        "get_bucket_replication": "ReplicationConfigurationNotFoundError",
    }


# What is denied -----------------------------------------------------------------------------------

PUBLIC_POLICY = _policy({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"})
EXPIRE_ALL = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
OTHER_KEY = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}

DENIED_TO_BOTH: dict[str, Request] = {
    "hide the state": ("delete_object", {"Key": HEAD_KEY}),
    "share the state": ("put_object_acl", {"Key": HEAD_KEY, "ACL": "public-read"}),
    "read elsewhere": ("get_object", {"Key": ELSEWHERE}),
    "read an old version elsewhere": ("get_object", {"Key": ELSEWHERE, "VersionId": OLD_ELSEWHERE}),
    "write elsewhere": ("put_object", {"Key": ELSEWHERE}),
    "delete elsewhere": ("delete_object", {"Key": ELSEWHERE}),
    "delete a version elsewhere": ("delete_object", {"Key": ELSEWHERE, "VersionId": OLD_ELSEWHERE}),
    "delete the bucket": ("delete_bucket", {}),
    "suspend versioning": (
        "put_bucket_versioning",
        {"VersioningConfiguration": {"Status": "Suspended"}},
    ),
    "let the state expire": (
        "put_bucket_lifecycle_configuration",
        {"LifecycleConfiguration": {"Rules": [EXPIRE_ALL]}},
    ),
    "keep all for ever": ("delete_bucket_lifecycle", {}),
    "change the policy": ("put_bucket_policy", {"Policy": PUBLIC_POLICY}),
    "delete the policy": ("delete_bucket_policy", {}),
    "let the public in": ("delete_public_access_block", {}),
    "take another key": (
        "put_bucket_encryption",
        {"ServerSideEncryptionConfiguration": {"Rules": [OTHER_KEY]}},
    ),
    "take ownership": (
        "put_bucket_ownership_controls",
        {"OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}},
    ),
}
DENIED_TO_THE_BOT: dict[str, Request] = {
    **DENIED_TO_BOTH,
    "delete a version": ("delete_object", {"Key": HEAD_KEY, "VersionId": OLD}),
    "delete the scratch object": ("delete_object", {"Key": SCRATCH}),
    "look at versioning": ("get_bucket_versioning", {}),
    "look at the lifecycle": ("get_bucket_lifecycle_configuration", {}),
}


def test_the_bot_can_not(account: Account, stack: Stack, old_versions: dict[str, str]) -> None:
    """With the bot's policy nothing can be removed or changed, but by writing under the prefix."""
    check_denied(account, stack.bot, stack.bucket, DENIED_TO_THE_BOT, old_versions)


def test_the_operator_can_not(account: Account, stack: Stack, old_versions: dict[str, str]) -> None:
    """With the operator's, the bucket can not be changed, nor what is not under the prefix."""
    check_denied(account, stack.operator, stack.bucket, DENIED_TO_BOTH, old_versions)


def check_denied(
    account: Account, who: S3Server, bucket: str, requests: dict[str, Request], ids: dict[str, str]
) -> None:
    """Try each, expect it to be denied, and find the bucket as it was."""
    before = versions_in(account, bucket), settings_of(account, bucket)
    assert (HEAD_KEY, ids[OLD], False) in before[0]
    s3 = account.client("s3", who)
    answers = {name: answer(s3, bucket, request, ids) for name, request in requests.items()}
    assert answers == dict.fromkeys(requests, "AccessDenied")
    assert (versions_in(account, bucket), settings_of(account, bucket)) == before


# What is written ----------------------------------------------------------------------------------


def test_cloudformation_takes_the_template() -> None:
    """cfn-lint, which knows the resources' schemas and IAM's actions, finds nothing."""
    program = Path(sysconfig.get_path("scripts")) / "cfn-lint"
    run = subprocess.run(  # noqa: S603 - a test dependency
        [program, TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr


@pytest.mark.parametrize("kms_key_arn", ["", KMS_KEY])
@pytest.mark.parametrize("prefix", ["", "bot/"])
def test_terraform_says_the_same(prefix: str, kms_key_arn: str) -> None:
    """Policies, rules, switches, parameters and outputs are equal."""
    values = Values("tea-shop", prefix, history_days=7, kms_key_arn=kms_key_arn)
    assert in_terraform(values) == in_cloudformation(values)


def test_the_state_outlives_the_templates() -> None:
    """The bucket and its policy stay when the stack goes; Terraform refuses to destroy them."""
    assert in_cloudformation(Values()).kept
    assert in_terraform(Values()).kept


def test_the_bots_policy_is_the_pages() -> None:
    """What the page says a running bot needs, ListBucketVersions to go back, and no more."""
    page = (PROJECT / "docs" / "settings.md").read_text()
    blocks = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (policy,) = (json.loads(block) for block in blocks if '"Statement"' in block)
    to_go_back = ("s3:ListBucketVersions", "arn:aws:s3:::my-bucket")
    written = in_cloudformation(Values("my-bucket", "shop-bot/")).bot_policy
    assert allowed(written) == allowed(policy) | {to_go_back}


def test_the_operators_policy_is_the_bots_and_little_more() -> None:
    """Versions can be deleted, and doctor's scratch object; the bucket can be looked at."""
    values = Values()
    written = in_cloudformation(values)
    to_look = {
        "s3:GetBucketLocation",
        "s3:GetBucketObjectLockConfiguration",
        "s3:GetBucketPolicyStatus",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:GetReplicationConfiguration",
    }
    assert allowed(written.operator_policy) == {
        *allowed(written.bot_policy),
        ("s3:DeleteObjectVersion", f"{values.arn}/shop-bot/*"),
        ("s3:GetObjectRetention", f"{values.arn}/shop-bot/*"),
        ("s3:GetObjectLegalHold", f"{values.arn}/shop-bot/*"),
        ("s3:DeleteObject", f"{values.arn}/shop-bot/doctor/*"),
        *((action, values.arn) for action in to_look),
    }


def test_a_kms_key_adds_one_statement() -> None:
    """With a key in KMS, both policies have one statement more, with exactly what it takes."""
    plain, with_key = in_cloudformation(Values()), in_cloudformation(Values(kms_key_arn=KMS_KEY))
    for policy in ("bot_policy", "operator_policy"):
        *others, added = getattr(with_key, policy)["Statement"]
        assert others == getattr(plain, policy)["Statement"]
        assert added == {
            "Sid": "MakeAndUnwrapDataKeys",
            "Effect": "Allow",
            "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
            "Resource": KMS_KEY,
            "Condition": {
                "StringEquals": {f"kms:EncryptionContext:{k}": v for k, v in CONTEXT.items()}
            },
        }


def test_the_statement_about_kms_is_the_pages() -> None:
    """The page about keys shows what the templates add."""
    page = (PROJECT / "docs" / "keys.md").read_text()
    (block,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = json.loads(block)
    written = in_cloudformation(Values(kms_key_arn=shown["Resource"])).bot_policy["Statement"][-1]
    assert {"Sid": written["Sid"], **shown} == written


def test_the_readme_is_in_step() -> None:
    """It names every parameter, in both languages and with its default, and outputs that exist."""
    readme = (FOLDER / "README.md").read_text()
    written = in_cloudformation(Values())
    for name, default in written.parameters.items():
        shown = f"`{default}`" if default else ""
        assert f"\n| `{name}`, `{_snake(name)}` | {shown} | " in readme
    assert set(re.findall(r"OutputKey=='(\w+)'", readme)) <= written.outputs.keys()
    assert set(re.findall(r"output -raw (\w+)", readme)) <= set(map(_snake, written.outputs))


def _snake(name: str) -> str:
    return re.sub(r"(?<=.)(?=[A-Z])", "_", name).lower()
