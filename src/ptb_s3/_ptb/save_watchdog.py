"""Warn of a bot that processes updates while nobody asks for a save.

As where a web framework calls `Application.initialize` and `process_update` and never `start`: the
bot answers as it should, and all that it keeps is gone with the process.
"""

from __future__ import annotations

import logging

# Update intervals without a save, with updates processed in them, that are no coincidence: a
# running application asks for a save in each.
INTERVALS = 3

_LOGGER = logging.getLogger("ptb_s3")


class SaveWatchdog:
    """Watchdog that logs, once, that updates are processed and nobody asks for a save.

    The time runs from the first update after a save and not from the save: a bot may sleep for
    hours, and its first update after that comes before anybody could ask.

    Args:
        interval: Seconds between two saves, as the persistence's `update_interval` says.
    """

    def __init__(self, interval: float) -> None:
        self._patience = INTERVALS * interval
        self._first_update: float | None = None
        self._warned = False

    def note_save(self) -> None:
        """Note that somebody asks for a save now."""
        self._first_update = None

    def note_update(self, now: float) -> None:
        """Note that an update is processed, and warn if that goes on without a save.

        Args:
            now: Seconds on a monotonic clock.
        """
        if self._first_update is None:
            self._first_update = now
        elif now - self._first_update > self._patience and not self._warned:
            self._warned = True
            _LOGGER.warning(
                "Updates are processed, and for %d update intervals (%g s) nobody has asked for a "
                "save: what changes is in memory alone, and is lost with the process. Have updates "
                "processed by ptb_s3.serverless.deliver(); or call application.start(), which "
                "saves at each interval; or await application.update_persistence() after each "
                "update.",
                INTERVALS,
                self._patience,
            )
