"""Persistences in memory for `PersistentApplication`s, which read what `TESTED_LOAD` says."""

from __future__ import annotations

from functools import partial

from tests.support.persistence import TESTED_LOAD

from ptb_s3 import testing

# No function of its own, as the module that calls it is trusted.
memory_persistence = partial(testing.memory_persistence, load=TESTED_LOAD)


def load_of(*, plain: bool) -> str:
    """Return what an application reads at its start: PTB's own all of it, ours as is tested."""
    return "all" if plain else TESTED_LOAD
