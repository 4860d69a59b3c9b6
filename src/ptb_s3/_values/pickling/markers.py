"""Marks of the format: names in a pickle that stand for the reader's bot, or for enum members.

FORMAT.md, section 6.1, fixes the names. They lie in a module that no file can be, as its name is no
identifier, so neither our layout nor anybody's package is part of the format. Picklers and
unpicklers look modules up in `sys.modules`: importing this one puts it there.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

RESERVED: Final = "ptb-s3/1"
"""Name of the module, and the format's version."""


class SetBot:
    """Mark called with an object and its state: the object, given that state and the bot."""


class TheBot:
    """Mark called with a boolean: the reader's bot, or None."""


class Member:
    """Mark called with an enum class and names: the member, or union of members, so named."""


MARKS: Final[tuple[type, ...]] = (SetBot, TheBot, Member)


def _register() -> None:
    module = ModuleType(RESERVED)
    for mark in MARKS:
        mark.__module__ = RESERVED
        setattr(module, mark.__qualname__, mark)
    sys.modules[RESERVED] = module


_register()
