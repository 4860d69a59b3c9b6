"""Clean-up of scratch objects: deletion of every version, and a count of what is left.

Credentials of a bot may not delete versions, as they should not. So each step has a weaker one that
takes less permission: delete versions, else lay a delete marker on top, else say what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ptb_s3._doctor.evidence import Left
from ptb_s3._storage.answers import Answer
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import PersistenceError, StorageError, StorageUnavailableError

UNVERSIONED = "null"
"""Version id of an object in a bucket without versioning."""

Known = dict[str, dict[str, bytes]]
"""Bodies that were written, by object and version id; of a delete marker, an empty one."""


class Clearing:
    """Remover of scratch objects.

    Args:
        store: The place.
        key: Full key that all of the objects' keys begin with.
        known: What was written; more may be added as long as it is.
    """

    def __init__(self, store: S3Store, key: str, known: Known) -> None:
        self._store = store
        self._key = key
        self._known = known

    async def mark(self, name: str) -> bool:
        """Delete an object by key, which leaves a marker, and return whether that is allowed."""
        answer = await self._store.ask("delete_object", key=self._store.prefix + name)
        if isinstance(answer, Answer):
            return False
        if answer.get("VersionId"):
            self._known.setdefault(name, {})[str(answer["VersionId"])] = b""
        return True

    async def may_delete(self, name: str, *, by_key: bool) -> bool:
        """Tell whether what is written may be deleted for good, by deleting what does not exist.

        Args:
            name: Name of an object that does not exist.
            by_key: Whether a deletion without a version id is for good, too, as no versions are
                kept. versitygw 1.8.0 then refuses the id ``null``.
        """
        if await self._delete(name, {UNVERSIONED}):
            return True
        return by_key and await self.mark(name)

    async def clear(self) -> Left:
        """Delete every version of what was written, and return what is left.

        Where deletion of versions is not allowed, a delete marker is laid on top, so that lifecycle
        rules for noncurrent versions remove the rest.
        """
        try:
            return await self._clear() if self._known else Left({})
        except PersistenceError as error:
            return Left(self._counted(self._known), counted=False, fault=str(error))

    async def _clear(self) -> Left:
        listed = await self._list()
        before = {name: {*ids} for name, ids in self._known.items()} if listed is None else listed
        denied = [name for name, ids in before.items() if not await self._delete(name, ids)]
        # Without a list, there may be what was written and whose id was not told.
        rest = [name for name in before if listed is None and await self._is_there(name)]
        hidden = await self._hide(dict.fromkeys([*denied, *rest]))
        after = await self._list()
        counted = after is not None
        if after is None:
            after = {name: ids for name, ids in before.items() if await self._is_left(name, denied)}
        gone = sum(len(ids - after.get(name, set())) for name, ids in before.items())
        return Left(self._counted(after), gone, bool(denied), hidden, counted)

    async def _delete(self, name: str, ids: set[str]) -> bool:
        """Delete versions, and return whether that is allowed and possible."""
        try:
            return not (ids and await self._store.delete(name, sorted(ids)))
        except StorageUnavailableError:
            raise
        except StorageError:
            return False

    async def _is_left(self, name: str, denied: Sequence[str]) -> bool:
        """Tell whether there is something of an object, as far as it is known without a list."""
        versions = self._known[name].keys() - {UNVERSIONED}
        return bool(name in denied and versions) or await self._is_there(name)

    async def _list(self) -> dict[str, set[str]] | None:
        """Return the ids of versions and delete markers by name, or None if they are not listed."""
        page = await self._store.ask("list_object_versions", Prefix=self._key)
        if isinstance(page, Answer):
            return None
        found: dict[str, set[str]] = {}
        for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            name = str(entry["Key"]).removeprefix(self._store.prefix)
            found.setdefault(name, set()).add(str(entry["VersionId"]))
        return found

    async def _hide(self, names: Iterable[str]) -> bool:
        """Lay delete markers on objects, and return whether that is allowed for all of them."""
        allowed = [await self.mark(name) for name in names]
        return bool(allowed) and all(allowed)

    async def _is_there(self, name: str) -> bool:
        try:
            return await self._store.get(name, first_bytes=1) is not None
        except StorageError:
            return True

    def _counted(self, found: Mapping[str, Collection[str]]) -> dict[str, int]:
        """Return the numbers of versions by full key."""
        return {self._store.prefix + name: len(ids) for name, ids in found.items() if ids}
