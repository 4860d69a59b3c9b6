"""A server as the tests see it: where it is, and what lets them in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

S3Client: TypeAlias = Any  # aioboto3 ships no types
Session: TypeAlias = Any  # as above

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class S3Server:
    """Where to find a server, and what lets us in."""

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region_name: str = "us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to be let in."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region_name,
            **({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {}),
        }

    def session(self, **others: str) -> Session:
        """Return an aioboto3 session that is let in, unless it is told other credentials."""
        import aioboto3  # noqa: PLC0415 - a second to import, which most unit tests can do without

        credentials = {
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_session_token": self.session_token,
        }
        return aioboto3.Session(**{**credentials, **others}, region_name=self.region_name)
