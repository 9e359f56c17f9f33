"""The wiring of one sidecar: driver, gRPC servers, HTTP port, metrics; and their order.

Start: servers first, for the driver tells others the port that was bound; until there is a member
they answer NOT_READY. Stop is the reverse, and the driver, which owns the disk, comes last: gRPC's
handlers must have ended before it.
"""

from __future__ import annotations

from typing import Protocol

from parti_sidecar.addresses import BoundAddresses
from parti_sidecar.config import Role, SidecarConfig
from parti_sidecar.host import Host
from parti_sidecar.http import HttpServer
from parti_sidecar.http_data import data_routes
from parti_sidecar.http_pages import SidecarView, sidecar_routes
from parti_sidecar.kv_calls import KvCalls
from parti_sidecar.meters import Meters
from parti_sidecar.metrics import MemberReading, Sources, exposition, make_registry
from parti_sidecar.metrics_catalog import CATALOG
from parti_sidecar.runtime import Supervisor
from parti_sidecar.servers import ApiAddresses, ApiServers, ApiSettings
from parti_sidecar.unary_sends import UnarySends
from parti_sidecar.version import VERSION

STREAMS_END_MS = 1_000  # streams get this long to end by themselves


class SidecarDriver(Host, SidecarView, Protocol):
    """The driver as the process needs it."""

    async def start(self, advertised: str) -> None:
        """Begin to take part; others are told that the peer API listens at `advertised`."""
        ...

    async def drain(self) -> str:
        """Hand over partitions and leadership, close the session."""
        ...

    async def stop(self) -> None:
        """End the driver and close the storage; safe after a start that failed or never was."""
        ...

    def reading(self) -> MemberReading | None:
        """The member's state for metrics; None before there is a member."""
        ...


class Sidecar:
    """A `Process` (see `lifecycle`)."""

    def __init__(
        self, config: SidecarConfig, driver: SidecarDriver, meters: Meters, supervisor: Supervisor
    ) -> None:
        self._config = config
        self._driver = driver
        self._meters = meters
        self._supervisor = supervisor
        self._apis: ApiServers | None = None
        self._http = self._make_http()

    async def start(self) -> BoundAddresses:
        config = self._config
        self._supervisor.spawn(self._meters.loop.run(), "event-loop probe")
        http = await self._http.start(config.http_address)
        self._apis, bound = await ApiServers.start(
            self._driver,
            ApiAddresses(
                app=config.app_address,
                peer=config.peer_address,
                peer_streams=config.peer_stream_address,
                admin=config.admin_address,
                app_socket=config.app_socket,
            ),
            ApiSettings(
                config.router_limits,
                version=VERSION,
                workers_refused_because=_workers_refused_because(config.role),
            ),
            self._meters.rpc,
        )
        await self._driver.start(config.advertised(bound.peer))
        return BoundAddresses(app=bound.app, peer=bound.peer, admin=bound.admin, http=http)

    async def drain(self) -> str:
        if self._apis is not None:
            await self._apis.drain()
        left = await self._driver.drain()
        if self._apis is not None:
            await self._apis.leave_clients()
        return left

    async def stop(self) -> None:
        await self._http.stop()
        if self._apis is not None:
            await self._apis.stop(grace_ms=STREAMS_END_MS)
        await self._driver.stop()

    def _make_http(self) -> HttpServer:
        # The server counts its answers, and the page that shows them is one of its routes.
        server = HttpServer()
        sources = Sources(
            member=self._driver.reading,
            rpc=self._meters.rpc,
            disk=self._meters.disk,
            loop=self._meters.loop,
            http=server,
        )
        server.add_routes(sidecar_routes(self._driver, exposition(make_registry(CATALOG, sources))))
        server.add_routes(data_routes(KvCalls(self._driver), UnarySends(self._driver)))
        return server


def _workers_refused_because(role: Role) -> str:
    return "this sidecar only routes (role: router)" if role is Role.ROUTER else ""
