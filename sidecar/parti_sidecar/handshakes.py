"""The first words on every stream between members, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from parti_proto import peer_pb2
from parti_shard.errors import MalformedFrameError, PartiError
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_sidecar.host import Host, PeerHandshake


@dataclass(frozen=True, slots=True)
class LocalPeer:
    """Who this member is to its peers."""

    cluster_id: str
    me: MemberId
    address: str  # where its peer API listens

    def handshake(self, to: MemberId) -> peer_pb2.Handshake:
        """What this member says first to another."""
        return peer_pb2.Handshake(
            protocol_version=PROTOCOL_VERSION,
            cluster_id=self.cluster_id,
            from_member=self.me,
            to_member=to,
            from_address=self.address,
        )


class Introduced(Protocol):
    """A message that may carry a handshake."""

    @property
    def handshake(self) -> peer_pb2.Handshake: ...
    def HasField(self, field_name: str, /) -> bool: ...  # noqa: N802  # protobuf's name


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
    )
    failure = host.check_handshake(handshake)
    if failure is not None:
        raise PartiError(failure)
    host.peer_heard(handshake)
    return handshake
