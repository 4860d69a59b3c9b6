"""`S3Persistence`: PTB's interface to a bot's state on S3-compatible storage.

Here stands what PTB calls, and which entities it is about. How an interval's calls become one
commit is `_group_commit`'s; how that is made safe is `_repository`'s; what a value becomes is
`_codec`'s.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast, overload

from telegram import Bot
from telegram.ext import BasePersistence, ContextTypes, PersistenceInput

from ptb_s3 import _arguments, _callback_data, _codec
from ptb_s3._ahead import ValuesAhead, values_ahead
from ptb_s3._callback_data import CallbackData
from ptb_s3._codec import PickleSerializer, Serializer
from ptb_s3._group_commit import GroupCommit
from ptb_s3._keyring import KeySource
from ptb_s3._live import Sync
from ptb_s3._means import Counters
from ptb_s3._merge import Merge, Merger
from ptb_s3._repository import Repository
from ptb_s3._s3 import S3Store
from ptb_s3._state import BOT_DATA_KEY, MANY_ALIKE, Key, Kind
from ptb_s3._store import Store
from ptb_s3.errors import PersistenceError, SettingsError

if TYPE_CHECKING:
    import aioboto3

UD = TypeVar("UD")
CD = TypeVar("CD")
BD = TypeVar("BD")

ConversationKey = tuple[int | str, ...]
_Dict = dict[Any, Any]


class Stats(NamedTuple):
    """What a persistence has done since it was made.

    Attributes:
        revision: The last one known to be committed; 0 before the first commit.
        age: Seconds since the last durable commit or, before one, since the state was loaded; None
            while it is not loaded.
        bytes_sent: Bytes of objects that the storage took.
        commits: Commits known to be durable.
        compactions: Blobs written anew.
        conflicts: Times that another writer had committed before us.
        merged: Entities that had changed on both sides then.
        overridden: Changes of others in them that ours have won over.
        failures: Commits that failed for other reasons; what they held goes with a later one.
    """

    revision: int
    age: float | None
    bytes_sent: int
    commits: int
    compactions: int
    conflicts: int
    merged: int
    overridden: int
    failures: int


class S3Persistence(BasePersistence[UD, CD, BD]):
    """Keep a bot's state encrypted on S3-compatible storage.

    The state lives in memory; what changed is written in one atomic PUT whenever PTB updates its
    persistence. Nothing is opened before the first ``get_*``; a state that cannot be read raises
    there, before the bot starts, and changes nothing.

    Note:
        The bucket must exist. Turn on its versioning to be able to go back.

    Args:
        bucket (:obj:`str`): Name of the bucket.
        prefix (:obj:`str`, optional): Put in front of the names of the six objects, as it is. Give
            each bot one of its own, such as ``"shop-bot/"``.
        keyring (:class:`ptb_s3.Keyring`): The key that seals, and retired keys that only open. Any
            object with the methods of :class:`ptb_s3.KeySource` will do.
        endpoint_url (:obj:`str`, optional): Address of the S3 API. Defaults to that of AWS.
        region_name (:obj:`str`, optional): The bucket's region. Defaults to AWS's own settings.
        session (:class:`aioboto3.Session`, optional): Where credentials come from. Defaults to the
            AWS chain.
        store_data (:class:`telegram.ext.PersistenceInput`, optional): Which kinds are saved. Kinds
            switched off are carried along untouched. By default, all are saved.
        update_interval (:obj:`int` | :obj:`float`, optional): Seconds between two updates: a crash
            loses at most what changed since the last one. Defaults to ``60``.
        context_types (:class:`telegram.ext.ContextTypes`, optional): As given to the application,
            where it uses types of its own for its data.
        trusted (Sequence[:obj:`str`], optional): Modules whose classes may be saved and loaded,
            their submodules included. Defaults to ``("__main__",)``.
        aliases (Mapping[:obj:`str`, :obj:`type`], optional): Classes that were renamed since they
            were saved, by their old full names.
        serializer (:class:`ptb_s3.Serializer`, optional): Turns values into bytes and back.
            Defaults to the allow-listed pickle, to which `trusted` and `aliases` belong.
        merge (Callable, optional): Called as ``merge(kind, key, base, ours, theirs)`` for an entity
            in which another instance of the bot and this one have changed the same thing, and
            returns what it is to be; each of the three is :obj:`None` where there is no such
            entity. See :func:`ptb_s3.merge_values`. By default, ours wins.
        sync (:obj:`str` | :obj:`float`, optional): How often to look, before an update is
            processed, for what other instances have committed: ``"auto"`` (the default) once a
            second while one has been at work within the last ten minutes, else never; a number of
            seconds; or :obj:`None` for never. What is committed is merged in all cases.
        single_writer (:obj:`bool`, optional): Vouches that there is never more than one instance of
            the bot, not even during a deploy. Needed on storage without conditional PUT, which
            could not tell them apart; changes nothing on others. Defaults to :obj:`False`.
        compression_level (:obj:`int`, optional): zstd's, from 1 to 19. Defaults to ``3``.
        flush_timeout (:obj:`float`, optional): Seconds that :meth:`flush` may take, all told.
            Defaults to ``8``, since hosts kill after 10.
        restore (:obj:`str`, optional): A revision, a time (ISO 8601) or the version id of a head to
            go back to at start-up; the same request is carried out once.
        expected_bucket_owner (:obj:`str`, optional): Id of the AWS account that owns the bucket.

    Attributes:
        flush_timeout (:obj:`float`): Seconds that :meth:`flush` may take.
        store_data (:class:`telegram.ext.PersistenceInput`): Which kinds are saved.
        context_types (:class:`telegram.ext.ContextTypes`): The types of the data.

    Raises:
        SettingsError: An argument cannot be used as it is.
    """

    @overload
    def __init__(
        self: S3Persistence[_Dict, _Dict, _Dict],
        bucket: str,
        prefix: str = "",
        *,
        keyring: KeySource,
        endpoint_url: str | None = None,
        region_name: str | None = None,
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        trusted: Sequence[str] = ("__main__",),
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: S3Persistence[UD, CD, BD],
        bucket: str,
        prefix: str = "",
        *,
        keyring: KeySource,
        endpoint_url: str | None = None,
        region_name: str | None = None,
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        context_types: ContextTypes[Any, UD, CD, BD] | None = None,
        trusted: Sequence[str] = ("__main__",),
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None: ...

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        keyring: KeySource,
        endpoint_url: str | None = None,
        region_name: str | None = None,
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        context_types: ContextTypes[Any, UD, CD, BD] | None = None,
        trusted: Sequence[str] = ("__main__",),
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        _check(update_interval, compression_level, flush_timeout, sync)
        _arguments.check_restore(restore)
        super().__init__(store_data=store_data, update_interval=update_interval)
        self.context_types: ContextTypes[Any, UD, CD, BD] = cast(
            "ContextTypes[Any, UD, CD, BD]", context_types or ContextTypes()
        )
        self._store: Store = S3Store(
            bucket,
            prefix,
            endpoint_url=endpoint_url,
            region_name=region_name,
            session=session,
            expected_bucket_owner=expected_bucket_owner,
        )
        self._keyring = keyring
        this = weakref.ref(self)  # a cycle would outlive the persistence, with all that it holds
        self._serializer = serializer or PickleSerializer(
            trusted=trusted, aliases=aliases, bot=lambda: getattr(this(), "bot", None)
        )
        if isinstance(self._serializer, PickleSerializer):
            self._serializer = self._serializer.sharing(lambda: _words_of(this()))
        _arguments.check_serializer(self._serializer)
        self._level = compression_level
        self.flush_timeout = flush_timeout
        self._restore = restore
        self._resolve = Merger(self._serializer, merge)
        self._sync: Sync = sync
        self._single_writer = single_writer
        self._repository: Repository | None = None
        self._ahead: ValuesAhead | None = None
        self._commits: GroupCommit | None = None
        self._counters = Counters()
        self._opening: asyncio.Task[GroupCommit] | None = None
        self._flushed = False

    @classmethod
    def from_env(
        cls,
        env_file: str | Path | None = ".env",
        *,
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        context_types: ContextTypes[Any, Any, Any, Any] | None = None,
        trusted: Sequence[str] = ("__main__",),
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        merge: Merge | None = None,
    ) -> S3Persistence[Any, Any, Any]:
        """Make a persistence from the ``PTB_S3_*`` variables; the rest as in the constructor.

        Args:
            env_file (:obj:`str` | :obj:`pathlib.Path`, optional): File of further variables, under
                those of the process. ``AWS_*`` variables in it are put into the environment.
            session (:class:`aioboto3.Session`, optional): Where credentials come from.
            store_data (:class:`telegram.ext.PersistenceInput`, optional): Which kinds are saved.
            context_types (:class:`telegram.ext.ContextTypes`, optional): Types of the data.
            trusted (Sequence[:obj:`str`], optional): Modules whose classes may be saved and loaded.
            aliases (Mapping[:obj:`str`, :obj:`type`], optional): Renamed classes.
            serializer (:class:`ptb_s3.Serializer`, optional): Turns values into bytes and back.
            merge (Callable, optional): Settles what two instances of the bot have changed.

        Raises:
            SettingsError: A variable is missing, unknown or unusable; names it, and shows no value.
        """
        # pydantic costs a third of a second to import, which `import ptb_s3` must not.
        from ptb_s3.settings import load_settings  # noqa: PLC0415 - see above

        settings = load_settings(env_file)
        return S3Persistence(
            settings.bucket,
            settings.prefix,
            keyring=settings.keyring(),
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            session=session,
            store_data=store_data,
            update_interval=settings.update_interval,
            context_types=context_types,
            trusted=trusted,
            aliases=aliases,
            serializer=serializer,
            merge=merge,
            sync=settings.sync,
            single_writer=settings.single_writer,
            compression_level=settings.compression_level,
            flush_timeout=settings.flush_timeout,
            restore=settings.restore,
            expected_bucket_owner=settings.expected_bucket_owner,
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_flushed"):  # an argument was refused; a debugger may still look
            return f"<{type(self).__name__} refused>"
        return f"{type(self).__name__}({self._store!r}, revision={self.stats.revision})"

    @property
    def stats(self) -> Stats:
        """:class:`ptb_s3.Stats`: What this persistence has done since it was made."""
        counters, at = self._counters, self._counters.committed_at
        return Stats(
            revision=self._commits.repository.revision if self._commits else 0,
            age=None if at is None else (datetime.now(UTC) - at).total_seconds(),
            bytes_sent=counters.bytes_sent,
            commits=counters.commits,
            compactions=counters.compactions,
            conflicts=counters.conflicts,
            merged=counters.merged,
            overridden=counters.overridden,
            failures=counters.failures,
        )

    # What PTB reads at start --------------------------------------------------------------------

    async def get_user_data(self) -> dict[int, UD]:
        """Return the data of all users, as fresh objects.

        Returns:
            dict[:obj:`int`, :obj:`dict` | :attr:`telegram.ext.ContextTypes.user_data`]
        """
        return cast("dict[int, UD]", await self._values(Kind.USER_DATA))

    async def get_chat_data(self) -> dict[int, CD]:
        """Return the data of all chats, as fresh objects.

        Returns:
            dict[:obj:`int`, :obj:`dict` | :attr:`telegram.ext.ContextTypes.chat_data`]
        """
        return cast("dict[int, CD]", await self._values(Kind.CHAT_DATA))

    async def get_bot_data(self) -> BD:
        """Return the bot's data or, if none was ever saved, an empty object of its type.

        Returns:
            :obj:`dict` | :attr:`telegram.ext.ContextTypes.bot_data`
        """
        values = await self._values(Kind.BOT_DATA)
        if BOT_DATA_KEY in values:
            return cast("BD", values[BOT_DATA_KEY])
        pristine = self.context_types.bot_data()
        # PTB sends bot_data every interval. What it was born with is no change worth a commit.
        commits = await self._open()
        commits.pristine[Kind.BOT_DATA, BOT_DATA_KEY] = _codec.dump(self._serializer, pristine)
        return pristine

    async def get_callback_data(self) -> CallbackData | None:
        """Return the arbitrary callback data, or None if there never was any.

        Returns:
            tuple[list[tuple[:obj:`str`, :obj:`float`, dict[:obj:`str`, :class:`object`]]],
            dict[:obj:`str`, :obj:`str`]] | :obj:`None`
        """
        values = await self._values(Kind.CALLBACK_DATA)
        return _callback_data.join(cast("dict[tuple[str, str], Any]", values)) if values else None

    async def get_conversations(self, name: str) -> dict[ConversationKey, object]:
        """Return the states of one conversation handler.

        Args:
            name (:obj:`str`): The handler's name.

        Returns:
            :obj:`dict`: The states by key.
        """
        staged = (await self._open()).repository.staged
        entities = cast("Any", staged.entities(Kind.CONVERSATIONS))
        items = [(key, value) for (own, key), value in entities.items() if own == name]
        seen = [key for key in cast("Any", staged.overtaken[Kind.CONVERSATIONS]) if key[0] == name]
        staged.catch_up(Kind.CONVERSATIONS, seen)
        return await self._load_values(Kind.CONVERSATIONS, items)

    # What PTB writes every interval -------------------------------------------------------------

    async def update_user_data(self, user_id: int, data: UD) -> None:
        """Save a user's data; returns when it is durable.

        Args:
            user_id (:obj:`int`): The user.
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.user_data`): The data.

        Raises:
            SerializationError: It cannot be saved; its last good value stays.
            PersistenceError: The commit failed; it is made up for by the next one.
        """
        await (await self.opened()).record(Kind.USER_DATA, {user_id: data})

    async def update_chat_data(self, chat_id: int, data: CD) -> None:
        """Save a chat's data; otherwise as :meth:`update_user_data`.

        Args:
            chat_id (:obj:`int`): The chat.
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.chat_data`): The data.
        """
        await (await self.opened()).record(Kind.CHAT_DATA, {chat_id: data})

    async def update_bot_data(self, data: BD) -> None:
        """Save the bot's data; otherwise as :meth:`update_user_data`.

        Args:
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.bot_data`): The data.
        """
        await (await self.opened()).record(Kind.BOT_DATA, {BOT_DATA_KEY: data})

    async def update_callback_data(self, data: CallbackData) -> None:
        """Save the arbitrary callback data; otherwise as :meth:`update_user_data`.

        Args:
            data (:obj:`tuple`): As :meth:`get_callback_data` returns it.
        """
        await (await self.opened()).record(
            Kind.CALLBACK_DATA, _callback_data.split(data), whole=True
        )

    async def update_conversation(
        self, name: str, key: ConversationKey, new_state: object | None
    ) -> None:
        """Save a conversation's state; otherwise as :meth:`update_user_data`.

        Args:
            name (:obj:`str`): The handler's name.
            key (:obj:`tuple`): The conversation's key.
            new_state (:class:`object`): The state; :obj:`None` if it has ended.
        """
        entity = (name, tuple(key))
        if new_state is None:
            await (await self.opened()).record(Kind.CONVERSATIONS, {}, dropped=[entity])
        else:
            await (await self.opened()).record(Kind.CONVERSATIONS, {entity: new_state})

    async def drop_user_data(self, user_id: int) -> None:
        """Delete a user's data; returns when that is durable.

        Args:
            user_id (:obj:`int`): The user.
        """
        await (await self.opened()).record(Kind.USER_DATA, {}, dropped=[user_id])

    async def drop_chat_data(self, chat_id: int) -> None:
        """Delete a chat's data; returns when that is durable.

        Args:
            chat_id (:obj:`int`): The chat.
        """
        await (await self.opened()).record(Kind.CHAT_DATA, {}, dropped=[chat_id])

    # What PTB asks before each update -----------------------------------------------------------

    async def refresh_user_data(self, user_id: int, user_data: UD) -> None:
        """Bring changes that other instances have made to a user's data into the live object.

        In place, and never over an object that holds changes which are not saved yet. Looks at the
        storage as often as `sync` says, and if it does not answer, goes on with what there is.

        Args:
            user_id (:obj:`int`): The user.
            user_data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.user_data`): The live data.
        """
        await self._refresh(Kind.USER_DATA, user_id, user_data, self.context_types.user_data)

    async def refresh_chat_data(self, chat_id: int, chat_data: CD) -> None:
        """Bring in changes to a chat's data; see :meth:`refresh_user_data`.

        Args:
            chat_id (:obj:`int`): The chat.
            chat_data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.chat_data`): The live data.
        """
        await self._refresh(Kind.CHAT_DATA, chat_id, chat_data, self.context_types.chat_data)

    async def refresh_bot_data(self, bot_data: BD) -> None:
        """Bring in changes to the bot's data; see :meth:`refresh_user_data`.

        Args:
            bot_data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.bot_data`): The live data.
        """
        await self._refresh(Kind.BOT_DATA, BOT_DATA_KEY, bot_data, self.context_types.bot_data)

    # What code of one's own may ask for -----------------------------------------------------------

    async def catch_up(self) -> None:
        """Take over what other instances have committed, now.

        Live objects get it when PTB refreshes them, or with a `PersistentApplication`.

        Raises:
            PersistenceError: It cannot be read or, with what is unsaved here, merged.
        """
        await (await self.opened()).catch_up()

    async def commit(self) -> None:
        """Commit what was handed over and is not durable; return when it is.

        Raises:
            PersistenceError: The commit failed; what is not durable is kept in memory.
        """
        await (await self.opened()).repository.commit()

    async def opened(self) -> GroupCommit:
        """Return what takes changes, loaded: for the classes of this package.

        After a flush, it goes on from what is in memory.

        Raises:
            PersistenceError: The state cannot be read.
        """
        return self._commits or await self._open()

    @property
    def open_already(self) -> GroupCommit | None:
        """The same, unless nothing is loaded."""
        return self._commits

    async def close(self) -> None:
        """Close connections, whatever became of what was to be saved; they open again if needed."""
        await self._store.close()

    # What PTB calls at the end ------------------------------------------------------------------

    async def flush(self) -> None:
        """Commit what is left, write blobs if there is time, and close the connections.

        A later ``get_*`` reads everything again; a later update goes on from what is in memory.

        Raises:
            PersistenceError: The commit failed; what is not durable is kept in memory, and another
                flush tries again.
        """
        if self._commits is None:
            return
        try:
            await self._commits.flush(self.flush_timeout)
            self._flushed = True
        finally:
            await self._commits.repository.close()

    # Within -------------------------------------------------------------------------------------

    async def _open(self) -> GroupCommit:
        """Load the state, if this is the first call, or the first since a flush.

        All calls that wait for it go on in one tick of the loop, so that updates stay one group.
        """
        if self._commits is not None and (self._commits.repository.dirty or not self._flushed):
            return self._commits
        if self._opening is None:
            self._opening = asyncio.create_task(self._load())
        try:
            self._commits = await asyncio.shield(self._opening)
        finally:
            self._opening = None
        self._flushed = False
        return self._commits

    async def _load(self) -> GroupCommit:
        repository = Repository(
            self._store,
            self._keyring,
            bot=self._bot_id(),
            serializer=self._serializer.id,
            level=self._level,
            counters=self._counters,
            resolve=self._resolve,
            single_writer=self._single_writer,
        )
        wanted = [kind for kind in MANY_ALIKE if getattr(self.store_data, kind)]
        try:
            with values_ahead(self._serializer, wanted) as ahead:
                await repository.load(ahead)
            self._repository, self._ahead = repository, ahead
            repository.require_conditions()
            if self._restore is not None:
                await repository.restore(self._restore)
        except BaseException:
            await repository.close()
            raise
        return GroupCommit(repository, self._serializer, self._sync)

    def _bot_id(self) -> int:
        # PTB sets the bot when it builds the application; it learns its own id in initialize().
        bot = cast("Bot | None", self.bot)
        if bot is None:
            raise RuntimeError(
                "S3Persistence has no bot yet: give it to ApplicationBuilder.persistence()."
            )
        return bot.id

    async def _values(self, kind: Kind) -> dict[Key, Any]:
        staged = (await self._open()).repository.staged
        staged.catch_up(kind)
        entities = staged.entities(kind)
        values = self._ahead.take(kind, entities) if self._ahead is not None else {}
        if len(values) < len(entities):
            left = [(key, data) for key, data in entities.items() if key not in values]
            values.update(await self._load_values(kind, left))
        return values

    async def _load_values(self, kind: Kind, items: list[tuple[Any, bytes]]) -> dict[Any, Any]:
        repository = (await self._open()).repository
        try:
            values = _codec.load_all(self._serializer, kind, items)
        except PersistenceError:
            await repository.close()  # the bot does not start, and nobody else would
            raise
        return values

    async def _refresh(
        self, kind: Kind, key: Key, live: object, pristine: Callable[[], object]
    ) -> None:
        if self._commits is not None:
            await self._commits.look()
            self._commits.objects.refresh(kind, key, live, pristine)


def _words_of(persistence: S3Persistence[Any, Any, Any] | None) -> tuple[str, ...]:
    repository = persistence and persistence._repository  # noqa: SLF001 - of this module
    return repository.words if repository else ()


def _check(update_interval: float, level: int, flush_timeout: float, sync: object) -> None:
    if not update_interval > 0:
        raise SettingsError(
            f"update_interval is {update_interval}: PTB would update without a pause, at full "
            "load. Give a number of seconds above 0."
        )
    if not 1 <= level <= 19:  # noqa: PLR2004 - zstd's levels that need no extra memory
        raise SettingsError(f"compression_level is {level}: give a number from 1 to 19.")
    if not flush_timeout > 0:
        raise SettingsError(f"flush_timeout is {flush_timeout}: give a number of seconds above 0.")
    seconds = isinstance(sync, (int, float)) and 0 <= sync < float("inf")
    if not (sync is None or sync == "auto" or seconds):
        raise SettingsError(f'sync is {sync!r}: give "auto", a number of seconds, or None.')
