#!/bin/sh
# Mangum starts the application, and shuts it down, for each event that a warm function handles.
#
# The lifespan of an ASGI application lasts as long as its server (ASGI, "Lifespan Protocol": startup
# before the first request, shutdown when the server ends). Mangum supports it by default; its guide
# has these events "before and after HTTP requests are handled". One `Mangum(app)` that handles three
# events sends startup and shutdown three times each, around every one of the requests. A bot
# whose lifespan loads the state and saves it does both for each update, and whatever else it has
# opened is closed before the next one comes.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mangum==0.22.0
cd "$folder"

cat >probe.py <<'PYTHON'
import importlib.metadata, sys

from mangum import Mangum

seen = []


async def app(scope, receive, send):
    if scope["type"] == "http":
        seen.append("request")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        return
    while True:
        kind = (await receive())["type"]
        seen.append(kind.removeprefix("lifespan."))
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


# As a Lambda function URL sends it: AWS Lambda Developer Guide, "Function URLs", payload format 2.0.
EVENT = {
    "version": "2.0",
    "rawPath": "/",
    "rawQueryString": "",
    "headers": {"host": "example.org"},
    "requestContext": {"http": {"method": "POST", "path": "/", "sourceIp": "127.0.0.1"}},
    "body": "{}",
    "isBase64Encoded": False,
}
handler = Mangum(app)
statuses = []
for _ in range(3):
    seen.append("|")
    statuses.append(handler(EVENT, None)["statusCode"])
print("Mangum", importlib.metadata.version("mangum"))
print("three events, answered", statuses, "by one handler:", *seen)
as_found = statuses == [200] * 3 and seen == ["|", "startup", "request", "shutdown"] * 3
print("Each event has a lifespan of its own." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
