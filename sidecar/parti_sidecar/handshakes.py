"""The first words on every stream between members, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from parti_proto import peer_pb2
from parti_shard.errors import Failure, MalformedFrameError, PartiError, Reason
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_sidecar.host import Host, PeerHandshake


@dataclass(frozen=True, slots=True)
class LocalPeer:
    """Who this member is to its peers."""

    cluster_id: str
    me: MemberId
    address: str  # where its peer API listens
    incarnation: int = 0

    def handshake(self, to: MemberId) -> peer_pb2.Handshake:
        """What this member says first to another."""
        return peer_pb2.Handshake(
            protocol_version=PROTOCOL_VERSION,
            cluster_id=self.cluster_id,
            from_member=self.me,
            to_member=to,
            from_address=self.address,
            incarnation=self.incarnation,
        )


class Introduced(Protocol):
    """A message that may carry a handshake."""

    @property
    def handshake(self) -> peer_pb2.Handshake: ...
    def HasField(self, field_name: str, /) -> bool: ...  # noqa: N802  # protobuf's name


def judge(said: PeerHandshake, local: LocalPeer) -> Failure | None:
    """Why a peer must be refused by this member, if it must."""
    if said.protocol_version != PROTOCOL_VERSION:
        text = f"protocol {said.protocol_version}, this member speaks {PROTOCOL_VERSION}"
        return Failure(Reason.PROTOCOL_VERSION, message=text)
    if said.cluster_id != local.cluster_id:
        text = f"this is cluster {local.cluster_id}, not {said.cluster_id}"
        return Failure(Reason.WRONG_CLUSTER, message=text)
    if said.incarnation != local.incarnation:
        text = f"incarnation {local.incarnation} of {local.cluster_id}, not {said.incarnation}"
        earlier = said.incarnation < local.incarnation
        return Failure(Reason.LEFT_BEHIND if earlier else Reason.WRONG_CLUSTER, message=text)
    if said.to_member != local.me:
        text = f"member {local.me:016x} listens here, not {said.to_member:016x}"
        return Failure(Reason.UNKNOWN_MEMBER, message=text)
    return None


def accept_handshake(host: Host, frame: Introduced) -> PeerHandshake:
    """Check who speaks. Raises PartiError with the host's reason when it must be refused."""
    if not frame.HasField("handshake"):
        raise MalformedFrameError("the first frame of a peer must hold a handshake")
    said = frame.handshake
    handshake = PeerHandshake(
        protocol_version=said.protocol_version,
        cluster_id=said.cluster_id,
        from_member=MemberId(said.from_member),
        to_member=MemberId(said.to_member),
        from_address=said.from_address,
        incarnation=said.incarnation,
    )
    failure = host.check_handshake(handshake)
    if failure is not None:
        raise PartiError(failure)
    host.peer_heard(handshake)
    return handshake
