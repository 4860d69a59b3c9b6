#!/bin/sh
# moto: the first PUT after a bucket's versioning is suspended drops all older versions.
#
# On S3, versions that are there stay when versioning is suspended, and a PUT then writes the version
# "null" beside those that have ids. moto's server forgets them: neither are they listed, nor can
# they be had by their ids.
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
from botocore.exceptions import ClientError
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

    def versioning(status):
        s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": status})

    def listed():
        return [v["VersionId"] for v in s3.list_object_versions(Bucket="bucket")["Versions"]]

    def body(version):
        try:
            return s3.get_object(Bucket="bucket", Key="key", VersionId=version)["Body"].read()
        except ClientError as error:
            return error.response["Error"]["Code"]

    versioning("Enabled")
    first, second = (
        s3.put_object(Bucket="bucket", Key="key", Body=text)["VersionId"] for text in (b"1", b"2")
    )
    print("moto", moto.__version__)
    print("two versions, versioning enabled:", listed())
    versioning("Suspended")
    print("versioning suspended:            ", listed())
    s3.put_object(Bucket="bucket", Key="key", Body=b"3")
    left = listed()
    print("one more PUT:                    ", left)
    print("GET of the two by their ids:     ", body(first), body(second))
finally:
    server.stop()
as_found = first not in left and second not in left
print("Both older versions are gone." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
