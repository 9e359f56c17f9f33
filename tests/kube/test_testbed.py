"""The testbed does what the other tests here rely on: it is a real Kubernetes, and it breaks."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.clusters import NODES, Cluster
from tests.kube.scratch import scratch_namespace
from tests.kube.testbed import cgroups, layout, leftovers, machines
from tests.kube.testbed.api import condition
from tests.kube.testbed.commands import TestbedError, wait_for
from tests.kube.testbed.kubectl import Kubectl
from tests.kube.testbed.state import read
from tests.kube.testbed.testbed import Testbed

APP = Path(__file__).with_name("testbed_app")
IMAGE = "localhost/parti-kube-app:test"
READY_S = 60.0
MEMBERS = {"member-0", "member-1", "member-2"}
_FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"

# Another test run, at the moment its machine is up; it is then killed.
_DYING_RUN = """
import sys, time
from pathlib import Path
from tests.kube.testbed import machines
from tests.kube.testbed.processes import own_name
from tests.kube.testbed.state import ClusterState, Machine
work = Path(sys.argv[1])
state = ClusterState(work, 1, work, [Machine("hub", 0)], owner=own_name())
state.save()
machines.launch(state, state.hub)
print("launched", flush=True)
time.sleep(60)
"""

Document = dict[str, Any]


@pytest.fixture(scope="module")
def testbed(cluster: Cluster) -> Testbed:
    return cluster.nodes()


@pytest.fixture(scope="module")
def members(cluster: Cluster, testbed: Testbed) -> Iterator[Kubectl]:
    """Three members with a sidecar, a claim and a budget, one on each node."""
    testbed.build_image(APP, "runtime", IMAGE)
    with scratch_namespace(cluster.kubectl) as namespace:
        namespace("apply", "--filename", str(APP / "member.yaml"))
        wait_ready(namespace)
        yield namespace


def wait_ready(members: Kubectl) -> None:
    def ready() -> bool:
        pods = members.items("pods", "--selector=app=member")
        return len(pods) == NODES and all(
            condition(pod, "Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
            for pod in pods
        )

    wait_for(ready, READY_S, "all members", seen=lambda: members("get", "pods", "-o", "wide"))


def fetch(members: Kubectl, pod: str, url: str) -> Document:
    said = members.exec(pod, "python", "-c", _FETCH, url, container="app")
    answer: Document = json.loads(said)
    return answer


def test_every_node_is_ready_and_runs_the_stated_version(kubectl: Kubectl) -> None:
    nodes = kubectl.items("nodes")
    assert len(nodes) == NODES
    assert {condition(node, "Ready") for node in nodes} == {"True"}
    assert {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes} == {"v1.34.4"}


def test_a_member_runs_on_each_node_and_starts_after_its_sidecar(members: Kubectl) -> None:
    pods = members.items("pods", "--selector=app=member")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == NODES
    assert {pod["metadata"]["name"] for pod in pods} == MEMBERS
    said = [members("logs", pod["metadata"]["name"], "--container=app") for pod in pods]
    assert said == ["app starts after its sidecar was ready\n"] * NODES


def test_members_reach_each_other_by_name_across_nodes(members: Kubectl) -> None:
    for peer in ("member-1", "member-2"):
        url = f"http://{peer}.peers.{members.namespace}.svc.cluster.local:8080/"
        assert fetch(members, "member-0", url)["name"] == peer


def test_a_service_is_answered_by_several_members(members: Kubectl) -> None:
    front = f"front.{members.namespace}.svc.cluster.local"
    names: set[str] = set()

    def several() -> bool:
        names.add(fetch(members, "member-0", f"http://{front}/")["name"])
        return len(names) > 1

    wait_for(several, READY_S, "a second member's answer", seen=lambda: str(names))


@pytest.mark.parametrize(("target", "port"), [("pod/member-1", 8080), ("service/front", 80)])
def test_a_port_of_the_host_leads_to_a_pod(members: Kubectl, target: str, port: int) -> None:
    with (
        members.port_forward(target, port) as local,
        urllib.request.urlopen(f"http://127.0.0.1:{local}/", timeout=10) as answer,
    ):
        name = json.load(answer)["name"]
    assert name in ({"member-1"} if target == "pod/member-1" else MEMBERS)


def test_pods_beyond_the_restricted_profile_are_refused(members: Kubectl) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rooted"},
        "spec": {"containers": [{"name": "app", "image": IMAGE}]},
    }
    said = members.refused("apply", "--filename=-", given=json.dumps(pod))
    assert 'violates PodSecurity "restricted' in said


def test_the_budget_refuses_a_second_eviction_and_a_claim_outlives_its_pod(
    members: Kubectl,
) -> None:
    def evict(name: str) -> tuple[str, ...]:
        path = f"/api/v1/namespaces/{members.namespace}/pods/{name}/eviction"
        return ("create", "--raw", path, "--filename=-")

    def eviction(name: str) -> str:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return json.dumps(body)

    before = fetch(members, "member-1", "http://127.0.0.1:8080/")["starts"]
    members(*evict("member-1"), given=eviction("member-1"))
    said = members.refused(*evict("member-2"), given=eviction("member-2"))
    assert "disruption budget" in said
    wait_ready(members)
    assert fetch(members, "member-1", "http://127.0.0.1:8080/")["starts"] == before + 1


def test_a_daemon_that_ends_is_started_again(testbed: Testbed) -> None:
    def starts() -> int:
        state = testbed.status()
        assert state is not None
        return int(machines.daemons(state, state.machine("node3"))["kube-proxy"]["starts"])

    before = starts()
    testbed.exec("node3", "pkill", "-KILL", "kube-proxy")
    wait_for(lambda: starts() == before + 1, 20, "kube-proxy to start again")


def test_what_a_dead_run_left_is_removed_and_nothing_else(
    testbed: Testbed, kubectl: Kubectl, tmp_path: Path
) -> None:
    workdir = tmp_path / "dead"
    run = subprocess.Popen(
        [sys.executable, "-c", _DYING_RUN, str(workdir)],
        cwd=layout.REPOSITORY,
        stdout=subprocess.PIPE,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"launched\n"
    run.kill()
    run.communicate(timeout=10)
    state = read(workdir)
    assert state is not None
    assert state.hub.alive
    assert workdir in leftovers.remove_leftovers()
    assert not state.hub.alive
    assert not cgroups.members(state.ident)
    assert not workdir.exists()
    assert not state.note.exists()
    assert len(kubectl.items("nodes")) == NODES
    mine = testbed.status()
    assert mine is not None
    mine.must_live()


def test_a_killed_a_frozen_and_a_cut_node_are_lost_and_come_back(
    members: Kubectl, kubectl: Kubectl, testbed: Testbed
) -> None:
    killed, frozen, cut = (testbed.node(f"node{number}") for number in (1, 2, 3))

    def states() -> list[str]:
        return [condition(node, "Ready") for node in kubectl.items("nodes")]

    killed.kill()
    frozen.freeze()
    cut.cut()
    try:
        wait_for(
            lambda: states() == ["Unknown"] * NODES, 90, "the loss", seen=lambda: str(states())
        )
    finally:
        killed.start()
        frozen.thaw()
        cut.heal()
    # A kubelet notices that its connection is dead after up to 45 s (30 s idle, 15 s for a ping).
    wait_for(lambda: states() == ["True"] * NODES, 90, "the return", seen=lambda: str(states()))
    wait_ready(members)


def test_a_power_cut_loses_nothing_stored(members: Kubectl, testbed: Testbed) -> None:
    before = fetch(members, "member-2", "http://127.0.0.1:8080/")["starts"]
    testbed.power_cut()
    testbed.up()

    def restarted() -> bool:
        try:
            return bool(fetch(members, "member-2", "http://127.0.0.1:8080/")["starts"] > before)
        except TestbedError:
            return False  # its container is not back yet

    wait_for(restarted, READY_S, "member-2 with its data")
    wait_ready(members)


# The last one: whoever finds no apiserver asks ever more seldom, and the outages of two minutes add
# up. Another one before it, and the loss of a node would be told a minute late.
def test_pods_go_on_while_the_apiserver_is_down(members: Kubectl, testbed: Testbed) -> None:
    url = f"http://{members.json('pod', 'member-0')['status']['podIP']}:8080/"
    testbed.stop_apiserver()
    try:
        with pytest.raises(TestbedError):
            members("get", "pods", "--request-timeout=2s")
        said = testbed.exec("node2", "python3", "-c", _FETCH, url)
    finally:
        testbed.start_apiserver()
    assert json.loads(said)["name"] == "member-0"
    assert len(members.items("pods")) == NODES
