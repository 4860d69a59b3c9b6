"""Tell the getter calls of an application's start from those of anybody else.

PTB calls each getter once when an application starts, and takes the returned objects as its live
objects. Whoever calls a getter later gets objects of no consequence. An application may be shut
down and started again, and a second one may be built with the same persistence; each start reads
anew:

                 first getter        all getters        flush, bot shut down
    expected  ------------------>  answering  ------->  running  ------------>  expected
                                    set_bot: answered getters are those of a start again
"""

from __future__ import annotations

from collections.abc import Callable

from ptb_s3._format.entities import Kind
from ptb_s3._ptb.application_state import can_tell, is_initialized


class StartCycle:
    """State machine of starts: which getter call is part of one, and whether the bot is shut down.

    Args:
        bot: Returns the bot; None while none is set.

    Attributes:
        expected: Whether the next getter call of a start reads the state anew.
    """

    def __init__(self, bot: Callable[[], object]) -> None:
        self.expected = True
        self._bot = bot
        self._answered: set[tuple[Kind, str | None]] = set()
        self._begun = False

    @property
    def is_shut_down(self) -> bool:
        """Return whether the bot was at work, and is shut down."""
        return self._begun and not is_initialized(self._bot())

    def is_start(self, kind: Kind, name: str | None) -> bool:
        """Tell whether a getter call is part of a start.

        Args:
            kind: Kind that is asked for.
            name: Name of the conversation handler, where it is one's states.
        """
        return is_initialized(self._bot()) and (kind, name) not in self._answered

    def note_answered(self, kind: Kind, name: str | None) -> None:
        """Note that a getter call of a start was answered."""
        self._answered.add((kind, name))
        self._begun = True

    def note_new_bot(self) -> None:
        """Note that another application is built with this persistence: it starts, too."""
        self._answered.clear()

    def note_flushed(self, bot: object) -> None:
        """Note that everything is saved.

        Args:
            bot: The bot, as it was set when the flush began.
        """
        self._begun = self._begun and is_initialized(bot)

    def note_flush_ended(self, bot: object) -> None:
        """Note that a flush is over, well or not: that of a shutdown is followed by a new start.

        A flush by hand, while the bot is at work, is not.

        Args:
            bot: The bot, as it was set when the flush began.
        """
        if not (can_tell(bot) and is_initialized(bot)):
            self.expected = True
            self._answered.clear()
