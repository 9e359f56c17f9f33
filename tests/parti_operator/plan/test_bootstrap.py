"""Tables of the beginning: recorded, told, seen; and everything that contradicts."""

from __future__ import annotations

from typing import Any

import pytest

from parti_operator.actions import Bootstrap
from parti_operator.observed import SidecarSeen, SidecarState
from parti_operator.plan.bootstrap import Bootstrapping, plan_bootstrap
from tests.parti_operator.plan.looks import UID, blank, claim, look, pod, sidecar

RECORD = {"pod": "orders-0", "podUID": "pod-0", "claimUID": "claim-0"}
BLANK = {f"orders-{ordinal}": blank(ordinal) for ordinal in range(3)}


def begin(status: dict[str, Any] | None = None, **changes: Any) -> Bootstrapping:
    fields = {"view": False, "sidecars": BLANK, **changes}
    return plan_bootstrap(look(status=status or {}, **fields))


def test_first_the_pod_is_recorded_and_nothing_done() -> None:
    made = begin()
    assert made.record == RECORD
    assert not made.actions


def test_the_recorded_pod_is_told() -> None:
    made = begin({"bootstrap": RECORD})
    (action,) = made.actions
    assert isinstance(action, Bootstrap)
    assert (action.pod, action.pod_uid, action.cluster_id) == ("orders-0", "pod-0", UID)
    assert (action.partitions, action.lease_ttl_ms) == (64, 2_000)


def test_everybody_has_to_answer_and_to_be_blank() -> None:
    incomplete = dict(list(BLANK.items())[:2])
    assert begin(sidecars=incomplete).record is None
    assert "orders-2" in begin(sidecars=incomplete).waits_for
    assert begin(pods=(pod(0), pod(1))).record is None
    assert begin(pods=(pod(0), pod(1), pod(2, deleting=True))).record is None
    assert not begin({"bootstrap": RECORD}, sidecars=incomplete).actions


HAVE_STATE = {
    "a cluster": blank(2, cluster_id=UID),
    "a member whose table has not arrived": blank(2, member_id=7),
    "a removed one": blank(2, state=SidecarState.REMOVED),
    "a word from the future": blank(2, state=SidecarState.OTHER),
}


@pytest.mark.parametrize("said", HAVE_STATE.values(), ids=HAVE_STATE.keys())
def test_who_may_have_state_is_not_blank(said: SidecarSeen) -> None:
    made = begin({"bootstrap": RECORD}, sidecars=BLANK | {"orders-2": said})
    assert not made.actions
    assert begin(sidecars=BLANK | {"orders-2": said}).record is None


def test_a_cluster_that_is_seen_is_recorded_and_never_begun_again() -> None:
    made = begin(sidecars=BLANK | {"orders-1": sidecar(1)})
    assert made.cluster_id == UID
    assert not made.actions
    made = begin({"clusterID": UID, "bootstrap": RECORD}, sidecars=BLANK, pods=(pod(0), pod(1)))
    assert not made.actions
    assert made.cluster_id == UID


def test_a_pod_that_was_replaced_on_the_same_disk_is_told_as_well() -> None:
    pods = (pod(0, uid="later"), pod(1), pod(2))
    made = begin({"bootstrap": RECORD}, pods=pods)
    assert [action.pod_uid for action in made.actions] == ["later"]


def test_a_disk_that_was_replaced_meanwhile_is_left_to_a_person() -> None:
    claims = (claim(0, uid="later"), claim(1), claim(2))
    made = begin({"bootstrap": RECORD}, claims=claims)
    assert made.refused
    assert not made.actions


def test_an_ephemeral_disk_is_its_pod() -> None:
    record = {**RECORD, "claimUID": ""}
    spec = {"storage": {"ephemeral": True}}
    assert begin({"bootstrap": record}, spec=spec, claims=()).actions
    pods = (pod(0, uid="later"), pod(1), pod(2))
    made = begin({"bootstrap": record}, spec=spec, claims=(), pods=pods)
    assert made.refused
    assert not made.actions


def test_another_cluster_on_a_disk_is_left_to_a_person() -> None:
    made = begin(sidecars=BLANK | {"orders-1": sidecar(1, cluster_id="another")})
    assert "another" in made.refused
    assert made.record is None


def test_disks_of_an_earlier_cluster_name_the_cluster() -> None:
    claims = tuple(claim(ordinal, cluster_id="earlier") for ordinal in range(3))
    made = begin(claims=claims, sidecars={"orders-1": sidecar(1, cluster_id="earlier")})
    assert made.cluster_id == "earlier"


def test_disks_of_two_clusters_are_left_to_a_person() -> None:
    made = begin(claims=(claim(0), claim(1, cluster_id="earlier"), claim(2)))
    assert "earlier" in made.refused


def test_when_all_disks_are_blank_again_the_cluster_is_gone() -> None:
    assert begin({"clusterID": UID}).refused
    assert not begin({"clusterID": UID}, have=4).refused  # one more may still have state
    incomplete = dict(list(BLANK.items())[:2])
    assert not begin({"clusterID": UID}, sidecars=incomplete).refused
