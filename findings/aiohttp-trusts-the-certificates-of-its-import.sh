#!/bin/sh
# aiohttp trusts the certificates that there were when it was imported.
#
# Python's ssl reads the file that SSL_CERT_FILE names whenever a default context is made, and urllib
# makes one when it is used. aiohttp makes its own as it is imported, used or not, and keeps it:
# a program that names a file of certificates afterwards, as one that reads its settings first
# thing in main() does, or a test, is refused a server which urllib trusts by the same variable.
#
# Prints who trusts the server. Ends with 0 while that is so, and with 1 once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aiohttp==3.14.5 trustme==1.2.1
cd "$folder"

cat >probe.py <<'PYTHON'
import asyncio, os, ssl, subprocess, sys, urllib.request

made, make = [], ssl.create_default_context


def counted(*arguments, **options):
    made.append(1)
    return make(*arguments, **options)


async def asked(url):
    """Status of a GET, or the error, by each client."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(url) as answer:
                by_aiohttp = str(answer.status)
        except aiohttp.ClientError as error:
            by_aiohttp = type(error).__name__
    try:
        by_urllib = await asyncio.to_thread(lambda: str(urllib.request.urlopen(url).status))
    except OSError as error:
        by_urllib = type(error).__name__
    return f"aiohttp {by_aiohttp}, urllib {by_urllib}"


def client(when, url):
    ssl.create_default_context = counted
    if when == "before":
        os.environ["SSL_CERT_FILE"] = os.path.abspath("ca.pem")
    import aiohttp

    count = len(made)
    os.environ["SSL_CERT_FILE"] = os.path.abspath("ca.pem")
    print(f"{asyncio.run(asked(url))}; contexts made by the import: {count}")


async def answer(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def main():
    import aiohttp, trustme

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path("ca.pem")
    authority.issue_cert("localhost").configure_cert(context)
    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{listening.sockets[0].getsockname()[1]}/"
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment.pop("SSL_CERT_FILE", None)
    seen = {}
    print("aiohttp", aiohttp.__version__)
    for when in ("before", "after"):
        run = [sys.executable, __file__, when, url]
        done = await asyncio.to_thread(
            subprocess.run, run, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        seen[when] = done.stdout.strip()
        print(f"SSL_CERT_FILE set {when} the import: {seen[when]}")
    listening.close()
    made_one = "; contexts made by the import: 1"
    return seen != {
        "before": "aiohttp 200, urllib 200" + made_one,
        "after": "aiohttp ClientConnectorCertificateError, urllib 200" + made_one,
    }


if len(sys.argv) > 1:
    client(*sys.argv[1:])
else:
    sys.exit(asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" probe.py
