"""`S3Persistence`: PTB's interface to a bot's state on S3-compatible storage.

Here stands what PTB calls, and which entities it is about. How an interval's calls become one
commit is `_ptb.group_commit`'s; how that is made safe is `_engine.repository`'s; what a value
becomes is `_values.serializer`'s.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import weakref
from collections.abc import Callable, Collection, Coroutine, Hashable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar, cast, overload

from telegram import Bot
from telegram.ext import BasePersistence, ContextTypes, PersistenceInput

from ptb_s3 import _arguments
from ptb_s3._engine.context import Counters
from ptb_s3._engine.loop_locks import Joined, running
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import BOT_DATA_KEY, MANY_ALIKE, Entities, EntityKey, Kind, counted
from ptb_s3._format.key_source import KeySource
from ptb_s3._ptb.calls import SHARED
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import bot_id, can_tell, is_initialized, saving_application
from ptb_s3._ptb.live_objects import Sync
from ptb_s3._ptb.preload import ValuesAhead, values_ahead
from ptb_s3._ptb.save_watch import Asked
from ptb_s3._ptb.shutdown import Stop
from ptb_s3._storage.contract import Store
from ptb_s3._storage.s3 import S3Store
from ptb_s3._storage.threads import Worker
from ptb_s3._values import callback_data
from ptb_s3._values import serializer as _codec
from ptb_s3._values.callback_data import CallbackData
from ptb_s3._values.merge import Merge, Merger
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3.errors import (
    DamagedObjectError,
    DeletedStateError,
    NothingThereError,
    PersistenceError,
    RestorePointError,
    SerializationError,
    SettingsError,
)

if TYPE_CHECKING:
    import aioboto3

UD = TypeVar("UD")
CD = TypeVar("CD")
BD = TypeVar("BD")
_Made = TypeVar("_Made")

ConversationKey = tuple[int | str, ...]
_Dict = dict[Any, Any]
_Saved = Coroutine[Any, Any, None]

# Seconds that connections have to close at the end of a stop whose time is up.
CLOSE_RESERVE = 0.25

_LOGGER = logging.getLogger("ptb_s3")


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
        addressing_style (:obj:`str`, optional): Where requests have the bucket's name: in the
            ``"path"``, in front of the endpoint's host (``"virtual"``), or ``"auto"`` (the
            default): where the AWS configuration says, else where the storage takes it.
        session (:class:`aioboto3.Session`, optional): Where credentials come from. Defaults to the
            AWS chain.
        store_data (:class:`telegram.ext.PersistenceInput`, optional): Which kinds are saved. Kinds
            switched off are carried along untouched. By default, all are saved.
        update_interval (:obj:`int` | :obj:`float`, optional): Seconds between two updates: a crash
            loses at most what changed since the last one. Defaults to ``60``.
        context_types (:class:`telegram.ext.ContextTypes`, optional): As given to the application,
            where it uses types of its own for its data.
        trusted (Sequence[:obj:`str`], optional): Modules whose classes may be saved and loaded,
            their submodules included. Defaults to ``__main__`` and what is the own of the module
            that makes the persistence: its top-level package or, where it is a single file, the
            modules and packages in its folder; never libraries. Classes of ``__main__`` are saved
            under the name that other processes import it by.
        aliases (Mapping[:obj:`str`, :obj:`type`], optional): Classes that were renamed since they
            were saved, by their old full names.
        serializer (:class:`ptb_s3.Serializer`, optional): Turns values into bytes and back.
            Defaults to the allow-listed pickle, to which `trusted` and `aliases` belong.
        unsaved (Mapping[:obj:`str`, Collection], optional): Top-level keys that stay in memory and
            are never saved, by kind: ``{"bot_data": ["client"]}``. The kinds are ``user_data``,
            ``chat_data`` and ``bot_data``.
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
        flush_timeout (:obj:`float`, optional): Seconds that a stop may take, all told: the updates
            that PTB makes then, and :meth:`flush`. Defaults to ``8``, since hosts kill after 10.
        restore (:obj:`str`, optional): A revision, a time (ISO 8601) or the version id of a head to
            go back to at start-up; the same request is carried out once.
        begin_anew (:obj:`str`, optional): Version id of a deleted head, as
            :class:`ptb_s3.errors.DeletedStateError` names it, to begin a new state above. Another
            deletion has another id. By default, a bot whose state was deleted does not start.
        on_loss (:obj:`str`, optional): What a running bot does whose state was deleted or garbled:
            ``"wait"`` (the default), which keeps everything in memory until it is repaired; or
            ``"rewrite"``, which writes what is in memory in its place, unless anything newer is
            left. Where no version is left to tell, it takes `single_writer` as well.
        expected_bucket_owner (:obj:`str`, optional): Id of the AWS account that owns the bucket.

    Attributes:
        flush_timeout (:obj:`float`): Seconds that :meth:`flush` may take.
        store_data (:class:`telegram.ext.PersistenceInput`): Which kinds are saved.
        context_types (:class:`telegram.ext.ContextTypes`): The types of the data.
        unsaved (Mapping[:obj:`str`, frozenset]): Top-level keys that are never saved, by kind.

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
        addressing_style: Literal["auto", "path", "virtual"] = "auto",
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        begin_anew: str | None = None,
        on_loss: Literal["wait", "rewrite"] = "wait",
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
        addressing_style: Literal["auto", "path", "virtual"] = "auto",
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        context_types: ContextTypes[Any, UD, CD, BD] | None = None,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        begin_anew: str | None = None,
        on_loss: Literal["wait", "rewrite"] = "wait",
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
        addressing_style: Literal["auto", "path", "virtual"] = "auto",
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        context_types: ContextTypes[Any, UD, CD, BD] | None = None,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        begin_anew: str | None = None,
        on_loss: Literal["wait", "rewrite"] = "wait",
        expected_bucket_owner: str | None = None,
    ) -> None:
        _check(update_interval, compression_level, flush_timeout, sync)
        self._restore = _arguments.check_restore(restore)
        if on_loss not in ("wait", "rewrite"):
            raise SettingsError(f'on_loss is {on_loss!r}: give "wait" or "rewrite".')
        super().__init__(store_data=store_data, update_interval=update_interval)
        self.context_types: ContextTypes[Any, UD, CD, BD] = cast(
            "ContextTypes[Any, UD, CD, BD]", context_types or ContextTypes()
        )
        self._store: Store = S3Store(
            bucket,
            prefix,
            endpoint_url=endpoint_url,
            region_name=region_name,
            addressing_style=addressing_style,
            session=session,
            expected_bucket_owner=expected_bucket_owner,
        )
        self._bucket, self._prefix = bucket, prefix
        self._keyring = keyring
        this = weakref.ref(self)  # a cycle would outlive the persistence, with all that it holds
        self._serializer = serializer or PickleSerializer(
            trusted=trusted, aliases=aliases, bot=lambda: getattr(this(), "bot", None)
        )
        if isinstance(self._serializer, PickleSerializer):
            _check_types(self._serializer, self.store_data, self.context_types)
            self._serializer = self._serializer.sharing(lambda: _words_of(this()))
        _arguments.check_serializer(self._serializer)
        self._level = compression_level
        self.flush_timeout = flush_timeout
        self._begin_anew = begin_anew
        self._rewrites_lost = on_loss == "rewrite"
        types = self.context_types
        born = {
            Kind.USER_DATA: types.user_data,
            Kind.CHAT_DATA: types.chat_data,
            Kind.BOT_DATA: types.bot_data,
        }
        _arguments.check_unsaved(unsaved or {}, {kind.value: made for kind, made in born.items()})
        self.unsaved = {Kind(kind): frozenset(keys) for kind, keys in (unsaved or {}).items()}
        self._resolve = Merger(self._serializer, merge, born)
        self._sync: Sync = sync
        self._single_writer = single_writer
        self._repository: Repository | None = None
        self._ahead: ValuesAhead | None = None
        self._commits: GroupCommit | None = None
        self._counters = Counters()
        self._workers = Worker("ptb-s3-commit"), Worker("ptb-s3-blob")
        self._loading = Joined[GroupCommit]()
        # A start: PTB asks each getter once, before anything else. The next one reads anew.
        self._start_expected = True
        self._answered: set[object] = set()
        self._started = False
        self._stop = Stop(lambda: self.flush_timeout, self._is_shut_down)
        self._asked = Asked(update_interval)
        self._flushes: set[asyncio.Task[Any] | None] = set()
        self._saving_code: CodeType | None = None

    # The first is for context types of one's own. Without, the constructor says what it makes.

    @overload
    @classmethod
    def from_env(
        cls,
        env_file: str | Path | None = ".env",
        *,
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        context_types: ContextTypes[Any, UD, CD, BD] | None,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
    ) -> Self: ...

    @overload
    @classmethod
    def from_env(
        cls: Callable[..., _Made],
        env_file: str | Path | None = ".env",
        *,
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
    ) -> _Made: ...

    @classmethod
    def from_env(
        cls,
        env_file: str | Path | None = ".env",
        *,
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        context_types: ContextTypes[Any, Any, Any, Any] | None = None,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
    ) -> Any:
        """Make a persistence from the ``PTB_S3_*`` variables; the rest as in the constructor.

        Of a subclass, it makes an object of that, whose constructor takes what this one's does.

        Args:
            env_file (:obj:`str` | :obj:`pathlib.Path`, optional): File of further variables, under
                those of the process. ``AWS_*`` variables in it are put into the environment.
            session (:class:`aioboto3.Session`, optional): Where credentials come from.
            store_data (:class:`telegram.ext.PersistenceInput`, optional): Which kinds are saved.
            context_types (:class:`telegram.ext.ContextTypes`, optional): Types of the data.
            trusted (Sequence[:obj:`str`], optional): Modules whose classes may be saved and loaded.
            aliases (Mapping[:obj:`str`, :obj:`type`], optional): Renamed classes.
            serializer (:class:`ptb_s3.Serializer`, optional): Turns values into bytes and back.
            unsaved (Mapping[:obj:`str`, Collection], optional): Keys that are never saved, by kind.
            merge (Callable, optional): Settles what two instances of the bot have changed.

        Raises:
            SettingsError: A variable is missing, unknown or unusable; names it, and shows no value.
        """
        # pydantic costs a third of a second to import, which `import ptb_s3` must not.
        from ptb_s3.settings import load_settings  # noqa: PLC0415 - see above

        settings = load_settings(env_file)
        return cls(
            settings.bucket,
            settings.prefix,
            keyring=settings.keyring(),
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            addressing_style=settings.addressing_style,
            session=session,
            store_data=store_data,
            update_interval=settings.update_interval,
            context_types=context_types,
            trusted=trusted,
            aliases=aliases,
            serializer=serializer,
            unsaved=unsaved,
            merge=merge,
            sync=settings.sync,
            single_writer=settings.single_writer,
            compression_level=settings.compression_level,
            flush_timeout=settings.flush_timeout,
            restore=settings.restore,
            begin_anew=settings.begin_anew,
            on_loss=settings.on_loss,
            expected_bucket_owner=settings.expected_bucket_owner,
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_saving_code"):  # an argument was refused; a debugger may still look
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

    def set_bot(self, bot: Bot) -> None:
        """Set the bot, as the application does that is built with this persistence.

        Args:
            bot (:class:`telegram.Bot`): The bot.
        """
        super().set_bot(bot)
        self._answered.clear()  # another application's getters are those of a start
        self._saving_code = None

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

        Raises:
            SettingsError: The application that starts wants bot data of another type.
        """
        application = saving_application(sys._getframe(1))  # noqa: SLF001 - as in `_record`
        values = await self._values(Kind.BOT_DATA)
        saved = BOT_DATA_KEY in values
        data = cast("BD", values[BOT_DATA_KEY]) if saved else self.context_types.bot_data()
        wanted: type = application.context_types.bot_data if application else object
        if not isinstance(data, wanted):  # PTB would refuse it, and leave the connections open
            await self.close()
            raise _unfit(type(data), wanted, saved=saved)
        return data

    async def get_callback_data(self) -> CallbackData | None:
        """Return the arbitrary callback data, or None if there never was any.

        Returns:
            tuple[list[tuple[:obj:`str`, :obj:`float`, dict[:obj:`str`, :class:`object`]]],
            dict[:obj:`str`, :obj:`str`]] | :obj:`None`
        """
        values = await self._values(Kind.CALLBACK_DATA)
        return callback_data.join(cast("dict[tuple[str, str], Any]", values)) if values else None

    async def get_conversations(self, name: str) -> dict[ConversationKey, object]:
        """Return the states of one conversation handler.

        Args:
            name (:obj:`str`): The handler's name.

        Returns:
            :obj:`dict`: The states by key.
        """
        values = await self._values(Kind.CONVERSATIONS, name)
        return {cast("Any", key)[1]: value for key, value in values.items()}

    # What PTB writes every interval -------------------------------------------------------------

    # Plain functions that return coroutines: so it is seen who calls, since an application hears of
    # a commit that failed once, however many calls it makes, and anybody else for each call.

    def update_user_data(self, user_id: int, data: UD) -> _Saved:
        """Save a user's data; returns when it is durable.

        Args:
            user_id (:obj:`int`): The user.
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.user_data`): The data.

        Raises:
            SerializationError: It cannot be saved; its last good value stays.
            PersistenceError: The commit failed; it is made up for by the next one.
        """
        return self._record(Kind.USER_DATA, {user_id: data})

    def update_chat_data(self, chat_id: int, data: CD) -> _Saved:
        """Save a chat's data; otherwise as :meth:`update_user_data`.

        Args:
            chat_id (:obj:`int`): The chat.
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.chat_data`): The data.
        """
        return self._record(Kind.CHAT_DATA, {chat_id: data})

    def update_bot_data(self, data: BD) -> _Saved:
        """Save the bot's data; otherwise as :meth:`update_user_data`.

        Args:
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.bot_data`): The data.
        """
        return self._record(Kind.BOT_DATA, {BOT_DATA_KEY: data})

    def update_callback_data(self, data: CallbackData) -> _Saved:
        """Save the arbitrary callback data; otherwise as :meth:`update_user_data`.

        Args:
            data (:obj:`tuple`): As :meth:`get_callback_data` returns it.
        """
        try:
            values = callback_data.split(data)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            return _raise(error)  # from what is awaited: PTB makes its calls where none may raise
        return self._record(Kind.CALLBACK_DATA, values, whole=True)

    def update_conversation(
        self, name: str, key: ConversationKey, new_state: object | None
    ) -> _Saved:
        """Save a conversation's state; otherwise as :meth:`update_user_data`.

        Args:
            name (:obj:`str`): The handler's name.
            key (:obj:`tuple`): The conversation's key.
            new_state (:class:`object`): The state; :obj:`None` if it has ended.
        """
        entity = (name, tuple(key))
        if new_state is None:
            return self._record(Kind.CONVERSATIONS, {}, dropped=[entity])
        return self._record(Kind.CONVERSATIONS, {entity: new_state})

    def drop_user_data(self, user_id: int) -> _Saved:
        """Delete a user's data; returns when that is durable.

        Args:
            user_id (:obj:`int`): The user.
        """
        return self._record(Kind.USER_DATA, {}, dropped=[user_id])

    def drop_chat_data(self, chat_id: int) -> _Saved:
        """Delete a chat's data; returns when that is durable.

        Args:
            chat_id (:obj:`int`): The chat.
        """
        return self._record(Kind.CHAT_DATA, {}, dropped=[chat_id])

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

        All of a stop has `flush_timeout`: the updates that PTB makes before it flushes, too. When
        the application starts again, everything is read again; until then, getters and updates go
        on from what is in memory.

        For a save in between, :meth:`commit` is the method: it leaves the connections open, where
        the request after a flush opens new ones, which holds up the event loop for a tenth of a
        second. A flush waits for requests that others have under way, and of several at once, the
        last one closes the connections.

        Raises:
            ConflictError: An entity cannot be merged with what another instance has committed.
                Everything else is saved.
            PersistenceError: The commit failed; what is not durable is kept in memory, and another
                flush tries again.
        """
        if self._commits is None:
            return
        bot, seconds = self.bot, self.flush_timeout
        deadline = self._stop.look() or asyncio.get_running_loop().time() + seconds
        flush = asyncio.current_task()
        self._flushes = {other for other in self._flushes if running(other)} | {flush}
        try:
            await self._commits.flush(deadline, seconds)
            self._started = self._started and is_initialized(bot)
        finally:
            if not (can_tell(bot) and is_initialized(bot)):  # by hand, it begins no new start
                self._start_expected = True
                self._answered.clear()
            self._stop.end()
            self._flushes.discard(flush)
            if not any(map(running, self._flushes)):
                await self._close_by(deadline)

    async def _close_by(self, deadline: float) -> None:
        earliest = asyncio.get_running_loop().time() + CLOSE_RESERVE
        try:
            async with asyncio.timeout_at(max(deadline, earliest)):
                await self.close()
        except TimeoutError:
            _LOGGER.warning(
                "Closed connections in use, or left them open: requests did not end, or they did "
                "not close, within flush_timeout."
            )

    def _is_shut_down(self) -> bool:
        return self._started and not is_initialized(self.bot)

    # Within -------------------------------------------------------------------------------------

    async def _open(self, *, start: bool = False) -> GroupCommit:
        """Load the state, if this is the first call, or the first of another start.

        All calls that wait for it go on in one tick of the loop, so that updates stay one group.
        """
        anew, commits = start and self._start_expected, self._commits
        if commits is None or (anew and not commits.repository.dirty):
            commits = await self._loading(lambda: self._load(start=start))
        if start:
            self._start_expected = False
        return commits

    async def _load(self, *, start: bool = True) -> GroupCommit:
        """Load the state.

        Args:
            start: Whether values of all of it are asked for next, to be kept.
        """
        repository = self._new_repository()
        wanted = [kind for kind in MANY_ALIKE if getattr(self.store_data, kind)]
        before = self._repository
        try:
            with values_ahead(self._serializer, wanted) if start else nullcontext() as ahead:
                await self._load_into(repository, ahead)
            self._repository = repository
            repository.require_conditions()
            if self._restore is not None:
                await repository.restore(self._restore)
        except BaseException:
            self._repository = before
            await repository.close()
            raise
        if repository.revision:
            self._say_loaded(repository)
        else:
            await self._say_new()
        self._ahead = ahead
        self._commits = GroupCommit(
            repository,
            self._serializer,
            self._sync,
            self._stop,
            self.unsaved,
            asked=self._asked,
        )
        self._start_expected = self._start_expected and not start
        if not self._loading.waiting:
            await repository.close()  # whoever asked for it has given up
        return self._commits

    async def _load_into(self, repository: Repository, ahead: ValuesAhead | None) -> None:
        """Load the state; one that is lost, as of what is to be restored.

        Not one that is sealed with a key which is not at hand: that may have carried out the very
        request, and a key that is missing from the settings is no loss.
        """
        try:
            await repository.load(ahead)
        except (DamagedObjectError, DeletedStateError) as fault:
            if self._restore is None:
                raise
            try:
                restored = await repository.restore_lost(self._restore)
            except RestorePointError:
                raise
            except NothingThereError:
                restored = False
            if not restored:
                raise fault from None

    def _say_loaded(self, repository: Repository) -> None:
        held = counted(repository.base.entities) or "nothing"
        place = self._bucket, self._prefix
        _LOGGER.info("Loaded revision %d at s3://%s/%s: %s.", repository.revision, *place, held)

    async def _say_new(self) -> None:
        """Say that there is no state yet: with a prefix that was mistyped, there never is."""
        try:
            beside = await self._store.neighbours(HEAD)
        except PersistenceError:
            beside = []  # it is said for the user's sake alone
        held = ", ".join(f"s3://{self._bucket}/{prefix}" for prefix in beside)
        _LOGGER.log(
            logging.WARNING if held else logging.INFO,
            "Beginning a new state at s3://%s/%s: there is none yet.%s",
            self._bucket,
            self._prefix,
            f" Beside it, there is one at {held}. If that is this bot's, stop it now, and mend "
            "PTB_S3_PREFIX."
            if held
            else "",
        )

    def _new_repository(self) -> Repository:
        commits, blobs = self._workers
        return Repository(
            self._store,
            self._keyring,
            bot=self._bot_id(),
            serializer=self._serializer.id,
            level=self._level,
            counters=self._counters,
            resolve=self._resolve,
            single_writer=self._single_writer,
            begin_anew=self._begin_anew,
            rewrites_lost=self._rewrites_lost,
            offload=commits,
            offload_blobs=blobs,
        )

    def _bot_id(self) -> int:
        # PTB sets the bot when it builds the application; it learns its own id in initialize().
        bot = cast("Bot | None", self.bot)
        if bot is None:
            raise RuntimeError(
                "S3Persistence has no bot yet: give it to ApplicationBuilder.persistence()."
            )
        return bot_id(bot)

    async def _values(self, kind: Kind, name: str | None = None) -> dict[EntityKey, Any]:
        """Return a kind's values, or those of one conversation, as fresh objects.

        Only what a start is given becomes PTB's live objects. Whoever asks later gets objects of
        no consequence: of the live ones, it stays known what they have not seen.
        """
        start = is_initialized(self.bot) and (kind, name) not in self._answered
        try:
            commits = await self._open(start=start)
            staged = commits.repository.staged
            entities = staged.entities(kind)
            if name is not None:
                own = cast("Any", entities).items()
                entities = {key: data for key, data in own if key[0] == name}
            values = self._made(kind, entities, lasting=start)
        except BaseException:
            if start and not self._loading.under_way:
                await self.close()  # the bot does not start, and nobody else would
            raise
        if start:
            self._begin_with(commits, kind, name, values)
        return values

    def _made(self, kind: Kind, entities: Entities, *, lasting: bool) -> dict[EntityKey, Any]:
        """Make values, but for those that were made ahead; at a start, for as long as it runs."""
        values = self._ahead.take(kind, entities) if lasting and self._ahead is not None else {}
        left = [(key, data) for key, data in entities.items() if key not in values]
        values.update(_codec.load_all(self._serializer, kind, left, lasting=lasting))
        return values

    def _begin_with(
        self, commits: GroupCommit, kind: Kind, name: str | None, values: dict[EntityKey, Any]
    ) -> None:
        """Note what PTB's live objects begin as."""
        staged = commits.repository.staged
        overtaken = cast("Any", staged.overtaken[kind])
        staged.catch_up(kind, [key for key in overtaken if name is None or key[0] == name])
        self._answered.add((kind, name))
        self._started = True
        if kind is Kind.BOT_DATA:
            values = values or {BOT_DATA_KEY: self.context_types.bot_data()}
        if kind in (Kind.BOT_DATA, Kind.CALLBACK_DATA):  # PTB sends them in every interval
            commits.note_unchanged(kind, values, loaded=True)

    def _record(
        self,
        kind: Kind,
        values: Mapping[EntityKey, object],
        dropped: Sequence[EntityKey] = (),
        *,
        whole: bool = False,
    ) -> _Saved:
        """Hand changes over; return what waits until they are durable."""
        # PTB makes thousands of these calls in one tick of the loop, so each is to be short.
        commits, caller = self._commits, sys._getframe(2)  # noqa: SLF001 - as above
        shared = caller.f_code is self._saving_code or self._is_of_application(caller)
        shared = shared or SHARED.get()
        if commits is not None:
            try:
                return commits.record(kind, values, dropped=dropped, whole=whole, shared=shared)
            except RuntimeError:
                pass  # no event loop runs yet
        return self._recorded(kind, values, dropped, whole=whole, shared=shared)

    def _is_of_application(self, caller: FrameType) -> bool:
        """Tell whether a caller is an application, which is noted."""
        application = saving_application(caller)
        if application is None:
            return False
        self._saving_code = caller.f_code
        self._stop.application = application
        return True

    async def _recorded(
        self,
        kind: Kind,
        values: Mapping[EntityKey, object],
        dropped: Sequence[EntityKey],
        *,
        whole: bool,
        shared: bool,
    ) -> None:
        commits = await self.opened()
        await commits.record(kind, values, dropped=dropped, whole=whole, shared=shared)

    async def _refresh(
        self, kind: Kind, key: EntityKey, live: object, pristine: Callable[[], object]
    ) -> None:
        if self._commits is not None:
            self._commits.note_update()
            await self._commits.look()
            self._commits.refresh(kind, key, live, pristine)


