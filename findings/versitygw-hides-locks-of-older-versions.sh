#!/bin/sh
# versitygw: HEAD of a version that is not current does not tell that it is locked.
#
# In a bucket with object lock, two versions of an object are put under a legal hold and a retention.
# GetObjectLegalHold and GetObjectRetention tell of both of them. HeadObject with the version id
# has x-amz-object-lock-legal-hold, -mode and -retain-until-date for the current version, as S3 has
# for each (API Reference, "HeadObject"), and nothing for the older one, which cannot be deleted
# either. A client that asks by HEAD before it deletes takes locked versions for free ones.
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
from datetime import datetime, timedelta, timezone

import boto3

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
    s3.create_bucket(Bucket="bucket", ObjectLockEnabledForBucket=True)
    until = datetime.now(timezone.utc) + timedelta(days=1)

    def put(body):
        version = s3.put_object(Bucket="bucket", Key="key", Body=body)["VersionId"]
        of = {"Bucket": "bucket", "Key": "key", "VersionId": version}
        s3.put_object_retention(**of, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until})
        s3.put_object_legal_hold(**of, LegalHold={"Status": "ON"})
        return of

    def look(of):
        head = s3.head_object(**of)
        return [
            s3.get_object_legal_hold(**of)["LegalHold"]["Status"],
            s3.get_object_retention(**of)["Retention"]["Mode"],
            head.get("ObjectLockLegalHoldStatus"),
            head.get("ObjectLockMode"),
        ]

    older, current = put(b"one"), put(b"two")
    seen = {"older": look(older), "current": look(current)}
    print("versitygw 1.8.0: legal hold and retention by their own requests, and both by HEAD")
    for which, told in seen.items():
        print(f"  {which} version: {told}")
finally:
    server.kill()
    server.wait()
locked = ["ON", "GOVERNANCE"]
as_found = seen == {"older": [*locked, None, None], "current": [*locked, *locked]}
print("HEAD hides the older version's lock." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
