"""Try S3 servers, one after the other, and print a table: ``python -m tests.providers``.

``sh infra/servers.sh`` makes the environment for it, and says what the arguments are.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import pytest
from rich.console import Console
from rich.table import Table
from tests import servers
from tests.providers import trials
from tests.providers.catalogue import PROVIDERS, Provider
from tests.providers.sources import NotToBeHadError
from tests.providers.trials import Row

_WIDTH = 200


def main() -> int:
    """Try what is asked for; return 1 if anything was lost that was acknowledged."""
    logging.getLogger("ptb_s3").setLevel(logging.CRITICAL)  # the table says it
    rows = []
    for asked in _asked():
        print(f"{asked if isinstance(asked, str) else asked.name} ...", file=sys.stderr)  # noqa: T201 - what it is for
        rows.append(_elsewhere(asked) if isinstance(asked, str) else _here(asked))
        print(f"  {rows[-1]}", file=sys.stderr)  # noqa: T201 - as above
    _print(rows)
    return 0 if all(row.fit for row in rows) else 1


def _here(provider: Provider) -> Row:
    try:
        with provider.running() as server:
            return _tried(provider.name, provider.version, server)
    except NotToBeHadError as exc:
        return trials.absent(provider.name, provider.version, str(exc))


def _elsewhere(url: str) -> Row:
    try:
        with servers.running(url, dict(os.environ)) as server:
            return _tried(url, "", server)
    except pytest.UsageError as exc:
        return trials.absent(url, "", str(exc))._replace(fit=False)


def _tried(name: str, version: str, server: servers.S3Server) -> Row:
    try:
        return asyncio.run(trials.row(name, version, server))
    except Exception as exc:  # noqa: BLE001 - the others are to be tried all the same
        said = " ".join(str(exc).split())
        return Row(name, version, doctor=f"not tried: {type(exc).__name__}: {said}", fit=False)


def _asked() -> Sequence[Provider | str]:
    parser = argparse.ArgumentParser(prog="sh infra/servers.sh")
    names = {provider.name.lower(): provider for provider in PROVIDERS}
    parser.add_argument(
        "servers", nargs="*", metavar="SERVER", help=f"a URL, or one of {', '.join(names)}"
    )
    asked: list[Provider | str] = []
    for name in parser.parse_args().servers:
        if name.startswith(("http://", "https://")):
            asked.append(name)
        elif name.lower() in names:
            asked.append(names[name.lower()])
        else:
            parser.error(f"{name} is no URL and none of {', '.join(names)}")
    return asked or PROVIDERS


def _print(rows: Sequence[Row]) -> None:
    table = Table(show_lines=True)
    heads = ("server", "version", "going back", "safe commits", "doctor", "contract", "writers")
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*row.cells)
    console = Console()
    with suppress(BrokenPipeError):
        Console(width=max(console.width, _WIDTH)).print(table)


if __name__ == "__main__":
    sys.exit(main())
