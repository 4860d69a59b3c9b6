"""Facts for reports, without a server: gathered from a shop in memory, or made up."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.persistence import KEY, OTHER_KEY
from tests.support.shop import Shop

from ptb_s3._doctor.findings import Check, Finding, ok
from ptb_s3._format.container import Changed, Header
from ptb_s3._format.entities import Kind
from ptb_s3._history.history import Extent
from ptb_s3._history.order import Commit
from ptb_s3._storage.contract import Version
from ptb_s3.cli._report.facts import Facts, Kept
from ptb_s3.cli._report.gathering import Request, gather
from ptb_s3.cli._report.page import compose
from ptb_s3.cli._report.rendering import render

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
STORE = "12345678-1234-4234-8234-123456789abc"
MINUTE = timedelta(minutes=1)


async def gathered(shop: Shop, *, keys: Any = (OTHER_KEY, KEY), **options: Any) -> Facts:
    """Return what a command would gather, four minutes after the shop's last commit."""
    request = Request(**{"examine": False, **options})
    facts = await gather(shop.place(*keys), request)
    return replace(facts, now=shop.now + 4 * MINUTE)


def html_of(facts: Facts) -> str:
    return render(compose(facts)).decode()


def commit(revision: int, minutes: float | None = None, **options: Any) -> Commit:
    """Make up a commit: by default, revision n is made n minutes after noon."""
    made = NOON + MINUTE * (revision if minutes is None else minutes)
    size = options.pop("size", 4500)
    header = Header(
        **{
            "object": "head",
            "store": STORE,
            "revision": revision,
            "commit": f"{revision:032x}",
            "created": made,
            "writer": "a" * 16,
            "line": "a" * 16,
            "key": KEY.id,
            "serializer": "pickle5",
            "entities": 1,
            "changed": Changed(user_data=1),
            "size": 4096,
            **options,
        }
    )
    return Commit(Version(f"v{revision}-{minutes}", made, size, is_latest=False), header)


def facts_of(*commits: Commit, **options: Any) -> Facts:
    """Make up facts about some commits, given oldest first."""
    newest_first = commits[::-1]
    return Facts(
        **{
            "place": "s3://bucket/bot/",
            "store": STORE,
            "now": (newest_first[0].made if newest_first else NOON) + 4 * MINUTE,
            "commits": newest_first,
            "older": False,
            "extent": Extent(len(commits), None, []),
            "blobs": dict.fromkeys(Kind, ()),
            "kept": {name: Kept(0, 0, 0) for name in ("head", *Kind)},
            "versioned": True,
            "prefix": "bot/",
            "current": None,
            **options,
        }
    )


def checked(**found: Finding) -> tuple[Finding, ...]:
    """Return findings of all checks: all is well but for those given by name."""
    given = {finding.check: finding for finding in found.values()}
    return tuple(given.get(check, ok(check, "as it should be")) for check in Check)


_TEXT = re.compile(r"<[^>]*>")


def words_of(html: str) -> str:
    """Return the text of a page."""
    return _TEXT.sub(" ", html)
