#!/bin/sh
# aiohttp reads a file that it uploads in asyncio's default executor, and waits for its turn there.
#
# The client's guide says to give an open file as data and that aiohttp streams it. Each piece of it is
# read in the loop's default executor, which asyncio.to_thread() and name resolution use, too. While
# calls of the program's own fill that executor, nothing of the file is sent, without an error; the same
# bytes as bytes or as BytesIO are sent at once. A program whose threads wait for something that
# an upload would bring about stands still.
#
# Prints which uploads end while the executor is full. Ends with 0 while that is so, and with 1 once
# it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    aiohttp==3.14.5
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, io, sys, threading
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp import web

DATA, THREADS, PATIENCE = b"mine" * 100, 4, 3


async def take(request):
    return web.Response(text=str(len(await request.read())))


async def main():
    application = web.Application()
    application.router.add_put("/", take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = "http://{}:{}/".format(*runner.addresses[0])
    loop, release = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    with open("file", "wb") as file:
        file.write(DATA)
    bodies = {"bytes": DATA, "BytesIO": io.BytesIO(DATA), "open file": open("file", "rb")}
    ended = {}
    async with aiohttp.ClientSession() as session:

        async def put(body):
            async with session.put(url, data=body) as answer:
                return await answer.text()

        busy = [loop.run_in_executor(None, release.wait) for _ in range(THREADS)]
        uploads = {name: asyncio.create_task(put(body)) for name, body in bodies.items()}
        await asyncio.wait(uploads.values(), timeout=PATIENCE)
        ended = {name: upload.done() for name, upload in uploads.items()}
        release.set()
        sent = await asyncio.gather(*uploads.values())
        await asyncio.gather(*busy)
    await runner.cleanup()
    print("aiohttp", aiohttp.__version__)
    for name, done in ended.items():
        print(f"{name:10} ended while the executor was full: {done}")
    print("afterwards, the server has of each:", sent)
    return ended != {"bytes": True, "BytesIO": True, "open file": False} or len(set(sent)) != 1


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
