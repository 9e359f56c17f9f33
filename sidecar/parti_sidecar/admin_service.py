"""`parti.v1.Admin`: what the CLI and the operator ask of a cluster, at any member.

Changes go to the leader: a member that does not lead carries the request there once. Views that
the leader knows best are asked of it too, but when it cannot be reached this member answers from
its own table, since people look hardest at a cluster that has no leader.
"""

from __future__ import annotations

import asyncio
import time

import grpc.aio

from parti_proto import admin_pb2
from parti_shard.commands import DescribeMember, Pin, SetIntent, SetPolicy
from parti_shard.errors import Executed, Failure, PartiError, Reason, refuse
from parti_shard.explain import explain
from parti_shard.ids import NO_MEMBER, MemberId
from parti_shard.member import Member
from parti_shard.policy import Policy
from parti_shard.table import Table
from parti_sidecar.admin_values import (
    cluster_id_from,
    facts_from,
    intent_from,
    known_member,
    lease_ttl_from,
    partitions_from,
    policy_from,
)
from parti_sidecar.admin_views import members_view, partition_view, partitions_view, status_of
from parti_sidecar.host import Host
from parti_sidecar.leader_calls import LeaderCalls
from parti_sidecar.leaving import remaining
from parti_sidecar.table_views import checked_partition, member_name, table_of
from parti_sidecar.unary_sends import Message, UnarySends

PING_TIMEOUT_MS = 5_000
PREPARE_TIMEOUT_MS = 60_000  # for callers without a deadline
PREPARE_MARGIN_MS = 200
PREFIX = "/parti.v1.Admin/"
# Reasons for which a view is given by the member asked instead of by the leader.
_LEADER_AWAY = frozenset({Reason.NO_LEADER, Reason.CONNECTION_LOST, Reason.DEADLINE_EXCEEDED})


