"""Serializers: one value as bytes and back.

`PickleSerializer` is the one that is used by default. How its bytes come about is
`ptb_s3._values.pickling`'s; how all values of a kind are loaded at once is `loading`'s.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, Self

from telegram import Bot
from telegram.warnings import PTBUserWarning

from ptb_s3._format.words import is_bare
from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.first_party import first_party_modules, main_module
from ptb_s3._values.pickling.reader import ValueReader
from ptb_s3._values.pickling.writer import ValueWriter
from ptb_s3._values.shared_strings import Words
from ptb_s3.errors import SerializationError

_FOREIGN_BOT: Final = (
    "The data holds another bot, or objects that belong to one. Once loaded they belong to none, "
    "so shortcuts such as message.reply_text will fail."
)


class Serializer(Protocol):
    """Contract of what `serializer=` takes: turns one value into bytes and back.

    Attributes:
        id: Stands in the header of every object, and so tells who can read it.

    Example:
        A serializer of JSON, for a bot whose data is plain::

            class JsonSerializer:
                id = "json"

                def dumps(self, value: object) -> bytes:
                    return json.dumps(value).encode()

                def loads(self, data: bytes) -> object:
                    return json.loads(data)
    """

    @property
    def id(self) -> str: ...

    def dumps(self, value: object) -> bytes:
        """Return the value as bytes. An unchanged value must give the same bytes."""
        ...

    def loads(self, data: bytes) -> object:
        """Return the value that these bytes were made from, as a fresh object."""
        ...


def _no_words() -> tuple[str, ...]:
    return ()


class PickleSerializer:
    """Serializer by fenced pickle: the one that is used unless `serializer=` names another.

    Besides plain containers and scalars it takes value types of the standard library such as
    `datetime`, `Decimal`, `UUID` or `Path`, telegram's objects and enums, and classes defined in
    trusted modules. Objects of telegram belong to the bot again once they are loaded; those of
    another bot belong to none.

    Args:
        trusted: Modules whose classes may be saved and loaded, with their submodules. None: the
            modules that are the own of whoever makes this; see `S3Persistence`.
        aliases: Classes that have moved or got another name, by their old full name, such as
            ``{"shop.Basket": shop.cart.Cart}``. They are thereby trusted.
        bot: Returns the bot, or None as long as there is none.

    Raises:
        SettingsError: `trusted` is a single text, or an alias is no class.
    """

    id: Final = "pickle5"

    def __init__(
        self,
        *,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        bot: Callable[[], Bot | None] = lambda: None,
    ) -> None:
        main = main_module()
        trusted = first_party_modules() if trusted is None else trusted
        self._allow_list = AllowList(
            trusted, aliases or {}, main=main.name, main_owns_name=main.owns_name
        )
        self._bot = bot
        self._share = _no_words
        self._bind(Words(()))
        self._warned = False

    @property
    def allow_list(self) -> AllowList:
        """:class:`AllowList`: The allow-list."""
        return self._allow_list

    def sharing(self, words: Callable[[], tuple[str, ...]]) -> Self:
        """Return a serializer for one store, of values that share its words.

        Args:
            words: Returns the words that the store's head names. There may be more of them each
                time, and those that were there stay as they are.
        """
        serializer = copy.copy(self)
        serializer._share = words  # noqa: SLF001 - of this class
        serializer._bind(Words(()))  # noqa: SLF001 - of this class
        return serializer

    def _bind(self, words: Words) -> None:
        self._reader = ValueReader(self._allow_list, self._bot, words)
        self._writer = ValueWriter(self._allow_list, self._bot, words, self._reader)

    def _take_words(self) -> None:
        """Bind reader and writer anew, if the store has other words than when last asked."""
        spelled = self._share()
        if spelled != self._reader.words.spelled:
            self._bind(Words(spelled))

    def dumps(self, value: object) -> bytes:
        """Return a value as bytes.

        Raises:
            UntrustedTypeError: It holds an object of a class that is not on the list.
            SerializationError: It holds something else that cannot be saved.
        """
        self._take_words()
        data = self._writer.dump(value)
        if self._writer.foreign and not self._warned:
            self._warned = True
            warnings.warn(_FOREIGN_BOT, PTBUserWarning, stacklevel=2)
        return data

    def draft(self, value: object) -> bytes | None:
        """Return roughly the bytes of a value, or None: it cannot be saved.

        To learn whether it can, and how large it is, without a search for the culprit.
        """
        return self._writer.draft(value)

    def loads(self, data: bytes) -> object:
        """Return the value that these bytes were made from.

        Raises:
            UnknownClassError: Classes are gone, or not trusted.
            Exception: The bytes are damaged, or a class does not take its own old state. See
                `load_all`, which tells these from one another.
        """
        if is_bare(data):
            self._take_words()
        return self._reader.load(data)

    def loads_many(self, data: Sequence[bytes]) -> list[object]:
        """Return the values of many, in one go.

        Raises:
            Exception: One does not load. `loads` of each tells which, and why.
        """
        self._take_words()
        return self._reader.load_many(data)

    def classes_in(self, data: bytes) -> frozenset[str]:
        """Return the full names of the classes whose own code these bytes run.

        Returns:
            The names; none if the bytes are damaged.
        """
        self._take_words()
        return self._reader.classes_in(data)


def dump(serializer: Serializer, value: object) -> bytes:
    """Return a value as bytes, made by any serializer.

    Raises:
        SerializationError: The value cannot be saved, whatever the serializer raised.
    """
    try:
        data: object = serializer.dumps(value)
    except SerializationError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's serializer may raise anything
        reason = f"serializer {serializer.id!r} raised {type(error).__name__}"
    else:
        if isinstance(data, bytes):
            return data
        reason = f"serializer {serializer.id!r} returned {type(data).__name__}, not bytes"
    raise SerializationError(reason)
