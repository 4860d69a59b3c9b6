"""AWS KMS as the tests see it: moto's, behind a door that counts, and says no where it is told to.

moto neither minds that a key is disabled nor says `IncorrectKeyException`, so that such answers are
given here, in the words of KMS's API reference.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.moto_server import MotoServer
from tests.servers import S3Server

ANYBODY = S3Server("moto", "", "testing", "testing-secret")


class KmsDoor:
    """Way to moto's KMS that counts requests, and refuses some.

    Attributes:
        endpoint_url: For AWS_ENDPOINT_URL_KMS.
        asked: How many requests came, by operation.
        bodies: All that was asked, as it came.
        regions: The regions that requests were signed for.
        secrets: All data keys that were handed out, in base64.
        refusals: By operation, the status, code and message to answer in place of moto.
        once: Whether each of these is given once.
    """

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self.asked: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.regions: set[str] = set()
        self.secrets: set[str] = set()
        self.refusals: dict[str, tuple[int, str, str]] = {}
        self.once = False

    def refuse(
        self,
        code: str,
        *operations: str,
        status: int = 400,
        message: str = "no",
        once: bool = False,
    ) -> None:
        """From now on, refuse these operations, or both; or refuse each of them once."""
        for operation in operations or ("GenerateDataKey", "Decrypt"):
            self.refusals[operation] = status, code, message
        self.once = once

    def take_counts(self) -> dict[str, int]:
        """Return the counts since the last call."""
        counts, self.asked = dict(self.asked), Counter()
        return counts

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Answer one request."""
        operation = headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.asked[operation] += 1
        self.bodies.append(json.loads(body))
        self.regions.add(headers["Authorization"].split("/")[2])
        if operation in self.refusals:
            status, code, message = self.refusals[operation]
            if self.once:
                del self.refusals[operation]
            return status, json.dumps({"__type": code, "message": message}).encode()
        with closing(http.client.HTTPConnection(target, timeout=10)) as moto:
            moto.request("POST", "/", body, headers)
            reply = moto.getresponse()
            answer = reply.read()
        if reply.status == http.client.OK:
            self.secrets.add(json.loads(answer)["Plaintext"])
        return reply.status, answer


@contextmanager
def kms_door(moto: MotoServer) -> Iterator[KmsDoor]:
    """Open a door to a server's KMS, and close it."""
    target = urlsplit(moto.endpoint_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = door.answer(target, dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    door = KmsDoor(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def new_kms_key(moto: MotoServer, identity: S3Server = ANYBODY, **options: Any) -> str:
    """Make a key in moto's KMS, and return its ARN."""
    arn: str = moto.client("kms", identity).create_key(**options)["KeyMetadata"]["Arn"]
    return arn
