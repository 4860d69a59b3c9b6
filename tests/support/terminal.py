"""A terminal for programs that ask somebody."""

from __future__ import annotations

import asyncio
import os
import pty
from typing import Self


class Terminal:
    """A terminal for the program's standard input and error, as an async context manager.

    Attributes:
        slave: What to give to the program.
        shown: What it has written there.
    """

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self.shown = ""
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self.slave)

    def _read(self) -> None:
        self.shown += os.read(self._master, 2**16).decode()
        self._changed.set()

    async def until(self, text: str) -> None:
        """Wait until a text is shown."""
        while text not in self.shown:
            self._changed.clear()
            await self._changed.wait()

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())
