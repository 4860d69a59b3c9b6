#!/bin/sh
# moto, where it enforces IAM, refuses KMS to a policy that names the key, and permits it to "*".
#
# A policy that allows kms:GenerateDataKey on one key's ARN is what AWS's guide to least privilege
# asks for, and AWS permits the call with it. moto asks its policies about KMS requests as if each
# were about the resource "*", which no policy of a single key allows. Whoever tries a least
# privilege policy on moto finds it too narrow, and widens it.
#
# Prints what each policy gives. Ends with 0 while that is so, and with 1 once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "moto[iam,kms,sts]==5.2.5" boto3==1.40.61 botocore==1.40.61
cd "$folder"

cat >probe.py <<'PYTHON'
import importlib.metadata, json, os, sys

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

os.environ.update(
    AWS_ACCESS_KEY_ID="root", AWS_SECRET_ACCESS_KEY="root", AWS_DEFAULT_REGION="us-east-1"
)


@mock_aws
def outcome(resource):
    """Ask for a data key as a user whose only policy allows that on a resource."""
    iam, kms = boto3.client("iam"), boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]
    statement = {
        "Effect": "Allow",
        "Action": "kms:GenerateDataKey",
        "Resource": resource or key["Arn"],
    }
    iam.create_user(UserName="bot")
    iam.put_user_policy(
        UserName="bot",
        PolicyName="kms",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    made = iam.create_access_key(UserName="bot")["AccessKey"]
    theirs = boto3.client(
        "kms",
        aws_access_key_id=made["AccessKeyId"],
        aws_secret_access_key=made["SecretAccessKey"],
    )
    with_policy = set_initial_no_auth_action_count(0)(theirs.generate_data_key)
    try:
        with_policy(KeyId=key["Arn"], KeySpec="AES_256")
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "permitted"


by_arn, by_star = outcome(None), outcome("*")
print("moto", importlib.metadata.version("moto"))
print("kms:GenerateDataKey on the key's ARN:", by_arn)
print("kms:GenerateDataKey on *:            ", by_star)
sys.exit(not (by_arn != "permitted" and by_star == "permitted"))
PYTHON

"$folder/venv/bin/python" probe.py
