"""Ask PTB's `Application` and `Bot` where they are in their life, by names that PTB keeps private.

PTB has no public way to tell whether an application is between `initialize` and `shutdown`, waits
for its last save, or has made a task. Every such name is in a constant of this module or of
`internals` and `conversation_states`, so that a new version of PTB is checked against three files.
"""

from __future__ import annotations

import asyncio
from types import FrameType
from typing import Any, Final, TypeAlias

from telegram import Bot
from telegram.ext import Application

App: TypeAlias = Application[Any, Any, Any, Any, Any, Any]

# Qualified name of the coroutine that `Application.create_task` runs.
_TASK: Final = "Application.__create_task_callback"
_FETCHER: Final = "_Application__update_fetcher_task"
_SAVING: Final = "_Application__update_persistence_lock"
# The second is its name up to PTB 21.
_BOT_INITIALIZED: Final = ("_bot_initialized", "_initialized")


def tasks(application: App) -> set[asyncio.Task[Any]]:
    """Return the tasks that `Application.create_task` has made, as for handlers ``block=False``.

    They are found by the name of the coroutine that they run: an application that is not running
    keeps no list of them.
    """
    return {task for task in asyncio.all_tasks() if _is_task_of(application, task.get_coro())}


def _is_task_of(application: App, coroutine: Any) -> bool:  # noqa: ANN401 - a coroutine, of one of several types
    if getattr(coroutine, "__qualname__", "") != _TASK:
        return False
    # Tasks of other applications on the same loop must be neither awaited nor cancelled.
    return coroutine.cr_frame is not None and saving_application(coroutine.cr_frame) is application


def renew_lock(application: App) -> None:
    """Give an application a new lock for its saves, on the running loop.

    A task of a loop that is gone may hold the old one for ever.
    """
    if hasattr(application, _SAVING):
        setattr(application, _SAVING, asyncio.Lock())


def will_read(application: App) -> bool:
    """Tell whether `Application.initialize` will read the state, rather than return at once.

    It returns at once if it was called before, and not undone: a shutdown that failed half-way
    leaves it so.
    """
    return not getattr(application, "_initialized", False)


def is_initialized(bot: object) -> bool:
    """Tell whether a bot is between its `initialize` and its `shutdown`.

    `Application.initialize` initialises the bot before it calls any getter of the persistence, and
    `Application.shutdown` shuts the bot down before it saves. True for a test double that has no
    such state; see `can_tell`.
    """
    return next((bool(getattr(bot, name)) for name in _BOT_INITIALIZED if hasattr(bot, name)), True)


def can_tell(bot: object) -> bool:
    """Tell whether a bot has the state that `is_initialized` asks for."""
    return any(hasattr(bot, name) for name in _BOT_INITIALIZED)


def bot_id(bot: Bot) -> int:
    """Return a bot's id: from Telegram or, before it has been asked, from the bot's token.

    Raises:
        RuntimeError: The bot has not met Telegram, and its token begins with no number.
    """
    try:
        return bot.id
    except RuntimeError:
        number = bot.token.partition(":")[0]
        if not number.isdecimal():
            raise
    return int(number)


def saving_application(frame: FrameType) -> App | None:
    """Return the application whose method runs in a frame, or None.

    PTB makes all calls of an interval in one method of `Application`, and passes the application
    to none of them.
    """
    own = frame.f_locals.get("self")
    return own if isinstance(own, Application) else None


def is_left_with_saving(application: App) -> bool:
    """Tell whether an application is being stopped and has processed all of its updates.

    It then waits for jobs and tasks of the bot, if there are any, and after that saves for the last
    time.
    """
    fetcher: asyncio.Task[None] | None = getattr(application, _FETCHER, None)
    return not application.running and (fetcher is None or fetcher.done())
