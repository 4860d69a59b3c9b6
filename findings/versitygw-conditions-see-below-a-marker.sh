#!/bin/sh
# versitygw: above a delete marker, the conditions of a PUT look at the version beneath it.
#
# In a bucket with versioning, an object is deleted, which leaves a delete marker. GET says 404. On
# S3, PUT with If-None-Match: * then creates it (User Guide, "Conditional writes": it succeeds if the
# current version is a delete marker), and If-Match is refused. versitygw refuses If-None-Match with
# 412, and takes If-Match with the ETag of the version beneath the marker. A client that only
# creates what is not there can never write that key again; one that replaces what it has read
# brings back to life what somebody has deleted.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not. Needs Go.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.40.61 botocore==1.40.61
GOBIN="$folder" CGO_ENABLED=0 go install github.com/versity/versitygw/cmd/versitygw@v1.8.0 \
    >"$folder/log" 2>&1 || { cat "$folder/log"; exit 2; }
cd "$folder"

cat >probe.py <<'PYTHON'
import os, socket, subprocess, sys, time, urllib.request

import boto3
from botocore.exceptions import ClientError

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
os.mkdir("data")
os.mkdir("versions")
server = subprocess.Popen(
    ["./versitygw", "--port", f"127.0.0.1:{port}", "--health", "/health", "--quiet",
     "posix", "--versioning-dir", os.path.abspath("versions"), os.path.abspath("data")],
    env={"HOME": os.getcwd(), "ROOT_ACCESS_KEY": "made-up-key", "ROOT_SECRET_KEY": "made-up-secret"},
    stdout=open("server.log", "w"), stderr=subprocess.STDOUT,
)
try:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            break
        except OSError:
            time.sleep(0.1)
    else:
        sys.exit(open("server.log").read() or "no answer")
    s3 = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="made-up-key", aws_secret_access_key="made-up-secret",
    )
    s3.create_bucket(Bucket="bucket")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})

    def status(operation, **request):
        try:
            answer = getattr(s3, operation)(Bucket="bucket", Key="key", **request)
        except ClientError as error:
            answer = error.response
        return answer["ResponseMetadata"]["HTTPStatusCode"]

    beneath = s3.put_object(Bucket="bucket", Key="key", Body=b"one")["ETag"]
    s3.delete_object(Bucket="bucket", Key="key")
    seen = {
        "GET": status("get_object"),
        "PUT If-None-Match: *": status("put_object", Body=b"two", IfNoneMatch="*"),
        "PUT If-Match: the ETag beneath": status("put_object", Body=b"three", IfMatch=beneath),
    }
    print("versitygw 1.8.0, above a delete marker:")
    for what, answer in seen.items():
        print(f"  {what} is answered {answer}")
finally:
    server.kill()
    server.wait()
as_found = list(seen.values()) == [404, 412, 200]
print("Conditions look below the marker." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
