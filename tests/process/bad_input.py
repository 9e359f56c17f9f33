"""What the tests of wrong input share: a small cluster, and how to see that it goes on serving."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parti_cli.devcluster import DevCluster
from parti_proto import app_pb2, peer_pb2
from parti_shard.errors import Executed, Failure, Reason
from tests.parti_sidecar.api_clients import Client
from tests.process.world import World

PARTITIONS = 16
STRANGER = 0xBAD  # a member nobody knows
GARBAGE = b"\xff\xfe\xfd no message of any protocol \x00\x01"
TWICE = b"x:1 echo"

WRONG_PEERS = [
    ({"cluster_id": "somebody-elses"}, Reason.WRONG_CLUSTER),
    ({"cluster_id": ""}, Reason.WRONG_CLUSTER),
    ({"protocol_version": 0}, Reason.PROTOCOL_VERSION),
    ({"protocol_version": 2}, Reason.PROTOCOL_VERSION),
    ({"to_member": STRANGER}, Reason.UNKNOWN_MEMBER),
]


@contextmanager
def serving_cluster(folder: Path) -> Iterator[DevCluster]:
    """Two members that own everything."""
    world = World(folder)
    with world.cluster as running:
        running.up(2, partitions=PARTITIONS, worker=world.worker_command)
        running.wait_settled()
        yield running


async def serves(client: Client) -> None:
    """All partitions answer, whoever owns them."""
    for partition in range(PARTITIONS):
        request = app_pb2.SendRequest(partition=partition, payload=b"good:1 echo")
        reply = await client.open("Router.Send", request)
        assert reply.payload == request.payload


def refused(failure: Failure, reason: Reason) -> None:
    assert (failure.reason, failure.executed) == (reason, Executed.NO), failure


async def handshake(cluster: DevCluster, **changes: Any) -> peer_pb2.Handshake:
    status = await asyncio.to_thread(cluster.status, "m1")
    good: dict[str, Any] = {
        "protocol_version": 1,
        "cluster_id": status.cluster_id,
        "from_member": STRANGER,
        "to_member": status.member_id,
    }
    return peer_pb2.Handshake(**{**good, **changes})
