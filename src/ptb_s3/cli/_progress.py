"""Progress bars on stderr: shown on a terminal alone, once the work has taken a second."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

Progress = Callable[[int, int | None], None]
"""Progress callback: how much is done, and of how much, where that is known."""

_SHOWN_AFTER = 1.0  # seconds: work that is done sooner needs no bar
_TICK = 0.2  # seconds between two looks at work that does not call back


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show a bar while the work goes on.

    Args:
        what: The work, in a word or two.

    Yields:
        The callback to report progress with.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - for a terminal alone
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above
    from rich.progress import Progress as Bars  # noqa: PLC0415 - as above

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Bars(*columns, console=Console(stderr=True), transient=True)
    bar = bars.add_task(what, total=None)
    began = time.monotonic()

    def advance(done: int, total: int | None) -> None:
        bars.update(bar, completed=done, total=total)
        if not bars.live.is_started and time.monotonic() - began > _SHOWN_AFTER:
            bars.start()

    try:
        yield advance
    finally:
        bars.stop()


@asynccontextmanager
async def waiting(what: str, done: Callable[[], tuple[int, int | None]]) -> AsyncIterator[None]:
    """Show a bar for work that does not call back, as `progress` does.

    Args:
        what: The work, in a word or two.
        done: Returns how much is done, and of how much, where that is known.
    """

    async def show() -> None:
        with progress(what) as advance:
            while True:
                advance(*done())
                await asyncio.sleep(_TICK)

    shown = asyncio.create_task(show())
    try:
        yield
    finally:
        shown.cancel()
        with suppress(asyncio.CancelledError):
            await shown


def steps(advance: Progress, total: int) -> Callable[[str], None]:
    """Return a callback that counts one step each time it is called, with the object's name.

    Args:
        advance: The progress callback to report to.
        total: How many steps there are.
    """
    done: list[str] = []

    def step(name: str) -> None:
        done.append(name)
        advance(len(done), total)

    return step
