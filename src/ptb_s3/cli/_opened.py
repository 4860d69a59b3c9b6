"""What the commands that look at a store have in common: where it is, its options, and its run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import EntityKey, Kind, is_key
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli import _output
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    DeletedStateError,
    ForeignStoreError,
    NoHistoryError,
    NothingThereError,
    PersistenceError,
    SettingsError,
    UnknownKeyError,
)

_R = TypeVar("_R")

env_file: ContextVar[str] = ContextVar("env_file", default=".env")
"""The file of variables that the program was told of."""


def _note_json(value: bool) -> bool:  # noqa: FBT001 - Typer calls it with the option's value
    _output.for_programs.set(value)
    return value


Json = Annotated[bool, typer.Option("--json", callback=_note_json, help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

OfStore = Annotated[
    str | None,
    typer.Option("--store", metavar="ID", help="Of the store of this id, which lay here before."),
]

POINT = "A revision, a time (ISO 8601, or like '2 hours ago'), or the version id of a head"


LOST = (DamagedObjectError, DeletedStateError, ForeignStoreError, UnknownKeyError)
"""What keeps a current state from being read, and says nothing of its versions."""


class Opened(NamedTuple):
    """A state that a command works on.

    Attributes:
        repository: The state.
        fault: Why it is not the current one: that cannot be read. None: it is.
    """

    repository: Repository
    fault: PersistenceError | None


class Place(NamedTuple):
    """Where the settings say that the state lies, and what opens it.

    Attributes:
        name: As a URL.
        store: The objects.
        keys: Seals and opens them.
        level: zstd compression level.
        single_writer: Whether the user vouches that there is no other writer.
        open: Opens another bucket and prefix of the same storage.
    """

    name: str
    store: S3Store
    keys: Keyring
    level: int
    single_writer: bool
    open: Callable[[str, str], S3Store]

    def repository(
        self,
        bot: int | None = None,
        serializer: str | None = None,
        begin_anew: str | None = None,
    ) -> Repository:
        """Return what reads and commits the state, of whichever bot it is unless one is given."""
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
        """Return the state, loaded.

        Raises:
            NothingThereError: No bot has saved any.
            PersistenceError: It cannot be read.
        """
        repository = self.repository()
        async with _output.waiting("Reading the state", lambda: (0, None)):
            await repository.load()
        return repository

    async def load_or_recover(self, store_id: str | None = None) -> Opened:
        """Return the state or, where it cannot be read, the newest one that versions give.

        What is wrong is said before anything else.

        Args:
            store_id: The store whose state it is to be; None: what is current.

        Raises:
            PersistenceError: No version of it can be read, either.
        """
        fault: PersistenceError | None = None
        if store_id is None:
            try:
                return Opened(await self.load(), None)
            except LOST as error:
                if isinstance(error, UnknownKeyError) and error.in_history:
                    raise  # whoever has that key may have made all that it opens
                fault = error
        repository = self.repository()
        try:
            with _output.progress("Listing versions") as advance:
                recovery = await repository.recover(
                    store_id=store_id, advance=lambda listed: advance(listed, None)
                )
        except (NothingThereError, NoHistoryError):
            if fault is None:
                raise
            raise fault from None
        header = recovery.found.header
        if fault is not None:
            _output.note(
                f"The current state cannot be read. {fault}\nThis goes by the newest commit that "
                f"can be: revision {header.revision}, of {_output.when(header.created)}."
            )
        return Opened(repository, fault)


_S3 = "s3://"
_EXCHANGED = (
    "Another writer was at work {ago}. This would seal head with key {key}, and a bot that runs "
    "without that key could not save from then on. {remedy} Nothing was changed."
)
_WITH_THEIR_KEY = (
    "Do it with the key in PTB_S3_KEY that head is sealed with, or exchange keys before: ptb-s3 "
    "rotate says how."
)


def refuse_to_exchange_keys(repository: Repository, remedy: str = _WITH_THEIR_KEY) -> None:
    """Stop before a commit that a running bot may have no key for.

    Args:
        repository: The state, loaded.
        remedy: What to do, in sentences.

    Raises:
        ConflictError: Another key would seal head, and somebody was at work within ten minutes.
    """
    exchanged = repository.revision and HEAD in repository.sealed_otherwise()
    if exchanged and repository.in_company:
        ago = _output.ago(repository.base.objects[HEAD].header.created)
        key = repository.sealing_key_id
        raise ConflictError(_EXCHANGED.format(ago=ago, key=key, remedy=remedy))


@asynccontextmanager
async def elsewhere(place: Place, bucket: str, prefix: str) -> AsyncIterator[Place]:
    """Open another bucket or prefix of the same storage, with the same keys and credentials."""
    store = place.open(bucket, prefix)
    try:
        yield place._replace(name=f"s3://{bucket}/{prefix}", store=store)
    finally:
        await store.close()


def split_url(url: str) -> tuple[str, str]:
    """Return the bucket and the prefix that a URL names.

    Raises:
        SettingsError: It names none.
    """
    bucket, _, prefix = url.removeprefix(_S3).partition("/")
    if not bucket or not url.startswith(_S3):
        raise SettingsError("That names no bucket. Give one, and the prefix: s3://bucket/prefix.")
    return bucket, prefix


def run(work: Callable[[Place], Coroutine[Any, Any, _R]]) -> _R:
    """Do the work of a command at the place that the settings name."""
    from ptb_s3.settings import load_settings  # noqa: PLC0415 - pydantic would slow down --help

    settings = load_settings(env_file.get())

    open_ = partial(
        S3Store,
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        addressing_style=settings.addressing_style,
        expected_bucket_owner=settings.expected_bucket_owner,
    )

    async def opened() -> _R:
        store = open_(settings.bucket, settings.prefix)
        name = f"s3://{settings.bucket}/{settings.prefix}"
        level = settings.compression_level
        try:
            vouched = settings.single_writer
            return await work(Place(name, store, settings.keyring(), level, vouched, open_))
        finally:
            await store.close()

    return asyncio.run(opened())


def point(text: str) -> RestorePoint:
    """Parse a restore point; a time without a zone is local, as the times that are shown are.

    Relative times become exact, so that the answer does not depend on when it is looked for.
    """
    moment = None if text.isdecimal() else _moment(text)
    return RestorePoint.parse(text if moment is None else moment.isoformat())


def moment(text: str) -> datetime:
    """Return the time that a text names.

    Raises:
        SettingsError: It names none.
    """
    found = _moment(text)
    if found is None:
        raise SettingsError(
            f"{text!r} is no time. Give one like 2026-11-23T14:00, or like '2 hours ago'."
        )
    return found


def duration(text: str) -> timedelta:
    """Return the span of time that a text names, such as ``90s``, ``10m``, ``2h`` or ``1d``.

    Raises:
        SettingsError: It names none.
    """
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal():
        raise SettingsError(f"{text!r} is no span of time. Give one like 90s, 10m, 2h or 1d.")
    return timedelta(**{unit: int(number)})


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        import dateparser  # noqa: PLC0415 - takes a while, and few give a time like that

        # Relative times alone: a version id must not be taken for one of the many absolute forms.
        how = {"PARSERS": ["relative-time"], "RETURN_AS_TIMEZONE_AWARE": True}
        found: datetime | None = dateparser.parse(text, languages=["en"], settings=how)
        return found


def kind_of(text: str) -> Kind:
    """Return the kind of that name.

    Raises:
        SettingsError: There is none.
    """
    try:
        return Kind(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no kind. There are: {', '.join(Kind)}.") from None


def key_of(kind: Kind, text: str) -> EntityKey:
    """Return the key that a text names: a number, or JSON as `key_text` writes it.

    Raises:
        SettingsError: It is no key of that kind.
    """
    try:
        key = _tuples(json.loads(text))
    except ValueError:
        key = None
    if not is_key(kind, key):
        raise SettingsError(f"That is no key of {kind.value}. It looks like {_EXAMPLES[kind]}.")
    return key  # type: ignore[no-any-return] # is_key has just said so


def key_text(key: EntityKey) -> str:
    """Write a key as `key_of` reads it."""
    return json.dumps(key, separators=(",", ":"), ensure_ascii=False)


def _tuples(value: Any) -> Any:  # noqa: ANN401 - JSON
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


_EXAMPLES = {
    Kind.USER_DATA: "123456789",
    Kind.CHAT_DATA: "-1001234567890",
    Kind.BOT_DATA: "0",
    Kind.CALLBACK_DATA: '["k","<uuid of a keyboard>"] or ["q","<id of a callback query>"]',
    Kind.CONVERSATIONS: '["order",[123456789,123456789]]: its name, and the parts of its key',
}
