#!/bin/sh
# versitygw: a page of versions that ends with a key's newest one is followed by that version again.
#
# Versions are listed page by page: the NextKeyMarker and NextVersionIdMarker of one page are given back
# for the next (API Reference, "ListObjectVersions"), which goes on where the one before has ended.
# Where that was the newest version of its key, versitygw begins with this same version once more. So
# it counts twice with whoever counts versions or adds up their sizes.
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
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    names = {}
    for name in ("a1", "a2", "a3", "b1", "c1"):
        version = s3.put_object(Bucket="bucket", Key=name[0], Body=name.encode())["VersionId"]
        names[version] = name

    def pages(size, most=8):
        found, markers = [], {}
        while len(found) < most:
            page = s3.list_object_versions(Bucket="bucket", MaxKeys=size, **markers)
            found.append([names[entry["VersionId"]] for entry in page["Versions"]])
            if not page["IsTruncated"]:
                break
            markers = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
        return found

    print("versitygw 1.8.0: key a has versions 1 to 3, b and c have one each; newest first")
    seen = {size: pages(size) for size in (1000, 4)}
    for size, found in seen.items():
        print(f"pages of {size}:", *found)
finally:
    server.kill()
    server.wait()
as_found = seen == {
    1000: [["a3", "a2", "a1", "b1", "c1"]],
    4: [["a3", "a2", "a1", "b1"], ["b1", "c1"]],
}
print("A version stands on two pages." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
