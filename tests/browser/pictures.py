"""Page that the pictures of `docs/report.md` show: a shop's life in memory, by seed and clock.

It is checked without a browser, too: `tests/unit/test_report_pictures.py`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from tests.support.reports import checked, gathered, html_of
from tests.support.shop import lived

from ptb_s3._doctor.findings import Check, unknown

PICTURES = Path(__file__).parents[2] / "docs" / "_static"
HASH = PICTURES / "report.json"
"""Hash of the page that the pictures are of, and their sizes."""

T = TypeVar("T")
_NOT_TRIED = ("not tried, since that takes writing", "Run ptb-s3 doctor.")


def page_of_pictures() -> str:
    """Return the page, with times in UTC and the findings of a good storage."""

    async def made() -> str:
        facts = await gathered(await lived(), deep=True)
        left = {check.name: unknown(check, *_NOT_TRIED) for check in (Check.CONDITIONAL_PUT,)}
        return html_of(replace(facts, examined=checked(**left)))

    with _in_utc():
        return aside(made)


def aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run work in a loop of another thread: Playwright has one running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


@contextmanager
def _in_utc() -> Iterator[None]:
    """Have local times be those of UTC meanwhile."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
