"""Objects of the API as values: what every field turns on, and what a missing one means."""

from __future__ import annotations

from typing import Any

import pytest

from parti_operator import facts, names
from parti_operator.children import children
from parti_operator.kube_api import CONFIG_MAP, KINDS, SERVICE, Object
from parti_operator.observed import ChildKey, NodeState, Trouble
from parti_operator.spec import parse
from tests.parti_operator.defaults import SIDECAR_IMAGE, particluster


def _metadata(name: str = "orders-1", **more: Any) -> Object:
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": "7", **more}


def _pod(status: Object | None = None, **metadata: Any) -> Object:
    return {
        "metadata": _metadata(**metadata),
        "spec": {"nodeName": "node-1"},
        **({} if status is None else {"status": status}),
    }


def _container(name: str, **fields: Any) -> Object:
    return {"name": name, **fields}


def test_a_pod_that_was_just_created_is_not_ready_and_waits_for_nothing() -> None:
    seen = facts.pod_seen({"metadata": _metadata(), "spec": {}})
    assert (seen.name, seen.uid, seen.ordinal) == ("orders-1", "uid-orders-1", 1)
    assert (seen.node, seen.ready, seen.deleting) == ("", False, False)
    assert (seen.trouble, seen.sidecar_exit_code) == (None, None)


def test_a_pod_tells_readiness_revision_node_and_deletion() -> None:
    labels = {"controller-revision-hash": "orders-77", "x": "y"}
    seen = facts.pod_seen(
        _pod(
            {"conditions": [{"type": "Ready", "status": "True"}]},
            labels=labels,
            deletionTimestamp="2026-01-01T00:00:00Z",
        )
    )
    assert (seen.ready, seen.deleting, seen.revision, seen.node) == (
        True,
        True,
        "orders-77",
        "node-1",
    )
    assert seen.labels == labels


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    }
                ]
            },
            "Unschedulable: 0/3 nodes are available",
        ),
        (
            {
                "containerStatuses": [
                    _container("app", state={"waiting": {"reason": "CrashLoopBackOff"}})
                ]
            },
            "app: CrashLoopBackOff",
        ),
        (
            {
                "initContainerStatuses": [
                    _container(
                        names.SIDECAR_CONTAINER,
                        state={"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}},
                    )
                ]
            },
            "parti-sidecar: ImagePullBackOff: no such tag",
        ),
        (
            {
                "containerStatuses": [
                    _container("app", state={"waiting": {"reason": "PodInitializing"}})
                ]
            },
            "",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, "Evicted: disk"),
        ({"phase": "Running", "containerStatuses": [_container("app", state={"running": {}})]}, ""),
    ],
)
def test_why_a_pod_does_not_run(status: Object, words: str) -> None:
    assert str(facts.pod_seen(_pod(status)).trouble or "") == words


def test_a_container_that_crashes_says_how_it_ended() -> None:
    """The kubelet's own words change with every attempt: back-off 10s, 20s, 40s."""
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    app = _container("app", state={"waiting": waiting}, lastState=ended)
    trouble = facts.pod_seen(_pod({"containerStatuses": [app]})).trouble
    assert str(trouble) == "app: CrashLoopBackOff: it ended with exit code 137 (OOMKilled)"


@pytest.mark.parametrize(
    ("reason", "since"), [("ContainerCreating", "2026-01-01T00:00:00Z"), ("PodInitializing", "")]
)
def test_since_when_containers_are_being_created(reason: str, since: str) -> None:
    """Behind an init container that runs there is nothing to wait for."""
    app = _container("app", state={"waiting": {"reason": reason}})
    status = {"startTime": "2026-01-01T00:00:00Z", "containerStatuses": [app]}
    assert facts.pod_seen(_pod(status)).creating_since == since


def test_an_image_that_cannot_be_pulled_has_one_reason() -> None:
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        app = _container("app", state={"waiting": {"reason": reason}})
        trouble = facts.pod_seen(_pod({"containerStatuses": [app]})).trouble
        assert trouble == Trouble("ImagePullBackOff", container="app")


