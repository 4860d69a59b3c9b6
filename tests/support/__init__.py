"""Doubles, data and proxies that tests share; no test stands here.

The names that most tests need stand here as well: a persistence or a repository on a store in
memory, and the state that it holds. Everything else is imported from its module. A module here
imports nothing of the tests, and of ``tests.servers`` only what describes a server.
"""

from __future__ import annotations

from tests.support.persistence import (
    BOT_ID,
    KEY,
    OTHER_KEY,
    TESTED_LOAD,
    Persistence,
    make_persistence,
    settled,
    state_of,
    update,
)
from tests.support.repository import changes, opened
from tests.support.stores import AnyOrder
from tests.support.tracebacks import locals_of_ours

from ptb_s3._storage.around import StoreAround

__all__ = [
    "BOT_ID",
    "KEY",
    "OTHER_KEY",
    "TESTED_LOAD",
    "AnyOrder",
    "Persistence",
    "StoreAround",
    "changes",
    "locals_of_ours",
    "make_persistence",
    "opened",
    "settled",
    "state_of",
    "update",
]
