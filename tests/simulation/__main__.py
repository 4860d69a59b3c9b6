"""Run many schedules: ``python -m tests.simulation --seeds 50000``; or one: ``--seed 7``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from rich.progress import track
from tests.simulation.features import FEATURES
from tests.simulation.model import Violation
from tests.simulation.world import World, simulate

_CHUNK = 20


def attempt(
    seed: int, features: Collection[str] | None = None, without: Collection[str] = ()
) -> tuple[Counter[str], str | None]:
    """Run one schedule; return what happened in it, and what was wrong, if anything."""
    logging.getLogger("ptb_s3").disabled = True
    if without:
        features = (World(seed).features if features is None else {*features}) - {*without}
    try:
        return simulate(seed, features), None
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, the seed repeats it
        violation = error if isinstance(error, Violation) else repr(error)
        only = "" if features is None else f" --only {','.join(sorted(features))}"
        return Counter(), f"{violation} -- python -m tests.simulation --seed {seed}{only}"


def main() -> int:
    """Run the schedules that the command line asks for; exit 1 if one fails."""
    if os.environ.get("PYTHONHASHSEED") is None:  # sets have an order that a seed repeats
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606 - itself
    options = _options()
    seeds = (
        [options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.seeds)
    )
    tally, reasons = Counter[str](), Counter[str]()
    run = partial(attempt, features=options.only, without=options.without)
    begun = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(run, seeds, chunksize=min(_CHUNK, len(seeds)))
        for happened, failure in track(results, "Simulating", total=len(seeds)):
            tally += happened
            if failure is not None:
                reasons[re.sub(r"\d+|'[^']*'", "_", failure.partition(" -- ")[0])] += 1
                if reasons.total() <= options.show:
                    print(failure)  # noqa: T201 - one line that replays it
    took = time.monotonic() - begun
    for reason, count in reasons.most_common(options.show):
        print(f"{count:5} {reason[:200]}")  # noqa: T201 - as above
    failed = reasons.total()
    print(f"{len(seeds)} schedules in {took:.0f} s, {failed} failed.", dict(sorted(tally.items())))  # noqa: T201
    return min(failed, 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--show", type=int, default=20, help="failures to show")
    names = ", ".join(FEATURES)
    parser.add_argument("--only", type=_features, help=f"with these features alone: {names}")
    parser.add_argument("--without", type=_features, default=(), help="without these")
    return parser.parse_args()


def _features(text: str) -> list[str]:
    chosen = [name for name in text.split(",") if name]
    unknown = [name for name in chosen if name not in FEATURES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no feature: {', '.join(unknown)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
