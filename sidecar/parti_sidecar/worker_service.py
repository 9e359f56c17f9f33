"""`parti.v1.Worker`: the application process that takes the messages of this pod's partitions.

The stream is the worker's life: whatever ends it, the router parks the partitions and, after a
grace, gives them up. The router may let a worker go as well (a newer one has attached); it says so
in the last frame, and then the stream ends without an error.
"""

from __future__ import annotations

import grpc.aio

from parti_proto import app_pb2
from parti_shard.errors import MalformedFrameError, PartiError, Reason, refuse
from parti_shard.ids import WorkerId
from parti_shard.limits import PROTOCOL_VERSION, RouterLimits
from parti_shard.router import Router
from parti_shard.streams import WORKER, Destination
from parti_sidecar.app_streams import ATTACH, GrpcWire, Wire
from parti_sidecar.frames import sidecar_frame, worker_input
from parti_sidecar.host import Host
from parti_sidecar.router_service import make_welcome
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.streams import first_frame
from parti_sidecar.unary_sends import NOT_READY

CREDITS_MAX = 65_536
NAME_CHARACTERS_MAX = 256


class WorkerService:
    """Serves the application of this pod."""

    def __init__(
        self, host: Host, meter: RpcMeter, limits: RouterLimits, *, refused_because: str = ""
    ) -> None:
        self._host = host
        self._meter = meter
        self._limits = limits
        self._refused_because = refused_because

    async def attach(self, context: grpc.aio.ServicerContext) -> None:
        """Let a worker serve until its stream ends."""
        wire = GrpcWire(context)
        await wire.run(self.open_stream(await first_frame(context), wire))

    def open_stream(self, first: app_pb2.WorkerFrame, wire: Wire) -> AttachedWorker:
        """Begin a worker's stream, whatever carries it."""
        hello = checked_hello(first)
        if self._refused_because:
            refuse(Reason.CONFLICT, self._refused_because)
        router = self._host.router
        if router is None:
            raise PartiError(NOT_READY)
        welcome = make_welcome(self._host, self._limits)
        worker = AttachedWorker(self._host, router, self._meter, wire, welcome)
        worker.begin(hello)
        return worker


class AttachedWorker:
    """One worker's stream (an `AppStream`)."""

    def __init__(
        self, host: Host, router: Router, meter: RpcMeter, wire: Wire, welcome: app_pb2.Welcome
    ) -> None:
        self._host = host
        self._router = router
        self._meter = meter
        self._wire = wire
        self._welcome: app_pb2.Welcome | None = welcome
        self._worker: WorkerId = host.new_worker_id()
        self._destination = Destination(WORKER, self._worker)
        self._let_go = False

    def begin(self, hello: app_pb2.Hello) -> None:
        """Give it to the router."""
        credits_, partition_credits = hello.credits, hello.partition_credits
        now_ms = self._host.now_ms()
        self._router.attach_worker(self._worker, hello.name, credits_, partition_credits, now_ms)
        self._host.add_writer(self._destination, self._wire.wake)
        self._host.settle()

    def received(self, frame: app_pb2.WorkerFrame) -> None:
        """Take what the worker says."""
        worker_says = worker_input(frame)
        results = worker_says.results
        self._meter.frame_in(ATTACH, len(results.ids) if results is not None else 0)
        self._router.worker_input(self._worker, worker_says, self._host.now_ms())
        self._host.settle()

    def half_closed(self) -> None:
        """A worker that cannot answer any more is none."""
        self._let_go = True
        self._wire.finish()

    def take(self) -> app_pb2.SidecarFrame | None:
        """Give the welcome, then what the router has for the worker."""
        if self._welcome is not None:
            welcome, self._welcome = self._welcome, None
            return app_pb2.SidecarFrame(welcome=welcome)
        if self._let_go:
            return None
        output = self._router.take_worker(self._worker, self._host.now_ms())
        if output is None:
            return None
        if output.closed:
            self._let_go = True
            self._wire.finish()
        self._meter.frame_out(ATTACH, len(output.deliver.ids) if output.deliver is not None else 0)
        return sidecar_frame(output)

    def close(self) -> None:
        """The stream is over."""
        self._host.remove_writer(self._destination)
        self._router.detach_worker(self._worker, self._host.now_ms())
        self._host.settle()


def checked_hello(frame: app_pb2.WorkerFrame) -> app_pb2.Hello:
    """Take the Hello from a worker's first frame. Raises PartiError naming what is wrong."""
    if not frame.HasField("hello"):
        raise MalformedFrameError("the first frame of a worker must hold hello")
    hello = frame.hello
    if hello.protocol_version != PROTOCOL_VERSION:
        text = f"protocol version {hello.protocol_version}, this sidecar speaks {PROTOCOL_VERSION}"
        refuse(Reason.PROTOCOL_VERSION, text)
    for name in ("credits", "partition_credits"):
        if not 1 <= getattr(hello, name) <= CREDITS_MAX:
            _bad(f"{name} is {getattr(hello, name)}, must be 1..{CREDITS_MAX}")
    if hello.partition_credits > hello.credits:
        _bad("partition_credits is above credits")
    if len(hello.name) > NAME_CHARACTERS_MAX:
        _bad(f"name is longer than {NAME_CHARACTERS_MAX} characters")
    return hello


def _bad(text: str) -> None:
    refuse(Reason.INVALID_ARGUMENT, text)
