"""What pages, probes and metrics read of a member; over whole members under virtual time."""

from __future__ import annotations

import pytest

from parti_kv.limits import RECORD_OVERHEAD_BYTES
from parti_kv.values import SessionId as KvSessionId
from parti_shard.commands import Intent, SetIntent
from parti_shard.ids import MemberId
from parti_shard.policy import Policy
from parti_sidecar.driver_views import (
    cluster_page,
    member_state,
    raft_role,
    reading,
    ready_missing,
)
from parti_sidecar.http_pages import ClusterPage
from parti_sidecar.meters import TableMeter
from tests.parti_kv.kv_commands import put, writes
from tests.parti_shard.member_world import PARTITIONS, TTL_MS, A, B, C, World


@pytest.fixture
def world() -> World:
    found = World(A, B, C)
    found.wait(found.settled)
    found.run(2_000)
    return found


def missing(world: World, member: MemberId) -> str:
    return ", ".join(ready_missing(world.up(member), world.clock(member)))


def page_of(world: World, member: MemberId) -> ClusterPage:
    return cluster_page(world.up(member), "m", member_state(world.up(member)))


def test_a_member_of_no_cluster_shows_that_it_waits() -> None:
    assert "bootstrap this member" in ready_missing(None, 0)[0]
    page = cluster_page(None, "me", "waiting")
    assert (page.name, page.state, page.cluster_id, page.members) == ("me", "waiting", "", ())


def test_readiness_names_everything_that_is_missing(world: World) -> None:
    assert missing(world, B) == ""
    world.add(MemberId(9))
    assert missing(world, MemberId(9)) == "the table has not arrived yet, no session is open"
    world.cut = {B}
    world.run(TTL_MS)
    assert "the lease is not live" in missing(world, B)
    world.cut.clear()
    world.wait(lambda: world.live(B))
    world.up(B).session.draining = True
    assert missing(world, B) == "draining"


def test_roles_are_told_in_words() -> None:
    world = World(A, policy=Policy(voters_max=3))
    world.wait(world.settled)
    world.join(B, via=A)
    world.wait(world.settled)
    assert raft_role(world.up(A)) == "leader"
    assert raft_role(world.up(B)) == "learner"
    world.join(C, via=A)
    world.wait(lambda: raft_role(world.up(C)) == "follower")
    world.cut = {B}
    world.wait(lambda: raft_role(world.up(B)) == "pre-candidate")


def test_the_page_shows_members_and_partitions(world: World) -> None:
    world.propose(A, "drain", SetIntent(C, Intent.DRAIN))
    world.detach(B)
    world.wait(lambda: set(world.served_by()) == {A}, 10_000)
    world.crash(C)
    world.wait(lambda: not world.up(A).table.members[C].session, 5_000)
    page = page_of(world, A)
    assert (page.state, page.cluster_id) == ("ready", "test-cluster")
    assert (page.partitions, page.partitions_free, page.partitions_revoking) == (PARTITIONS, 0, 0)
    assert page.table_index == world.up(A).table.applied_index
    rows = {row.name: row for row in page.members}
    assert [rows[name].state for name in ("m1", "m2", "m3")] == ["ready", "no worker", "drain"]
    assert [rows[name].partitions_owned for name in ("m1", "m2", "m3")] == [PARTITIONS, 0, 0]
    assert [rows[name].is_leader for name in ("m1", "m2", "m3")] == [True, False, False]
    assert rows["m1"].role == "voter"
    assert rows["m1"].member_id == "0000000000000001"
    assert rows["m1"].address == "host-1"
    world.propose(A, "back", SetIntent(C, Intent.NONE))
    world.run(50)
    assert page_of(world, A).members[2].state == "no session"
    world.up(B).session.draining = True
    assert page_of(world, B).state == "draining"


def test_a_reading_counts_what_is_owned_and_what_is_free(world: World) -> None:
    meter = TableMeter(A)
    read = reading(world.up(A), meter, 0, world.clock(A))
    owned = [world.served_by().count(member) for member in (A, B, C)]
    assert (read.partitions, read.partitions_owned, read.partitions_free) == (
        PARTITIONS,
        owned[0],
        0,
    )
    assert sorted(read.member_loads) == sorted(map(float, owned))
    assert (read.is_leader, read.members, read.leader_changes) == (True, 3, 1)
    assert 0 < read.lease_margin_ms <= TTL_MS
    assert read.commit_index == read.applied_index == read.last_index
    assert read.commands_rejected == {}
    follower = reading(world.up(B), meter, 0, world.clock(B))
    assert not follower.is_leader
    assert follower.member_loads == ()


def test_a_reading_tells_the_commands_that_were_refused_and_no_lease(world: World) -> None:
    world.propose(A, "x", SetIntent(MemberId(9), Intent.DRAIN))
    world.run(50)
    world.cut = {A}
    world.run(TTL_MS)
    read = reading(world.up(A), TableMeter(A), 0, world.clock(A))
    assert read.commands_rejected == {"unknown_member": 1}
    assert read.lease_margin_ms == 0


def test_a_reading_tells_what_the_store_holds_and_was_asked(world: World) -> None:
    kv = world.up(A).kv
    kv.open_session("open", 7, 5_000, world.clock(A), 5_000)
    kv.write("put", writes(put(b"k", b"value")), world.clock(A), 5_000)
    kv.keep_alive("keep", (KvSessionId(99),), world.clock(A))
    world.run(500)
    store = reading(world.up(A), TableMeter(A), 4, world.clock(A)).store
    assert (store.keys, store.revision, store.sessions, store.watchers) == (1, 1, 1, 4)
    assert store.bytes_used == 2 * RECORD_OVERHEAD_BYTES + len(b"kvalue") < store.bytes_max
    assert store.operations["put", "ok"] == store.operations["open_session", "ok"] == 1
    assert store.refused == {"session_over": 1}
    told_elsewhere = reading(world.up(B), TableMeter(B), 0, world.clock(B)).store
    assert told_elsewhere.keys == 1
    assert not told_elsewhere.operations
