"""`parti.v1.Peer`: what other members ask and send here, apart from the streams of frames.

Nothing of a snapshot is used before its handshake is accepted. A newer snapshot of the same member
takes the place of an older one, which may belong to a connection that died unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc.aio

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason, refuse
from parti_shard.ids import NO_MEMBER, MemberId
from parti_sidecar.config_kinds import LABEL, BadValueError, DialAddress, Kind
from parti_sidecar.handshakes import accept_handshake
from parti_sidecar.host import Applicant, Host
from parti_sidecar.leader_calls import LeaderCalls
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.snapshot_transfer import SnapshotKey, SnapshotReceiver
from parti_sidecar.streams import first_frame, read_within, stop_tasks
from parti_wire.frame_stream import WRITE_STALL_MS

SNAPSHOT = "Peer.Snapshot"
JOIN_METHOD = "/parti.v1.Peer/Join"
# What an applicant says of itself is held to what the settings of a member allow.
_APPLICANT_KINDS: dict[str, Kind] = {"name": LABEL, "zone": LABEL, "address": DialAddress()}


class PeerService:
    """Serves the other members. `stream_port` is where their streams are dialled."""

    def __init__(
        self, host: Host, meter: RpcMeter, leader_calls: LeaderCalls, stream_port: int
    ) -> None:
        self._host = host
        self._meter = meter
        self._leader_calls = leader_calls
        self._stream_port = stream_port
        self._snapshots = SnapshotReceiver()
        self._newest: dict[MemberId, asyncio.Task[None]] = {}

    async def stream_port(
        self, request: peer_pb2.StreamPortRequest, _context: grpc.aio.ServicerContext
    ) -> peer_pb2.StreamPortReply:
        """Tell where streams are dialled."""
        accept_handshake(self._host, request)
        return peer_pb2.StreamPortReply(port=self._stream_port)

    async def snapshot_offset(
        self, request: peer_pb2.SnapshotOffsetRequest, _context: grpc.aio.ServicerContext
    ) -> peer_pb2.SnapshotOffsetReply:
        """Tell how much of a snapshot is here."""
        sender = accept_handshake(self._host, request).from_member
        key = SnapshotKey(request.index, request.term, request.size_bytes, request.crc32c)
        return peer_pb2.SnapshotOffsetReply(offset=self._snapshots.offset(sender, key))

    async def snapshot(self, context: grpc.aio.ServicerContext) -> peer_pb2.SnapshotReply:
        """Take one snapshot."""
        chunk = await first_frame(context)
        sender = accept_handshake(self._host, chunk).from_member
        await self._as_newest(sender, self._read_snapshot(context, sender, chunk))
        return peer_pb2.SnapshotReply()

    async def join(
        self, request: peer_pb2.JoinRequest, context: grpc.aio.ServicerContext
    ) -> peer_pb2.JoinReply:
        """Take a new member in, or let the leader do it."""
        member = self._host.member
        if member is None:
            refuse(Reason.NOT_READY, "this member is not part of a cluster")
        _check_applicant(request)
        cluster_id = member.table.cluster_id  # not known before the first snapshot
        if cluster_id and request.cluster_id not in ("", cluster_id):
            refuse(Reason.WRONG_CLUSTER, f"this is cluster {cluster_id}")
        if not self._leader_calls.leads_here():
            return await self._leader_calls.carry(JOIN_METHOD, request, peer_pb2.JoinReply, context)
        admission = await self._host.admit(
            Applicant(
                member=MemberId(request.member_id),
                name=request.name,
                address=request.address,
                zone=request.zone,
                cluster_id=request.cluster_id,
                protocol_version=request.protocol_version,
            )
        )
        peers = [
            peer_pb2.JoinPeer(member_id=member, address=address)
            for member, address in admission.peers.items()
        ]
        return peer_pb2.JoinReply(
            cluster_id=admission.cluster_id, peers=peers, incarnation=admission.incarnation
        )

    async def _read_snapshot(
        self, context: grpc.aio.ServicerContext, sender: MemberId, first: peer_pb2.SnapshotChunk
    ) -> None:
        self._snapshots.begin(sender, first)
        chunk = first
        self._meter.frame_in(SNAPSHOT, 1)
        while not self._snapshots.add(sender, chunk):
            following = await read_within(context, WRITE_STALL_MS)
            if following is None:
                text = "the stream ended before the snapshot was whole"
                refuse(Reason.CONNECTION_LOST, text)
            chunk = following
            self._meter.frame_in(SNAPSHOT, 1)
        self._host.peer_snapshot(sender, first.message, self._snapshots.finish(sender))
        self._host.settle()

    async def _as_newest(self, sender: MemberId, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a stream until it ends or a newer one takes its place."""
        working = asyncio.create_task(work)
        older, self._newest[sender] = self._newest.get(sender), working
        if older is not None:
            older.cancel()
        try:
            await asyncio.wait({working})
        finally:
            await stop_tasks((working,))
            if self._newest.get(sender) is working:  # a newer one may have come and gone
                del self._newest[sender]
        if working.cancelled():
            text = "a newer stream of the same member took the place of this one"
            raise PartiError(Failure(Reason.CONFLICT, Executed.UNKNOWN, text))
        working.result()


def _check_applicant(request: peer_pb2.JoinRequest) -> None:
    """Refuse what no member can be: the log would carry it to everybody, for ever."""
    if request.member_id == NO_MEMBER:
        refuse(Reason.INVALID_ARGUMENT, "member_id is 0, which means nobody")
    for setting, kind in _APPLICANT_KINDS.items():
        try:
            kind.parse(getattr(request, setting))
        except BadValueError as error:
            refuse(Reason.INVALID_ARGUMENT, f"{setting} {error}")
    if not request.address:
        refuse(Reason.INVALID_ARGUMENT, "address is empty: nobody could reach this member")
