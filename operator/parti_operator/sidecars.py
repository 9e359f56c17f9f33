"""The sidecars' admin API: what they say, and what they are told. The only module with gRPC.

A look asks every sidecar for its own state, and the one that leads for the members. Only the
leader itself is taken for the leader's word; of several that claim to lead the highest term counts,
since an older one has not heard yet that it was followed.

A channel lives for one question: calls are rare, and an address of a pod is never the address of
its successor. Every call has a deadline, and so many at most go on at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import grpc.aio
from google.protobuf.message import Message

from parti_operator.actions import (
    Bootstrap,
    DescribeMember,
    ForceNewQuorum,
    SetIntent,
    SetPolicy,
    TransferLeader,
)
from parti_operator.observed import (
    ClusterView,
    Intent,
    MemberSeen,
    PartitionCounts,
    Role,
    SidecarSeen,
    SidecarState,
)
from parti_operator.spec.values import Policy
from parti_proto import admin_pb2
from parti_sidecar.status import failure_of
from parti_sidecar.transport import Purpose, open_channel

LOOK_TIMEOUT_MS = 2_000
ACTION_TIMEOUT_MS = 10_000
CALLS_MAX = 64

SidecarAction: TypeAlias = (
    Bootstrap | ForceNewQuorum | SetIntent | DescribeMember | SetPolicy | TransferLeader
)
Reply = TypeVar("Reply", bound=Message)
# method, gRPC status
FailureMeter = Callable[[str, str], None]

_LEADER: Final = "leader"
_INTENTS: Final = {
    Intent.NONE: admin_pb2.INTENT_NONE,
    Intent.CORDON: admin_pb2.INTENT_CORDON,
    Intent.DRAIN: admin_pb2.INTENT_DRAIN,
    Intent.REMOVE: admin_pb2.INTENT_REMOVE,
}
_INTENTS_BY_NUMBER: Final = {number: intent for intent, number in _INTENTS.items()}


class SidecarError(Exception):
    """A sidecar refused or did not answer; `reason` names the kind of failure."""

    def __init__(self, method: str, reason: str, message: str) -> None:
        super().__init__(f"{method}: {reason}: {message}")
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class SidecarsSeen:
    """What the sidecars said."""

    sidecars: Mapping[str, SidecarSeen] = field(default_factory=dict)  # by pod
    view: ClusterView | None = None


class Sidecars(Protocol):
    """The two things the operator does with sidecars."""

    async def look(self, addresses: Mapping[str, str]) -> SidecarsSeen:
        """Ask all of these, by pod; who does not answer in time is missing."""
        ...

    async def carry_out(self, address: str, action: SidecarAction) -> None:
        """Tell one sidecar. Raises `SidecarError`; then it is unknown whether it was done."""
        ...


class GrpcSidecars:
    """The adapter; belongs to one running loop."""

    def __init__(self, meter: FailureMeter) -> None:
        self._meter = meter
        self._room = asyncio.Semaphore(CALLS_MAX)

    async def look(self, addresses: Mapping[str, str]) -> SidecarsSeen:
        statuses = await asyncio.gather(*(self._status(each) for each in addresses.values()))
        known = {
            pod: status
            for pod, status in zip(addresses, statuses, strict=True)
            if status is not None
        }
        sidecars = {pod: sidecar_seen(status) for pod, status in known.items()}
        leaders = [pod for pod, status in known.items() if status.raft_role == _LEADER]
        view = None
        if leaders:
            leader = max(leaders, key=lambda pod: known[pod].term)
            view = await self._view(addresses[leader], known[leader])
        return SidecarsSeen(sidecars, view)

    async def carry_out(self, address: str, action: SidecarAction) -> None:
        method, request, reply = _CALLS[type(action)]
        await self._call(address, method, request(action), reply, ACTION_TIMEOUT_MS)

    async def _status(self, address: str) -> admin_pb2.Status | None:
        request = admin_pb2.GetStatusRequest()
        try:
            return await self._call(
                address, "GetStatus", request, admin_pb2.Status, LOOK_TIMEOUT_MS
            )
        except SidecarError:
            return None  # counted; a look goes on without it

    async def _view(self, address: str, status: admin_pb2.Status) -> ClusterView | None:
        request = admin_pb2.ListMembersRequest()
        try:
            members = await self._call(
                address, "ListMembers", request, admin_pb2.ListMembersReply, LOOK_TIMEOUT_MS
            )
        except SidecarError:
            return None
        return cluster_view(status, members)

    async def _call(
        self, address: str, method: str, request: Message, reply: type[Reply], timeout_ms: int
    ) -> Reply:
        async with self._room, open_channel(address, Purpose.CALLS) as channel:
            call: Any = channel.unary_unary(
                f"/parti.v1.Admin/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=reply.FromString,
            )
            try:
                answer: Reply = await call(request, timeout=timeout_ms / 1000)
            except grpc.aio.AioRpcError as error:
                self._meter(method, error.code().name)
                failure = failure_of(error)
                raise SidecarError(method, failure.reason.name, failure.message) from error
        return answer


def sidecar_seen(status: admin_pb2.Status) -> SidecarSeen:
    """What a sidecar says of itself, as a value."""
    return SidecarSeen(
        member_id=status.member_id,
        state=_state(status.state),
        cluster_id=status.cluster_id,
        incarnation=status.incarnation,
        leader=status.leader,
        term=status.term,
        commit_index=status.commit_index,
        apply_lag=status.apply_lag,
        partitions_owned=status.partitions_owned,
        version=status.version,
    )


def cluster_view(status: admin_pb2.Status, reply: admin_pb2.ListMembersReply) -> ClusterView:
    """The leader's word, from its own state and its list of members."""
    return ClusterView(
        cluster_id=status.cluster_id,
        incarnation=status.incarnation,
        term=status.term,
        leader=status.member_id,
        config_index=reply.config_index,
        policy=policy_seen(status.policy),
        members=tuple(_member_seen(row, status.commit_index) for row in reply.members),
        partitions=PartitionCounts(
            total=status.partitions,
            owned=status.partitions - status.partitions_free - status.partitions_revoking,
            moving=status.partitions_revoking,
            free=status.partitions_free,
        ),
    )


