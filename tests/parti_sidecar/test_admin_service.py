"""The Admin API: views, changes carried to the leader, and every bad argument by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from parti_proto import admin_pb2, app_pb2
from parti_raft.replica_values import RestoredState
from parti_raft.types import ConfState, HardState, Snapshot, Term
from parti_shard.commands import DescribeMember, Intent, Pin, SetIntent, SetPolicy
from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import NO_MEMBER, MemberId, PartitionId
from parti_shard.member import Member, MemberSettings
from parti_shard.own_session import Profile
from parti_shard.policy import Policy, Strategy
from parti_sidecar.admin_values import policy_from, policy_message
from parti_sidecar.servers import ApiSettings
from tests.parti_sidecar.api_clients import Client
from tests.parti_sidecar.fake_host import CLUSTER, FakeCluster, FakeHost, Node

PARTITIONS = 8
TWO = MemberId(2)


def _real_member(host: FakeHost) -> Member:
    """A member that has restored the host's table; the first one leads."""
    assert host.table is not None
    table = host.table
    members = tuple(table.members)
    index = table.applied_index
    snapshot = Snapshot(index, Term(1), ConfState(voters=members[:1]), table.snapshot())
    member = Member(
        host.me,
        MemberSettings(Profile(f"m{host.me}", "")),
        RestoredState(HardState(Term(1), NO_MEMBER, index), snapshot, index, Term(1)),
        random_timeout=lambda low, _high: low,
        nonce=1,
        wall_unix_ms=lambda: 0,
    )
    if host.leader_is == host.me:
        _lead(member)
    return member


def _lead(member: Member) -> None:
    """Let the only voter win its election and commit its first entry, and do no more."""
    member.replica.raw.campaign()
    now_ms = 0
    while not member.is_leader:
        assert now_ms < 10, "no leader"
        for job in member.turn(now_ms).jobs:
            member.persisted(job)
        now_ms += 1


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    """Two members; the first leads and owns partition 3."""
    made = FakeCluster(count=2, partitions=PARTITIONS)
    await made.start(ApiSettings(version="9.9"))
    made.grant(3, made.nodes[0].host)
    for node in made.nodes:
        node.host.member = _real_member(node.host)
    yield made
    await made.stop()


@pytest.fixture
def leader(cluster: FakeCluster) -> FakeHost:
    return cluster.nodes[0].host


