"""As much of the AWS Lambda Runtime API as runtimes need, and a Telegram that sends updates again.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]


class RuntimeApi:
    """Hands each update to whichever runtime asks next, until it is answered 200.

    Args:
        event: Makes an invocation's event of an update.
        seconds: How long an invocation may take.

    Attributes:
        address: What goes into AWS_LAMBDA_RUNTIME_API.
        answers: How often which status was answered.
        errors: What runtimes have posted as errors.
        asked: Set when a runtime has asked for an event: its start phase is over.
        snapshot: Set when a runtime may be made a snapshot of, and waits to be resumed.
    """

    def __init__(self, event: Callable[[str], Json], seconds: float = 30.0) -> None:
        self.address = ""
        self.answers: Counter[int] = Counter()
        self.errors: list[Json] = []
        self.asked = asyncio.Event()
        self.snapshot = asyncio.Event()
        self._resumed = asyncio.Event()
        self._event = event
        self._seconds = seconds
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._invoked: dict[str, str] = {}
        self._ids = itertools.count(1)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Self]:
        application = web.Application()
        path = "/2018-06-01/runtime/{_:invocation}"
        application.router.add_get(f"{path}/next", self._next)
        application.router.add_post(f"{path}/{{id}}/response", self._respond)
        application.router.add_post(f"{path}/{{id}}/error", self._fail)
        application.router.add_post("/2018-06-01/runtime/init/error", self._fail)
        application.router.add_post("/2018-06-01/runtime/restore/error", self._fail)
        application.router.add_get("/2018-06-01/runtime/restore/next", self._restore)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def send(self, updates: Iterable[str]) -> None:
        """Return when all of these are answered 200; any other answer has them sent again."""
        for update in updates:
            self._waiting.put_nowait(update)
        await self._waiting.join()

    def resume(self) -> None:
        """Resume runtimes from the snapshot."""
        self._resumed.set()

    def lose(self) -> None:
        """Have what was handed out and not answered sent again: its runtime has ended."""
        for update in self._invoked.values():
            self._waiting.put_nowait(update)
            self._waiting.task_done()
        self._invoked.clear()

    async def _restore(self, _: web.Request) -> web.Response:
        self.snapshot.set()
        await self._resumed.wait()
        return web.Response()

    async def _next(self, _: web.Request) -> web.Response:
        self.asked.set()
        update, request = await self._waiting.get(), f"request-{next(self._ids)}"
        self._invoked[request] = update
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:1:function:bot",
        }
        # Without a charset: AWS's client takes the event for bytes otherwise.
        body = json.dumps(self._event(update)).encode()
        return web.Response(body=body, headers=headers, content_type="application/json")

    async def _respond(self, request: web.Request) -> web.Response:
        self._answer(request, int((await request.json())["statusCode"]))
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def _fail(self, request: web.Request) -> web.Response:
        self.errors.append(await request.json())
        if "id" in request.match_info:  # and not sent again: that is the end of the test
            del self._invoked[request.match_info["id"]]
            self._waiting.task_done()
        return web.Response(status=HTTPStatus.ACCEPTED)

    def _answer(self, request: web.Request, status: int) -> None:
        update = self._invoked.pop(request.match_info["id"])
        self.answers[status] += 1
        if status != HTTPStatus.OK:
            self._waiting.put_nowait(update)
        self._waiting.task_done()
