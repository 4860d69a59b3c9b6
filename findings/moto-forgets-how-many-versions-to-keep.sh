#!/bin/sh
# moto: a lifecycle rule comes back without NewerNoncurrentVersions.
#
# A rule is put that deletes noncurrent versions after 30 days, but for the newest five
# (NewerNoncurrentVersions). It is taken without an error, and when asked for it says 30 days and
# nothing of the five: what was to keep some versions forever reads as a rule that keeps none. S3
# (API Reference, NoncurrentVersionExpiration) returns both. Code that looks whether a bucket's
# rules leave enough to go back to is told the wrong thing.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'moto[s3,server]==5.2.5' boto3==1.40.61 botocore==1.40.61
cd "$folder"

cat >probe.py <<'PYTHON'
import logging, sys

import boto3
import moto
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
try:
    host, port = server.get_host_and_port()
    s3 = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any",
    )
    s3.create_bucket(Bucket="bucket")
    expiration = {"NoncurrentDays": 30, "NewerNoncurrentVersions": 5}
    rule = {"ID": "keep", "Status": "Enabled", "Filter": {"Prefix": ""}}
    s3.put_bucket_lifecycle_configuration(
        Bucket="bucket",
        LifecycleConfiguration={"Rules": [rule | {"NoncurrentVersionExpiration": expiration}]},
    )
    rules = s3.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"]
    found = rules[0]["NoncurrentVersionExpiration"]
    print("moto", moto.__version__)
    print("put:", expiration)
    print("got:", found)
finally:
    server.stop()
as_found = found == {"NoncurrentDays": 30}
print("The number of versions is forgotten." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