@pytest.fixture(params=[0, 1], ids=["at the leader", "at another member"])
async def client(cluster: FakeCluster, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with Client(cluster.nodes[request.param].bound.admin) as made:
        yield made


async def test_status_is_of_the_member_asked(cluster: FakeCluster) -> None:
    for node in cluster.nodes:
        async with Client(node.bound.admin) as client:
            status = await client.open("Admin.GetStatus", admin_pb2.GetStatusRequest())
        assert (status.cluster_id, status.member_id) == (CLUSTER, node.host.me)
        assert (status.name, status.version) == (f"m{node.host.me}", "9.9")
        assert (status.state, status.mode) == ("ready", "strict")
        assert status.raft_role == ("leader" if node.host.me == 1 else "learner")
        assert (status.term, status.partitions) == (2 if node.host.me == 1 else 1, PARTITIONS)
        assert status.partitions_owned == (1 if node.host.me == 1 else 0)
        assert status.partitions_free == PARTITIONS - 1
        assert status.policy.strategy == "balanced"


async def test_before_bootstrap_a_member_waits_and_says_so() -> None:
    node = Node(FakeHost(me=MemberId(1), table=None))
    await node.start()
    async with Client(node.bound.admin) as client:
        status = await client.open("Admin.GetStatus", admin_pb2.GetStatusRequest())
        assert status.state == "waiting"
        for name, request in (
            ("Admin.ListMembers", admin_pb2.ListMembersRequest()),
            ("Admin.ListPartitions", admin_pb2.ListPartitionsRequest()),
            ("Admin.Plan", admin_pb2.PlanRequest()),
            ("Admin.Move", admin_pb2.MoveRequest()),
            ("Admin.Ping", admin_pb2.PingRequest()),
        ):
            assert (await client.fails(name, request)).reason is Reason.NOT_READY
    await node.stop()


async def test_bootstrap_happens_once_and_may_be_repeated() -> None:
    node = Node(FakeHost(me=MemberId(1), table=None))
    await node.start()
    async with Client(node.bound.admin) as client:
        reply = await client.open("Admin.Bootstrap", admin_pb2.BootstrapRequest(partitions=4))
        assert len(reply.cluster_id) == 16
        assert node.host.table is not None
        assert (node.host.table.partitions, node.host.table.policy) == (4, Policy())
        again = await client.open("Admin.Bootstrap", admin_pb2.BootstrapRequest(partitions=4))
        assert again.cluster_id == reply.cluster_id
        other = admin_pb2.BootstrapRequest(partitions=4, cluster_id="other")
        assert (await client.fails("Admin.Bootstrap", other)).reason is Reason.CONFLICT
    await node.stop()


@pytest.mark.parametrize(
    ("name", "request_", "reason", "says"),
    [
        ("Bootstrap", admin_pb2.BootstrapRequest(), Reason.INVALID_ARGUMENT, "partitions is 0"),
        (
            "Bootstrap",
            admin_pb2.BootstrapRequest(partitions=65_537),
            Reason.INVALID_ARGUMENT,
            "1..65536",
        ),
        (
            "Bootstrap",
            admin_pb2.BootstrapRequest(partitions=1, cluster_id="no spaces"),
            Reason.INVALID_ARGUMENT,
            "cluster_id",
        ),
        (
            "SetIntent",
            admin_pb2.SetIntentRequest(member_id=99),
            Reason.UNKNOWN_MEMBER,
            "no member 0x63",
        ),
        (
            "SetIntent",
            admin_pb2.SetIntentRequest(member_id=1, intent=9),  # type: ignore[arg-type]
            Reason.INVALID_ARGUMENT,
            "intent 9",
        ),
        (
            "SetMember",
            admin_pb2.SetMemberRequest(member_id=99),
            Reason.UNKNOWN_MEMBER,
            "no member 0x63",
        ),
        (
            "SetMember",
            admin_pb2.SetMemberRequest(member_id=1, zone="a b"),
            Reason.INVALID_ARGUMENT,
            "zone must be printable",
        ),
        (
            "SetMember",
            admin_pb2.SetMemberRequest(member_id=1, capacity=1001),
            Reason.INVALID_ARGUMENT,
            "capacity must be 1 to 1000",
        ),
        ("Move", admin_pb2.MoveRequest(partition=8), Reason.BAD_PARTITION, "0..7"),
        ("Move", admin_pb2.MoveRequest(to_member=99), Reason.UNKNOWN_MEMBER, "0x63"),
        (
            "TransferLeader",
            admin_pb2.TransferLeaderRequest(to_member=99),
            Reason.UNKNOWN_MEMBER,
            "0x63",
        ),
        ("SetPolicy", admin_pb2.SetPolicyRequest(), Reason.INVALID_ARGUMENT, "strategy ''"),
        (
            "SetPolicy",
            admin_pb2.SetPolicyRequest(policy=admin_pb2.Policy(strategy="balanced", voters_max=2)),
            Reason.INVALID_ARGUMENT,
            "voters_max is 2",
        ),
        (
            "ExplainPartition",
            admin_pb2.ExplainPartitionRequest(partition=8),
            Reason.BAD_PARTITION,
            "0..7",
        ),
        ("Ping", admin_pb2.PingRequest(partition=8), Reason.BAD_PARTITION, "0..7"),
    ],
)
async def test_a_bad_argument_is_refused_by_name(
    client: Client, leader: FakeHost, name: str, request_: Any, reason: Reason, says: str
) -> None:
    failure = await client.fails(f"Admin.{name}", request_)
    assert (failure.reason, failure.executed) == (reason, Executed.NO), failure
    assert says in failure.message
    assert not leader.proposed


async def test_changes_reach_the_leaders_log(client: Client, leader: FakeHost) -> None:
    policy = Policy(strategy=Strategy.ROUND_ROBIN, rebalance=False, voters_max=3)
    await client.open(
        "Admin.SetIntent",
        admin_pb2.SetIntentRequest(member_id=2, intent=admin_pb2.INTENT_DRAIN),
    )
    await client.open("Admin.Move", admin_pb2.MoveRequest(partition=3, to_member=2))
    await client.open("Admin.Move", admin_pb2.MoveRequest(partition=4))
    await client.open("Admin.SetPolicy", admin_pb2.SetPolicyRequest(policy=policy_message(policy)))
    assert leader.proposed == [
        SetIntent(TWO, Intent.DRAIN),
        Pin(PartitionId(3), TWO),
        Pin(PartitionId(4), NO_MEMBER),
        SetPolicy(policy),
    ]


async def test_facts_of_a_member_reach_the_leaders_log(client: Client, leader: FakeHost) -> None:
    await client.open(
        "Admin.SetMember", admin_pb2.SetMemberRequest(member_id=2, zone="b", capacity=300)
    )
    await client.open("Admin.SetMember", admin_pb2.SetMemberRequest(member_id=2))
    assert leader.proposed == [DescribeMember(TWO, "b", 300), DescribeMember(TWO, "", 0)]


CHANGES: list[tuple[str, Any]] = [
    ("SetIntent", admin_pb2.SetIntentRequest(member_id=2, intent=admin_pb2.INTENT_DRAIN)),
    ("SetMember", admin_pb2.SetMemberRequest(member_id=2, zone="b")),
    ("Move", admin_pb2.MoveRequest(partition=3, to_member=2)),
    ("SetPolicy", admin_pb2.SetPolicyRequest(policy=policy_message(Policy()))),
    ("TransferLeader", admin_pb2.TransferLeaderRequest(to_member=2)),
]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[name for name, _ in CHANGES])
async def test_a_change_planned_from_old_facts_is_refused(
    client: Client, leader: FakeHost, name: str, change: Any
) -> None:
    reply = await client.open("Admin.ListMembers", admin_pb2.ListMembersRequest())
    assert leader.table is not None
    assert reply.config_index == leader.table.config_index > 0
    change = type(change).FromString(change.SerializeToString())
    change.expected_config_index = reply.config_index
    await client.open(f"Admin.{name}", change)
    leader.leader_is = MemberId(1)
    leader.proposed.clear()
    change.expected_config_index = reply.config_index + 1
    assert (await client.fails(f"Admin.{name}", change)).reason is Reason.CONFLICT
    assert not leader.proposed
    assert leader.leader_is == 1


