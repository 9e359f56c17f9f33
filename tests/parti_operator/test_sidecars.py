"""The admin API as the operator uses it, against a real gRPC server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from parti_operator.actions import (
    Bootstrap,
    DescribeMember,
    ForceNewQuorum,
    SetIntent,
    SetPolicy,
    TransferLeader,
)
from parti_operator.observed import Intent, Role, SidecarState
from parti_operator.sidecars import GrpcSidecars, SidecarAction, SidecarError
from parti_operator.spec.values import Policy
from parti_proto import admin_pb2
from parti_proto.admin_pb2_grpc import AdminServicer, add_AdminServicer_to_server
from parti_shard.errors import Failure, Reason
from parti_sidecar.status import abort
from tests.parti_operator.defaults import cluster_spec


class _Admin(AdminServicer):
    """Answers with what the test put in, and notes what it is asked."""

    def __init__(self, status: admin_pb2.Status) -> None:
        self.status = status
        self.members = admin_pb2.ListMembersReply()
        self.asked: list[Any] = []
        self.failure: Failure | None = None
        self.lost: Failure | None = None  # leadership, after it said that it leads
        self.silent = False

    async def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(request, context, self.status)

    async def ListMembers(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.failure = self.lost
        return await self._answer(request, context, self.members)

    async def Bootstrap(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(request, context, admin_pb2.BootstrapReply())

    async def ForceNewQuorum(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(request, context, admin_pb2.ForceNewQuorumReply())

    async def SetIntent(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(request, context, admin_pb2.SetIntentReply())

    async def SetMember(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(request, context, admin_pb2.SetMemberReply())

    async def SetPolicy(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(request, context, admin_pb2.SetPolicyReply())

    async def TransferLeader(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(request, context, admin_pb2.TransferLeaderReply())

    async def _answer(self, request: Any, context: Any, reply: Any) -> Any:
        self.asked.append(request)
        if self.silent:
            await asyncio.sleep(60)
        if self.failure is not None:
            await abort(context, self.failure)
        return reply


@asynccontextmanager
async def _serving(*admins: _Admin) -> AsyncIterator[dict[str, str]]:
    """Addresses by pod: orders-0, orders-1, ..."""
    servers = []
    addresses = {}
    for number, admin in enumerate(admins):
        server = grpc.aio.server()
        add_AdminServicer_to_server(admin, server)  # type: ignore[no-untyped-call]  # generated
        addresses[f"orders-{number}"] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        servers.append(server)
    try:
        yield addresses
    finally:
        await asyncio.gather(*(server.stop(None) for server in servers))


class _Desk:
    """The adapter, and the failures that it counted."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self.sidecars = GrpcSidecars(lambda *failure: self.failures.append(failure))


def _status(member_id: int, role: str = "follower", term: int = 4, **more: Any) -> admin_pb2.Status:
    return admin_pb2.Status(
        cluster_id="abc",
        member_id=member_id,
        state="ready",
        raft_role=role,
        term=term,
        leader=7,
        commit_index=100,
        partitions=64,
        partitions_free=4,
        partitions_revoking=2,
        version="0.1.0",
        policy=_policy_message(),
        **more,
    )


def _policy_message() -> admin_pb2.Policy:
    return admin_pb2.Policy(strategy="balanced", rebalance=True, voters_max=3)


def _members() -> admin_pb2.ListMembersReply:
    leader = admin_pb2.Member(
        member_id=7, name="orders-0", role="voter", leader=True, session=3, match_index=100
    )
    other = admin_pb2.Member(
        member_id=8,
        name="orders-1",
        role="learner",
        intent=admin_pb2.INTENT_DRAIN,
        match_index=90,
        caught_up=True,
        zone="west",
        capacity=100,
        last_heard_ms=12,
    )
    return admin_pb2.ListMembersReply(members=[leader, other], config_index=55)


async def test_a_look_gives_everybodys_own_word_and_the_leaders() -> None:
    leader = _Admin(_status(7, "leader", incarnation=2))
    leader.members = _members()
    joining = _Admin(admin_pb2.Status(state="joining"))
    async with _serving(leader, joining) as addresses:
        seen = await _Desk().sidecars.look(addresses)
    assert seen.sidecars["orders-0"].state is SidecarState.READY
    assert seen.sidecars["orders-0"].incarnation == 2
    assert seen.sidecars["orders-1"].state is SidecarState.JOINING
    assert seen.sidecars["orders-1"].cluster_id == ""
    view = seen.view
    assert view is not None
    assert (view.cluster_id, view.term, view.leader, view.config_index) == ("abc", 4, 7, 55)
    assert (view.partitions.total, view.partitions.owned) == (64, 58)
    assert (view.partitions.moving, view.partitions.free) == (2, 4)
    assert view.policy.voters_max == 3
    [first, second] = view.members
    assert (first.role, first.leader, first.lag) == (Role.VOTER, True, 0)
    assert (second.role, second.intent, second.lag) == (Role.LEARNER, Intent.DRAIN, 10)
    assert (second.zone, second.caught_up, second.last_heard_ms) == ("west", True, 12)


