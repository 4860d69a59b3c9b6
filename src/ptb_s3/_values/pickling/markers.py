"""Markers: names in a pickle that stand for the reader's bot, or for members of enums.

FORMAT.md, section 6.1, fixes the names. They lie in the reserved module `ptb-s3/1`, which no file
can be, as its name is no identifier. So neither the layout of this project nor anybody's package is
part of the format, and nobody can shadow a marker.

Picklers and unpicklers look modules up in `sys.modules`: importing this module puts the reserved
one there.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

RESERVED: Final = "ptb-s3/1"
"""Name of the reserved module, with the format's version."""


class SetBot:
    """Marker called with an object and its state: the object is given that state and the bot."""


class TheBot:
    """Marker called with a boolean: the reader's bot if it is true, else None."""


class Member:
    """Marker called with an enum class and names: the member, or union of members, so named."""


MARKERS: Final[tuple[type, ...]] = (SetBot, TheBot, Member)


def _register() -> None:
    module = ModuleType(RESERVED)
    for marker in MARKERS:
        marker.__module__ = RESERVED
        setattr(module, marker.__qualname__, marker)
    sys.modules[RESERVED] = module


_register()
