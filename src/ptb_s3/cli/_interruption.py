"""Interruption of a command half way: say what is done so far, and how to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ptb_s3.cli import _output
from ptb_s3.errors import ConflictError, StorageError


@contextmanager
def in_steps(state: str | Callable[[], str]) -> Iterator[None]:
    """Say how far the work is where Ctrl-C or the storage breaks it off.

    Args:
        state: What is done then and how to go on, in sentences, or a function that returns that.
    """
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        _output.note(state if isinstance(state, str) else state())
        raise
    except StorageError as error:
        error.add_note(state if isinstance(state, str) else state())
        raise


@contextmanager
def undisturbed(state: str) -> Iterator[None]:
    """Say of a conflict how a command goes on: unlike a bot, it keeps nothing in memory.

    Args:
        state: What is done so far and how to go on, in sentences.

    Raises:
        ConflictError: Another writer has committed.
    """
    try:
        yield
    except ConflictError:
        raise ConflictError(
            f"A running bot has committed meanwhile; nothing of that was overwritten. {state}"
        ) from None
