"""Names of members as addresses to connect to: one name may stand for many members, or for none.

A lookup that hangs (a DNS server that does not answer holds a thread of the resolver for seconds)
is waited for a bounded time and never started twice, so that asking again and again costs nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from parti_sidecar.config_kinds import join_address, split_address

LOOKUP_TIMEOUT_S = 2.0


class Resolver:
    """Belongs to one running loop; remembers the lookups that are under way, and no answers."""

    def __init__(self) -> None:
        self._lookups: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def resolve(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The addresses of each `host:port`; none for what cannot be resolved now."""
        lookups = {name: self._lookup(name) for name in names}
        if lookups:
            await asyncio.wait(lookups.values(), timeout=LOOKUP_TIMEOUT_S)
        return {name: each.result() if each.done() else () for name, each in lookups.items()}

    async def close(self) -> None:
        """Wait for no lookup any more."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    def _lookup(self, name: str) -> asyncio.Task[tuple[str, ...]]:
        found = self._lookups.get(name)
        if found is None:
            found = self._lookups[name] = asyncio.create_task(addresses_of(name))
            found.add_done_callback(lambda _: self._lookups.pop(name))
        return found


async def addresses_of(name: str) -> tuple[str, ...]:
    """Every address that `host:port` stands for, each once; none if nobody knows it."""
    host, port = split_address(name)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(join_address(str(where[0]), port) for *_, where in found))
