#!/bin/sh
# aiobotocore: "async with" over a body gives a response of aiohttp, which cannot read a piece.
#
# aiobotocore's README reads an object with "async with response['Body'] as stream". With botocore's
# "with", the stream is not the body either, but urllib3's response, and its read(4) gives four bytes.
# With aiobotocore it is aiohttp's response: read(4) raises TypeError, and the body's iter_chunks() and
# iter_lines() are not there, though the body itself still has all of them within the block. Code
# that is moved from boto3, or from a whole read to one in pieces, fails at its first read.
#
# Prints what each gives. Ends with 0 while that is so, and with 1 once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    aiobotocore==2.25.1 aiohttp==3.14.5 botocore==1.40.61
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, importlib.metadata, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiobotocore.session
import botocore.session

DATA = b"0123456789"


class Stub(BaseHTTPRequestHandler):
    """Gives one object whatever is asked for."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=server.serve_forever, daemon=True).start()
CLIENT = dict(
    endpoint_url=f"http://127.0.0.1:{server.server_port}", region_name="us-east-1",
    aws_access_key_id="any", aws_secret_access_key="any",
)
OBJECT = dict(Bucket="bucket", Key="key")


def with_botocore():
    s3 = botocore.session.get_session().create_client("s3", **CLIENT)
    body = s3.get_object(**OBJECT)["Body"]
    with body as stream:
        return type(stream).__name__, stream.read(4)


async def with_aiobotocore():
    async with aiobotocore.session.get_session().create_client("s3", **CLIENT) as s3:
        body = (await s3.get_object(**OBJECT))["Body"]
        async with body as stream:
            try:
                read = await stream.read(4)
            except TypeError as error:
                read = str(error)
            lacks = [name for name in ("iter_chunks", "iter_lines") if not hasattr(stream, name)]
            return type(stream).__name__, read, lacks, await body.read(4)


synchronous, asynchronous = with_botocore(), asyncio.run(with_aiobotocore())
server.shutdown()
print("botocore", importlib.metadata.version("botocore"))
print("  the block gives {}; its read(4): {}".format(*synchronous))
print("aiobotocore", importlib.metadata.version("aiobotocore"))
print("  the block gives {}; its read(4): {}".format(*asynchronous))
print("  it lacks {}; read(4) of the body itself: {}".format(*asynchronous[2:]))
kind, read, lacks, own = asynchronous
as_found = (kind, own) == ("ClientResponse", DATA[:4]) and "positional argument" in str(read)
sys.exit(not (as_found and lacks and synchronous[1] == DATA[:4]))
PYTHON
"$folder/venv/bin/python" probe.py
