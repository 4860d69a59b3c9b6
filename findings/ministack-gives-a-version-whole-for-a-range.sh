#!/bin/sh
# ministack: a range of a version brings the whole version.
#
# GetObject takes a range, and a version id (API Reference, "GetObject"), and both at once on S3: 206
# and the bytes that were asked for, of that version. ministack gives the range where no version is
# named. Where one is, and be it the current one, it answers 200 with all of the object. A program that
# fetches its parts by version, to have them of one state, downloads all for each; and one that does
# not look at the status takes the first bytes for the part.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ministack==1.5.33 boto3==1.43.106 botocore==1.43.106
cd "$folder"

cat >probe.py <<'PYTHON'
import importlib.metadata, os, socket, subprocess, sys, time

import boto3
from botocore.exceptions import BotoCoreError

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [os.path.join(os.path.dirname(sys.executable), "ministack")],
    env={"HOME": os.getcwd(), "TMPDIR": os.getcwd(), "PATH": os.environ["PATH"],
         "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1"},
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
    of = {"Bucket": "bucket", "Key": "key"}
    older = s3.put_object(**of, Body=b"0123456789")["VersionId"]
    current = s3.put_object(**of, Body=b"abcdefghij")["VersionId"]

    def part(**version):
        got = s3.get_object(**of, **version, Range="bytes=2-4")
        return got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()

    seen = [part(), part(VersionId=current), part(VersionId=older)]
    print("ministack", importlib.metadata.version("ministack"))
    for name, (status, body) in zip(("no version named", "the current one", "the older one"), seen):
        print(f"bytes 2 to 4, {name}: {status} {body.decode()}")
finally:
    server.kill()
    server.wait()
as_found = seen == [(206, b"cde"), (200, b"abcdefghij"), (200, b"0123456789")]
print("Of a version there are no parts." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
