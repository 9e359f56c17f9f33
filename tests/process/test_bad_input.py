"""Every API refuses what is wrong with an error of its own, and goes on serving."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from parti_cli.devcluster import DevCluster
from parti_proto import admin_pb2, app_pb2, peer_pb2
from parti_shard.errors import Executed, Reason
from parti_sidecar.status import failure_of
from tests.parti_sidecar.api_clients import Client, ends_with
from tests.process.bad_input import (
    GARBAGE,
    PARTITIONS,
    STRANGER,
    TWICE,
    WRONG_PEERS,
    handshake,
    refused,
    serves,
    serving_cluster,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

PAYLOAD_BYTES_MAX = 1 << 20
IN_FLIGHT_MAX = 4_096


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with serving_cluster(tmp_path_factory.mktemp("bad-input")) as running:
        yield running


@pytest.fixture
async def app(cluster: DevCluster) -> AsyncIterator[Client]:
    async with Client(cluster.addresses("m1").app) as client:
        yield client
        await serves(client)


@pytest.fixture
async def peer(cluster: DevCluster) -> AsyncIterator[Client]:
    async with Client(cluster.addresses("m1").peer) as client:
        yield client
    async with Client(cluster.addresses("m1").app) as client:
        await serves(client)


@pytest.fixture
async def admin(cluster: DevCluster) -> AsyncIterator[Client]:
    async with Client(cluster.addresses("m1").admin) as client:
        yield client
        status = await client.open("Admin.GetStatus", admin_pb2.GetStatusRequest())
        assert status.state == "ready"
    async with Client(cluster.addresses("m1").app) as client:
        await serves(client)


# --- Router -----------------------------------------------------------------------------------

HEADERS_TOO_LARGE = app_pb2.Headers(values={"name": "v" * 5_000})
TARGETS = [
    ({"partition": PARTITIONS}, Reason.BAD_PARTITION),
    ({"partition": 0xFFFFFFFF}, Reason.BAD_PARTITION),
    ({"key": b""}, Reason.EMPTY_KEY),
    ({}, Reason.BAD_TARGET),
    ({"partition": 0, "key": b"k"}, Reason.BAD_TARGET),
]
SIZES = [
    {"partition": 0, "payload": b"x" * (PAYLOAD_BYTES_MAX + 1)},
    {"partition": 0, "payload": b"x" * (17 << 20)},
    {"key": b"k" * 1_025},
    {"partition": 0, "headers": HEADERS_TOO_LARGE},
]


@pytest.mark.parametrize(("target", "reason"), TARGETS)
@pytest.mark.parametrize("name", ["Send", "Locate"])
async def test_bad_targets(app: Client, name: str, target: dict[str, Any], reason: Reason) -> None:
    request = {"Send": app_pb2.SendRequest, "Locate": app_pb2.LocateRequest}[name](**target)
    refused(await app.fails(f"Router.{name}", request), reason)


@pytest.mark.parametrize("fields", SIZES, ids=["payload", "message", "key", "headers"])
async def test_too_large(app: Client, fields: dict[str, Any]) -> None:
    request = app_pb2.SendRequest(**fields)
    refused(await app.fails("Router.Send", request), Reason.PAYLOAD_TOO_LARGE)


MALFORMED = {
    "partitions": app_pb2.SendFrame(id=[1, 2], partition=[0], payload=[TWICE, TWICE]),
    "payloads": app_pb2.SendFrame(id=[1, 2], partition=[0, 0], payload=[TWICE]),
    "keys": app_pb2.SendFrame(id=[1, 2], partition=[0, 0], payload=[b"", b""], key=[b"k"]),
    "timeouts": app_pb2.SendFrame(id=[1, 2], partition=[0, 0], timeout_ms=[5]),
    "no ids": app_pb2.SendFrame(partition=[0], payload=[TWICE]),
    "repeated id": app_pb2.SendFrame(id=[1, 1], partition=[0, 0], payload=[TWICE, TWICE]),
    "idempotent": app_pb2.SendFrame(id=[1], partition=[0], idempotent_at=[1]),
    "header at": app_pb2.SendFrame(id=[1], partition=[0], headers_at=[1], headers=[b""]),
    "headers": app_pb2.SendFrame(id=[1], partition=[0], headers_at=[0]),
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_frames_end_their_stream(app: Client, frame: app_pb2.SendFrame) -> None:
    call = app.open("Router.SendStream")
    assert (await call.read()).HasField("welcome")
    await call.write(frame)
    refused(await ends_with(call), Reason.MALFORMED_FRAME)


async def test_bad_items_are_refused_one_by_one(app: Client) -> None:
    """What is wrong with one message of a frame does not harm its neighbours."""
    call = app.open("Router.SendStream")
    await call.read()
    by_key = 0xFFFFFFFF
    frame = app_pb2.SendFrame(
        id=[1, 2, 3, 4, 5],
        partition=[0, PARTITIONS, by_key, 0, 0],
        key=[b"", b"", b"", b"k", b""],
        payload=[TWICE, TWICE, TWICE, TWICE, b"x" * (PAYLOAD_BYTES_MAX + 1)],
    )
    await call.write(frame)
    reasons: dict[int, int] = {}
    while len(reasons) < len(frame.id):
        answer = await call.read()
        errors = {each.position: each.detail for each in answer.errors}
        assert all(each.executed == Executed.NO for each in errors.values())
        for position, item_id in enumerate(answer.id):
            reasons[item_id] = errors[position].reason if position in errors else Reason.OK
    assert reasons == {
        1: Reason.OK,
        2: Reason.BAD_PARTITION,
        3: Reason.EMPTY_KEY,
        4: Reason.BAD_TARGET,
        5: Reason.PAYLOAD_TOO_LARGE,
    }
    call.cancel()


async def test_more_in_flight_than_allowed_is_refused(app: Client) -> None:
    call = app.open("Router.SendStream", timeout=30)
    assert (await call.read()).welcome.in_flight_max == IN_FLIGHT_MAX
    count = IN_FLIGHT_MAX + 100
    frame = app_pb2.SendFrame(
        id=range(count), partition=[n % PARTITIONS for n in range(count)], payload=[TWICE] * count
    )
    await call.write(frame)
    answered, overloaded = 0, 0
    while answered < count:
        answer = await call.read()
        answered += len(answer.id)
        assert {each.detail.reason for each in answer.errors} <= {Reason.OVERLOADED}
        overloaded += len(answer.errors)
    assert overloaded == 100
    call.cancel()


# --- Worker -----------------------------------------------------------------------------------

HELLO = app_pb2.Hello(protocol_version=1, name="raw", credits=4, partition_credits=4)
BAD_HELLOS = [
    (app_pb2.Hello(protocol_version=0, name="old", credits=1), Reason.PROTOCOL_VERSION),
    (app_pb2.Hello(protocol_version=2, name="new", credits=1), Reason.PROTOCOL_VERSION),
    (app_pb2.Hello(protocol_version=1, credits=0, partition_credits=1), Reason.INVALID_ARGUMENT),
    (app_pb2.Hello(protocol_version=1, credits=1, partition_credits=0), Reason.INVALID_ARGUMENT),
    (app_pb2.Hello(protocol_version=1, credits=1, partition_credits=2), Reason.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("hello", "reason"), BAD_HELLOS)
async def test_bad_hellos(app: Client, hello: app_pb2.Hello, reason: Reason) -> None:
    call = app.open("Worker.Attach")
    await call.write(app_pb2.WorkerFrame(hello=hello))
    refused(await ends_with(call), reason)


async def test_a_worker_must_say_hello_first(app: Client) -> None:
    call = app.open("Worker.Attach")
    await call.write(app_pb2.WorkerFrame(closing=True))
    refused(await ends_with(call), Reason.MALFORMED_FRAME)


BAD_WORKER_FRAMES = {
    "results": app_pb2.WorkerFrame(results=app_pb2.Results(id=[1, 2], payload=[b""])),
    "error at": app_pb2.WorkerFrame(
        results=app_pb2.Results(id=[1], payload=[b""], errors=[{"position": 7}])
    ),
}


@pytest.mark.parametrize("frame", BAD_WORKER_FRAMES.values(), ids=BAD_WORKER_FRAMES.keys())
async def test_a_malformed_frame_ends_the_worker_not_the_sidecar(
    cluster: DevCluster, frame: app_pb2.WorkerFrame
) -> None:
    async with Client(cluster.addresses("m2").app) as app:
        await _wait_owns(app, "m2")  # its own worker is attached, and will be replaced
        call = app.open("Worker.Attach")
        await call.write(app_pb2.WorkerFrame(hello=HELLO))
        assert (await call.read()).HasField("welcome")
        await call.write(frame)
        refused(await ends_with(call), Reason.MALFORMED_FRAME)
        worker = cluster.member("m2").worker
        assert worker is not None
        await asyncio.to_thread(os.waitid, os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        await asyncio.to_thread(cluster.start_ended)  # the one that was replaced
        await serves(app)


async def _wait_owns(app: Client, member: str) -> None:
    async with asyncio.timeout(30):
        while True:
            for partition in range(PARTITIONS):
                request = app_pb2.LocateRequest(partition=partition)
                if (await app.open("Router.Locate", request)).owner_name == member:
                    return
            await asyncio.sleep(0.05)


# --- Peer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "reason"), WRONG_PEERS)
async def test_wrong_handshakes_of_calls(
    cluster: DevCluster, peer: Client, changes: dict[str, Any], reason: Reason
) -> None:
    wrong = await handshake(cluster, **changes)
    request = peer_pb2.StreamPortRequest(handshake=wrong)
    refused(await peer.fails("Peer.StreamPort", request), reason)
    call = peer.open("Peer.Snapshot")
    await call.write(peer_pb2.SnapshotChunk(handshake=wrong))
    refused(await ends_with(call), reason)


async def test_no_handshake_in_calls(peer: Client) -> None:
    request = peer_pb2.StreamPortRequest()
    refused(await peer.fails("Peer.StreamPort", request), Reason.MALFORMED_FRAME)
    call = peer.open("Peer.Snapshot")
    await call.write(peer_pb2.SnapshotChunk())
    refused(await ends_with(call), Reason.MALFORMED_FRAME)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster_id": "somebody-elses"}, Reason.WRONG_CLUSTER),
        ({"protocol_version": 0}, Reason.PROTOCOL_VERSION),
        ({"protocol_version": 2}, Reason.PROTOCOL_VERSION),
        ({"member_id": 0}, Reason.INVALID_ARGUMENT),
        ({"address": ""}, Reason.INVALID_ARGUMENT),
        ({"address": "no address"}, Reason.INVALID_ARGUMENT),
        ({"name": "n" * 10_000}, Reason.INVALID_ARGUMENT),
        ({"zone": "z" * 10_000}, Reason.INVALID_ARGUMENT),
    ],
)
@pytest.mark.parametrize("asked", ["m1", "m2"])
async def test_wrong_joins(
    cluster: DevCluster, peer: Client, asked: str, changes: dict[str, Any], reason: Reason
) -> None:
    good: dict[str, Any] = {
        "protocol_version": 1,
        "member_id": STRANGER,
        "name": "stranger",
        "address": "127.0.0.1:1",
    }
    before = await members_of(cluster)
    request = peer_pb2.JoinRequest(**{**good, **changes})
    async with Client(cluster.addresses(asked).peer) as client:
        refused(await client.fails("Peer.Join", request), reason)
    assert await members_of(cluster) == before


async def members_of(cluster: DevCluster) -> list[int]:
    async with Client(cluster.addresses("m1").admin) as client:
        reply = await client.open("Admin.ListMembers", admin_pb2.ListMembersRequest())
    return sorted(each.member_id for each in reply.members)


# --- Admin ------------------------------------------------------------------------------------

BAD_ADMIN = [
    ("SetIntent", admin_pb2.SetIntentRequest(member_id=STRANGER), Reason.UNKNOWN_MEMBER),
    ("SetIntent", admin_pb2.SetIntentRequest(), Reason.UNKNOWN_MEMBER),
    ("Move", admin_pb2.MoveRequest(partition=PARTITIONS), Reason.BAD_PARTITION),
    ("Move", admin_pb2.MoveRequest(to_member=STRANGER), Reason.UNKNOWN_MEMBER),
    ("TransferLeader", admin_pb2.TransferLeaderRequest(to_member=STRANGER), Reason.UNKNOWN_MEMBER),
    ("SetPolicy", admin_pb2.SetPolicyRequest(), Reason.INVALID_ARGUMENT),
    ("Ping", admin_pb2.PingRequest(partition=PARTITIONS), Reason.BAD_PARTITION),
    (
        "ExplainPartition",
        admin_pb2.ExplainPartitionRequest(partition=PARTITIONS),
        Reason.BAD_PARTITION,
    ),
    ("Bootstrap", admin_pb2.BootstrapRequest(partitions=0), Reason.INVALID_ARGUMENT),
    ("Bootstrap", admin_pb2.BootstrapRequest(partitions=65_537), Reason.INVALID_ARGUMENT),
    (
        "Bootstrap",
        admin_pb2.BootstrapRequest(partitions=PARTITIONS, cluster_id="not this one"),
        Reason.INVALID_ARGUMENT,
    ),
    (
        "Bootstrap",
        admin_pb2.BootstrapRequest(partitions=PARTITIONS, cluster_id="another"),
        Reason.CONFLICT,
    ),
]


@pytest.mark.parametrize(("name", "request_", "reason"), BAD_ADMIN)
@pytest.mark.parametrize("asked", ["m1", "m2"])
async def test_bad_admin_calls(
    cluster: DevCluster, admin: Client, asked: str, name: str, request_: object, reason: Reason
) -> None:
    async with Client(cluster.addresses(asked).admin) as client:
        refused(await client.fails(f"Admin.{name}", request_), reason)


async def test_an_unknown_intent_changes_nothing(cluster: DevCluster, admin: Client) -> None:
    member_id = (await members_of(cluster))[0]
    request = admin_pb2.SetIntentRequest(member_id=member_id)
    request.ParseFromString(request.SerializeToString() + b"\x10\x63")  # intent 99
    refused(await admin.fails("Admin.SetIntent", request), Reason.INVALID_ARGUMENT)


# --- bytes that are no messages ---------------------------------------------------------------

METHODS = [
    ("app", "parti.v1.Router/Send"),
    ("app", "parti.v1.Router/Locate"),
    ("peer", "parti.v1.Peer/Join"),
    ("peer", "parti.v1.Peer/SnapshotOffset"),
    ("peer", "parti.v1.Peer/StreamPort"),
    ("admin", "parti.v1.Admin/SetIntent"),
    ("admin", "parti.v1.Admin/Bootstrap"),
]
STREAMS = [
    ("app", "parti.v1.Router/SendStream"),
    ("app", "parti.v1.Worker/Attach"),
    ("peer", "parti.v1.Peer/Snapshot"),
]


@pytest.mark.parametrize(("api", "method"), METHODS)
async def test_garbage_as_a_request(
    cluster: DevCluster, app: Client, api: str, method: str
) -> None:
    async with grpc.aio.insecure_channel(getattr(cluster.addresses("m1"), api)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{method}")(GARBAGE, timeout=5)
    refused(failure_of(caught.value), Reason.MALFORMED_FRAME)


@pytest.mark.parametrize(("api", "method"), STREAMS)
async def test_garbage_in_a_stream(cluster: DevCluster, app: Client, api: str, method: str) -> None:
    async with grpc.aio.insecure_channel(getattr(cluster.addresses("m1"), api)) as channel:
        call = channel.stream_stream(f"/{method}")(timeout=5)
        await call.write(GARBAGE)
        refused(await ends_with(call), Reason.MALFORMED_FRAME)


@pytest.mark.parametrize("api", ["app", "peer", "admin", "http"])
async def test_garbage_on_the_wire(cluster: DevCluster, app: Client, api: str) -> None:
    addresses = cluster.addresses("m1")
    host, _, port = getattr(addresses, api).rpartition(":")

    def shout() -> None:
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.settimeout(5)
            with contextlib.suppress(OSError):  # it may hang up in the middle
                connection.sendall(GARBAGE * 1_000)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass

    await asyncio.to_thread(shout)

    def probe() -> int:
        with urllib.request.urlopen(f"http://{addresses.http}/readyz", timeout=5) as answer:
            status: int = answer.status
            return status

    assert await asyncio.to_thread(probe) == 200


def test_nothing_of_this_was_a_bug(cluster: DevCluster) -> None:
    """Runs last: the sidecars log what they did not expect."""
    for name in ("m1", "m2"):
        log = Path(cluster.files.log(name, "sidecar")).read_text(encoding="utf-8")
        assert "Traceback" not in log, log
