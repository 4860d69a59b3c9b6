#!/bin/sh
# gofakes3: a copy of an older version has what stands in the newest one.
#
# An older version is brought back by CopyObject with its id (`?versionId=` in x-amz-copy-source; S3 User
# Guide, "Restoring previous versions"). gofakes3 gives that version to GetObject; CopyObject
# leaves its id out, copies the current one, and answers 200, without a word of which it was. A program
# that restores so has restored nothing, and its tests, if they look at the status, say that it has.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not. Needs Go.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check boto3==1.40.61 botocore==1.40.61
GOBIN="$folder" CGO_ENABLED=0 go install github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0 \
    >"$folder/log" 2>&1 || { cat "$folder/log"; exit 2; }
cd "$folder"

cat >probe.py <<'PYTHON'
import socket, subprocess, sys, time

import boto3
from botocore.exceptions import BotoCoreError

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    ["./gofakes3", "-host", f"127.0.0.1:{port}", "-backend", "memory"],
    stdout=open("server.log", "w"), stderr=subprocess.STDOUT,
)
try:
    s3 = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any",
    )
    for _ in range(300):
        try:
            s3.list_buckets()
            break
        except BotoCoreError:
            time.sleep(0.1)
    else:
        sys.exit(open("server.log").read() or "no answer")
    s3.create_bucket(Bucket="bucket")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})

    def read(key, **version):
        return s3.get_object(Bucket="bucket", Key=key, **version)["Body"].read().decode()

    older = s3.put_object(Bucket="bucket", Key="key", Body=b"older")["VersionId"]
    s3.put_object(Bucket="bucket", Key="key", Body=b"newer")
    source = {"Bucket": "bucket", "Key": "key", "VersionId": older}
    seen = [read("key", VersionId=older)]
    for key in ("copy", "key"):
        answer = s3.copy_object(Bucket="bucket", Key=key, CopySource=source)
        seen += [answer["ResponseMetadata"]["HTTPStatusCode"], read(key)]
    print("gofakes3 1.2.0: what the older version holds, by GetObject:", seen[0])
    print("copied to another key:", *seen[1:3])
    print("copied onto its own key:", *seen[3:])
finally:
    server.kill()
    server.wait()
as_found = seen == ["older", 200, "newer", 200, "newer"]
print("The copy is of another version." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
