#!/bin/sh
# moto: CompleteMultipartUpload overlooks If-Match, which PutObject heeds.
#
# An object is replaced on the condition that it has an ETag which it has not. PutObject is
# answered 412, and so is CompleteMultipartUpload with If-None-Match. CompleteMultipartUpload with
# If-Match is answered 200, and the object is another one: S3 (API Reference,
# CompleteMultipartUpload) refuses it with 412. Code that replaces large objects on a condition
# passes its tests, and overwrites nothing there that it would not overwrite here.
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
    wrong = '"00000000000000000000000000000000"'

    def answer(operation, **request):
        try:
            operation(Bucket="bucket", Key="key", **request)
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"]
        return 200

    def complete(**condition):
        upload = s3.create_multipart_upload(Bucket="bucket", Key="key")["UploadId"]
        part = {"Bucket": "bucket", "Key": "key", "UploadId": upload, "PartNumber": 1}
        parts = [{"PartNumber": 1, "ETag": s3.upload_part(**part, Body=b"second")["ETag"]}]
        return answer(
            s3.complete_multipart_upload,
            UploadId=upload, MultipartUpload={"Parts": parts}, **condition,
        )

    s3.put_object(Bucket="bucket", Key="key", Body=b"first")
    put = answer(s3.put_object, Body=b"second", IfMatch=wrong)
    if_none_match = complete(IfNoneMatch="*")
    if_match = complete(IfMatch=wrong)
    left = s3.get_object(Bucket="bucket", Key="key")["Body"].read()
    print("moto", moto.__version__)
    print("PutObject, a wrong If-Match:                      ", put)
    print("CompleteMultipartUpload, If-None-Match: * (exists):", if_none_match)
    print("CompleteMultipartUpload, a wrong If-Match:        ", if_match)
    print("the object is now:", left)
finally:
    server.stop()
as_found = (put, if_none_match, if_match, left) == (412, 412, 200, b"second")
print("A wrong condition was taken." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
