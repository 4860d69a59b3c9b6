"""What requests send and replies bring, a piece at a time: neither holds up the event loop."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode
from typing import Any

from ptb_s3._s3_answers import Question, to_failure
from ptb_s3._store import Into, empty_stream
from ptb_s3.errors import StorageError

MAX_OBJECT = 5 * 2**30
"""Bytes: the most that one PUT takes (Amazon S3 User Guide, "Uploading objects")."""
_PIECE = 2**20


def readied(body: bytes) -> tuple[io.BytesIO, str]:
    """Return the body as a stream, to be sent piece by piece, and its Content-MD5. Slow.

    The stream is filled piece by piece, too: `io.BytesIO(body)` puts off the copy until aiohttp
    asks for its buffer, on the loop (40 ms for 64 MiB).
    """
    stream, digest = empty_stream(len(body)), hashlib.md5(usedforsecurity=False)
    with memoryview(body) as view:
        for start in range(0, len(body), _PIECE):
            piece = view[start : start + _PIECE]
            stream.write(piece)
            digest.update(piece)
    stream.seek(0)
    return stream, b64encode(digest.digest()).decode()


async def read(question: Question, response: dict[str, Any], into: Into | None = None) -> bytes:
    """Return the whole body of a reply, which is as long as it was said to be.

    If it goes somewhere as it arrives, nothing is returned.
    """
    expected, size = response.get("ContentLength", 0), 0
    pieces: list[bytes] = []
    take = into(expected) if into else pieces.append
    stream = response["Body"]
    try:
        async with stream:
            while max(expected, size) <= MAX_OBJECT:
                piece = await stream.read(_PIECE)  # raises where less comes than was said
                if not piece:
                    return b"".join(pieces)
                take(piece)
                size += len(piece)
    except Exception as exc:
        failure = to_failure(question, exc, "the storage, to the end")
        if failure is None:
            raise
        raise failure from None
    raise StorageError(f"Could not {question}: it is over 5 GiB, so ptb-s3 has not written it.")
