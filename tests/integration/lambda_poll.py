"""A runtime of AWS Lambda: a program for `test_runtimes`.

    python -m tests.integration.lambda_poll handler.answer

It asks the Runtime API, at ``AWS_LAMBDA_RUNTIME_API``, for one event after another, and posts what
the handler makes of each; as the runtime interface client that AWS runs in its own environments.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from http.client import HTTPConnection
from typing import Any, NamedTuple

PATH = "/2018-06-01/runtime/invocation"


class Context(NamedTuple):
    """What there is to know of an invocation."""

    deadline_ms: int

    def get_remaining_time_in_millis(self) -> int:
        return self.deadline_ms - int(time.time() * 1000)


def main(handler: str) -> None:
    module, name = handler.rsplit(".", 1)
    answer = getattr(importlib.import_module(module), name)
    connection = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        connection.request("GET", f"{PATH}/next")
        response = connection.getresponse()
        event, request = json.load(response), response.headers["Lambda-Runtime-Aws-Request-Id"]
        context = Context(int(response.headers["Lambda-Runtime-Deadline-Ms"]))
        try:
            _post(connection, f"{PATH}/{request}/response", answer(event, context))
        except Exception as error:  # noqa: BLE001 - whatever the handler raises
            told = {"errorType": type(error).__name__, "errorMessage": "", "stackTrace": []}
            _post(connection, f"{PATH}/{request}/error", told)


def _post(connection: HTTPConnection, path: str, body: Any) -> None:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    connection.getresponse().read()


if __name__ == "__main__":
    main(*sys.argv[1:])
