"""Fixtures: bots, and an account of what became of the bucket."""

from __future__ import annotations

import pytest
from tests.servers import S3Client, S3Server
from tests.support.bots import Bots

from ptb_s3._storage import client, s3


@pytest.fixture
def bots(s3_server: S3Server, s3_client: S3Client, bucket: str) -> Bots:
    """Runs of bots on a new, versioned bucket."""
    return Bots(s3_server, s3_client, bucket)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are not tried again: whoever waits for a failure need not sit out the pauses."""
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(client, "ATTEMPTS", 1)
