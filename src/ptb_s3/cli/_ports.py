"""Ports of a SeaweedFS server: one for each listener, and another 10,000 above it for gRPC.

A port is tried by listening on it. Another process may take it between that and the server's own
start, so whoever chooses ports has to be ready for a start that fails.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from types import MappingProxyType

HOST = "127.0.0.1"
"""Loopback interface, the only one that a server of ours listens on."""
LISTENERS = ("master", "volume", "filer", "s3", "admin")
"""SeaweedFS services that listen, by the names of their options."""
GRPC_OFFSET = 10_000
"""The admin's own worker expects its gRPC port here, whatever ``-admin.port.grpc`` says (4.48)."""
_LAST_PORT = 65_535


def free_ports(kept: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
    """Choose a port for each listener whose gRPC port, 10,000 above, is free as well.

    Args:
        kept: Ports to choose again where they are free, by listener.

    Returns:
        The ports, by listener. One of `kept` that is taken is replaced by another.
    """
    held: list[socket.socket] = []
    try:
        chosen = {name: port for name, port in kept.items() if _hold_both(port, held)}
        for name in LISTENERS:
            while name not in chosen:
                port = _hold(0, held)
                if port is not None and _hold_grpc(port, held):
                    chosen[name] = port
    finally:
        for holder in held:
            holder.close()
    return chosen


def _hold_both(port: int, held: list[socket.socket]) -> bool:
    return _hold(port, held) is not None and _hold_grpc(port, held)


def _hold_grpc(port: int, held: list[socket.socket]) -> bool:
    grpc = port + GRPC_OFFSET
    return grpc <= _LAST_PORT and _hold(grpc, held) is not None


def _hold(port: int, held: list[socket.socket]) -> int | None:
    """Listen on a port (0: any free one) so that nobody else is given it, or return None."""
    holder = socket.socket()
    held.append(holder)
    if os.name == "posix":
        # A port that an earlier server's connections still linger on (TIME_WAIT) counts as free,
        # as it does for the server. On Windows, the option would take a port from its listener.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((HOST, port))
        holder.listen()  # bound alone, the option above would let it be bound twice
    except OSError:
        return None
    return int(holder.getsockname()[1])
