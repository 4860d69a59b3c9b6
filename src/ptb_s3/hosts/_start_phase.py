"""Start phase of a process on AWS Lambda: all that can happen before the first update.

Lambda lends more CPU while a process starts than an update gets. When the state may be read then
depends on how the process came to be, which `AWS_LAMBDA_INITIALIZATION_TYPE` says (AWS Lambda
Developer Guide, "Defined runtime environment variables"):

===========================  =======================================================================
type                         the state is read
===========================  =======================================================================
``on-demand``                at the end of the start phase
``provisioned-concurrency``  there too; the first update asks for what is newer, as any update does
``snap-start``               when the snapshot was resumed, since what was read before it would be
                             old, and each clone would go on with the same connections
any other, or none           with the first update: this is perhaps not Lambda
===========================  =======================================================================
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from ptb_s3._environment import variable

TYPE: Final = "AWS_LAMBDA_INITIALIZATION_TYPE"
SNAP_START: Final = "snap-start"
AHEAD: Final = frozenset({"on-demand", "provisioned-concurrency"})

LIMIT: Final = 5.0
"""Seconds to read the state ahead. Lambda starts a process anew whose start phase takes 10 s, and
gives a resumed one as many; imports come on top."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's cyclic collector, and exempt from it what was made meanwhile.

    Modules stay for the life of the process. To walk through them while more come, and once again
    with the first update, costs a tenth of a start.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


def begin_ahead(begin: Callable[[], None]) -> None:
    """Begin at the right moment of the start, or not before the first update.

    Args:
        begin: Reads the state, and does not fail.
    """
    kind = variable(TYPE)
    if kind == SNAP_START:
        # Part of the runtimes that have SnapStart, and of their client from PyPI.
        import_module("snapshot_restore_py").register_after_restore(begin)
    elif kind in AHEAD:
        begin()
