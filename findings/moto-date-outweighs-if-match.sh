#!/bin/sh
# moto: a right If-Match does not outweigh If-Unmodified-Since.
#
# An object is read on two conditions: that it has the ETag which it has, and that it was not modified
# since a day long past. S3 answers 200 and the object (API Reference, "GetObject": if If-Match is true
# and If-Unmodified-Since is false), as RFC 9110, 13.2.2, has it; moto answers 412. Likewise with
# HeadObject. Of If-None-Match and If-Modified-Since it lets the ETag decide. A program that sends
# both finds its object changed, which nobody has changed.
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
    of = {"Bucket": "bucket", "Key": "key"}
    etag = s3.put_object(**of, Body=b"as it was")["ETag"]
    past = "Wed, 01 Jan 2020 00:00:00 GMT"

    def answer(operation, **conditions):
        try:
            got = operation(**of, **conditions)
        except ClientError as error:
            got = error.response
        return got["ResponseMetadata"]["HTTPStatusCode"]

    seen = [
        (answer(ask, IfMatch=etag, IfUnmodifiedSince=past),
         answer(ask, IfNoneMatch=etag, IfModifiedSince=past))
        for ask in (s3.get_object, s3.head_object)
    ]
    print("moto", moto.__version__)
    for name, (match, none_match) in zip(("GET", "HEAD"), seen):
        print(f"{name}, If-Match is right, modified since:", match)
        print(f"{name}, If-None-Match is the object's, modified since:", none_match)
finally:
    server.stop()
as_found = seen == [(412, 304)] * 2
print("The date outweighs the ETag." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
