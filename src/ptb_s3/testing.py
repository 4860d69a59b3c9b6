"""Persistence in memory, for the tests of a bot: no server, no credentials, no network.

It is an `S3Persistence` in every other respect. Values are serialised, checked against the
allow-list, sealed and committed as they are in production. So a test finds a class that cannot be
saved, a handler that keeps state where nobody saves it, and a migration that loses some. Only the
storage is replaced, by a dictionary that keeps versions and knows conditional writes.

No test framework is imported: it works with any.
"""

from __future__ import annotations

from typing import Any, Final, Self, TypeVar

from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.persistence import S3Persistence

__all__ = ["MemoryPersistence", "memory_persistence"]

UD = TypeVar("UD")
CD = TypeVar("CD")
BD = TypeVar("BD")

# Stands for the id of every bot: tests make bots with any token, and restart them with another.
_ANY_BOT: Final = 1


class MemoryPersistence(S3Persistence[UD, CD, BD]):
    """Persistence in memory, as :func:`memory_persistence` makes it.

    Its state lasts as long as it, or any persistence that was :meth:`restarted` from it. Belongs to
    no bot, so that it works before, and without, ``ApplicationBuilder().persistence(…)``.

    Args:
        bucket (:obj:`str`, optional): Name that stands in log lines. Defaults to ``"memory"``.
        prefix (:obj:`str`, optional): Likewise. Defaults to ``""``.
        **options: Options of :class:`ptb_s3.S3Persistence`. `keyring` defaults to a key that is
            made for the occasion; those that concern the storage have no effect.

    Raises:
        SettingsError: An option cannot be used as it is.
    """

    def __init__(
        self,
        bucket: str = "memory",
        prefix: str = "",
        **options: Any,  # noqa: ANN401 - those of `S3Persistence`
    ) -> None:
        options.setdefault("keyring", Keyring(Key.generate()))
        super().__init__(bucket, prefix, **options)
        self._loader.store = MemoryStore()
        self._given = {"bucket": bucket, "prefix": prefix, **options}

    def restarted(self, **options: Any) -> Self:  # noqa: ANN401 - those of `S3Persistence`
        """Return a persistence that finds what this one has committed, as after a restart.

        What this one has not committed is lost, as with a process that is killed; await
        :meth:`flush` first for a restart in good order. Both may also be used side by side, as two
        instances of a bot.

        Args:
            **options: Options that differ from this persistence's, such as
                ``aliases={"shop.Basket": Basket}`` for a class that the next version renames.

        Returns:
            :class:`ptb_s3.testing.MemoryPersistence`: The persistence, on the same store and with
            the same key.
        """
        again = type(self)(**{**self._given, **options})
        again._loader.store = self._loader.store  # noqa: SLF001 - of this class
        return again

    def _bot_id(self) -> int:
        return _ANY_BOT


def memory_persistence(**options: Any) -> MemoryPersistence[Any, Any, Any]:  # noqa: ANN401 - as above
    """Make a persistence that needs no server, with a key that nobody else has.

    Example:
        .. code:: python

            from ptb_s3.testing import memory_persistence

            async def test_visits_survive_a_restart():
                persistence = memory_persistence()
                await persistence.update_user_data(7, {"visits": 1})
                await persistence.flush()

                after = persistence.restarted()
                assert await after.get_user_data() == {7: {"visits": 1}}

        With an application, give it to ``ApplicationBuilder().persistence(persistence)``, and
        ``persistence.restarted()`` to the next one.

    Args:
        **options: Options of :class:`ptb_s3.S3Persistence`, such as `trusted`, `unsaved` or
            `context_types`. None is needed.

    Returns:
        :class:`ptb_s3.testing.MemoryPersistence`: The persistence. Each call makes one with a store
        of its own; :meth:`MemoryPersistence.restarted` makes one that shares it.

    Raises:
        SettingsError: An option cannot be used as it is.
    """
    return MemoryPersistence(**options)
