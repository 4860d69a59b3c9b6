"""`S3Persistence`: PTB's interface to a bot's state on S3-compatible storage.

This module has what PTB and a bot's own code call, and says which entities each call is about. What
follows from a call is elsewhere:

* `ptb_s3._ptb.state_loader` loads the state on first use, `state_reader` answers getters;
* `ptb_s3._ptb.group_commit` makes one commit of an interval's calls, `flush` ends them;
* `ptb_s3._engine.repository` makes a commit safe;
* `ptb_s3._values.serializer` makes bytes of values.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable, Collection, Coroutine, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from inspect import signature
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, get_overloads, overload

from telegram import Bot
from telegram.ext import BasePersistence, ContextTypes, PersistenceInput

from ptb_s3._engine.stats import Stats
from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind
from ptb_s3._format.key_source import KeySource
from ptb_s3._jobs.conflicts import merge_jobs
from ptb_s3._jobs.going_back import JobsOfPast
from ptb_s3._options import AddressingStyle, Load, OnLoss, Options, Sync
from ptb_s3._ptb.application_state import bot_id, saving_application
from ptb_s3._ptb.commit_group import IN_APPLICATION_SAVE
from ptb_s3._ptb.context_type_checks import check_types, unfit_type
from ptb_s3._ptb.flush import Flush
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.participants import Counted
from ptb_s3._ptb.shutdown_deadline import ShutdownDeadline
from ptb_s3._ptb.start_cycle import StartCycle
from ptb_s3._ptb.state_loader import StateLoader
from ptb_s3._ptb.state_reader import StateReader
from ptb_s3._storage.contract import Store
from ptb_s3._storage.s3 import S3Store
from ptb_s3._values import callback_data
from ptb_s3._values.callback_data import CallbackData
from ptb_s3._values.merge import Merge
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    import aioboto3

__all__ = ["ConversationKey", "S3Persistence"]

UD = TypeVar("UD")
CD = TypeVar("CD")
BD = TypeVar("BD")
_Made = TypeVar("_Made")

_LOGGER = logging.getLogger("ptb_s3")

ConversationKey = tuple[int | str, ...]
_Dict = dict[Any, Any]
_Saved = Coroutine[Any, Any, None]


class S3Persistence(BasePersistence[UD, CD, BD]):
    """Persistence of a bot's state, encrypted, on S3-compatible storage.

    The state lives in memory; what changed is written in one atomic PUT whenever PTB updates its
    persistence. Nothing is opened before the first ``get_*``. A state that cannot be read raises
    there, before the bot starts, and changes nothing in the bucket.

    Example:
        .. code:: python

            persistence = S3Persistence("my-bucket", keyring=Keyring(Key.parse(text)))
            application = ApplicationBuilder().token(token).persistence(persistence).build()

        :meth:`from_env` takes most of the arguments from environment variables. In tests, use
        :func:`ptb_s3.testing.memory_persistence`, which needs no server.

    Note:
        The bucket must exist. Turn on its versioning to be able to go back.

    Args:
        bucket (:obj:`str`): Name of the bucket.
        prefix (:obj:`str`, optional): Prefix of the names of the objects, taken as it is. Give
            each bot one of its own, such as ``"shop-bot/"``. Defaults to ``""``.
        keyring (:class:`ptb_s3.Keyring`): Key that seals, and retired keys that only open. Any
            object with the methods of :class:`ptb_s3.KeySource` will do, such as
            :class:`ptb_s3.KmsKeyring`, whose keys AWS KMS keeps.
        endpoint_url (:obj:`str`, optional): Address of the S3 API. Defaults to that of AWS.
        region_name (:obj:`str`, optional): Region of the bucket. Defaults to AWS's own settings.
        addressing_style (:obj:`str`, optional): Place of the bucket's name in requests: in the
            ``"path"``, in front of the endpoint's host (``"virtual"``), or ``"auto"`` (the
            default): as the AWS configuration says, else as the storage takes it.
        session (:class:`aioboto3.Session`, optional): Source of credentials. Defaults to the AWS
            chain.
        store_data (:class:`telegram.ext.PersistenceInput`, optional): Kinds that are saved. Kinds
            switched off are carried along untouched. By default, all are saved.
        update_interval (:obj:`int` | :obj:`float`, optional): Seconds between two updates of the
            persistence, above 0: a crash loses at most what changed since the last one. Defaults to
            ``60``.
        context_types (:class:`telegram.ext.ContextTypes`, optional): Types of the data, as given to
            the application, where it uses types of its own.
        trusted (Sequence[:obj:`str`], optional): Modules whose classes may be saved and loaded,
            their submodules included. Defaults to ``__main__`` and the modules that belong to the
            one that makes the persistence: its top-level package or, where it is a single file, the
            modules and packages in its folder. Libraries are never among them. Classes of
            ``__main__`` are saved under the name that other processes import it by.
        aliases (Mapping[:obj:`str`, :obj:`type`], optional): Classes, and callbacks of jobs, that
            were renamed since they were saved, by their old full names.
        serializer (:class:`ptb_s3.Serializer`, optional): Serializer of values. Defaults to
            :class:`ptb_s3.PickleSerializer`, the allow-listed pickle, to which `trusted` and
            `aliases` belong.
        unsaved (Mapping[:obj:`str`, Collection], optional): Top-level keys that stay in memory and
            are never saved, by kind: ``{"bot_data": ["client"]}``. The kinds are ``user_data``,
            ``chat_data`` and ``bot_data``.
        merge (:obj:`ptb_s3.Merge`, optional): Function that is called as ``merge(kind, key, base,
            ours, theirs)`` for an entity in which another instance of the bot and this one have
            changed the same thing, and returns the value to save. Each of the three is :obj:`None`
            where the entity does not exist. See :func:`ptb_s3.merge_values`. By default, ours wins.
        sync (:obj:`ptb_s3.Sync`, optional): How often to look, before an update is processed, for
            commits of other instances: ``"auto"`` (the default) once a second while one was active
            within the last ten minutes, else never; a number of seconds; or :obj:`None` for never.
            Commits are merged in all cases.
        single_writer (:obj:`bool`, optional): Vouches that there is never more than one instance of
            the bot, not even during a deploy. Needed on storage without conditional PUT, which
            could not tell them apart; changes nothing on others. Defaults to :obj:`False`.
        compression_level (:obj:`int`, optional): Level of zstd, from 1 to 19. Defaults to ``3``.
        flush_timeout (:obj:`float`, optional): Seconds that a stop of the bot may take, all told:
            the updates that PTB makes then, and :meth:`flush`. Defaults to ``8``, since hosts kill
            after 10.
        restore (:obj:`str`, optional): Revision, time (ISO 8601) or version id of a head to go back
            to at start-up. The same request is carried out once.
        begin_anew (:obj:`str`, optional): Version id of a deleted head, as
            :class:`ptb_s3.errors.DeletedStateError` names it, to begin a new state above. Another
            deletion has another id. By default, a bot whose state was deleted does not start.
        on_loss (:obj:`str`, optional): What a running bot does whose state was deleted or garbled:
            ``"wait"`` (the default), which keeps everything in memory until it is repaired; or
            ``"rewrite"``, which writes what is in memory in its place, unless anything newer is
            left. Where no version is left to tell, that takes `single_writer` as well.
        load (:obj:`str`, optional): What is read at a start: ``"all"`` (the default), or
            ``"on_demand"``, with which a user's or chat's data is read before a handler sees it.
            That takes a :class:`ptb_s3.PersistentApplication`, and goes neither with a `restore`
            that is still to be carried out, at whose start all is read, nor with
            ``on_loss="rewrite"``.
        expected_bucket_owner (:obj:`str`, optional): Id of the AWS account that owns the bucket.

    Attributes:
        flush_timeout (:obj:`float`): Seconds that a stop of the bot may take.
        store_data (:class:`telegram.ext.PersistenceInput`): Kinds that are saved.
        context_types (:class:`telegram.ext.ContextTypes`): Types of the data.
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
        addressing_style: AddressingStyle = "auto",
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, Callable[..., Any]] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        begin_anew: str | None = None,
        on_loss: OnLoss = "wait",
        load: Load = "all",
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
        addressing_style: AddressingStyle = "auto",
        session: aioboto3.Session | None = None,
        store_data: PersistenceInput | None = None,
        update_interval: float = 60,
        context_types: ContextTypes[Any, UD, CD, BD] | None = None,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, Callable[..., Any]] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
        sync: Sync = "auto",
        single_writer: bool = False,
        compression_level: int = 3,
        flush_timeout: float = 8.0,
        restore: str | None = None,
        begin_anew: str | None = None,
        on_loss: OnLoss = "wait",
        load: Load = "all",
        expected_bucket_owner: str | None = None,
    ) -> None: ...

    def __init__(self, bucket: str, prefix: str = "", **given: Any) -> None:
        # The overloads above are what users and type checkers see; `Options` has the defaults.
        options = Options(bucket=bucket, prefix=prefix, **given)
        super().__init__(store_data=options.store_data, update_interval=options.update_interval)
        self.context_types: ContextTypes[Any, UD, CD, BD] = options.context_types or cast(
            "ContextTypes[Any, UD, CD, BD]", ContextTypes()
        )
        self.flush_timeout = options.flush_timeout
        self.unsaved = options.unsaved_keys
        this = weakref.ref(self)  # a cycle would outlive the persistence, with all that it holds

        def bot() -> Bot | None:
            return getattr(this(), "bot", None)

        self._keyring = options.keyring
        self._serializer = self._new_serializer(options, bot)
        self._cycle = StartCycle(bot)
        self._shutdown = ShutdownDeadline(lambda: self.flush_timeout, self._is_shut_down)
        self._loader = StateLoader(
            options,
            store=_new_store(options),
            serializer=self._serializer,
            bot_id=self._bot_id,
            cycle=self._cycle,
            shutdown=self._shutdown,
            merges={Kind.JOBS: merge_jobs},
            past_jobs=partial(_past_jobs, self._serializer),
        )
        self._reader = StateReader(
            self._loader, self._cycle, self._serializer, self.context_types.bot_data
        )
        self._flush = Flush(self._loader, self._cycle, self._shutdown)
        self._saving_code: CodeType | None = None

    def _new_serializer(self, options: Options, bot: Callable[[], Bot | None]) -> Serializer:
        serializer = options.serializer or PickleSerializer(
            trusted=options.trusted, aliases=options.renamed_classes, bot=bot
        )
        if not isinstance(serializer, PickleSerializer):
            return serializer
        check_types(serializer, self.store_data, self.context_types)
        this = weakref.ref(self)
        return serializer.sharing(lambda: _words_of(this()))

    def _bot_id(self) -> int:
        bot = cast("Bot | None", self.bot)
        if bot is None:
            raise RuntimeError(
                "S3Persistence has no bot yet: give it to ApplicationBuilder.persistence()."
            )
        # PTB sets the bot when it builds the application; it learns its own id in initialize().
        return bot_id(bot)

    def _is_shut_down(self) -> bool:
        return self._cycle.is_shut_down

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
        aliases: Mapping[str, Callable[..., Any]] | None = None,
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
        aliases: Mapping[str, Callable[..., Any]] | None = None,
        serializer: Serializer | None = None,
        unsaved: Mapping[str, Collection[Hashable]] | None = None,
        merge: Merge | None = None,
    ) -> _Made: ...

    @classmethod
    def from_env(cls, env_file: str | Path | None = ".env", **given: Any) -> Any:  # noqa: D417 - all are
        """Make a persistence from the ``PTB_S3_*`` variables and a few arguments.

        The arguments are those of the constructor that no text can express.

        Of a subclass, it makes an object of that, whose constructor takes what this one's does.

        Args:
            env_file (:obj:`str` | :obj:`pathlib.Path`, optional): File of further variables, under
                those of the process. ``AWS_*`` variables in it are put into the environment.
                Defaults to ``".env"``, which need not exist; :obj:`None` reads no file.
            session (:class:`aioboto3.Session`, optional): Source of credentials.
            store_data (:class:`telegram.ext.PersistenceInput`, optional): Kinds that are saved.
            context_types (:class:`telegram.ext.ContextTypes`, optional): Types of the data.
            trusted (Sequence[:obj:`str`], optional): Modules whose classes may be saved and loaded.
            aliases (Mapping[:obj:`str`, :obj:`type`], optional): Renamed classes and callbacks.
            serializer (:class:`ptb_s3.Serializer`, optional): Serializer of values.
            unsaved (Mapping[:obj:`str`, Collection], optional): Keys that are never saved, by kind.
            merge (:obj:`ptb_s3.Merge`, optional): Settles what two instances have changed.

        Returns:
            :class:`ptb_s3.S3Persistence`: The persistence. Nothing is opened yet.

        Raises:
            SettingsError: A variable is missing, unknown or unusable. The text names all of them,
                and shows no value. Or an argument is one that a variable gives.
        """
        # In code, none of it is needed.
        from ptb_s3._environment import variable_of  # noqa: PLC0415
        from ptb_s3.settings import load_settings  # noqa: PLC0415

        settings = load_settings(env_file)
        for file in settings.exposed_files():
            _LOGGER.warning("%s", file)
        options = settings.options(given.get("session"))
        if clash := sorted(options.keys() & given.keys()):
            setting = {"keyring": "key", "region_name": "region"}.get(clash[0], clash[0])
            raise SettingsError(
                f"from_env() takes no {clash[0]}=: it takes settings from variables. Set "
                f"{variable_of(setting)}, or make the persistence with S3Persistence(...)."
            )
        return cls(options.pop("bucket"), options.pop("prefix"), **options, **given)

    def __repr__(self) -> str:
        if not hasattr(self, "_saving_code"):  # an argument was refused; a debugger may still look
            return f"<{type(self).__name__} refused>"
        return f"{type(self).__name__}({self._loader.store!r}, revision={self.stats.revision})"

    @property
    def stats(self) -> Stats:
        """:class:`ptb_s3.Stats`: What this persistence has done since it was made."""
        commits, now = self._loader.commits, datetime.now(UTC)
        revision = commits.repository.revision if commits else 0
        counted = [one for one in self._loader.participants if isinstance(one, Counted)]
        figures: dict[str, Any] = commits.compaction.figures() if commits else {}
        for participant in counted:
            figures |= participant.figures(now)
        return replace(self._loader.stats.snapshot(revision, now), **figures)

    def set_bot(self, bot: Bot) -> None:
        """Set the bot, as the application does that is built with this persistence.

        Args:
            bot (:class:`telegram.Bot`): The bot.
        """
        super().set_bot(bot)
        self._cycle.note_new_bot()
        self._saving_code = None

    # What PTB reads at start --------------------------------------------------------------------

    async def get_user_data(self) -> dict[int, UD]:
        """Return the data of all users, as fresh objects.

        PTB calls this, and the getters below, once when an application starts. The first of them
        loads the state. Called later, they return objects whose changes are not saved.

        Returns:
            dict[:obj:`int`, :obj:`dict` | :attr:`telegram.ext.ContextTypes.user_data`]: The data,
            by user id.

        Raises:
            PersistenceError: The state, or a value, cannot be read. Nothing was changed.
        """
        return cast("dict[int, UD]", await self._values(Kind.USER_DATA))

    async def get_chat_data(self) -> dict[int, CD]:
        """Return the data of all chats, as fresh objects.

        Returns:
            dict[:obj:`int`, :obj:`dict` | :attr:`telegram.ext.ContextTypes.chat_data`]: The data,
            by chat id.

        Raises:
            PersistenceError: As for :meth:`get_user_data`.
        """
        return cast("dict[int, CD]", await self._values(Kind.CHAT_DATA))

    async def get_bot_data(self) -> BD:
        """Return the bot's data or, if none was ever saved, an empty object of its type.

        Returns:
            :obj:`dict` | :attr:`telegram.ext.ContextTypes.bot_data`: The data.

        Raises:
            SettingsError: The application that starts wants bot data of another type.
            PersistenceError: As for :meth:`get_user_data`.
        """
        application = saving_application(sys._getframe(1))  # noqa: SLF001 - as in `_record`
        values = await self._values(Kind.BOT_DATA)
        saved = BOT_DATA_KEY in values
        data = cast("BD", values[BOT_DATA_KEY]) if saved else self.context_types.bot_data()
        wanted: type = application.context_types.bot_data if application else object
        if not isinstance(data, wanted):  # PTB would refuse it, and leave the connections open
            await self.close()
            raise unfit_type(type(data), wanted, saved=saved)
        return data

    async def get_callback_data(self) -> CallbackData | None:
        """Return the arbitrary callback data, or None if there never was any.

        Returns:
            tuple[list[tuple[:obj:`str`, :obj:`float`, dict[:obj:`str`, :class:`object`]]],
            dict[:obj:`str`, :obj:`str`]] | :obj:`None`: Keyboards as (uuid, time of last use, data
            by button), and the keyboard's uuid by callback query.

        Raises:
            PersistenceError: As for :meth:`get_user_data`.
        """
        values = await self._values(Kind.CALLBACK_DATA)
        return callback_data.join(cast("dict[tuple[str, str], Any]", values)) if values else None

    async def get_conversations(self, name: str) -> dict[ConversationKey, object]:
        """Return the states of one conversation handler.

        Args:
            name (:obj:`str`): The handler's name.

        Returns:
            :obj:`dict`: The states by key. Empty for a handler that has none.

        Raises:
            PersistenceError: As for :meth:`get_user_data`.
        """
        values = await self._values(Kind.CONVERSATIONS, name)
        return {cast("Any", key)[1]: value for key, value in values.items()}

    # What PTB writes every interval -------------------------------------------------------------

    # Plain functions that return coroutines, so that the caller's frame can be seen: an application
    # hears of a failed commit once, however many calls it makes, and anybody else for each call.

    def update_user_data(self, user_id: int, data: UD) -> _Saved:
        """Save a user's data, and return when it is durable.

        All calls of ``update_*`` and ``drop_*`` that are made before the event loop runs on are one
        commit. Data that was not changed costs no request.

        Args:
            user_id (:obj:`int`): The user.
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.user_data`): The data.

        Raises:
            SerializationError: The data cannot be saved. Its last good value stays; of a
                dictionary, only the top-level keys in question are left out.
            ConflictError: It cannot be merged with what another instance has committed.
            PersistenceError: The commit failed. The data is kept in memory, and goes with the next
                one.
        """
        return self._record(Kind.USER_DATA, {user_id: data})

    def update_chat_data(self, chat_id: int, data: CD) -> _Saved:
        """Save a chat's data, otherwise as :meth:`update_user_data`.

        Args:
            chat_id (:obj:`int`): The chat.
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.chat_data`): The data.
        """
        return self._record(Kind.CHAT_DATA, {chat_id: data})

    def update_bot_data(self, data: BD) -> _Saved:
        """Save the bot's data, otherwise as :meth:`update_user_data`.

        Args:
            data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.bot_data`): The data.
        """
        return self._record(Kind.BOT_DATA, {BOT_DATA_KEY: data})

    def update_callback_data(self, data: CallbackData) -> _Saved:
        """Save the arbitrary callback data, otherwise as :meth:`update_user_data`.

        Args:
            data (:obj:`tuple`): As :meth:`get_callback_data` returns it.
        """
        try:
            values = callback_data.split(data)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            return _raise(error)  # when awaited: PTB does not expect an error of the call itself
        return self._record(Kind.CALLBACK_DATA, values, whole=True)

    def update_conversation(
        self, name: str, key: ConversationKey, new_state: object | None
    ) -> _Saved:
        """Save a conversation's state, otherwise as :meth:`update_user_data`.

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
        """Delete a user's data, and return when that is durable.

        Args:
            user_id (:obj:`int`): The user.
        """
        return self._record(Kind.USER_DATA, {}, dropped=[user_id])

    def drop_chat_data(self, chat_id: int) -> _Saved:
        """Delete a chat's data, and return when that is durable.

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
        """Bring in changes to a chat's data, as :meth:`refresh_user_data`.

        Args:
            chat_id (:obj:`int`): The chat.
            chat_data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.chat_data`): The live data.
        """
        await self._refresh(Kind.CHAT_DATA, chat_id, chat_data, self.context_types.chat_data)

    async def refresh_bot_data(self, bot_data: BD) -> None:
        """Bring in changes to the bot's data, as :meth:`refresh_user_data`.

        Args:
            bot_data (:obj:`dict` | :attr:`telegram.ext.ContextTypes.bot_data`): The live data.
        """
        await self._refresh(Kind.BOT_DATA, BOT_DATA_KEY, bot_data, self.context_types.bot_data)

    # What a bot's own code may call --------------------------------------------------------------

    async def catch_up(self) -> None:
        """Take over what other instances have committed, now.

        Live objects get it when PTB refreshes them, or with a :class:`ptb_s3.PersistentApplication`
        before the next update.

        Raises:
            PersistenceError: It cannot be read or, with what is unsaved here, merged.
        """
        await (await self._opened()).peers.catch_up()

    async def commit(self) -> None:
        """Commit what PTB has handed over, and return when it is durable.

        Changes to live objects are handed over by ``await application.update_persistence()``.

        Raises:
            PersistenceError: The commit failed. What is not durable is kept in memory.
        """
        await (await self._opened()).commit()

    async def close(self) -> None:
        """Close connections, whatever is unsaved. They are opened again when they are needed."""
        await self._loader.close()

    # What PTB calls at the end ------------------------------------------------------------------

    async def flush(self) -> None:
        """Commit what is left, write blobs if there is time, and close the connections.

        All of a stop has `flush_timeout`, the updates that PTB makes before it flushes included.
        When the application starts again, everything is read again; until then, getters and updates
        go on from what is in memory.

        For a save in between, call :meth:`commit`: it leaves the connections open, where the
        request after a flush opens new ones, which holds up the event loop for a tenth of a second.
        A flush waits for requests that others have under way, and of several at once, the last one
        closes the connections.

        Raises:
            ConflictError: An entity cannot be merged with what another instance has committed.
                Everything else is saved.
            PersistenceError: The commit failed. What is not durable is kept in memory, and another
                flush tries again.
        """
        await self._flush.run(self.bot, self.flush_timeout, self.close)

    # Within -------------------------------------------------------------------------------------

    @property
    def _commits(self) -> GroupCommit | None:
        return self._loader.commits

    async def _opened(self) -> GroupCommit:
        return await self._loader.opened()

    async def _values(self, kind: Kind, name: str | None = None) -> dict[EntityKey, Any]:
        return await self._reader.values(kind, name)

    def _record(
        self,
        kind: Kind,
        values: Mapping[EntityKey, object],
        dropped: Sequence[EntityKey] = (),
        *,
        whole: bool = False,
    ) -> _Saved:
        """Hand changes over, and return a coroutine that waits until they are durable."""
        # PTB makes thousands of these calls in one iteration of the loop, so each has to be short.
        commits, caller = self._loader.commits, sys._getframe(2)  # noqa: SLF001 - as above
        shared = caller.f_code is self._saving_code or self._is_of_application(caller)
        shared = shared or IN_APPLICATION_SAVE.get()
        if commits is not None:
            try:
                return commits.record(kind, values, dropped=dropped, whole=whole, shared=shared)
            except RuntimeError:
                pass  # no event loop runs yet
        return self._recorded(kind, values, dropped, whole=whole, shared=shared)

    def _is_of_application(self, caller: FrameType) -> bool:
        """Tell whether a frame is an application's, and remember its code, which is faster."""
        application = saving_application(caller)
        if application is None:
            return False
        self._saving_code = caller.f_code
        self._shutdown.application = application
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
        commits = await self._opened()
        await commits.record(kind, values, dropped=dropped, whole=whole, shared=shared)

    async def _refresh(
        self, kind: Kind, key: EntityKey, live: object, pristine: Callable[[], object]
    ) -> None:
        loader = self._loader  # whose group commit is another one after a load
        if loader.commits is not None:
            loader.commits.note_update()
            await loader.commits.peers.look()
            loader.commits.peers.refresh(kind, key, live, pristine)


