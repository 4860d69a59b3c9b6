#!/bin/sh
# versitygw: DeleteObjects overlooks the ETag that an object has to have, which DeleteObject heeds.
#
# An object is to be deleted only while it has a certain ETag: `If-Match` of DeleteObject, or the ETag
# beside its key in DeleteObjects (S3 User Guide, "How to perform conditional deletes"). Somebody has
# replaced it since. versitygw answers 412 to the first, and says "Deleted" to the second: what the
# other one has just written is gone, and who asked for it cannot tell.
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
    keys = ("one", "many")
    stale = {}
    for key in keys:
        stale[key] = s3.put_object(Bucket="bucket", Key=key, Body=b"as it was")["ETag"]
        s3.put_object(Bucket="bucket", Key=key, Body=b"what another has written")
    try:
        alone = s3.delete_object(Bucket="bucket", Key="one", IfMatch=stale["one"])
    except ClientError as error:
        alone = error.response["Error"]["Code"]
    wanted = [{"Key": "many", "ETag": stale["many"]}]
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": wanted})
    told = {name: answer.get(name, []) for name in ("Deleted", "Errors")}
    left = [entry["Key"] for entry in s3.list_objects_v2(Bucket="bucket").get("Contents", [])]
    print("versitygw 1.8.0: both objects have other ETags by now")
    print("DeleteObject, If-Match:", alone)
    print("DeleteObjects, ETag:", told)
    print("left:", *left)
finally:
    server.kill()
    server.wait()
as_found = (
    alone == "PreconditionFailed"
    and told == {"Deleted": [{"Key": "many"}], "Errors": []}
    and left == ["one"]
)
print("Among many, the ETag says nothing." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
