"""What people do to a cluster that is well: no request may fail, no partition have two owners."""

from __future__ import annotations

from tests.kube.scenarios.installation import Installation
from tests.kube.scenarios.objects import NAME
from tests.kube.scenarios.world import World
from tests.kube.testbed.kubectl import Kubectl


def test_the_chart_installs_an_operator_that_is_ready(installation: Installation) -> None:
    assert len(installation.pods()) == 2


def test_a_small_manifest_makes_a_cluster_that_serves(world: World) -> None:
    with world.scenario("apply", graceful=True):
        world.apply()
    assert world.status()["clusterID"] == world.resource()["metadata"]["uid"]


def test_scaling_up_moves_partitions_to_the_new_pods(world: World) -> None:
    with world.scenario("scale 3 to 5", graceful=True):
        world.scale(5)
    owned = {member["name"]: member["partitions"] for member in world.status()["members"]}
    assert max(owned.values()) - min(owned.values()) <= 1, owned


def test_scaling_down_drains_first_and_leaves_nothing(world: World) -> None:
    with world.scenario("scale 5 to 2", graceful=True):
        world.scale(2)
    world.wait("the claims of leavers to go", lambda: len(data_claims(world)) == 2)


def test_a_target_that_is_changed_in_the_middle_of_a_drain_is_followed(world: World) -> None:
    with world.scenario("scale 2 to 4, and back to 3 during the drain to 2", graceful=True):
        world.scale(4)
        world.wait_whole()
        world.scale(2)
        world.wait("the drain", lambda: world.status().get("scaling", {}).get("phase"))
        world.scale(3)


def test_a_change_of_the_image_replaces_every_pod_the_leader_last(world: World) -> None:
    leader = world.leader()
    with world.scenario("change of image", graceful=True):
        world.apply(image=world.images.app_next)
    pods = sorted(world.pods(), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    images = {pod["spec"]["containers"][0]["image"] for pod in pods}
    assert images == {world.images.app_next}
    assert pods[-1]["metadata"]["name"] == leader


def test_a_deleted_pod_hands_over_first(world: World) -> None:
    with world.scenario("delete a pod", graceful=True):
        before = world.uid(f"{NAME}-1")
        world.kubectl("delete", "pod", f"{NAME}-1", "--wait=false")
        world.wait_replaced(f"{NAME}-1", before)


def test_the_leaders_pod_hands_over_too(world: World) -> None:
    leader = world.leader()
    with world.scenario("delete the leader's pod", graceful=True):
        before = world.uid(leader)
        world.kubectl("delete", "pod", leader, "--wait=false")
        world.wait_replaced(leader, before)


def test_evictions_come_one_at_a_time_and_the_evicted_pod_hands_over(world: World) -> None:
    with world.scenario("evict a pod", graceful=True):
        before = world.uid(f"{NAME}-2")
        world.evict(f"{NAME}-2")
        assert "disruption budget" in world.eviction_refused(f"{NAME}-0")
        world.wait_replaced(f"{NAME}-2", before)


def test_a_claim_that_is_deleted_with_its_pod_makes_a_new_member(world: World) -> None:
    name = f"{NAME}-1"
    ident = member_ids(world)[name]
    with world.scenario("delete a claim and its pod", graceful=True):
        before = world.uid(name)
        world.kubectl("delete", "pvc", f"parti-data-{name}", "--wait=false")
        world.kubectl("delete", "pod", name, "--wait=false")
        world.wait_replaced(name, before)
    assert member_ids(world)[name] != ident


def test_a_drained_node_is_left_without_a_failure(world: World, kubectl: Kubectl) -> None:
    node = str(world.pod(f"{NAME}-0")["spec"]["nodeName"])
    try:
        with world.scenario("kubectl drain", graceful=True):
            kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", deadline_s=120)
            assert node not in {pod["spec"].get("nodeName") for pod in world.pods()}
    finally:
        kubectl("uncordon", node)


def data_claims(world: World) -> list[str]:
    return [name for name in world.claims() if name.startswith("parti-data-")]


def member_ids(world: World) -> dict[str, str]:
    return {member["name"]: member["memberID"] for member in world.status()["members"]}
