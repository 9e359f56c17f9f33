"""The three gRPC servers of a sidecar: for applications, for members, for operators and people.

Each has health and reflection. The Admin service is also on the peer server, where other members
carry what only the leader can do. Beside the servers for members and for applications stand the
sockets of their streams.

Shutdown order: `drain` says NOT_SERVING and leaves everything running; `stop` closes the ports,
gives streams a grace and then waits for the handlers themselves, because gRPC returns before they
have cleaned up. Only after that may the store be closed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from parti_proto import admin_pb2, app_pb2, kv_pb2, peer_pb2
from parti_shard.limits import RouterLimits
from parti_sidecar.admin_service import AdminService
from parti_sidecar.app_streams import Applications
from parti_sidecar.host import Host
from parti_sidecar.inbound_streams import Members
from parti_sidecar.kv_service import KvService
from parti_sidecar.leader_calls import LeaderCalls
from parti_sidecar.peer_service import PeerService
from parti_sidecar.router_service import RouterService
from parti_sidecar.rpc_guard import RpcGuard
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.stream_listener import Reception, StreamListener
from parti_sidecar.transport import UnixSocket, bind, join_address, make_server, split_address
from parti_sidecar.unary_sends import UnarySends
from parti_sidecar.worker_service import WorkerService

HANDLERS_END_MS = 5_000  # after the grace: handlers only clean up

ROUTER = app_pb2.DESCRIPTOR.services_by_name["Router"]
KV = kv_pb2.DESCRIPTOR.services_by_name["KV"]
WORKER = app_pb2.DESCRIPTOR.services_by_name["Worker"]
PEER = peer_pb2.DESCRIPTOR.services_by_name["Peer"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["Admin"]


@dataclass(frozen=True, slots=True)
class ApiAddresses:
    """Where to listen, or, as a result, where the servers listen; port 0 means any free one."""

    app: str
    peer: str
    peer_streams: str
    admin: str
    app_socket: str = ""  # path of a unix socket; empty: none


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the services have to know of the configuration."""

    limits: RouterLimits = field(default_factory=RouterLimits)
    version: str = ""
    workers_refused_because: str = ""  # not empty in a sidecar that only routes


class ApiServers:
    """The running servers. Make it with `start`."""

    def __init__(self, meter: RpcMeter) -> None:
        self._guard = RpcGuard(meter)
        self._servers: list[grpc.aio.Server] = []
        self._health: list[health.aio.HealthServicer] = []
        self._socket: UnixSocket | None = None
        self._router: RouterService | None = None
        self._listeners: list[StreamListener] = []

    @classmethod
    async def start(
        cls, host: Host, addresses: ApiAddresses, settings: ApiSettings, meter: RpcMeter
    ) -> tuple[ApiServers, ApiAddresses]:
        """Bind and start all servers. Raises BindError; then none of them runs."""
        servers = cls(meter)
        try:
            bound = await servers._start(host, addresses, settings, meter)
        except BaseException:
            await servers.stop(grace_ms=0)
            raise
        return servers, bound

    async def drain(self) -> None:
        """Say NOT_SERVING from now on; everything goes on working."""
        for servicer in self._health:
            await servicer.enter_graceful_shutdown()

    async def leave_clients(self) -> None:
        """Take no more messages of applications; wait until those taken are answered."""
        if self._router is not None:
            await self._router.leave()

    async def stop(self, *, grace_ms: int) -> None:
        """Close the ports, end the streams after the grace, wait for the handlers."""
        if self._servers:
            await asyncio.gather(*(server.stop(grace_ms / 1000) for server in self._servers))
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        await self._guard.wait_idle(HANDLERS_END_MS)
        self._servers.clear()
        if self._socket is not None:
            self._socket.release()

    async def _start(
        self, host: Host, addresses: ApiAddresses, settings: ApiSettings, meter: RpcMeter
    ) -> ApiAddresses:
        sends = UnarySends(host)
        calls = LeaderCalls(host)
        worker = WorkerService(
            host, meter, settings.limits, refused_because=settings.workers_refused_because
        )
        kv = KvService(host, meter)
        address = app_pb2.StreamAddressReply()
        router = self._router = RouterService(host, meter, sends, settings.limits, address)
        app_streams = self._listener(Applications(router, worker, kv), meter)
        admin = AdminService(host, sends, calls, settings.version)
        peer_streams = await self._listener(Members(host, meter), meter).start(
            addresses.peer_streams
        )
        peer = PeerService(host, meter, calls, stream_port=split_address(peer_streams)[1])
        app_server = await self._make({ROUTER: router, WORKER: worker, KV: kv})
        peer_server = await self._make({PEER: peer, ADMIN: admin})
        admin_server = await self._make({ADMIN: admin})
        bound = ApiAddresses(
            app=bind(app_server, addresses.app),
            peer=bind(peer_server, addresses.peer),
            peer_streams=peer_streams,
            admin=bind(admin_server, addresses.admin),
            app_socket=addresses.app_socket,
        )
        address.port = await _beside(app_streams, bound.app)
        if addresses.app_socket:
            self._socket = UnixSocket(addresses.app_socket)
            self._socket.bind(app_server)
            await app_streams.start_unix(self._socket)
            address.socket_name = self._socket.streams_name
        for server in self._servers:
            await server.start()
        return bound

    def _listener(self, reception: Reception, meter: RpcMeter) -> StreamListener:
        self._listeners.append(StreamListener(reception, meter))
        return self._listeners[-1]

    async def _make(self, services: dict[ServiceDescriptor, object]) -> grpc.aio.Server:
        """Give a server with these services, health and reflection."""
        server = make_server()
        names = [descriptor.full_name for descriptor in services]
        for descriptor, target in services.items():
            server.add_generic_rpc_handlers((self._guard.service(descriptor, target),))
        servicer = health.aio.HealthServicer()
        for name in ("", *names):
            await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection(
            [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
        )
        self._health.append(servicer)
        self._servers.append(server)
        return server


async def _beside(listener: StreamListener, address: str) -> int:
    """Listen on the host of an address; gives the port."""
    host, _ = split_address(address)
    return split_address(await listener.start(join_address(host, 0)))[1]