@pytest.mark.parametrize(
    ("sidecar", "code"),
    [
        ({}, None),
        ({"state": {"running": {}}}, None),
        ({"state": {"terminated": {"exitCode": 3}}}, 3),
        ({"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 0}}}, 0),
    ],
)
def test_the_exit_code_of_the_sidecars_last_end(sidecar: Object, code: int | None) -> None:
    statuses = [_container("app"), _container(names.SIDECAR_CONTAINER, **sidecar)]
    assert facts.pod_seen(_pod({"initContainerStatuses": statuses})).sidecar_exit_code == code


@pytest.mark.parametrize(
    ("status", "address"),
    [
        ({}, ""),
        ({"podIP": "10.1.2.3", "phase": "Running"}, "10.1.2.3:5102"),
        ({"podIP": "fd00::7", "phase": "Running"}, "[fd00::7]:5102"),
        ({"podIP": "10.1.2.3", "phase": "Failed"}, ""),
    ],
)
def test_where_a_pod_listens(status: Object, address: str) -> None:
    assert facts.pod_address(_pod(status), 5102) == address


def _stateful_set(**status: Any) -> Object:
    template = {
        "metadata": {"name": names.DATA_VOLUME},
        "spec": {"resources": {"requests": {"storage": "5Gi"}}},
    }
    return {
        "metadata": _metadata("orders", generation=4),
        "spec": {"replicas": 3, "volumeClaimTemplates": [template]},
        "status": status,
    }


def test_the_stateful_set() -> None:
    seen = facts.stateful_set_seen(_stateful_set(observedGeneration=4, updateRevision="orders-9"))
    assert (seen.uid, seen.resource_version, seen.replicas) == ("uid-orders", "7", 3)
    assert (seen.update_revision, seen.claim_size) == ("orders-9", "5Gi")


def test_a_revision_of_an_older_template_does_not_count() -> None:
    seen = facts.stateful_set_seen(_stateful_set(observedGeneration=3, updateRevision="orders-9"))
    assert seen.update_revision == ""


def test_a_stateful_set_without_disks_or_status() -> None:
    seen = facts.stateful_set_seen({"metadata": _metadata("orders", generation=1), "spec": {}})
    assert (seen.update_revision, seen.claim_size, seen.replicas) == ("", "", 1)


def test_a_claim() -> None:
    seen = facts.claim_seen(
        "orders",
        {
            "metadata": _metadata(
                "parti-data-orders-2",
                labels={names.CLUSTER_ID_LABEL: "abc"},
                annotations={"volume.kubernetes.io/selected-node": "node-3"},
            ),
            "spec": {"resources": {"requests": {"storage": "1Gi"}}},
        },
    )
    assert seen is not None
    assert (seen.ordinal, seen.cluster_id, seen.size, seen.node) == (2, "abc", "1Gi", "node-3")
    assert not seen.deleting


@pytest.mark.parametrize("name", ["other-orders-2", "parti-data-orders", "parti-data-orders-x"])
def test_other_claims_with_the_clusters_label_are_left_alone(name: str) -> None:
    assert facts.claim_seen("orders", {"metadata": _metadata(name), "spec": {}}) is None


@pytest.mark.parametrize(
    ("node", "state"),
    [
        ({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, NodeState.READY),
        (
            {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
            NodeState.UNREACHABLE,
        ),
        ({}, NodeState.UNREACHABLE),
        (
            {
                "spec": {
                    "taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]
                }
            },
            NodeState.OUT_OF_SERVICE,
        ),
        (
            {
                "spec": {"taints": [{"key": "node.kubernetes.io/unreachable"}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
            NodeState.READY,
        ),
    ],
)
def test_what_is_known_of_a_node(node: Object, state: NodeState) -> None:
    labels = {"topology.kubernetes.io/zone": "west"}
    seen = facts.node_seen({"metadata": _metadata("node-1", labels=labels), **node})
    assert (seen.name, seen.zone, seen.state) == ("node-1", "west", state)


def _owned(name: str, *owners: Object) -> Object:
    return {"metadata": _metadata(name, ownerReferences=list(owners))}


def test_children_are_those_that_this_very_cluster_controls() -> None:
    mine = {"uid": "me", "controller": True}
    former = {"uid": "former-me", "controller": True}
    listed = {"uid": "me"}
    found = [
        (SERVICE, _owned("a", mine)),
        (SERVICE, _owned("b", former)),
        (CONFIG_MAP, _owned("c", listed)),
        (CONFIG_MAP, {"metadata": _metadata("d")}),
    ]
    own, foreign = facts.sort_children("me", found)
    assert list(own) == [ChildKey("Service", "a")]
    assert foreign == (
        ChildKey("Service", "b"),
        ChildKey("ConfigMap", "c"),
        ChildKey("ConfigMap", "d"),
    )


def test_every_child_that_is_made_is_looked_for() -> None:
    spec = parse(particluster(networkPolicy={"enabled": True}), SIDECAR_IMAGE)
    made = children(spec, replicas=3, optional_kinds={"PodMonitor"})
    looked_for = set(facts.child_places("orders"))
    assert {(KINDS[child["kind"]], child["metadata"]["name"]) for child in made} == looked_for
