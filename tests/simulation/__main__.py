"""Run many schedules: ``python -m tests.simulation --seeds 100000``; or one: ``--seed 7``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from rich.progress import track
from tests.simulation.model import Violation
from tests.simulation.world import simulate

_CHUNK = 20


def attempt(seed: int) -> tuple[Counter[str], str | None]:
    """Run one schedule; return what happened in it, and what was wrong, if anything."""
    logging.getLogger("ptb_s3").disabled = True
    try:
        return simulate(seed), None
    except Violation as violation:
        return Counter(), f"{violation} -- python -m tests.simulation --seed {seed}"


def main() -> int:
    """Run the schedules that the command line asks for; exit 1 if one fails."""
    options = _options()
    seeds = (
        [options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.seeds)
    )
    tally: Counter[str] = Counter()
    failures = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(attempt, seeds, chunksize=min(_CHUNK, len(seeds)))
        for happened, failure in track(results, "Simulating", total=len(seeds)):
            tally += happened
            if failure is not None:
                failures += 1
                print(failure)  # noqa: T201 - one line that replays it
    print(f"{len(seeds)} schedules, {failures} failed.", dict(sorted(tally.items())))  # noqa: T201
    return min(failures, 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
