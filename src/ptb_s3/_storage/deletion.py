"""Deletion of versions: a thousand with one request or, where that is not taken, one by one.

Not every storage takes `DeleteObjects`: some have none (GCS, s3proxy: 501), some want a Content-MD5
with it where botocore sends another checksum (MissingContentMD5). All of them take `DeleteObject`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from ptb_s3._storage.answers import (
    Answer,
    Question,
    means_absent,
    means_refused,
    means_unable,
    to_error,
)
from ptb_s3.errors import StorageUnavailableError

Ask: TypeAlias = Callable[..., Awaitable[Any]]
"""Sends a request; gives botocore's view of the reply, or an `Answer` where it was refused."""

_AT_ONCE = 1000
"""Versions: the most that one request takes (Amazon S3 API Reference, "DeleteObjects")."""
_WIDTH = 8
"""Requests under way at once where each deletes one version."""
_GONE_ALREADY = frozenset({"NoSuchKey", "NoSuchVersion"})


class Deletion:
    """Deleter of versions, in the way that the storage was found to take.

    Args:
        ask: Sends the requests.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._one_by_one = False

    async def delete(self, question: Question, version_ids: Sequence[str]) -> list[str]:
        """Delete versions of an object. A version that is gone already is no error.

        Args:
            question: Names the object, and words errors.
            version_ids: Ids of the versions.

        Returns:
            Ids of those that the storage refused to delete.

        Raises:
            StorageError: It deletes none, for a reason that has nothing to do with the version.
        """
        refused: list[str] = []
        for at in range(0, len(version_ids), _AT_ONCE):
            batch = version_ids[at : at + _AT_ONCE]
            left = None if self._one_by_one else await self._together(question, batch)
            refused += await self._singly(question, batch) if left is None else left
        return refused

    async def _together(self, question: Question, batch: Sequence[str]) -> list[str] | None:
        """Delete versions with one request, or return None where the storage cannot."""
        objects = [{"Key": question.key, "VersionId": id_} for id_ in batch]
        response = await self._ask(question, "delete_objects", Delete={"Objects": objects})
        if not isinstance(response, Answer):
            return _refused(question, batch, response)
        if not means_unable(question, response):
            raise to_error(question, response)
        self._one_by_one = True
        return None

    async def _singly(self, question: Question, batch: Sequence[str]) -> list[str]:
        """Delete versions with a request for each."""
        refused: list[str] = []
        for at in range(0, len(batch), _WIDTH):
            ids = batch[at : at + _WIDTH]
            deleted = await asyncio.gather(*(self._deletes(question, id_) for id_ in ids))
            refused += [id_ for id_, gone in zip(ids, deleted, strict=True) if not gone]
        return refused

    async def _deletes(self, question: Question, version_id: str) -> bool:
        """Tell whether one version could be deleted (MinIO says 400 of a locked one)."""
        answer = await self._ask(question, "delete_object", Key=question.key, VersionId=version_id)
        if not isinstance(answer, Answer) or means_absent(question, answer):
            return True
        if means_refused(question, answer):
            return False
        raise to_error(question, answer)


def _refused(question: Question, batch: Sequence[str], response: dict[str, Any]) -> list[str]:
    """Return the versions that were refused for a reason that will be the same next time.

    Raises:
        StorageUnavailableError: One was refused for a reason that may pass.
    """
    errors = [e for e in response.get("Errors", []) if e.get("Code") not in _GONE_ALREADY]
    for error in errors:
        refusal = to_error(question, Answer(str(error.get("Code", "")), 403))
        if isinstance(refusal, StorageUnavailableError):
            raise refusal
    named = [str(error["VersionId"]) for error in errors if error.get("VersionId")]
    if len(named) == len(errors):
        return named
    deleted = {entry.get("VersionId") for entry in response.get("Deleted", [])}
    return [version_id for version_id in batch if version_id not in deleted]  # moto names none