async def test_a_new_quorum_is_for_the_member_asked(cluster: FakeCluster) -> None:
    one, two = (node.host for node in cluster.nodes)
    async with Client(cluster.nodes[1].bound.admin) as client:
        status = await client.open("Admin.GetStatus", admin_pb2.GetStatusRequest())
        request = admin_pb2.ForceNewQuorumRequest(
            cluster_id=CLUSTER, incarnation=status.incarnation
        )
        await client.open("Admin.ForceNewQuorum", request)
    assert (one.new_quorums, two.new_quorums) == ([], [(CLUSTER, two.incarnation)])


async def test_preparing_to_stop_answers_when_it_is_done(
    client: Client, cluster: FakeCluster
) -> None:
    asked = [node.host for node in cluster.nodes]
    waiting = client.open("Admin.PrepareToStop", admin_pb2.PrepareToStopRequest())
    for host in asked:
        host.prepared.set()
    await waiting
    assert sorted(host.preparing for host in asked) == [0, 1]  # only the one that was asked


async def test_preparing_to_stop_says_in_time_what_remains(cluster: FakeCluster) -> None:
    async with Client(cluster.nodes[0].bound.admin) as client:
        request = admin_pb2.PrepareToStopRequest()
        failure = await client.fails("Admin.PrepareToStop", request, timeout=0.4)
    assert failure.reason is Reason.DEADLINE_EXCEEDED
    assert failure.message == "not yet: it owns 1 partitions"


async def test_preparing_to_stop_is_not_done_when_nobody_takes_over(cluster: FakeCluster) -> None:
    host = cluster.nodes[0].host
    host.left = "it owns 3 partitions"
    host.prepared.set()
    async with Client(cluster.nodes[0].bound.admin) as client:
        request = admin_pb2.PrepareToStopRequest()
        failure = await client.fails("Admin.PrepareToStop", request)
    assert failure.reason is Reason.NO_LEADER
    assert "it owns 3 partitions" in failure.message


async def test_what_the_table_refuses_comes_back(client: Client, leader: FakeHost) -> None:
    def refuse(_command: object) -> int:
        raise PartiError(Failure(Reason.CONFLICT, Executed.NO, "the table refuses"))

    leader.on_propose = refuse
    failure = await client.fails("Admin.Move", admin_pb2.MoveRequest(partition=3))
    assert (failure.reason, failure.message) == (Reason.CONFLICT, "the table refuses")


