"""Chromium for the tests of this folder, which are left out as a whole where there is none.

Nothing is downloaded: the browser is the one on PATH, and Playwright brings none of its own.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_PROGRAM = "chromium"
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--font-render-hinting=none",
)


def _missing() -> str | None:
    """Return what keeps this suite from running, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "no playwright: install ptb-s3[browser]"
    return None if shutil.which(_PROGRAM) else "no chromium on PATH"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures", action="store_true", help="write the pictures of docs/report.md anew"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = _missing()
    here = Path(__file__).parent
    for item in items:
        if missing is not None and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"report in a browser: {missing}"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, with a profile of its own. Its loop runs on until the module has ended."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - may be missing

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(_PROGRAM), args=list(_QUIET)
        )
        yield browser
        browser.close()
