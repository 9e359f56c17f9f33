"""A new member asks to be taken into a cluster, until one of the known members lets it in.

What cannot get better by waiting (another cluster, another protocol) ends the process with the
reason; everything else is tried again for ever, since a cluster may take its time to come up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc
import grpc.aio

from parti_proto import peer_pb2
from parti_shard.errors import Failure, PartiError, Reason
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_sidecar.host import Admission
from parti_sidecar.link import Backoff
from parti_sidecar.logs import event
from parti_sidecar.peer_service import JOIN_METHOD
from parti_sidecar.status import failure_of
from parti_sidecar.transport import Purpose, open_channel

ASK_TIMEOUT_S = 15.0
_HOPELESS = (Reason.WRONG_CLUSTER, Reason.PROTOCOL_VERSION, Reason.INVALID_ARGUMENT)

_log = logging.getLogger(__name__)


class CannotJoinError(Exception):
    """The cluster that answered will never take this member in."""

    def __init__(self, address: str, failure: Failure) -> None:
        super().__init__(f"refused by {address}: {failure.reason.name}: {failure.message}")


async def join(addresses: Sequence[str], request: peer_pb2.JoinRequest) -> Admission:
    """Ask one address after the other until one answers yes. Raises CannotJoinError."""
    backoff = Backoff()
    while True:
        for address in addresses:
            try:
                return await _ask(address, request)
            except PartiError as error:
                failure = error.failure
                if failure.reason in _HOPELESS:
                    raise CannotJoinError(address, failure) from error
                _report(address, failure)
        await asyncio.sleep(backoff.next_ms(refused=False) / 1000)


def join_request(
    member: MemberId, *, name: str, address: str, zone: str, cluster_id: str
) -> peer_pb2.JoinRequest:
    """What an applicant says of itself."""
    return peer_pb2.JoinRequest(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=cluster_id,
        member_id=member,
        name=name,
        address=address,
        zone=zone,
    )


async def _ask(address: str, request: peer_pb2.JoinRequest) -> Admission:
    async with open_channel(address, Purpose.CALLS) as channel:
        call = channel.unary_unary(
            JOIN_METHOD,
            request_serializer=peer_pb2.JoinRequest.SerializeToString,
            response_deserializer=peer_pb2.JoinReply.FromString,
        )
        try:
            reply = await call(request, timeout=ASK_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise PartiError(failure_of(error)) from error
    return Admission(
        reply.cluster_id, {MemberId(peer.member_id): peer.address for peer in reply.peers}
    )


def _report(address: str, failure: Failure) -> None:
    event(
        _log,
        "cannot join yet, trying again",
        address=address,
        reason=failure.reason.name,
        message=failure.message,
    )
