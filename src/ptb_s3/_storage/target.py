"""Target of requests: settings that say which bucket is asked, where, as whom, how patiently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ptb_s3._storage.addressing import Style
from ptb_s3._storage.retries import ATTEMPTS, BACKOFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Settings of requests: which bucket, at which address, as whom, and how patiently.

    Attributes:
        bucket: Name of the bucket.
        prefix: Prefix of the objects; listings are asked for under it, as policies may demand.
        endpoint_url: Address of the S3 API; None is AWS, or what the AWS configuration says.
        region_name: Region to sign for; None leaves it to the AWS configuration.
        session: An `aioboto3.Session`, or None to make one at the first request.
        expected_owner: Id of the AWS account that the bucket must belong to, or None.
        style: Addressing style.
        anonymous: Whether requests are sent without credentials.
        connect_timeout: Seconds to wait for a connection, in each attempt.
        read_timeout: Seconds to wait for the next bytes of a reply, in each attempt.
        attempts: Number of attempts at a request, at most, while there is no answer.
    """

    bucket: str
    prefix: str
    endpoint_url: str | None
    region_name: str | None
    session: Any = field(repr=False)
    expected_owner: str | None
    style: Style
    anonymous: bool
    connect_timeout: float
    read_timeout: float
    attempts: int

    @property
    def timeouts(self) -> dict[str, float]:
        """Return the time-outs of each attempt, as botocore's `Config` takes them."""
        return {"connect_timeout": self.connect_timeout, "read_timeout": self.read_timeout}

    @property
    def patience(self) -> float:
        """Return the seconds until the reply to a request has to begin, with all its attempts."""
        return ATTEMPTS * (self.connect_timeout + self.read_timeout + BACKOFF)