async def _raise(error: Exception) -> None:
    raise error


def _words_of(persistence: S3Persistence[Any, Any, Any] | None) -> tuple[str, ...]:
    repository = persistence and persistence._repository  # noqa: SLF001 - of this module
    return repository.words if repository else ()


def _unfit(found: type, wanted: type, *, saved: bool) -> SettingsError:
    remedy = "Give the same ContextTypes to the application and to S3Persistence(context_types=...)"
    if saved:
        remedy = (
            "Start the bot with the type that it was saved with, have it make the new one of it "
            "there, or set PTB_S3_PREFIX to another place to begin anew in"
        )
    return SettingsError(
        f"The bot does not start: its {'saved ' if saved else ''}bot_data is of type "
        f"{found.__name__}, and the application's context_types want {wanted.__name__}. {remedy}. "
        "Nothing was changed."
    )


def _check_types(
    serializer: PickleSerializer, stores: PersistenceInput, types: ContextTypes[Any, Any, Any, Any]
) -> None:
    """Refuse types of data that could not be saved: told now, and not when the first is lost."""
    for kind in (Kind.USER_DATA, Kind.CHAT_DATA, Kind.BOT_DATA):
        cls: object = getattr(types, kind)
        if not isinstance(cls, type) or not getattr(stores, kind):
            continue  # a function makes whatever it likes; that is seen when it is saved
        try:
            serializer.dumps(cls)
        except SerializationError as error:
            reason = error.reason
        else:
            continue
        raise SettingsError(
            f"The bot cannot start: objects of the type of {kind} in context_types could not be "
            f"saved, since {reason}."
        )


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
