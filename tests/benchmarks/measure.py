"""Run all measurements, each in a process of its own: what was in memory before would count."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tests.benchmarks import fresh, intervals, prepare, start, writers
from tests.benchmarks.bots import Setting
from tests.benchmarks.figures import Measured

_Result = TypeVar("_Result")
_Probe = Callable[[Setting], Coroutine[Any, Any, _Result]]

# Imported once: each process is a copy of one that has done so.
_PRELOADED = ["aioboto3", __name__]
_STEPS_ONCE = 7
_STEPS_A_ROUND = 5


def measure(setting: Setting, rounds: int) -> Measured:
    """Measure everything; the starts so many times, in turns."""
    measured = Measured()
    with _steps(_STEPS_ONCE + _STEPS_A_ROUND * rounds) as step, _processes() as processes:

        def probe(name: str, work: _Probe[_Result]) -> _Result:
            step(name)
            return processes.submit(_run, work, setting).result()

        probe("making the data", prepare.fill)
        for _ in range(rounds):
            measured.yardsticks.append(probe("pickle.loads", start.loads))
            measured.starts.append(probe("a start on S3", start.on_s3))
            measured.pickle_starts.append(probe("a start on a pickle file", start.on_pickle))
            step("imports")
            measured.imports.append(fresh.imports())
            step("the first request of a process")
            measured.first_requests.append(fresh.first_request(setting))
        # After the starts, since these change what is stored.
        measured.memory.append(probe("memory, on S3", start.memory_on_s3))
        measured.pickle_memory.append(probe("memory, on a pickle file", start.memory_on_pickle))
        measured.writers.append(probe("two writers, serverless, flush", writers.writers))
        measured.intervals.append(probe("intervals on S3", intervals.on_s3))
        measured.pickle_intervals.append(probe("intervals on a pickle file", intervals.on_pickle))
        measured.pickle_flushes.append(
            probe("a shutdown on a pickle file", intervals.on_pickle_flush)
        )
    return measured


def _run(work: _Probe[_Result], setting: Setting) -> _Result:
    """Measure in a process of its own."""
    setting.enter()
    return asyncio.run(work(setting))


@contextmanager
def _processes() -> Iterator[ProcessPoolExecutor]:
    """Give each call a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        yield processes


@contextmanager
def _steps(count: int) -> Iterator[Callable[[str], None]]:
    """Show on standard error how far we are."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=count, completed=-1)

        def step(name: str) -> None:
            progress.update(task, advance=1, description=name)

        yield step
