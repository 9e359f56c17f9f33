"""Dials the streams of other members: the peer API tells at which port."""

from __future__ import annotations

import grpc.aio

from parti_proto import peer_pb2
from parti_shard.errors import PartiError
from parti_sidecar.config_kinds import split_address
from parti_sidecar.status import failure_of
from parti_sidecar.stream_sides import TO_MEMBERS
from parti_sidecar.transport import MESSAGE_BYTES_MAX, Purpose, open_channel
from parti_wire.dialled_stream import DialledStream, StreamOwner
from parti_wire.sockets import Make, dial

HANDSHAKE_MS = 2_000
STREAM_PORT_METHOD = "/parti.v1.Peer/StreamPort"


async def run_stream(owner: StreamOwner, hello: peer_pb2.StreamHello, address: str) -> None:
    """Open a stream to the member whose peer API listens there, and wait for its end.

    Raises PartiError with the reason, or the bug of the owner.
    """

    async def dial_member(make: Make) -> None:
        port = await ask_port(address, hello.handshake)
        host, _ = split_address(address)
        await dial(host, port, make)

    stream = DialledStream(
        owner, TO_MEMBERS, hello=hello.SerializeToString(), bytes_max=MESSAGE_BYTES_MAX
    )
    await stream.run(dial_member, handshake_ms=HANDSHAKE_MS)


async def ask_port(address: str, handshake: peer_pb2.Handshake) -> int:
    """Ask a member where its streams are dialled; its refusal is raised as PartiError."""
    async with open_channel(address, Purpose.CALLS) as channel:
        ask = channel.unary_unary(
            STREAM_PORT_METHOD,
            request_serializer=peer_pb2.StreamPortRequest.SerializeToString,
            response_deserializer=peer_pb2.StreamPortReply.FromString,
        )
        request = peer_pb2.StreamPortRequest(handshake=handshake)
        try:
            reply = await ask(request, timeout=HANDSHAKE_MS / 1000)
        except grpc.aio.AioRpcError as error:
            raise PartiError(failure_of(error)) from error
    port: int = reply.port
    return port
