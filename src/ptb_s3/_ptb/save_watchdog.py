"""Watch for a bot that processes updates while nobody asks for a save.

As where a web framework calls `initialize` and `process_update` alone: it answers as it should, and
all that it keeps is gone with the process.
"""

from __future__ import annotations

import logging

# Update intervals without a save, in which updates are processed, that are no coincidence: a
# running application asks for one in each.
INTERVALS = 3

_LOGGER = logging.getLogger("ptb_s3")


class Asked:
    """Says once that nobody asks for a save.

    Not by the time of the last one alone: a bot may sleep for hours, and its first update after
    that comes before anybody could ask.

    Args:
        interval: Seconds between two saves, as the bot is set up.
    """

    def __init__(self, interval: float) -> None:
        self._patience = INTERVALS * interval
        self._first: float | None = None
        self._said = False

    def note_save(self) -> None:
        """Note that somebody asks for a save now."""
        self._first = None

    def note_update(self, now: float) -> None:
        """Note that an update is processed.

        Args:
            now: Seconds on a clock that runs evenly.
        """
        if self._first is None:
            self._first = now
        elif now - self._first > self._patience and not self._said:
            self._said = True
            _LOGGER.warning(
                "Updates are processed, and for %d update intervals (%g s) nobody has asked for a "
                "save: what changes is in memory alone, and is lost with the process. Have updates "
                "processed by ptb_s3.serverless.deliver(); or call application.start(), which "
                "saves at each interval; or await application.update_persistence() after each "
                "update.",
                INTERVALS,
                self._patience,
            )
