"""Take over what other writers of the same state have committed, and refresh live objects with it.

Two steps, since they have different moments: a *take-over* reads head and rebases what is staged,
which may happen at any time; a *refresh* changes one live object, right before handlers see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._options import Sync
from ptb_s3._ptb.change_capture import ChangeCapture
from ptb_s3._ptb.live_objects import LiveObjects
from ptb_s3._ptb.poller import Poller


class Peers:
    """Other writers of a repository: their commits are polled, and brought into live objects.

    Args:
        repository: Repository, loaded.
        objects: Live objects of PTB.
        capture: Told of refreshed objects, whose bytes are no change.
        sync: How often to poll.
    """

    def __init__(
        self, repository: Repository, objects: LiveObjects, capture: ChangeCapture, sync: Sync
    ) -> None:
        self._repository = repository
        self._objects = objects
        self._capture = capture
        self._poller = Poller(repository, sync)

    async def look(self) -> None:
        """Take over the commits of other writers, if a poll is due.

        Not while an update is a transaction: it works on one state from beginning to end.
        """
        if self._repository.transactional:
            return
        await self._poller.look(asyncio.get_running_loop().time())

    async def catch_up(self) -> None:
        """Take over the commits of other writers now.

        Raises:
            PersistenceError: They cannot be read or, with what is staged, merged.
        """
        self._poller.looked(asyncio.get_running_loop().time())
        await self._repository.sync()

    def refresh(
        self, kind: Kind, key: EntityKey, live: object, pristine: Callable[[], object]
    ) -> None:
        """Bring a live object up to date with its entity, as `LiveObjects.refresh`.

        Args:
            kind: Kind of the entity.
            key: Its key.
            live: Its live object.
            pristine: Makes the value that PTB gives to a user or chat without data.
        """
        overtaken = self._repository.staged.overtaken[kind]
        if key in overtaken:
            self._objects.refresh(kind, key, live, pristine)
            if key not in overtaken:
                self._capture.note_unchanged(kind, {key: live})
