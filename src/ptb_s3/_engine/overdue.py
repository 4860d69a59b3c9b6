"""Overdue compaction: what a differential costs each commit, and what its blob would cost once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Kind

# Bytes of an entry beside its value, and the compression ratio of bots' values: both about.
_ENTRY = 16
_RATIO = 4


class Price(NamedTuple):
    """Price of a compaction, done or left out.

    Attributes:
        carried: Bytes that each commit carries along without it.
        sends: Bytes that it sends, once; about.
    """

    carried: int
    sends: int


def price(base: Base, kinds: Iterable[Kind]) -> Price:
    """Return the price of writing kinds' blobs anew, all of them together.

    Args:
        base: The base.
        kinds: The kinds.
    """
    prices = [_price(base, kind) for kind in kinds]
    return Price(sum(one.carried for one in prices), sum(one.sends for one in prices))


def _price(base: Base, kind: Kind) -> Price:
    part, blob = base.head.parts[kind], base.blobs.get(kind)
    # A head that was read does not tell how its bytes are shared among the kinds.
    carried = (
        part.size
        or sum(_ENTRY + len(entry.value or b"") for entry in part.differential.values()) // _RATIO
    )
    return Price(carried, carried + (blob.ref.size if blob else 0))
