"""What infra/bucket/ says, read from CloudFormation and from Terraform into the same words: S3's.

Neither reader skips what it does not know: a property or resource that is new has to be taught to
both of them, or it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hcl2
import yaml  # type: ignore[import-untyped] # its types are a package of their own

FOLDER = Path(__file__).parents[2] / "infra" / "bucket"
TEMPLATE = FOLDER / "template.yaml"
TERRAFORM = FOLDER / "main.tf"

Json = dict[str, Any]
Names = Mapping[str, str | int]
"""What a template refers to, and what is to stand in its place."""

_ABSENT = {"!Ref": "AWS::NoValue"}
_POLICY = re.compile(
    r"\$\{jsonencode\((?:local\.(\w+)|merge\(local\.(\w+), \{\s*Statement = "
    r"concat\(local\.\2\.Statement, local\.key_statements\)\s*\}\))\)\}"
)
"""A policy as it stands among the locals, or with the statement about KMS behind it."""
_REFERENCE = re.compile(r"\$\{([^}]+)\}")
_WORDS_OF_S3 = {"Id": "ID", "SseAlgorithm": "SSEAlgorithm"}


@dataclass(frozen=True)
class Values:
    """What a template is filled in with."""

    bucket: str = "my-bucket"
    prefix: str = "shop-bot/"
    history_days: int = 30
    kms_key_arn: str = ""

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.bucket}"


@dataclass(frozen=True)
class Written:
    """What a template says, filled in.

    Attributes:
        kept: Do bucket and bucket policy survive the template?
        versioning: Its status.
        public_access: Arguments of PutPublicAccessBlock.
        ownership: Of the objects.
        encryption: Default for new objects.
        lifecycle: Rules of PutBucketLifecycleConfiguration.
        bucket_policy: Policy of the bucket itself.
        bot_policy: Policy of IAM.
        operator_policy: As above.
        parameters: Their defaults.
        patterns: What those must match that are strings.
        outputs: What is told of the result.
    """

    kept: bool
    versioning: str
    public_access: dict[str, bool]
    ownership: str
    encryption: Json
    lifecycle: list[Json]
    bucket_policy: Json
    bot_policy: Json
    operator_policy: Json
    parameters: dict[str, str | int]
    patterns: dict[str, str]
    outputs: dict[str, str]


def in_cloudformation(values: Values) -> Written:
    """Return what template.yaml says."""
    names: Names = {
        "Bucket": values.bucket,
        "Bucket.Arn": values.arn,
        "Prefix": values.prefix,
        "HistoryDays": values.history_days,
        "KmsKeyArn": values.kms_key_arn,
        "HasKmsKey": bool(values.kms_key_arn),
        "BotPolicy": "the bot's policy",
        "OperatorPolicy": "the operator's policy",
        "AWS::Region": "the region",
        "AWS::AccountId": "the account",
    }
    template = _filled_in(yaml.load(TEMPLATE.read_text(), _tag_loader()), names)  # noqa: S506 - safe
    resources, parameters = template["Resources"], template["Parameters"]
    assert resources.keys() == {"Bucket", "BucketPolicy", "BotPolicy", "OperatorPolicy"}
    bucket, bucket_policy = resources["Bucket"], resources["BucketPolicy"]
    ends = ("DeletionPolicy", "UpdateReplacePolicy")
    return Written(
        kept=all(it[end] == "Retain" for it in (bucket, bucket_policy) for end in ends),
        **_bucket_of_cloudformation(bucket["Properties"]),
        bucket_policy=bucket_policy["Properties"]["PolicyDocument"],
        bot_policy=resources["BotPolicy"]["Properties"]["PolicyDocument"],
        operator_policy=resources["OperatorPolicy"]["Properties"]["PolicyDocument"],
        parameters={name: it["Default"] for name, it in parameters.items()},
        patterns={
            name: it["AllowedPattern"] for name, it in parameters.items() if it["Type"] == "String"
        },
        outputs={name: it["Value"] for name, it in template["Outputs"].items()},
    )


def _bucket_of_cloudformation(properties: Json) -> Json:
    assert properties.pop("BucketName")
    (ownership,) = _only("Rules", properties.pop("OwnershipControls"))
    encryption = properties.pop("BucketEncryption")
    (default,) = _only("ServerSideEncryptionConfiguration", encryption)
    rules = _only("Rules", properties.pop("LifecycleConfiguration"))
    bucket = {
        "versioning": _only("Status", properties.pop("VersioningConfiguration")),
        "public_access": properties.pop("PublicAccessBlockConfiguration"),
        "ownership": _only("ObjectOwnership", ownership),
        "encryption": _only("ServerSideEncryptionByDefault", default),
        "lifecycle": [_rule_of_cloudformation(rule) for rule in rules],
    }
    assert not properties, properties
    return bucket


def _rule_of_cloudformation(rule: Json) -> Json:
    """Return a lifecycle rule as S3 itself takes it."""
    translated: Json = {}
    for name, value in rule.items():
        match name:
            case "Id":
                translated["ID"] = value
            case "Prefix":
                translated["Filter"] = {name: value}
            case "ExpirationInDays":
                translated["Expiration"] = {"Days": value}
            case "ExpiredObjectDeleteMarker":
                translated["Expiration"] = {name: value}
            case "Status" | "NoncurrentVersionExpiration" | "AbortIncompleteMultipartUpload":
                translated[name] = value
            case _:
                raise AssertionError(name)
    return translated


def in_terraform(values: Values) -> Written:
    """Return what main.tf says."""
    names: Names = {
        "aws_s3_bucket.state.id": values.bucket,
        "aws_s3_bucket.state.arn": values.arn,
        "aws_s3_bucket.state.region": "the region",
        "data.aws_caller_identity.current.account_id": "the account",
        "aws_iam_policy.bot.arn": "the bot's policy",
        "aws_iam_policy.operator.arn": "the operator's policy",
        "var.prefix": values.prefix,
        "var.history_days": values.history_days,
        "var.kms_key_arn": values.kms_key_arn,
    }
    options = hcl2.SerializationOptions(
        with_comments=False,
        explicit_blocks=False,
        strip_string_quotes=True,
        preserve_heredocs=False,
    )
    text = TERRAFORM.read_text()
    document = _filled_in(hcl2.loads(text, serialization_options=options), names)
    variables = _by_name(document["variable"])
    return Written(
        **_resources_of_terraform(document, values),
        parameters={_camel(name): it["default"] for name, it in variables.items()},
        patterns={
            _camel(name): re.findall(r'regex\("(.*?)", var', it["validation"][0]["condition"])[0]
            for name, it in variables.items()
            if it["type"] == "string"
        },
        outputs={_camel(name): it["value"] for name, it in _by_name(document["output"]).items()},
    )


def _resources_of_terraform(document: Json, values: Values) -> Json:
    resources: Json = {
        f"{kind}.{name}": _in_words_of_s3(body)
        for resource in document["resource"]
        for kind, named in resource.items()
        for name, body in named.items()
    }
    (policies,) = document["locals"]
    assert policies.pop("key_statements") == (
        '${var.kms_key_arn == "" ? [] : [local.key_statement]}'
    )
    about_kms = [policies.pop("key_statement")][: bool(values.kms_key_arn)]

    def part(name: str) -> Json:
        """Return a resource that belongs to the bucket."""
        body: Json = resources.pop(f"aws_s3_bucket_{name}.state")
        assert body.pop("Bucket") == values.bucket
        body.pop("DependsOn", None)
        return body

    def policy(resource: Json) -> Any:
        """Return the policy that a resource is made of."""
        found = _POLICY.fullmatch(resource["Policy"])
        assert found is not None, resource["Policy"]
        written = policies.pop(found[1] or found[2])
        more = about_kms if found[2] else []
        return {**written, "Statement": [*written["Statement"], *more]}

    rule = _only("Rule", part("server_side_encryption_configuration"))
    versioning = _only("VersioningConfiguration", part("versioning"))
    written = {
        "kept": resources.pop("aws_s3_bucket.state")["Lifecycle"] == {"PreventDestroy": True},
        "versioning": _only("Status", versioning),
        "public_access": part("public_access_block"),
        "ownership": _only("ObjectOwnership", _only("Rule", part("ownership_controls"))),
        "encryption": _only("ApplyServerSideEncryptionByDefault", rule),
        "lifecycle": _only("Rule", part("lifecycle_configuration")),
        "bucket_policy": policy(part("policy")),
        "bot_policy": policy(resources.pop("aws_iam_policy.bot")),
        "operator_policy": policy(resources.pop("aws_iam_policy.operator")),
    }
    assert not resources, resources.keys()
    assert not policies, policies.keys()
    return written


def _tag_loader() -> Any:
    """Return a loader of YAML that reads ``!Ref Prefix`` as ``{"!Ref": "Prefix"}``."""
    loader: Any = type("TagLoader", (yaml.SafeLoader,), {})

    def tagged(loader: Any, tag: str, node: Any) -> Json:
        return {f"!{tag}": getattr(loader, f"construct_{node.id}")(node)}

    loader.add_multi_constructor("!", tagged)
    return loader


def _filled_in(value: Any, names: Names) -> Any:
    """Put what the names stand for into their places; leave what is not among them."""
    match value:
        case {"!Ref": str(name)} | {"!GetAtt": str(name)}:
            filled_in: Any = names.get(name, value)
        case {"!If": [str(condition), yes, no]} if condition in names:
            filled_in = _filled_in(yes if names[condition] else no, names)
        case {"!Sub": str(text)}:
            filled_in = _filled_in(text, names)
        case dict():
            filled_in = {key: _filled_in(item, names) for key, item in value.items()}
        case list():
            items = [_filled_in(item, names) for item in value]
            filled_in = [item for item in items if item != _ABSENT]
        case str() if whole := _REFERENCE.fullmatch(value):
            filled_in = names.get(whole[1], value)  # a number stays one
        case str():
            filled_in = _REFERENCE.sub(lambda found: str(names.get(found[1], found[0])), value)
        case _:
            filled_in = value
    return filled_in


def _in_words_of_s3(body: Any) -> Any:
    """Return a resource of Terraform with S3's names, and without lists around single blocks."""
    if isinstance(body, dict):
        return {_camel(name): _in_words_of_s3(item) for name, item in body.items()}
    if isinstance(body, list):
        items = [_in_words_of_s3(item) for item in body]
        return items[0] if len(items) == 1 else items
    return body


def _camel(name: str) -> str:
    camel = "".join(word.capitalize() for word in name.split("_"))
    return _WORDS_OF_S3.get(camel, camel)


def _by_name(blocks: list[Json]) -> Json:
    return {name: body for block in blocks for name, body in block.items()}


def _only(name: str, body: Json) -> Any:
    """Return the one thing that stands there."""
    assert body.keys() == {name}, body
    return body[name]
