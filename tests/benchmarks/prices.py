"""What a month costs, from measured bytes and requests, at list prices. Taxes and traffic aside.

To send to either is free, and so is reading from R2, and from S3 within its region; a start a day
reads too little to show.
"""

from __future__ import annotations

from typing import NamedTuple

INTERVALS = 30 * 24 * 60
"""In a month, at PTB's `update_interval` of 60 s, and something to save in each."""
_GIGABYTE = 1e9


class Prices(NamedTuple):
    """In US dollars.

    Attributes:
        provider: Whose.
        put: Of one writing request.
        gigabyte: Of a gigabyte stored for a month.
        history: Whether it keeps versions, and so bills them.
    """

    provider: str
    put: float
    gigabyte: float
    history: bool


AS_OF = "2025"
"""The list prices below held then; free allowances are not taken off."""
PRICES = [
    # https://aws.amazon.com/s3/pricing/: S3 Standard in US East (N. Virginia), first 50 TB.
    Prices("AWS S3, us-east-1", put=0.005 / 1_000, gigabyte=0.023, history=True),
    # https://developers.cloudflare.com/r2/pricing/: Standard, class A operations; all regions.
    Prices("Cloudflare R2", put=4.50 / 1_000_000, gigabyte=0.015, history=False),
]


class Month(NamedTuple):
    """What a month takes.

    Attributes:
        puts: Writing requests.
        stored: Bytes, on average.
        dollars: All told.
    """

    puts: float
    stored: float
    dollars: float


def month(prices: Prices, *, puts: float, sent: float, whole: float) -> Month:
    """Work it out.

    Args:
        prices: The provider's.
        puts: Writing requests of an average interval.
        sent: Bytes sent in one. Each stays for 30 days as a noncurrent version.
        whole: Bytes of everything as it lies in the bucket.
    """
    requests = puts * INTERVALS
    stored = whole + (sent * INTERVALS if prices.history else 0)
    return Month(requests, stored, requests * prices.put + stored / _GIGABYTE * prices.gigabyte)
