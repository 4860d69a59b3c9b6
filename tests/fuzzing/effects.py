"""Sees what a pickle would do to the world, and stops it.

A gadget that gets past the allow-list gives a value, or an error like any other; that it ran shows
only outside. So while a pickle is loaded, whatever Python audits as an effect is noted and refused.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

# Events of `sys.audit` that no value takes to be loaded. To import, to look for time zones and to
# read files are none of them: a trusted module and a `ZoneInfo` do that.
_EFFECTS = (
    "os.chmod",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.spawn",
    "os.symlink",
    "os.system",
    "os.truncate",
    "pty.spawn",
    "shutil.",
    "signal.",
    "socket.",
    "subprocess.",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class EscapedError(AssertionError):
    """A pickle did what no pickle may."""


class _Watch:
    """What the hook looks at; a hook cannot be removed, so it is told when to look."""

    watching = False
    installed = False
    seen: tuple[str, ...] = ()


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _Watch.watching and _is_effect(event, arguments):
        _Watch.seen += (event,)
        raise EscapedError(event)  # before it happens


def _is_effect(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & _WRITING)
    if event == "exec":
        code = arguments[0]  # of a text, and not of a module that is imported
        return isinstance(code, CodeType) and code.co_filename == "<string>"
    return event.startswith(_EFFECTS)


@contextmanager
def none_allowed() -> Iterator[None]:
    """Refuse all effects meanwhile.

    Raises:
        EscapedError: One was tried, whatever became of the error that stopped it.
    """
    if not _Watch.installed:
        sys.addaudithook(_hook)
        _Watch.installed = True
    _Watch.seen, _Watch.watching = (), True
    try:
        yield
    finally:
        _Watch.watching = False
    if _Watch.seen:
        raise EscapedError(", ".join(_Watch.seen))
