"""Whatever happens in whatever order, the plan does no harm, and ends where it shall.

`model_world` objects to harm by itself: a second bootstrap, a pod ended while its member owns
partitions or while the quorum needs it, two removals at once, a living member's disk deleted,
something destroyed on the word of a cache. Here moves of people, of fate and of an operator that
crashes and looks late are mixed; then the faults stop, and everything must become as wanted.
A failure prints the moves and what the operator did.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from parti_operator.observed import Intent, NodeState
from parti_operator.plan import plan
from tests.parti_operator.plan.model_operator import Pass, run, settle
from tests.parti_operator.plan.model_world import World

# More of them by hand: PLAN_EXAMPLES=2000.
EXAMPLES = int(os.environ.get("PLAN_EXAMPLES", "60"))
MOVES_MAX = 40
Move = Callable[[World], None]


class Named:
    """A move that can be printed."""

    def __init__(self, name: str, move: Move) -> None:
        self.name, self.move = name, move

    def __repr__(self) -> str:
        return self.name


def is_whole(world: World) -> bool:
    """One more loss for good can be borne."""
    cluster = world.cluster
    if cluster is None or not cluster.leader or len(cluster.voters()) < 3:
        return False
    return cluster.alive >= cluster.members.keys() and len(cluster.alive) >= 3


# --- moves of people


def scale(replicas: int) -> Named:
    return Named(f"scale {replicas}", lambda world: world.edit(replicas=replicas))


def image(tag: str) -> Named:
    return Named(f"image {tag}", lambda world: world.set_image(tag))


def pause(paused: bool) -> Named:  # noqa: FBT001 (drawn)
    return Named(f"paused {paused}", lambda world: world.edit(paused=paused))


def cordon(ordinal: int) -> Named:
    """A person cordons a member, or takes it back."""

    def move(world: World) -> None:
        cluster = world.cluster
        for member in cluster.members.values() if cluster is not None else ():
            if member.name == f"orders-{ordinal}" and member.intent is Intent.NONE:
                member.intent = Intent.CORDON

    return Named(f"a person cordons {ordinal}", move)


def delete_child(which: int) -> Named:
    def move(world: World) -> None:
        keys = sorted(key for key in world.children if key.kind != "StatefulSet")
        if keys:
            del world.children[keys[which % len(keys)]]

    return Named(f"delete child {which}", move)


# --- moves of fate


def wait(ticks: int) -> Named:
    def move(world: World) -> None:
        for _ in range(ticks):
            world.tick()

    return Named(f"wait {ticks}", move)


def crash(ordinal: int, ticks: int) -> Named:
    def move(world: World) -> None:
        if ordinal in world.pods:
            world.pods[ordinal].down = ticks

    return Named(f"crash {ordinal} for {ticks}", move)


def cut(node: int) -> Named:
    def move(world: World) -> None:
        if f"node-{node}" in world.nodes:
            world.nodes[f"node-{node}"] = NodeState.UNREACHABLE

    return Named(f"cut node {node}", move)


def heal(node: int) -> Named:
    def move(world: World) -> None:
        if world.nodes.get(f"node-{node}") is NodeState.UNREACHABLE:
            world.nodes[f"node-{node}"] = NodeState.READY

    return Named(f"heal node {node}", move)


def lose_node(node: int) -> Named:
    """For good, with the disks on it."""

    def move(world: World) -> None:
        on_it = [pod for pod in world.pods.values() if pod.node == f"node-{node}"]
        if is_whole(world) and len(on_it) == 1 and len(world.nodes) > 3:
            world.nodes.pop(f"node-{node}", None)
            world.tick()

    return Named(f"lose node {node}", move)


def lose_disk(ordinal: int) -> Named:
    """Somebody deletes a claim and its pod."""

    def move(world: World) -> None:
        if is_whole(world) and ordinal in world.pods and ordinal in world.claims:
            world.claims[ordinal].deleting = True
            world.pods[ordinal].ending = 1
            world.tick()

    return Named(f"lose disk {ordinal}", move)


# --- all moves

ORDINALS = st.integers(0, 4)
PASSES = st.builds(
    Pass,
    objects_age=st.integers(0, 4),
    said_age=st.integers(0, 2),
    ticks_between=st.integers(0, 3),
    crash_after=st.none() | st.integers(0, 4),
)
OPERATOR = PASSES.map(lambda how: Named(str(how), lambda world: world_pass(world, how)))
PEOPLE = st.one_of(
    st.integers(1, 5).map(scale),
    st.sampled_from(["bad", "app:2", "app:3"]).map(image),
    st.booleans().map(pause),
    ORDINALS.map(cordon),
    st.integers(0, 5).map(delete_child),
)
FATE = st.one_of(
    st.integers(1, 10).map(wait),
    st.builds(crash, ORDINALS, st.integers(1, 10)),
    st.integers(0, 3).map(cut),
    st.integers(0, 3).map(heal),
    st.integers(0, 3).map(lose_node),
    ORDINALS.map(lose_disk),
)
MOVES = st.lists(st.one_of(OPERATOR, OPERATOR, FATE, PEOPLE), max_size=MOVES_MAX)


def world_pass(world: World, how: Pass) -> None:
    run(world, how)
    world.tick()


def peace(world: World) -> None:
    """People are content and nothing breaks any more."""
    for node, state in world.nodes.items():
        if state is NodeState.UNREACHABLE:
            world.nodes[node] = NodeState.READY
    ours = {row["memberID"] for row in world.status.get("intents", ())}
    if world.cluster is not None:
        for member in world.cluster.members.values():
            if member.intent is Intent.CORDON and f"{member.member_id:016x}" not in ours:
                member.intent = Intent.NONE
    world.edit(paused=False)
    world.set_image("app:last")


def assert_as_wanted(world: World) -> None:
    cluster = world.cluster
    assert cluster is not None
    wanted = [f"orders-{ordinal}" for ordinal in range(world.spec.replicas)]
    assert sorted(member.name for member in cluster.members.values()) == wanted
    assert world.replicas == len(wanted)
    assert {pod.revision for pod in world.pods.values()} == {world.revision}
    assert all(cluster.owners)
    assert len(cluster.voters()) == world.spec.voters_for(len(wanted))
    assert len(world.founded) == 1
    assert not world.status.get("intents")
    look = world.look(world.objects(), world.said(), live=True)
    assert not plan(look, world.now_ms).actions


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(begun=st.booleans(), replicas=st.sampled_from([1, 3, 3, 4, 5]), moves=MOVES)
def test_no_order_of_events_does_harm_or_leaves_work_undone(
    begun: bool,  # noqa: FBT001 (drawn)
    replicas: int,
    moves: list[Named],
) -> None:
    world = World(replicas=replicas)
    if begun:
        settle(world)
    try:
        for move in moves:
            world.log.append(f"-- {move}")
            move.move(world)
        world.log.append("-- peace")
        peace(world)
        settle(world)
        assert_as_wanted(world)
    except BaseException:
        note("\n".join(world.log[:80]))
        raise
