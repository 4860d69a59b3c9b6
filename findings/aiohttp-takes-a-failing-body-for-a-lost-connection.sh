#!/bin/sh
# aiohttp takes an error of the body that it is to send for a lost connection.
#
# An upload reads its body from a generator of the program's own, and that raises. aiohttp documents
# ClientConnectionError as "errors related to low-level connection problems", and raises it where the
# generator raised ValueError, and ClientOSError where it raised OSError; what the program
# raised is only the __cause__. A client that repeats what the network has failed repeats this as well.
# httpx raises the generator's own error.
#
# Prints what each raises. Ends with 0 while that is so, and with 1 once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aiohttp==3.14.5 httpx==0.28.1
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, sys

import aiohttp
import httpx

ERRORS = (ValueError("row 7 is damaged"), PermissionError(13, "file was closed to us"))


async def take(reader, writer):
    """Read whatever comes, until the client has ended it."""
    try:
        while await reader.read(1024):
            pass
    except OSError:
        pass
    finally:
        writer.close()


async def body(error):
    yield b"first piece"
    raise error


async def raised(put, error):
    try:
        await put(error)
    except Exception as seen:
        return seen


async def main():
    listening = await asyncio.start_server(take, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    async with aiohttp.ClientSession() as session, httpx.AsyncClient(trust_env=False) as client:

        async def with_aiohttp(error):
            async with session.put(url, data=body(error)) as answer:
                return answer.status

        async def with_httpx(error):
            return await client.put(url, content=body(error))

        seen = [(error, await raised(with_aiohttp, error), await raised(with_httpx, error))
                for error in ERRORS]
    listening.close()
    print("aiohttp", aiohttp.__version__, "and httpx", httpx.__version__)
    for error, aio, httpx_s in seen:
        print(f"the body raises {error!r}")
        print(f"  aiohttp: {type(aio).__name__}, a lost connection:", end=" ")
        print(f"{isinstance(aio, aiohttp.ClientConnectionError)}; its cause: {aio.__cause__!r}")
        print(f"  httpx:   {httpx_s!r}")
    return not all(
        isinstance(aio, aiohttp.ClientConnectionError) and aio.__cause__ is error is httpx_s
        for error, aio, httpx_s in seen
    )


sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
