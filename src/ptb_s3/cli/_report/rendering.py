"""Rendering of a page to HTML that loads nothing and runs nothing.

Whatever a template shows is escaped, and what hides in it is made visible. The style is a file of
ours: the page's policy allows it by its hash, and forbids all else, scripts above all.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ptb_s3.cli._report.page import Page
from ptb_s3.cli._report.visible import visible

BEGINNING = b"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="ptb-s3 report">
"""
"""First bytes of a page, by which one of ours is known again."""
_ENCODING = "utf-8"


def render(page: Page) -> bytes:
    """Return a page as HTML."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = (
        _environment()
        .get_template("report.html")
        .render(
            page=page,
            style=Markup(style),  # noqa: S704 - a file of ours, and the page's policy has its hash
            digest=digest,
        )
    )
    return BEGINNING + text.encode(_ENCODING)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _style() -> str:
    return (files(__package__ or "") / "templates" / "report.css").read_text(_ENCODING)


def _finalize(shown: object) -> object:
    """Make visible what hides in what a template shows, but for markup of its own macros."""
    return shown if isinstance(shown, Markup) else visible(str(shown))