class AdminService:
    """Serves the CLI and the operator, and members that carry a request here."""

    def __init__(self, host: Host, sends: UnarySends, calls: LeaderCalls, version: str) -> None:
        self._host = host
        self._sends = sends
        self._calls = calls
        self._version = version

    async def get_status(
        self, _request: admin_pb2.GetStatusRequest, _context: grpc.aio.ServicerContext
    ) -> admin_pb2.Status:
        return status_of(self._host, self._version)

    async def list_members(
        self, request: admin_pb2.ListMembersRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.ListMembersReply:
        member = self._member()
        if not self._calls.leads_here():
            try:
                reply = admin_pb2.ListMembersReply
                return await self._calls.carry(PREFIX + "ListMembers", request, reply, context)
            except PartiError as error:
                _unless_leader_away(error)
        return members_view(self._host, member)

    async def list_partitions(
        self, _request: admin_pb2.ListPartitionsRequest, _context: grpc.aio.ServicerContext
    ) -> admin_pb2.ListPartitionsReply:
        return await partitions_view(table_of(self._host))

    async def explain_partition(
        self, request: admin_pb2.ExplainPartitionRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.ExplainPartitionReply:
        member = self._member()
        partition = checked_partition(request.partition, member.table)
        if self._calls.leads_here():
            text = explain(member.table, member.coordinator, partition)
            return partition_view(member.table, partition, text)
        try:
            reply = admin_pb2.ExplainPartitionReply
            return await self._calls.carry(PREFIX + "ExplainPartition", request, reply, context)
        except PartiError as error:
            _unless_leader_away(error)
        text = "The leader cannot be reached; this is what the member asked knows."
        return partition_view(member.table, partition, text)

    async def plan(
        self, request: admin_pb2.PlanRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.PlanReply:
        member = self._member()
        if not self._calls.leads_here():
            return await self._calls.carry(PREFIX + "Plan", request, admin_pb2.PlanReply, context)
        return _plan_reply(member)

    async def bootstrap(
        self, request: admin_pb2.BootstrapRequest, _context: grpc.aio.ServicerContext
    ) -> admin_pb2.BootstrapReply:
        partitions = partitions_from(request.partitions)
        policy = policy_from(request.policy) if request.HasField("policy") else Policy()
        member = self._host.member
        said = request.cluster_id
        if not said and member is not None:
            said = member.table.cluster_id  # the same call again, after a random id was made
        cluster_id = await self._host.bootstrap(
            cluster_id_from(said), partitions, policy, lease_ttl_from(request.lease_ttl_ms)
        )
        return admin_pb2.BootstrapReply(cluster_id=cluster_id)

    async def set_intent(
        self, request: admin_pb2.SetIntentRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.SetIntentReply:
        table = self._member().table
        intent = intent_from(request.intent)
        if not self._calls.leads_here():
            reply = admin_pb2.SetIntentReply
            return await self._calls.carry(PREFIX + "SetIntent", request, reply, context)
        command = SetIntent(known_member(request.member_id, table), intent)
        await self._host.propose(command, expected_config_index=request.expected_config_index)
        return admin_pb2.SetIntentReply()

    async def move(
        self, request: admin_pb2.MoveRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.MoveReply:
        table = self._member().table
        partition = checked_partition(request.partition, table)
        if not self._calls.leads_here():
            return await self._calls.carry(PREFIX + "Move", request, admin_pb2.MoveReply, context)
        command = Pin(partition, _place(request.to_member, table))
        await self._host.propose(command, expected_config_index=request.expected_config_index)
        return admin_pb2.MoveReply()

    async def transfer_leader(
        self, request: admin_pb2.TransferLeaderRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.TransferLeaderReply:
        table = self._member().table
        if not self._calls.leads_here():
            reply = admin_pb2.TransferLeaderReply
            return await self._calls.carry(PREFIX + "TransferLeader", request, reply, context)
        if request.expected_config_index not in (0, table.config_index):
            refuse(Reason.CONFLICT, "the table refuses: config changed")
        to = known_member(request.to_member, table) if request.to_member else NO_MEMBER
        leader = await self._host.transfer_leader(to)
        return admin_pb2.TransferLeaderReply(leader=leader)

    async def set_policy(
        self, request: admin_pb2.SetPolicyRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.SetPolicyReply:
        self._member()
        policy = policy_from(request.policy)
        if not self._calls.leads_here():
            reply = admin_pb2.SetPolicyReply
            return await self._calls.carry(PREFIX + "SetPolicy", request, reply, context)
        command = SetPolicy(policy)
        await self._host.propose(command, expected_config_index=request.expected_config_index)
        return admin_pb2.SetPolicyReply()

    async def set_member(
        self, request: admin_pb2.SetMemberRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.SetMemberReply:
        table = self._member().table
        zone, capacity = facts_from(request)
        if not self._calls.leads_here():
            reply = admin_pb2.SetMemberReply
            return await self._calls.carry(PREFIX + "SetMember", request, reply, context)
        command = DescribeMember(known_member(request.member_id, table), zone, capacity)
        await self._host.propose(command, expected_config_index=request.expected_config_index)
        return admin_pb2.SetMemberReply()

    async def prepare_to_stop(
        self, _request: admin_pb2.PrepareToStopRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.PrepareToStopReply:
        try:
            async with asyncio.timeout(_prepare_timeout_s(context.time_remaining())):
                left = await self._host.prepare_to_stop()
        except TimeoutError:
            member = self._member()
            text = f"not yet: {remaining(member)}"
            raise PartiError(Failure(Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN, text)) from None
        if left:
            refuse(Reason.NO_LEADER, f"there is no leader, and nobody to take over: {left}")
        return admin_pb2.PrepareToStopReply()

    async def force_new_quorum(
        self, request: admin_pb2.ForceNewQuorumRequest, _context: grpc.aio.ServicerContext
    ) -> admin_pb2.ForceNewQuorumReply:
        self._host.force_new_quorum(request.cluster_id, request.incarnation)
        return admin_pb2.ForceNewQuorumReply()

    async def ping(
        self, request: admin_pb2.PingRequest, _context: grpc.aio.ServicerContext
    ) -> admin_pb2.PingReply:
        member = self._member()
        partition = checked_partition(request.partition, member.table)
        started = time.perf_counter_ns()
        outcome = await self._sends.send(
            Message(partition, b"", b"", timeout_ms=PING_TIMEOUT_MS, ping=True)
        )
        elapsed_us = (time.perf_counter_ns() - started) // 1_000
        owner = member.table.owner[partition]
        return admin_pb2.PingReply(
            owner=owner,
            owner_name=member_name(member.table, owner),
            epoch=outcome.epoch,
            hops=int(owner != member.me),
            microseconds=elapsed_us,
        )

    def _member(self) -> Member:
        """The member, once it knows its cluster. Raises PartiError before."""
        table_of(self._host)
        member = self._host.member
        assert member is not None, "there is a table"
        return member


def _prepare_timeout_s(remaining_s: float | None) -> float:
    """So long that the caller still hears what remains."""
    if remaining_s is None:
        return PREPARE_TIMEOUT_MS / 1000
    return max(remaining_s - PREPARE_MARGIN_MS / 1000, remaining_s / 2)


def _unless_leader_away(error: PartiError) -> None:
    if error.failure.reason not in _LEADER_AWAY:
        raise error


def _place(to_member: int, table: Table) -> MemberId:
    """A member that may own partitions; 0 for automatic placement."""
    if not to_member:
        return NO_MEMBER
    member = known_member(to_member, table)
    if table.members[member].router_only:
        refuse(Reason.CONFLICT, f"member {table.members[member].name} only routes")
    return member


def _plan_reply(member: Member) -> admin_pb2.PlanReply:
    table = member.table
    moves = member.coordinator.plan()
    reply = admin_pb2.PlanReply(explanation=_moves_text(len(moves)))
    for move in moves:
        reply.moves.add(
            partition=move.partition,
            from_member=move.source,
            to_member=move.target,
            cause=move.cause.label,
        )
        for each in (move.source, move.target):
            if each != NO_MEMBER:
                reply.member_names[each] = member_name(table, each)
    return reply


def _moves_text(count: int) -> str:
    if not count:
        return "Every partition is where it should be."
    return f"{count} partitions would move; `rebalance` and the policy's limits say when."