def _new_store(options: Options) -> Store:
    return S3Store(
        options.bucket,
        options.prefix,
        endpoint_url=options.endpoint_url,
        region_name=options.region_name,
        addressing_style=options.addressing_style,
        session=options.session,
        expected_bucket_owner=options.expected_bucket_owner,
    )


def _past_jobs(serializer: Serializer) -> JobsOfPast:
    """Return what judges the jobs of an older state at a restore, by placeholders if it can."""
    from ptb_s3._values.transcoder import Transcoder  # noqa: PLC0415 - a restore alone needs it

    own = not isinstance(serializer, PickleSerializer)
    return JobsOfPast(serializer if own else Transcoder(), datetime.now(UTC))


def _show_options() -> None:
    """Have `help` and `inspect.signature` show the overloads, which list each option."""
    init: Any = S3Persistence.__init__
    init.__signature__ = signature(get_overloads(init)[-1])
    from_env: Any = vars(S3Persistence)["from_env"].__func__
    overloads: list[Any] = [*get_overloads(from_env)]
    shown = signature(overloads[0].__func__)
    parameters = [
        one.replace(default=None) if one.name == "context_types" else one
        for one in shown.parameters.values()
    ]
    from_env.__signature__ = shown.replace(parameters=parameters)


_show_options()


async def _raise(error: Exception) -> None:
    raise error


def _words_of(persistence: S3Persistence[Any, Any, Any] | None) -> tuple[str, ...]:
    loader = getattr(persistence, "_loader", None)  # its serializer is made before it is
    return loader.words if loader is not None else ()
