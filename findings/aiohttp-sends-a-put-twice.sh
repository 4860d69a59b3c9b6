#!/bin/sh
# aiohttp sends a PUT a second time by itself, and gives the second answer alone.
#
# A server takes a conditional PUT (If-None-Match: *) and does as it is told, and the connection
# ends before its answer has arrived, as with a proxy that is restarted. The program has called
# put() once, on a connection of its own that nothing was sent on before. aiohttp connects again and
# repeats the request without a word; the object is there by then, so the answer is 412: there was
# one already, of what this very call has written. urllib3 with retries=False raises an error, by
# which the program knows that it does not know.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    aiohttp==3.12.15 urllib3==2.5.0
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, sys

import aiohttp
import urllib3


class Server:
    """Keeps one object; the first answer is lost with its connection."""

    def __init__(self):
        self.object, self.answers = None, []

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
            size = next(v for k, v in fields.items() if k.lower() == "content-length")
            body = await reader.readexactly(int(size))
            status = "200 OK" if self.object is None else "412 Precondition Failed"
            if self.object is None:
                self.object = body
            self.answers.append(status)
            if len(self.answers) > 1:
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        finally:
            writer.close()


async def attempt(name, call):
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        seen = await call(f"http://127.0.0.1:{port}/key")
    except Exception as error:
        seen = type(error).__name__
    listening.close()
    print(f"{name}: one call; the server decided {server.answers}; the program is told: {seen}")
    return len(server.answers), seen


HEADERS = {"If-None-Match": "*"}


async def with_aiohttp(url):
    async with aiohttp.ClientSession() as session:
        async with session.put(url, data=b"mine", headers=HEADERS) as answer:
            return answer.status


async def with_urllib3(url):
    def put():
        http = urllib3.PoolManager(retries=False)
        return http.request("PUT", url, body=b"mine", headers=HEADERS).status

    return await asyncio.to_thread(put)


async def main():
    found = await attempt(f"aiohttp {aiohttp.__version__}", with_aiohttp)
    await attempt(f"urllib3 {urllib3.__version__}", with_urllib3)
    as_found = found == (2, 412)
    print("The PUT was sent twice." if as_found else "This has changed.")
    return not as_found


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
