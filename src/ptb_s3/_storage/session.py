"""Session that clients are made of, where the user has given none.

As much of aioboto3's as is needed, on the same botocore: what that adds (resources, and transfers
of files, which every client of S3 would get) takes as long to import as a look at head.
"""

from __future__ import annotations

from typing import Any, TypeAlias

_Untyped: TypeAlias = Any  # what aiobotocore hands out: it ships no types


class OwnSession:
    """Adapter of a session of aiobotocore's to the interface of aioboto3's.

    Args:
        core: Session of aiobotocore's.
    """

    def __init__(self, core: _Untyped) -> None:
        self._session = core

    @property
    def region_name(self) -> str | None:
        """Return the region that the AWS configuration names."""
        region: str | None = self._session.get_config_variable("region")
        return region

    def client(self, service: str, **options: object) -> _Untyped:
        """Return a client of a service, as a context manager."""
        return self._session.create_client(service, **options)

    async def get_credentials(self) -> _Untyped:
        """Return the credentials that the AWS chain finds, or None."""
        return await self._session.get_credentials()