async def test_leadership_is_handed_over(client: Client, leader: FakeHost) -> None:
    reply = await client.open("Admin.TransferLeader", admin_pb2.TransferLeaderRequest(to_member=2))
    assert (reply.leader, leader.leader_is) == (2, TWO)


async def test_members_are_listed(client: Client) -> None:
    reply = await client.open("Admin.ListMembers", admin_pb2.ListMembersRequest())
    rows = {each.member_id: each for each in reply.members}
    assert (rows[1].name, rows[1].leader, rows[1].role) == ("m1", True, "voter")
    assert (rows[2].name, rows[2].leader, rows[2].role) == ("m2", False, "learner")
    assert rows[1].partitions_owned == 1
    assert rows[2].last_heard_ms == -1


async def test_partitions_are_listed_and_explained(client: Client) -> None:
    listed = await client.open("Admin.ListPartitions", admin_pb2.ListPartitionsRequest())
    assert [each.partition for each in listed.partitions] == list(range(PARTITIONS))
    assert listed.partitions[3].owner == 1
    assert dict(listed.member_names) == {1: "m1", 2: "m2"}
    request = admin_pb2.ExplainPartitionRequest(partition=3)
    explained = await client.open("Admin.ExplainPartition", request)
    assert (explained.state.owner, explained.owner_name) == (1, "m1")
    assert explained.state.phase == app_pb2.PHASE_OWNED
    assert [(each.change, each.epoch) for each in explained.changes] == [("granted", 1)]
    assert "m1" in explained.explanation


async def test_a_plan_is_only_a_view(client: Client, leader: FakeHost) -> None:
    reply = await client.open("Admin.Plan", admin_pb2.PlanRequest())
    assert reply.explanation
    assert not leader.proposed


async def test_without_a_leader_views_are_given_and_changes_are_refused(
    cluster: FakeCluster,
) -> None:
    for node in cluster.nodes:
        node.host.leader_is = NO_MEMBER
        node.host.member = _real_member(node.host)
    async with Client(cluster.nodes[1].bound.admin) as client:
        listed = await client.open("Admin.ListMembers", admin_pb2.ListMembersRequest())
        assert len(listed.members) == 2
        request = admin_pb2.ExplainPartitionRequest(partition=3)
        explained = await client.open("Admin.ExplainPartition", request)
        assert explained.owner_name == "m1"
        assert "cannot be reached" in explained.explanation
        for name, change in (
            ("Admin.Plan", admin_pb2.PlanRequest()),
            ("Admin.Move", admin_pb2.MoveRequest(partition=3)),
        ):
            assert (await client.fails(name, change)).reason is Reason.NO_LEADER


async def test_a_dead_leader_is_not_taken_for_a_refusal(cluster: FakeCluster) -> None:
    """The change may or may not have been taken: that is unknown, not failed."""
    two = cluster.nodes[1]
    two.host.addresses = {MemberId(1): "127.0.0.1:1"}
    async with Client(two.bound.admin) as client:
        failure = await client.fails("Admin.Move", admin_pb2.MoveRequest(partition=3))
        assert failure.reason is Reason.CONNECTION_LOST
        assert failure.executed is Executed.UNKNOWN
        listed = await client.open("Admin.ListMembers", admin_pb2.ListMembersRequest())
        assert len(listed.members) == 2


async def test_a_ping_goes_to_the_owner_and_back(cluster: FakeCluster) -> None:
    """The owner's gate answers itself: no worker is attached."""
    for hops, node in enumerate(cluster.nodes):
        async with Client(node.bound.admin) as client:
            reply = await client.open("Admin.Ping", admin_pb2.PingRequest(partition=3))
        assert (reply.owner, reply.owner_name, reply.epoch) == (1, "m1", 1)
        assert reply.hops == hops
        assert reply.microseconds > 0


def test_a_policy_survives_the_wire() -> None:
    policy = Policy(load_aware=True, voters_max=7, moves_in_flight_max=3)
    assert policy_from(policy_message(policy)) == policy


async def test_a_member_that_only_routes_is_no_place_to_move_to(
    client: Client, leader: FakeHost
) -> None:
    assert leader.member is not None
    members = leader.member.table.members
    members[TWO] = replace(members[TWO], router_only=True)
    failure = await client.fails("Admin.Move", admin_pb2.MoveRequest(partition=3, to_member=2))
    assert (failure.reason, failure.message) == (Reason.CONFLICT, "member m2 only routes")
    assert not leader.proposed