def policy_seen(policy: admin_pb2.Policy) -> Policy:
    return Policy(**{name: getattr(policy, name) for name in _POLICY_FIELDS})


def policy_message(policy: Policy) -> admin_pb2.Policy:
    return admin_pb2.Policy(**{name: getattr(policy, name) for name in _POLICY_FIELDS})


# One list of names for both directions: the message has the fields of the value.
_POLICY_FIELDS: Final = tuple(Policy.__dataclass_fields__)


def _state(word: str) -> SidecarState:
    try:
        return SidecarState(word)
    except ValueError:
        return SidecarState.OTHER


def _member_seen(row: admin_pb2.Member, commit_index: int) -> MemberSeen:
    return MemberSeen(
        member_id=row.member_id,
        name=row.name,
        role=Role.VOTER if row.role == Role.VOTER else Role.LEARNER,
        leader=row.leader,
        session=row.session,
        intent=_INTENTS_BY_NUMBER.get(row.intent, Intent.NONE),
        ready=row.ready,
        draining=row.draining,
        caught_up=row.caught_up,
        partitions_owned=row.partitions_owned,
        capacity=row.capacity,
        zone=row.zone,
        last_heard_ms=row.last_heard_ms,
        version=row.version,
        address=row.address,
        lag=max(0, commit_index - row.match_index),
    )


def _bootstrap(action: Bootstrap) -> Message:
    return admin_pb2.BootstrapRequest(
        cluster_id=action.cluster_id,
        partitions=action.partitions,
        policy=policy_message(action.policy),
        lease_ttl_ms=action.lease_ttl_ms,
    )


def _set_intent(action: SetIntent) -> Message:
    return admin_pb2.SetIntentRequest(
        member_id=action.member_id,
        intent=_INTENTS[action.intent],
        expected_config_index=action.expected_config_index,
    )


def _describe(action: DescribeMember) -> Message:
    return admin_pb2.SetMemberRequest(
        member_id=action.member_id, zone=action.zone, capacity=action.capacity
    )


def _set_policy(action: SetPolicy) -> Message:
    return admin_pb2.SetPolicyRequest(policy=policy_message(action.policy))


def _transfer(action: TransferLeader) -> Message:
    return admin_pb2.TransferLeaderRequest(to_member=action.to_member_id)


def _force_new_quorum(action: ForceNewQuorum) -> Message:
    return admin_pb2.ForceNewQuorumRequest(
        cluster_id=action.cluster_id, incarnation=action.incarnation
    )


_CALLS: Final[dict[type[Any], tuple[str, Callable[[Any], Message], type[Message]]]] = {
    Bootstrap: ("Bootstrap", _bootstrap, admin_pb2.BootstrapReply),
    ForceNewQuorum: ("ForceNewQuorum", _force_new_quorum, admin_pb2.ForceNewQuorumReply),
    SetIntent: ("SetIntent", _set_intent, admin_pb2.SetIntentReply),
    DescribeMember: ("SetMember", _describe, admin_pb2.SetMemberReply),
    SetPolicy: ("SetPolicy", _set_policy, admin_pb2.SetPolicyReply),
    TransferLeader: ("TransferLeader", _transfer, admin_pb2.TransferLeaderReply),
}
