#!/bin/sh
# versitygw: an object is modified after the Last-Modified that the server gives it.
#
# A program keeps the Last-Modified of an answer, and sends it back as a condition. An object that
# nobody has touched is unmodified since then: by RFC 9110, 13.1.3 and 13.1.4, the date may be equal,
# so If-Unmodified-Since is met (200) and If-Modified-Since is not (304), as on S3. versitygw compares
# the date, which has whole seconds, with the file's time, which has a fraction: 412, and 200 with the
# whole object. Whoever reads on condition takes his object for another's, and a cache by date alone
# never saves a byte.
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
    of = {"Bucket": "bucket", "Key": "key"}
    s3.put_object(**of, Body=b"as it was")
    told = s3.head_object(**of)["ResponseMetadata"]["HTTPHeaders"]["last-modified"]

    def answer(operation, condition):
        try:
            got = operation(**of, **{condition: told})
        except ClientError as error:
            got = error.response
        return got["ResponseMetadata"]["HTTPStatusCode"]

    conditions = ("IfUnmodifiedSince", "IfModifiedSince")
    seen = [tuple(answer(ask, name) for name in conditions) for ask in (s3.get_object, s3.head_object)]
    print("versitygw 1.8.0: Last-Modified is", told)
    for name, statuses in zip(("GET", "HEAD"), seen):
        print(f"{name}, if unmodified since then, and if modified since then:", *statuses)
finally:
    server.kill()
    server.wait()
as_found = seen == [(412, 200)] * 2
print("It counts as modified since it was." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