async def test_without_a_leader_there_is_no_view() -> None:
    async with _serving(_Admin(_status(8)), _Admin(_status(9))) as addresses:
        seen = await _Desk().sidecars.look(addresses)
    assert len(seen.sidecars) == 2
    assert seen.view is None


async def test_of_two_leaders_the_newer_one_is_believed() -> None:
    old, new = _Admin(_status(7, "leader", 4)), _Admin(_status(8, "leader", 5))
    async with _serving(old, new) as addresses:
        seen = await _Desk().sidecars.look(addresses)
    assert seen.view is not None
    assert (seen.view.leader, seen.view.term) == (8, 5)
    assert len(old.asked) == 1  # for its own state only


async def test_who_does_not_answer_is_missing_and_delays_nobody() -> None:
    silent = _Admin(_status(8))
    silent.silent = True
    desk = _Desk()
    async with _serving(_Admin(_status(7)), silent) as addresses:
        addresses["orders-2"] = "127.0.0.1:1"  # nobody listens there
        async with asyncio.timeout(5):
            seen = await desk.sidecars.look(addresses)
    assert set(seen.sidecars) == {"orders-0"}
    assert sorted(desk.failures) == [
        ("GetStatus", "DEADLINE_EXCEEDED"),
        ("GetStatus", "UNAVAILABLE"),
    ]


async def test_a_leader_that_stops_answering_gives_no_view() -> None:
    leader = _Admin(_status(7, "leader"))
    leader.lost = Failure(Reason.NO_LEADER, message="not any more")
    async with _serving(leader) as addresses:
        seen = await _Desk().sidecars.look(addresses)
    assert "orders-0" in seen.sidecars
    assert seen.view is None


async def test_a_word_that_is_not_known_is_taken_as_such() -> None:
    async with _serving(_Admin(admin_pb2.Status(state="dreaming"))) as addresses:
        seen = await _Desk().sidecars.look(addresses)
    assert seen.sidecars["orders-0"].state is SidecarState.OTHER


def _policy() -> Policy:
    return cluster_spec().policy(3)


@pytest.mark.parametrize(
    ("action", "request_"),
    [
        (
            SetIntent(9, Intent.REMOVE, expected_config_index=55),
            admin_pb2.SetIntentRequest(
                member_id=9, intent=admin_pb2.INTENT_REMOVE, expected_config_index=55
            ),
        ),
        (
            DescribeMember(9, "west", 200),
            admin_pb2.SetMemberRequest(member_id=9, zone="west", capacity=200),
        ),
        (TransferLeader(8), admin_pb2.TransferLeaderRequest(to_member=8)),
        (
            ForceNewQuorum("orders-0", "uid", "abc", 2),
            admin_pb2.ForceNewQuorumRequest(cluster_id="abc", incarnation=2),
        ),
    ],
)
async def test_orders_arrive_as_they_were_meant(action: SidecarAction, request_: Any) -> None:
    admin = _Admin(_status(7))
    async with _serving(admin) as addresses:
        await _Desk().sidecars.carry_out(addresses["orders-0"], action)
    assert admin.asked == [request_]


async def test_a_policy_arrives_field_by_field() -> None:
    admin = _Admin(_status(7))
    async with _serving(admin) as addresses:
        sidecars = _Desk().sidecars
        await sidecars.carry_out(addresses["orders-0"], SetPolicy(_policy()))
        bootstrap = Bootstrap("orders-0", "uid", "abc", 64, _policy(), 2_000)
        await sidecars.carry_out(addresses["orders-0"], bootstrap)
    [policy, bootstrapped] = admin.asked
    assert policy.policy == bootstrapped.policy
    for name in Policy.__dataclass_fields__:
        assert getattr(policy.policy, name) == getattr(_policy(), name)
    assert (bootstrapped.cluster_id, bootstrapped.partitions) == ("abc", 64)
    assert bootstrapped.lease_ttl_ms == 2_000


async def test_a_refusal_names_its_reason() -> None:
    admin = _Admin(_status(7))
    admin.failure = Failure(Reason.CONFLICT, message="the cluster has moved on")
    desk = _Desk()
    async with _serving(admin) as addresses:
        with pytest.raises(SidecarError, match="moved on") as failure:
            await desk.sidecars.carry_out(addresses["orders-0"], TransferLeader(8))
    assert failure.value.reason == "CONFLICT"
    assert [method for method, _ in desk.failures] == ["TransferLeader"]


def test_the_policy_of_the_api_has_the_fields_of_the_value() -> None:
    fields = {field.name for field in admin_pb2.Policy.DESCRIPTOR.fields}
    assert fields == set(Policy.__dataclass_fields__)
