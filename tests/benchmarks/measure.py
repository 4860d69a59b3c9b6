"""Run measurements, each in a process of its own: what was in memory before would count.

Each is made once, when a row first asks for it, and on data that was written before.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

from rich.console import Console
from rich.status import Status
from tests.benchmarks import fresh, prepare, start
from tests.benchmarks.contestants import CONTESTANTS, OURS
from tests.benchmarks.setting import Setting
from tests.benchmarks.slow_line import SlowLine
from tests.benchmarks.start import Start

_Result = TypeVar("_Result")
_Probe = Callable[[Setting, str], Coroutine[Any, Any, _Result]]
_Plain = Callable[[Setting], Coroutine[Any, Any, _Result]]

# Imported once: each process is a copy of one that has done so.
_PRELOADED = ["aioboto3", __name__]


class Lines(NamedTuple):
    """Slow lines to the S3 server, at the same rate.

    Attributes:
        short: One without round trips worth mentioning.
        long: One with round trips.
    """

    short: SlowLine
    long: SlowLine


class Bench:
    """Where rows get what was measured.

    Args:
        setting: Size and data do not matter: each row has its own.
        rounds: How often starts and imports are measured.
        lines: Slow lines to the S3 server.
        alternatives: Whether any but ours is measured.
        processes: Runs the measurements.
        status: Where it says what it does.
    """

    def __init__(
        self,
        setting: Setting,
        rounds: int,
        lines: Lines,
        processes: ProcessPoolExecutor,
        status: Status,
        *,
        alternatives: bool,
    ) -> None:
        self.setting = setting
        self.rounds = rounds
        self.contestants = list(CONTESTANTS) if alternatives else [OURS]
        self.lines = lines
        self._processes = processes
        self._status = status
        self._filled: set[Setting] = set()
        self.take = cache(self._take)
        self.starts = cache(self._starts)
        self.yardstick = cache(self._yardstick)
        self._run(prepare.make_bucket, setting)

    def take_all(self, probe: _Probe[_Result], setting: Setting) -> dict[str, _Result]:
        """Measure all contestants; return what it gave, by their names."""
        return {name: self.take(probe, setting, name) for name in self.contestants}

    def plain(self, probe: _Plain[_Result], setting: Setting) -> _Result:
        """Measure what no contestant has a part in."""
        self._fill(setting)
        return self._run(probe, setting)

    def bare(
        self, work: Callable[..., Coroutine[Any, Any, _Result]], setting: Setting, *name: str
    ) -> _Result:
        """Measure what has a state of its own, and so takes none that the others share."""
        return self._run(work, setting, *name)

    def imports(self, module: str) -> list[fresh.Imports]:
        """Import a module in as many fresh interpreters as there are rounds."""
        self._status.update(f"import of {module}")
        return [fresh.imports(module) for _ in range(self.rounds)]

    def first_request(self) -> float:
        """Return the seconds until a fresh process has its first answer, at best."""
        self._status.update("the first request of a process")
        return min(fresh.first_request(self.setting) for _ in range(self.rounds))

    def _take(self, probe: _Probe[_Result], setting: Setting, name: str) -> _Result:
        self._fill(setting)
        return self._run(probe, setting, name)

    def _starts(self, setting: Setting, name: str, *, slow: bool = False) -> list[Start]:
        """Start a bot as often as there are rounds, over the slow line or without it."""
        self._fill(setting)
        place = replace(setting, endpoint_url=self.lines.short.url) if slow else setting
        return [self._run(start.start, place, name) for _ in range(self.rounds)]

    def _yardstick(self, setting: Setting) -> float:
        """Return the seconds of `pickle.loads`, at best."""
        runs = [self.plain(start.loads, setting) for _ in range(self.rounds)]
        return min(run.seconds for run in runs)

    def _fill(self, setting: Setting) -> None:
        if setting in self._filled:
            return
        self._filled.add(setting)
        self._run(prepare.fill_yardstick, setting)
        self._run(prepare.fill, setting)
        if self.contestants != [OURS]:
            self._run(prepare.fill_alternatives, setting)

    def _run(
        self, work: Callable[..., Coroutine[Any, Any, _Result]], setting: Setting, *name: str
    ) -> _Result:
        what = work.__name__.replace("_", " ")
        self._status.update(f"{setting.users:,} {setting.data}: {what} {', '.join(name)}")
        return self._processes.submit(_in_process, work, setting, name).result()


def _in_process(
    work: Callable[..., Coroutine[Any, Any, _Result]], setting: Setting, name: tuple[str, ...]
) -> _Result:
    setting.enter()
    return asyncio.run(work(setting, *name))


@contextmanager
def processes() -> Iterator[ProcessPoolExecutor]:
    """Give each call a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        yield pool


@contextmanager
def status() -> Iterator[Status]:
    """Show on standard error what is going on."""
    with Console(stderr=True).status("") as shown:
        yield shown
