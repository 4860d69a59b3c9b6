"""Place of the state that a command works on: its store, its keys, and how to load it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ptb_s3._engine.loading import Recovery
from ptb_s3._engine.repair import UNREADABLE
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.rotation import locks_out
from ptb_s3._format.container import HEAD
from ptb_s3._keys.ring import Ring
from ptb_s3._keys.unwrapping import unwrapping
from ptb_s3._storage.client import Untyped
from ptb_s3._storage.contract import Archive
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli import _output
from ptb_s3.cli._progress import progress, waiting
from ptb_s3.cli._wording import ago, when
from ptb_s3.errors import (
    ConflictError,
    NoHistoryError,
    NothingThereError,
    PersistenceError,
    UnknownKeyError,
)

if TYPE_CHECKING:
    from ptb_s3._key_settings import KeySettings
    from ptb_s3.settings import Settings

_R = TypeVar("_R")

env_file: ContextVar[str] = ContextVar("env_file", default=".env")
"""Path of the file of further variables (``--env-file``)."""


class Opened(NamedTuple):
    """State that a command works on: the current one or, where that is lost, the newest.

    Attributes:
        repository: The state.
        fault: Why the current state cannot be read; None: the repository holds it.
    """

    repository: Repository
    fault: PersistenceError | None


class Place(NamedTuple):
    """Place of a state, as the settings name it, with the keys that open it.

    Attributes:
        name: The place as a URL.
        store: The objects.
        keys: Seals and opens them.
        level: zstd compression level.
        single_writer: Whether the user vouches that there is no other writer.
        open: Opens another bucket and prefix of the same storage.
        exposed: Key files that other users may read: for each, what is wrong and what to do.
    """

    name: str
    store: S3Store
    keys: Ring
    level: int
    single_writer: bool
    open: Callable[[str, str], S3Store]
    exposed: Sequence[tuple[str, str]] = ()

    @property
    def archive(self) -> Archive:
        """Return the objects, to be opened: the keys that AWS KMS keeps arrive with them."""
        return unwrapping(self.store, self.keys)

    def repository(
        self,
        bot: int | None = None,
        serializer: str | None = None,
        begin_anew: str | None = None,
    ) -> Repository:
        """Return a repository that is not loaded yet.

        Args:
            bot: Id of the bot whose state it is; None: whosever there is.
            serializer: Id of the serializer of its values; None: whichever made them.
            begin_anew: Version id of a deleted head, to begin a new state after it.
        """
        return Repository(
            self.store,
            self.keys,
            bot=bot,
            serializer=serializer,
            level=self.level,
            single_writer=self.single_writer,
            begin_anew=begin_anew,
        )

    async def load(self) -> Repository:
        """Return the current state, loaded.

        Raises:
            NothingThereError: No bot has saved any.
            PersistenceError: It cannot be read.
        """
        repository = self.repository()
        async with waiting("Reading the state", lambda: (0, None)):
            await repository.load()
        return repository

    async def recover(self, repository: Repository, store_id: str | None = None) -> Recovery:
        """Recover the newest state that versions give into a repository.

        Args:
            repository: One that is not loaded.
            store_id: The store whose state it is to be; None: that of the newest version.

        Raises:
            NothingThereError: No version opens.
            NoHistoryError: The storage lists no versions.
        """
        with progress("Listing versions") as advance:
            return await repository.recover(
                store_id=store_id, advance=lambda listed: advance(listed, None)
            )

    async def load_or_recover(self, store_id: str | None = None) -> Opened:
        """Return the current state or, where it cannot be read, the newest that versions give.

        In the second case, a remark says so before anything else is said.

        Args:
            store_id: The store whose newest state it is to be; None: the current state.

        Raises:
            PersistenceError: No version of it can be read, either.
        """
        fault: PersistenceError | None = None
        if store_id is None:
            try:
                return Opened(await self.load(), None)
            except UNREADABLE as error:
                if isinstance(error, UnknownKeyError) and error.in_history:
                    # A key for history alone may have leaked, and its thief written the state.
                    raise
                fault = error
        repository = self.repository()
        try:
            recovery = await self.recover(repository, store_id)
        except (NothingThereError, NoHistoryError):
            if fault is None:
                raise
            raise fault from None
        header = recovery.found.header
        if fault is not None:
            _output.note(
                f"The current state cannot be read. {fault}\nThis goes by the newest commit that "
                f"can be: revision {header.revision}, of {when(header.created)}."
            )
        return Opened(repository, fault)


_EXCHANGED = (
    "Another writer was at work {ago}. This would seal head with key {key}, and a bot that runs "
    "without that key could not save from then on. {remedy} Nothing was changed."
)
_WITH_THEIR_KEY = (
    "Do it with the key in PTB_S3_KEY that head is sealed with, or exchange keys before: ptb-s3 "
    "rotate says how."
)


def refuse_to_exchange_keys(repository: Repository, remedy: str = _WITH_THEIR_KEY) -> None:
    """Stop before a commit that would lock a running bot out, for want of the key.

    Args:
        repository: The state, loaded.
        remedy: How to go on, in sentences.

    Raises:
        ConflictError: Another key would seal head, and somebody was at work within ten minutes.
    """
    if locks_out(repository):
        since = ago(repository.base.objects[HEAD].header.created)
        key = repository.sealing_key_id
        raise ConflictError(_EXCHANGED.format(ago=since, key=key, remedy=remedy))


@asynccontextmanager
async def elsewhere(place: Place, bucket: str, prefix: str) -> AsyncIterator[Place]:
    """Open another bucket or prefix of the same storage, with the same keys and credentials."""
    store = place.open(bucket, prefix)
    try:
        yield place._replace(name=f"s3://{bucket}/{prefix}", store=store)
    finally:
        await store.close()


@asynccontextmanager
async def opened(
    settings: Settings, open_: Callable[[str, str], S3Store], session: Untyped = None
) -> AsyncIterator[Place]:
    """Open the place that settings name, and close it afterwards.

    Args:
        settings: The settings.
        open_: Opens a bucket and a prefix of their storage.
        session: An `aioboto3.Session` to ask AWS KMS with; None makes one where it is asked.
    """
    store, keys = open_(settings.bucket, settings.prefix), settings.keyring(session)
    try:
        yield Place(
            f"s3://{settings.bucket}/{settings.prefix}",
            store,
            keys,
            settings.compression_level,
            settings.single_writer,
            open_,
            [(file.found, file.remedy) for file in settings.exposed_files()],
        )
    finally:
        await unwrapping(store, keys).close()


def warn_of_files(settings: KeySettings) -> None:
    """Warn on stderr of key files that other users of the machine may read."""
    for file in settings.exposed_files():
        _output.warning(str(file))


def run(work: Callable[[Place], Coroutine[Any, Any, _R]], *, warns: bool = True) -> _R:
    """Run a command's work on the place that the settings name.

    Args:
        work: The work.
        warns: Whether to warn of key files that others may read; False: the work itself does.

    Raises:
        SettingsError: The settings are not complete.
    """
    from ptb_s3.settings import load_settings  # noqa: PLC0415 - --help needs none

    settings = load_settings(env_file.get())
    if warns:
        warn_of_files(settings)
    open_ = partial(
        S3Store,
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        addressing_style=settings.addressing_style,
        expected_bucket_owner=settings.expected_bucket_owner,
    )

    async def work_there() -> _R:
        async with opened(settings, open_) as place:
            return await work(place)

    return asyncio.run(work_there())
