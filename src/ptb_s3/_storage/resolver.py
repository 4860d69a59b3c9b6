"""Resolver of host names in a thread of our own: asyncio's default executor is the bot's."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver

from ptb_s3._storage.threads import Worker

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Resolver(AbstractResolver):
    """Resolver of host names for aiohttp, with one thread.

    aiohttp's own asks in the executor that `asyncio.to_thread` uses. A bot whose blocking calls
    fill that one would keep its commits from being sent.
    """

    def __init__(self) -> None:
        self._worker = Worker("ptb-s3-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: There are none.
        """
        return await self._worker(_resolved, host, port, family)

    async def close(self) -> None:
        """Keep the thread: the resolver outlives the clients that use it."""


def _resolved(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found: list[ResolveResult] = []
    kind = socket.SOCK_STREAM
    for family_, _, proto, _, address in socket.getaddrinfo(host, port, family, kind):
        # Not address[0]: that lacks the zone of a link-local IPv6 address.
        number, _ = socket.getnameinfo(address, _NUMERIC)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        found.append(
            {
                "hostname": host,
                "host": number,
                "port": port,
                "family": family_,
                "proto": proto,
                "flags": flags,
            }
        )
    return found
