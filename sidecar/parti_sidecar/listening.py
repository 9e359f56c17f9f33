"""Sockets that listen. Without gRPC, whose variables must be set before anything imports it."""

from __future__ import annotations

import ipaddress
import socket


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen as `bind` does. Raises OSError.

    Every address of the machine, `0.0.0.0` or `::`, means both families, or the one that the kernel
    has; gRPC takes it so too. One setting then fits pods of either family.
    """
    if ipaddress.ip_address(host).is_unspecified:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        host = "0.0.0.0"  # noqa: S104 - asked for
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
