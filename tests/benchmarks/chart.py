"""The charts: how each figure grows with the users, of all who have it, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.contestants import CONTESTANTS
from tests.benchmarks.data import REALISTIC
from tests.benchmarks.figures import Figure

FILE = "benchmarks.png"
_DRAWN = (
    "longest stall in an interval, median",
    "CPU time of an interval, 1 % changed",
    "saving and flushing 1 %",
    "cold start",
    "memory beyond the live objects, share of them",
    "peak beyond the live objects, all written anew, share of them",
    "bytes sent per interval",
    "dollars a month, AWS S3, us-east-1",
    "full pass of the collector",
)
_COLUMNS = 3
_INCHES = (4.6, 3.2)
_COLOURS = dict(zip(CONTESTANTS, ("#1b7837", "#762a83", "#c2a5cf", "#e08214"), strict=True))
_UNITS = {"s": "seconds", "B": "bytes", "x": "share", "$": "US dollars", "": "number"}


class NoLibraryError(Exception):
    """The plotting library is not installed."""


def require_library() -> None:
    """Raise `NoLibraryError` if there is nothing to plot with."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - optional, and only for a chart
    except ImportError:
        text = "A chart needs matplotlib: pip install -e '.[benchmarks]'"
        raise NoLibraryError(text) from None
    mpl.use("agg")


def draw(figures: Sequence[Figure], folder: Path) -> Path:
    """Draw those figures that say most; return the file."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    charts = _charts(figures)
    rows = max(1, -(-len(charts) // _COLUMNS))
    size = (_INCHES[0] * _COLUMNS, _INCHES[1] * rows)
    drawing, axes = plt.subplots(rows, _COLUMNS, figsize=size, squeeze=False)
    for place in axes.flat[len(charts) :]:
        place.set_axis_off()
    for place, (name, drawn) in zip(axes.flat, charts.items(), strict=False):
        _draw(place, name, drawn)
    lines = {line.get_label(): line for place in axes.flat for line in place.get_lines()}
    drawing.legend(lines.values(), lines.keys(), loc="lower center", ncols=len(lines))
    drawing.tight_layout(rect=(0, 0.4 / size[1], 1, 1))
    folder.mkdir(parents=True, exist_ok=True)
    drawing.savefig(folder / FILE, dpi=120)
    plt.close(drawing)
    return folder / FILE


def _charts(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    of_one_kind = [figure for figure in figures if figure.data == REALISTIC]
    charts = {name: [figure for figure in of_one_kind if figure.name == name] for name in _DRAWN}
    return {name: drawn for name, drawn in charts.items() if drawn}


def _draw(place: Any, name: str, figures: Sequence[Figure]) -> None:
    place.set_title(name, fontsize=9)
    place.set_xscale("log")
    place.set_yscale("log")
    place.set_xlabel("users", fontsize=8)
    place.set_ylabel(_UNITS[figures[0].unit], fontsize=8)
    place.grid(visible=True, which="major", alpha=0.3)
    for contestant, colour in _COLOURS.items():
        points = [(f.users, f.values.get(contestant)) for f in figures]
        seen = [(users, value) for users, value in points if value]
        if seen:
            place.plot(*zip(*seen, strict=True), "o-", color=colour, label=contestant)
    bounds = [(f.users, f.bound) for f in figures if f.bound]
    if bounds:
        place.plot(*zip(*bounds, strict=True), "_--", color="black", label="bound for ptb-s3")
