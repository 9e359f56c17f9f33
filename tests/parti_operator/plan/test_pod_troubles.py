"""Pods that do not run: whose reason the conditions carry, and what a person is told to do."""

from __future__ import annotations

from typing import Any

import pytest

from parti_operator.observed import Observed, PodSeen, Trouble
from parti_operator.plan import plan
from parti_operator.plan.pod_troubles import (
    CREATING_MS_MAX,
    LISTED_MAX,
    failing_pods,
    listed,
)
from tests.parti_operator.plan.looks import NOW_MS, UID, ago, blank, look, pod, quiet

ROOT = Trouble(
    "CreateContainerConfigError",
    "container has runAsNonRoot and image will run as root",
    "app",
)
NO_SECRET = Trouble("CreateContainerConfigError", 'secret "keys" not found', "app")
NO_IMAGE = Trouble("ImagePullBackOff", 'Back-off pulling image "orders:9"', "app")
CRASH = Trouble("CrashLoopBackOff", "it ended with exit code 1 (Error)", "app")
NO_NODE = Trouble("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu")
EVICTED = Trouble("Evicted", "the node was low on memory")
FROM_BAD_TO_WORSE = (NO_NODE, EVICTED, CRASH, NO_IMAGE, ROOT)


def failing(ordinal: int, trouble: Trouble) -> PodSeen:
    return pod(ordinal, ready=False, trouble=trouble)


def conditions(seen: Observed) -> dict[str, tuple[str, str, str]]:
    rows = plan(seen, NOW_MS).status["conditions"]
    return {row["type"]: (row["status"], row["reason"], row["message"]) for row in rows}


def with_pods(*pods: PodSeen, **changes: Any) -> Observed:
    return quiet(count=len(pods), pods=pods, **changes)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (ROOT, "template.spec.securityContext.runAsUser"),
        (ROOT, "runAsNonRoot: false"),
        (NO_SECRET, "a ConfigMap or Secret that the container names may be missing"),
        (NO_IMAGE, "imagePullSecrets"),
        (CRASH, "kubectl logs orders-2 -c app --previous"),
        (NO_NODE, "0/3 nodes are available"),
        (EVICTED, "low on memory"),
    ],
)
def test_conditions_carry_the_reason_and_say_what_to_do(trouble: Trouble, says: str) -> None:
    found = conditions(with_pods(pod(0), pod(1), failing(2, trouble)))
    for kind, status in (("Ready", "False"), ("Degraded", "True")):
        assert found[kind][:2] == (status, trouble.reason)
        assert trouble.message in found[kind][2]
        assert says in found[kind][2]


@pytest.mark.parametrize("number", range(1, len(FROM_BAD_TO_WORSE)))
def test_the_worst_pod_gives_the_reason(number: int) -> None:
    milder, worse = FROM_BAD_TO_WORSE[number - 1 : number + 1]
    found = conditions(with_pods(pod(0), failing(1, milder), failing(2, worse)))
    assert found["Ready"][1] == found["Degraded"][1] == worse.reason
    assert found["Degraded"][2].index("orders-2") < found["Degraded"][2].index("orders-1")


def test_before_the_beginning_the_reason_is_there_too() -> None:
    sidecars = {"orders-0": blank(0)}
    pods = (pod(0), failing(1, NO_NODE), failing(2, NO_IMAGE))
    found = conditions(with_pods(*pods, view=False, status={}, sidecars=sidecars))
    assert found["Ready"][:2] == ("False", "ImagePullBackOff")
    assert found["Degraded"][:2] == ("True", "ImagePullBackOff")


def test_a_roll_to_a_bad_image_degrades_though_the_cluster_is_ready() -> None:
    roll = {"phase": "Restarting", "pod": "orders-2"}
    pods = (pod(0, revision="old"), pod(1, revision="old"), failing(2, NO_IMAGE))
    found = conditions(with_pods(*pods, status={"clusterID": UID, "roll": roll}))
    assert found["Ready"][0] == "True"
    assert found["Degraded"][:2] == ("True", "ImagePullBackOff")
    assert "ImagePullBackOff" in found["Progressing"][2]


def test_containers_that_are_being_created_for_long_are_trouble() -> None:
    """The kubelet gives no reason while it waits for a volume; a large image takes its time."""
    young = pod(2, ready=False, creating_since=ago(CREATING_MS_MAX - 1_000))
    assert conditions(with_pods(pod(0), pod(1), young))["Ready"][1] == "PodsNotReady"
    old = pod(2, ready=False, creating_since=ago(CREATING_MS_MAX + 1_000))
    found = conditions(with_pods(pod(0), pod(1), old))
    assert found["Ready"][1] == found["Degraded"][1] == "ContainerCreating"
    assert "kubectl describe pod orders-2" in found["Degraded"][2]


def test_a_pod_that_only_is_not_ready_is_no_trouble() -> None:
    found = conditions(with_pods(pod(0), pod(1), pod(2, ready=False)))
    assert found["Ready"][:2] == ("False", "PodsNotReady")
    assert found["Degraded"][0] == "False"


def test_pods_that_end_or_are_not_wanted_do_not_count() -> None:
    ending = pod(1, deleting=True, trouble=CRASH)
    assert failing_pods(look(pods=(pod(0), ending, failing(2, CRASH)), spec={"replicas": 2})) == []


def test_many_are_counted_and_not_listed() -> None:
    many = failing_pods(look(count=6, pods=tuple(failing(o, CRASH) for o in range(6))))
    text = listed(many)
    assert text.count("CrashLoopBackOff") == LISTED_MAX
    assert text.endswith("and 3 pods more")
