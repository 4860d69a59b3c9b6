"""Read values of the loaded state for PTB's getters.

Only what a start is given becomes PTB's live objects. So a getter call of a start counts what it
returns as seen, and any other changes nothing of what is known of the live objects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from ptb_s3._format.entities import BOT_DATA_KEY, Entities, EntityKey, Kind
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.start_cycle import StartCycle
from ptb_s3._ptb.state_loader import StateLoader
from ptb_s3._values.loading import load_all
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import SettingsError

_LOGGER = logging.getLogger("ptb_s3")


class StateReader:
    """Reader of the loaded state: gives fresh objects of a kind's values.

    Args:
        loader: Loads the state.
        cycle: Tells getter calls of a start from others.
        serializer: Serializer of the values.
        new_bot_data: Makes the data of a bot that has none.
    """

    def __init__(
        self,
        loader: StateLoader,
        cycle: StartCycle,
        serializer: Serializer,
        new_bot_data: Callable[[], object],
    ) -> None:
        self._loader = loader
        self._cycle = cycle
        self._serializer = serializer
        self._new_bot_data = new_bot_data

    async def values(self, kind: Kind, name: str | None = None) -> dict[EntityKey, Any]:
        """Return the values of a kind by entity key, as fresh objects.

        Args:
            kind: Kind of the values.
            name: Name of a conversation handler: only its states are returned.

        Raises:
            PersistenceError: The state, or a value, cannot be read. At a start, connections are
                closed then: the bot does not start, and nobody else would close them.
        """
        start = self._cycle.is_start(kind, name)
        try:
            commits = await self._loader.open(start=start)
            if kind in self._loader.options.on_demand:
                return await self._on_demand(commits, kind, start=start)
            entities = commits.repository.staged.entities(kind)
            if name is not None:
                own = cast("Any", entities).items()
                entities = {key: data for key, data in own if key[0] == name}
            values = self._made(kind, entities, lasting=start)
        except BaseException:
            if start and not self._loader.under_way:
                await self._loader.close()
            raise
        if start:
            self._begin_with(commits, kind, name, values)
        return values

    async def _on_demand(
        self, commits: GroupCommit, kind: Kind, *, start: bool
    ) -> dict[EntityKey, Any]:
        """Return the values of a kind that is read on demand: none at a start, else all.

        Raises:
            SettingsError: The application at whose start it is cannot read on demand.
            PersistenceError: They cannot be read.
        """
        if start and not self._loader.reads_on_demand:
            raise SettingsError(
                'load="on_demand" needs an application that reads on demand. Build it with '
                "ApplicationBuilder().application_class(PersistentApplication), or leave "
                "load= (PTB_S3_LOAD) out."
            )
        if not (start and self._loader.application_starts):  # a script may ask ahead of a start
            _LOGGER.warning(
                'All of %s was asked for, and is read: with load="on_demand", ask '
                "application.%s for those that you need.",
                kind.value,
                kind.value,
            )
            return self._made(kind, await commits.repository.fetch_all(kind), lasting=False)
        self._cycle.note_answered(kind, None)
        return {}

    def _made(self, kind: Kind, entities: Entities, *, lasting: bool) -> dict[EntityKey, Any]:
        """Load values, but for those that were preloaded.

        Args:
            kind: Kind of the values.
            entities: Their bytes, by entity key.
            lasting: Whether they live for as long as the bot runs; see `load_all`.
        """
        preload = self._loader.preload if lasting else None
        values = {} if preload is None else preload.take(kind, entities)
        left = [(key, data) for key, data in entities.items() if key not in values]
        values.update(load_all(self._serializer, kind, left, lasting=lasting))
        return values

    def _begin_with(
        self, commits: GroupCommit, kind: Kind, name: str | None, values: dict[EntityKey, Any]
    ) -> None:
        """Note that PTB's live objects begin as these values."""
        staged = commits.repository.staged
        overtaken = cast("Any", staged.overtaken[kind])
        staged.catch_up(kind, [key for key in overtaken if name is None or key[0] == name])
        self._cycle.note_answered(kind, name)
        if kind is Kind.BOT_DATA:
            values = values or {BOT_DATA_KEY: self._new_bot_data()}
        if kind in (Kind.BOT_DATA, Kind.CALLBACK_DATA):  # PTB hands them over in every interval
            commits.note_unchanged(kind, values, loaded=True)
