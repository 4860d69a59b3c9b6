"""Measure ptb-s3 beside the alternatives: ``python -m tests.benchmarks``.

A program that prints a table, and no test: what it prints depends on the machine and on what else
runs there. Everything is measured in one run and on the same data, so the ratios hold.

The default takes about six minutes on two cores. The full run takes about an hour, and 8 GB of
memory: ``--sizes 1000,10000,100000,1000000``. State on demand, of a million users, is measured only
with ``--only on_demand``. What else runs on the machine counts as a stall of the event loop: use a
quiet one, or ``nice -n -15``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from tests.benchmarks import chart, data
from tests.benchmarks.figures import Figure
from tests.benchmarks.measure import Bench, Lines, processes, status
from tests.benchmarks.rows import NAMES, USUAL, collect
from tests.benchmarks.setting import Setting
from tests.benchmarks.slow_line import ROUND_TRIP, slow_line
from tests.benchmarks.table import as_json, as_table

from ptb_s3.cli._seaweedfs import embedded_seaweedfs

_WIDTH = 160
_STANDARD_OUTPUT = Path("-")


def main() -> None:
    """Measure what is asked for, and print it."""
    options = _options()
    if options.chart is not None:
        try:
            chart.require_library()
        except chart.NoLibraryError as missing:
            print(missing, file=sys.stderr)  # noqa: T201 - what it is for
            sys.exit(2)
    with _bench(options) as bench:
        kinds = [options.data, *(kind for kind in data.KINDS if kind != options.data)]
        settings, others = (_settings(bench.setting, options.sizes, kind) for kind in kinds)
        figures = collect(bench, settings, others[: options.compare], options.only, options.users)
    _print(figures, options.json)
    if options.chart is not None:
        print(chart.draw(figures, options.chart), file=sys.stderr)  # noqa: T201 - as above


def _print(figures: Sequence[Figure], file: Path | None) -> None:
    text = json.dumps(as_json(figures), indent=2)
    if file == _STANDARD_OUTPUT:
        print(text)  # noqa: T201 - as above
        return
    if file is not None:
        file.write_text(text)
    console = Console()
    Console(width=max(console.width, _WIDTH)).print(as_table(figures))


@contextmanager
def _bench(options: argparse.Namespace) -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="ptb-s3-benchmark-") as folder,
        embedded_seaweedfs() as server,
        slow_line(server.endpoint_url) as line,
        slow_line(server.endpoint_url, ROUND_TRIP) as long_line,
        processes() as pool,
        status() as shown,
    ):
        setting = Setting(
            users=1,
            data=options.data,
            samples=options.samples,
            intervals=options.intervals,
            versions=options.versions,
            jobs=options.jobs,
            folder=Path(folder),
            endpoint_url=server.endpoint_url,
            environment=server.environment,
        )
        lines = Lines(line, long_line)
        yield Bench(setting, options.rounds, lines, pool, shown, alternatives=options.alternatives)


def _settings(setting: Setting, sizes: Sequence[int], kind: str) -> list[Setting]:
    return [replace(setting, users=users, data=kind) for users in sorted(sizes)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sizes", type=_numbers, default=[10_000, 100_000], help="users, separated by commas")
    add("--only", type=_rows, default=USUAL, metavar="ROWS", help=f"some of {','.join(NAMES)}")
    add("--data", choices=data.KINDS, default=data.REALISTIC, help="what the users' data is like")
    add("--chart", type=Path, metavar="FOLDER", help=f"draw {chart.FILE} there")
    add(
        "--json",
        type=Path,
        nargs="?",
        const=_STANDARD_OUTPUT,
        metavar="FILE",
        help="print the figures as JSON instead of the table or, with FILE, write them there, too",
    )
    add("--samples", type=_positive, default=20, help="intervals watched for stalls")
    add("--intervals", type=_positive, default=1_000, help="intervals averaged for bytes")
    add("--users", type=_positive, default=1_000_000, help="of the large bot loaded on demand")
    add("--versions", type=_positive, default=2_000, help="of a head that was deleted")
    add("--jobs", type=_positive, default=10_000, help="that wait where jobs are measured")
    add("--rounds", type=_positive, default=3, help="starts and imports measured")
    add("--alone", dest="alternatives", action="store_false", help="measure no alternatives")
    add(
        "--one-kind",
        dest="compare",
        action="store_const",
        const=0,
        default=1,
        help="leave out the other kind of data, which is measured at the smallest size",
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _numbers(text: str) -> list[int]:
    return [_positive(number) for number in text.split(",")]


def _rows(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(NAMES):
        raise ValueError
    return names


if __name__ == "__main__":
    main()
