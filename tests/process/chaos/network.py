"""The network between the sidecars: every byte of their peer APIs and streams passes through here.

A member listens on loopback as ever but tells the others that it is reached at `VIA`, an address of
the same machine, with the same ports; there this network listens and relays. Which member dials is
asked from the kernel, so gRPC calls, streams and snapshots all are told apart by pairs of members.

A cut holds bytes instead of losing them, as TCP would send them again, and its kernel confirms what
the network has not delivered: to the sidecars each cut is of the silent kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

from tests.process.chaos.diallers import dialler
from tests.process.chaos.relay import Relay
from tests.process.chaos.ways import CLEAR, Condition, Way

VIA = "127.0.1.1"
HOST = "127.0.0.1"
STRANGER = ""  # dials and is no member

Pair = tuple[str, str]


class Network:
    """Relays between members; `processes` gives the names of the processes that may dial."""

    def __init__(self, processes: Callable[[], Mapping[int, str]]) -> None:
        self._processes = processes
        self._ways: dict[Pair, Way] = {}
        self._relays: dict[Relay, Pair] = {}
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._opening: set[asyncio.Task[None]] = set()

    # --- who is reached through it ---

    async def add(self, member: str, ports: Iterable[int]) -> None:
        """Listen in the name of a member; at further ports if it is known already."""
        loop = asyncio.get_running_loop()
        servers = self._servers.setdefault(member, [])
        for port in ports:
            server = await loop.create_server(partial(_Arrival, self, member, port), VIA, port)
            servers.append(server)

    async def close(self) -> None:
        """End everything."""
        for task in self._opening:
            task.cancel()
        for servers in self._servers.values():
            for server in servers:
                server.close()
        for relay in list(self._relays):
            relay.reset()
        if self._opening:
            await asyncio.wait(self._opening)

    # --- trouble ---

    def way(self, source: str, target: str) -> Way:
        """The network from one member to another."""
        return self._ways.setdefault((source, target), Way())

    def change(self, pairs: Iterable[Pair], condition: Condition) -> None:
        """Treat what goes from the first to the second of each pair so."""
        for source, target in pairs:
            self.way(source, target).change(condition)

    def heal(self) -> None:
        """Everything passes again."""
        for way in self._ways.values():
            way.change(CLEAR)

    def between(self, one: str, other: str) -> list[Relay]:
        """Connections between two members, whoever dialled."""
        return [relay for relay, pair in self._relays.items() if set(pair) == {one, other}]

    # --- what arrives ---

    def arrived(self, member: str, port: int, transport: asyncio.Transport) -> None:
        """Somebody dialled a member: find out who, and go on when the way is passable."""
        source = self._name_of(transport)
        there, back = self.way(source, member), self.way(member, source)
        relay = Relay(there, back, self._forget)
        self._relays[relay] = (source, member)
        transport.set_protocol(relay.near)
        relay.near.connection_made(transport)
        task = asyncio.create_task(self._dial(relay, there, port))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _dial(self, relay: Relay, there: Way, port: int) -> None:
        try:
            await there.passable()
            if not relay.far.gone:
                await asyncio.get_running_loop().create_connection(lambda: relay.far, HOST, port)
        except OSError:
            relay.reset()

    def _name_of(self, transport: asyncio.Transport) -> str:
        """The member that dialled, or `STRANGER`, also for one that has gone already."""
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        processes = self._processes()
        pid = dialler(peer[:2], own[:2], processes)
        return STRANGER if pid is None else processes[pid]

    def _forget(self, relay: Relay) -> None:
        self._relays.pop(relay, None)


class _Arrival(asyncio.Protocol):
    """A connection that was accepted; the relay takes it over at once."""

    def __init__(self, network: Network, member: str, port: int) -> None:
        self._network = network
        self._member = member
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._network.arrived(self._member, self._port, stream)
