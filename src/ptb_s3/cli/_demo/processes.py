"""Processes of the demo, as the demo controls them: start, command, stop, kill.

Each has an empty working folder and an environment of its own, so that it knows nothing but the
bucket and the key. None outlives the demo.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]

_ANSWERS_WITHIN = 60.0
"""Seconds. Answers take one or two, so this is for a process that hangs."""
_LOG_LINES = 8  # lines of its log that an error shows
_LONGEST_ANSWER = 16 * 1024 * 1024  # bytes


class ProcessFailedError(Exception):
    """Raised where a process does not answer, or ends with an error."""


class RefusedError(ProcessFailedError):
    """Raised where a process answers a command with an error.

    Attributes:
        error: Name of the error's class.
    """

    def __init__(self, name: str, error: str, text: str) -> None:
        self.error = error
        super().__init__(f"{name} refused: {error}: {text}")


class Process:
    """Process that takes commands, in an empty working folder of its own.

    Attributes:
        name: Its name in what the demo prints.
        pid: Its id.
        revision: The revision that it began with, once it has.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.revision = 0
        self._process = process
        self._log = log

    async def ask(self, do: str, **arguments: object) -> Json:
        """Give a command, and return the answer.

        Raises:
            RefusedError: The answer is an error.
            ProcessFailedError: There is none within a minute.
        """
        line = await self._exchange(json.dumps({"do": do, **arguments}))
        if not line:
            code = await self._process.wait()
            raise ProcessFailedError(
                f"{self.name} ended with code {code} on {do!r}.{self._last_words()}"
            )
        answer: Json = json.loads(line)
        if "error" in answer:
            raise RefusedError(self.name, answer["error"], answer["text"])
        return answer

    async def stop(self) -> Json:
        """Let it end in good order, and return its last answer."""
        answer = await self.ask("stop")
        code = await self._process.wait()
        if code:
            raise ProcessFailedError(f"{self.name} ended with code {code}.{self._last_words()}")
        return answer

    async def kill(self) -> int:
        """Kill it, by SIGKILL where there are signals, and return its exit code."""
        if self._process.returncode is None:
            self._process.kill()
        return await self._process.wait()

    async def _exchange(self, line: str) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                stdin.write(line.encode() + b"\n")
                await stdin.drain()
                return await stdout.readline()
        except ConnectionError:
            return b""
        except TimeoutError:
            raise ProcessFailedError(
                f"{self.name} did not answer within {_ANSWERS_WITHIN:.0f} s: {line}"
            ) from None

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(["", *lines[-_LOG_LINES:]])


class Processes:
    """Group of all processes of the demo, which kills those that still run on the way out.

    Args:
        environment: Variables that each of them has, beside its own: the credentials. They inherit
            nothing of ours.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._folder = tempfile.TemporaryDirectory(prefix="ptb-s3-demo-")
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            await process.kill()
        self._folder.cleanup()

    async def start(self, name: str, module: str, **environment: str) -> Process:
        """Start a process, which imports its modules and waits for its first command.

        Args:
            name: Its name in what the demo prints.
            module: The module that it runs.
            environment: Variables of its own.
        """
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        log = Path(f"{folder}.log")  # beside it
        with log.open("wb") as stderr:  # noqa: ASYNC230 - opening a file takes no time
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=_LONGEST_ANSWER,
                cwd=folder,
                env={
                    "PATH": os.defpath,
                    "HOME": str(folder),  # so that no settings of AWS are found there
                    "AWS_EC2_METADATA_DISABLED": "true",
                    **self._environment,
                    **environment,
                },
                start_new_session=True,  # Ctrl-C is for us: we end them
            )
        started = Process(name, process, log)
        self._processes.append(started)
        return started
