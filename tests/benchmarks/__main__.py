"""Measure ptb-s3 beside `PicklePersistence`: ``python -m tests.benchmarks``.

A program that prints a table, and no test: what it prints depends on the machine and on what else
runs there. Everything is measured in one run and on the same data, so the ratios hold.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from tests.benchmarks.bots import Setting
from tests.benchmarks.figures import figures
from tests.benchmarks.measure import measure
from tests.benchmarks.table import as_json, as_table

from ptb_s3.cli._seaweedfs import embedded_seaweedfs


def main() -> None:
    """Run all measurements, and print them."""
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="ptb-s3-benchmark-") as folder,
        embedded_seaweedfs() as server,
    ):
        setting = Setting(
            users=options.users,
            changed=min(options.changed, options.users),
            intervals=options.intervals,
            folder=Path(folder),
            endpoint_url=server.endpoint_url,
            environment=server.environment,
        )
        measured = measure(setting, options.rounds)
    rows = figures(setting, measured)
    if options.json:
        print(json.dumps(as_json(setting, rows), indent=2))  # noqa: T201 - what it is for
    else:
        Console().print(as_table(setting, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--users", type=_positive, default=100_000, help="users of the bot")
    parser.add_argument("--changed", type=_positive, default=1_000, help="that change per interval")
    parser.add_argument("--intervals", type=_positive, default=30, help="intervals measured")
    parser.add_argument("--rounds", type=_positive, default=5, help="starts measured")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


if __name__ == "__main__":
    main()
