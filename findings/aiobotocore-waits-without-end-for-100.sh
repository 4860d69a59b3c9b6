#!/bin/sh
# aiobotocore waits for "100 Continue" without end, where botocore waits a second.
#
# botocore asks by "Expect: 100-continue" before it sends the body of a PutObject. RFC 9110, 10.1.1, has
# a client not wait for that indefinitely, as a server or proxy of HTTP/1.0 never answers it, and
# botocore sends after a second. aiobotocore sends the same header by aiohttp, which waits until an
# answer comes; read_timeout begins only after the body. Given as a bytearray, the same bytes go out at
# once by either, as botocore puts the header to bytes, files and BytesIO, and to nothing else.
#
# Prints what each has sent. Ends with 0 while that is so, and with 1 once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    aiobotocore==2.25.1 aiohttp==3.14.5 botocore==1.40.61
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, importlib.metadata, sys

import aiobotocore.session
import botocore.session
from botocore.config import Config

PATIENCE, READ_TIMEOUT = 5, 2
seen = []


async def serve(reader, writer):
    """Answer once the body is there, and never by 100."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        seen.append(["expect: 100-continue" in head, False])
        await reader.readexactly(4)
        seen[-1][1] = True
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "any"\r\nContent-Length: 0\r\n\r\n')
        await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def main():
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = dict(
        endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=READ_TIMEOUT),
    )
    for body in (b"mine", bytearray(b"mine")):
        s3 = botocore.session.get_session().create_client("s3", **client)
        await asyncio.to_thread(s3.put_object, Bucket="bucket", Key="key", Body=body)
    async with aiobotocore.session.get_session().create_client("s3", **client) as s3:
        for body in (bytearray(b"mine"), b"mine"):
            put = asyncio.create_task(s3.put_object(Bucket="bucket", Key="key", Body=body))
            _, waiting = await asyncio.wait([put], timeout=PATIENCE)
        sent = [tuple(request) for request in seen]
        put.cancel()
        await asyncio.wait([put])
    listening.close()
    return sent, bool(waiting)


sent, waiting = asyncio.run(main())
for name in ("botocore", "aiobotocore", "aiohttp"):
    print(name, importlib.metadata.version(name))
calls = ("botocore, bytes", "botocore, bytearray", "aiobotocore, bytearray", "aiobotocore, bytes")
for call, (expects, came) in zip(calls, sent):
    print(f"{call:23} asks for 100: {expects}; the body came within {PATIENCE} s: {came}")
print(f"the last call still waits, with read_timeout={READ_TIMEOUT}:", waiting)
as_found = sent == [(True, True), (False, True), (False, True), (True, False)] and waiting
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
