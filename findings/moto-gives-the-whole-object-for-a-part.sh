#!/bin/sh
# moto: GetObject with a part number gives the whole object, of which HeadObject tells the part's size.
#
# An object is put in two parts, of 5 MiB and of 100 bytes. S3 takes partNumber for a ranged GET of that
# part (API Reference, "GetObject"): 206, with x-amz-mp-parts-count. moto's HEAD has each part's length
# and the count; its GET answers 200 with all of it, for part 1 and for part 2 alike. A program
# that reads an object part by part gets it as often as it has parts, and joins that.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'moto[s3,server]==5.2.5' boto3==1.40.61 botocore==1.40.61
cd "$folder"

cat >probe.py <<'PYTHON'
import logging, sys

import boto3
import moto
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
try:
    host, port = server.get_host_and_port()
    s3 = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any",
    )
    s3.create_bucket(Bucket="bucket")
    of = {"Bucket": "bucket", "Key": "key"}
    upload = s3.create_multipart_upload(**of)["UploadId"]
    sizes, parts = (5 * 1024 * 1024, 100), []
    for number, size in enumerate(sizes, 1):
        part = s3.upload_part(**of, UploadId=upload, PartNumber=number, Body=b"a" * size)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(**of, UploadId=upload, MultipartUpload={"Parts": parts})
    seen = []
    print("moto", moto.__version__)
    for number, size in enumerate(sizes, 1):
        head = s3.head_object(**of, PartNumber=number)
        got = s3.get_object(**of, PartNumber=number)
        status, read = got["ResponseMetadata"]["HTTPStatusCode"], len(got["Body"].read())
        seen.append((head["ContentLength"], status, read))
        print(f"part {number} of {size} bytes: HEAD tells {head['ContentLength']}, of", end=" ")
        print(f"{head.get('PartsCount')} parts; GET is answered {status} with {read} bytes")
finally:
    server.stop()
as_found = seen == [(size, 200, sum(sizes)) for size in sizes]
print("Each part is the whole." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
