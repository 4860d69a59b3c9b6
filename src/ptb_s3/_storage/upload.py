"""Upload of a body that is not in memory: read in a thread, piece by piece, for each attempt anew.

botocore takes it for a file, and never reads it: its size and MD5 are given, and `client` has it
sign no body. `transport` makes a body of aiohttp's of it, since that would read a file in asyncio's
default executor, which is the bot's.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator

from ptb_s3._storage.body import Body
from ptb_s3._storage.threads import Worker


class Upload:
    """Body on its way to the storage.

    Args:
        body: The body.
        worker: Thread that reads it.

    Attributes:
        failure: The exception that reading it has raised, if one was: no failure of the storage's,
            though aiohttp takes it for a lost connection.
    """

    def __init__(self, body: Body, worker: Worker) -> None:
        self._body = body
        self._worker = worker
        self.failure: Exception | None = None

    def __len__(self) -> int:
        return len(self._body)

    async def digest(self) -> str:
        """Return its Content-MD5 in base64."""
        return await self._worker(_digest, self._body)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Iterate over its bytes, from the first one on, whatever was read before."""
        pieces = self._body.pieces()
        while True:
            try:
                piece = await self._worker(next, pieces, b"")
            except Exception as failure:
                self.failure = failure
                raise
            if not piece:
                return
            yield piece

    def read(self, _size: int = -1) -> bytes:
        """Refuse to be read on the event loop. botocore knows a file by this method."""
        raise TypeError("An upload is read by its pieces alone.")

    def seek(self, _offset: int) -> None:
        """Do nothing, since each attempt begins at the first byte. For botocore and `requester`."""


def _digest(body: Body) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in body.pieces():
        digest.update(piece)
    return b64encode(digest.digest()).decode()
