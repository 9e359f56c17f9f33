"""Children: written where they are missing or differ, fenced where that can do harm."""

from __future__ import annotations

from copy import deepcopy

from parti_operator.actions import ApplyChild, DeleteChild, GrowClaim
from parti_operator.names import EventReason
from parti_operator.observed import ChildKey
from parti_operator.plan.objects import plan_children, plan_claims
from tests.parti_operator.plan.looks import claim, live_children, look


def test_what_is_missing_is_made_pods_last() -> None:
    actions, events = plan_children(look(stateful_set=None, claims=()), 3)
    kinds = [a.child["kind"] for a in actions if isinstance(a, ApplyChild)]
    assert kinds[-1] == "StatefulSet"
    assert "ConfigMap" in kinds
    assert {event.reason for event in events} == {EventReason.CHILD_CREATED}


def test_only_the_stateful_set_needs_a_live_look_to_be_made() -> None:
    actions, _ = plan_children(look(stateful_set=None, claims=()), 3)
    assert [action.destructive for action in actions] == [False] * (len(actions) - 1) + [True]


def test_children_as_wanted_are_left() -> None:
    assert plan_children(look(children=live_children(look())), 3) == ((), ())


def test_one_that_others_changed_is_repaired_and_told() -> None:
    live = live_children(look())
    key = ChildKey("PodDisruptionBudget", "orders")
    live[key] = deepcopy(live[key])
    live[key]["spec"]["maxUnavailable"] = 3
    actions, events = plan_children(look(children=live), 3)
    assert [action.child["kind"] for action in actions if isinstance(action, ApplyChild)] == [
        "PodDisruptionBudget"
    ]
    assert [event.reason for event in events] == [EventReason.CHILD_REPAIRED]


def test_more_replicas_are_written_without_a_fence() -> None:
    ((action,), events) = plan_children(look(children=live_children(look())), 5)
    assert isinstance(action, ApplyChild)
    assert not action.destructive
    assert "resourceVersion" not in action.child["metadata"]
    assert events == ()


def test_fewer_replicas_name_what_they_are_planned_for() -> None:
    ((action,), _) = plan_children(look(children=live_children(look())), 2)
    assert isinstance(action, ApplyChild)
    assert action.destructive
    metadata = action.child["metadata"]
    assert (metadata["uid"], metadata["resourceVersion"]) == ("set-uid", "9")


def test_what_is_not_wanted_any_more_goes() -> None:
    live = live_children(look(spec={"networkPolicy": {"enabled": True}}))
    key = ChildKey("NetworkPolicy", "orders")
    live[key] = {**live[key], "metadata": {**live[key]["metadata"], "uid": "policy-uid"}}
    actions, _ = plan_children(look(children=live), 3)
    assert actions == (
        DeleteChild("networking.k8s.io/v1", "NetworkPolicy", "orders", "policy-uid"),
    )


def test_kept_disks_name_the_cluster_in_the_settings() -> None:
    claims = tuple(claim(ordinal, cluster_id="earlier") for ordinal in range(3))
    actions, _ = plan_children(look(claims=claims, status={}, view=False), 3)
    texts = [
        str(action.child)
        for action in actions
        if isinstance(action, ApplyChild) and action.child["kind"] in ("ConfigMap", "StatefulSet")
    ]
    assert len(texts) == 2
    assert all("earlier" in text for text in texts)


def test_claims_grow_and_never_shrink() -> None:
    larger = {"storage": {"size": "2Gi"}}
    claims = (claim(0, size="2048Mi"), claim(1), claim(2, deleting=True), claim(3))
    made = plan_claims(look(spec=larger, claims=claims))
    assert made == (GrowClaim("parti-data-orders-1", "claim-1", "2Gi"),)
    assert plan_claims(look(claims=(claim(0, size="5Gi"),))) == ()
    ephemeral = {"storage": {"size": "2Gi", "ephemeral": True}}
    assert plan_claims(look(spec=ephemeral)) == ()
