#!/bin/sh
# AWS's Lambda runtime client hands a handler bytes where the content type has a charset.
#
# A server of the Runtime API answers "next" with one and the same JSON event, first as
# "application/json" and then as "application/json; charset=utf-8" (RFC 9110, section 8.3: a media
# type may have parameters). awslambdaric parses the first into a dictionary, and hands the second
# to the handler as it came: the client compares the whole header with "application/json".
#
# Prints what the handler gets. Ends with 0 while it is so, and with 1 once it is not. Where there is
# no wheel of the package for the machine, it needs a C++ compiler.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    awslambdaric==4.2.2 simplejson==3.20.2 snapshot-restore-py==1.0.0
cd "$folder"

cat >handler.py <<'PYTHON'
def handle(event, _):
    return type(event).__name__
PYTHON

cat >probe.py <<'PYTHON'
import http.server, os, subprocess, sys, threading

TYPES = ["application/json", "application/json; charset=utf-8"]
asked, got, done = iter(TYPES), [], threading.Event()


class RuntimeAPI(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        content_type = next(asked, None)
        if content_type is None:
            done.wait()  # there is no further event, which is no fault
            return
        body = b'{"update_id": 1}'
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
        self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        got.append(self.rfile.read(int(self.headers["Content-Length"])).decode().strip('"'))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if len(got) == len(TYPES):
            done.set()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeAPI)
server.daemon_threads, server.handle_error = True, lambda *_: None
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"127.0.0.1:{server.server_address[1]}"
client = subprocess.Popen(
    [sys.executable, "-m", "awslambdaric", "handler.handle"],
    env={**os.environ, "AWS_LAMBDA_RUNTIME_API": address, "AWS_LAMBDA_FUNCTION_NAME": "probe"},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
try:
    finished = done.wait(60)
finally:
    client.kill()
    client.wait()
print("awslambdaric 4.2.2 on Python", sys.version.split()[0])
for content_type, kind in zip(TYPES, got):
    print(f"  {content_type}: the handler gets an object of type {kind}")
sys.exit(not finished or got != ["dict", "bytes"])
PYTHON
"$folder/venv/bin/python" probe.py
