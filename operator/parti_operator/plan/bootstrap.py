"""The one beginning of a cluster. Pure.

1. Every pod that is wanted answers, and none has state: the pod with ordinal 0 is recorded, with
   its uid and its claim's.
2. In a look that finds the record: its sidecar is told to bootstrap. Only the recorded disk is ever
   told, as often as it takes; the same call twice is fine.
3. A sidecar shows the cluster's id: it is recorded, and from then on nothing is ever bootstrapped.

So a crash between any two of these leads to the same cluster. A disk that is gone between 1 and 3
may have begun the cluster, or not: that contradiction is for a person. So is a sidecar that shows
another cluster, and a cluster whose disks are all gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parti_operator.actions import Bootstrap
from parti_operator.names import EventReason
from parti_operator.plan.look import BLANK_STATES, Look
from parti_operator.plan.values import Occurrence

_FIRST = 0  # the ordinal that begins: it is wanted as long as the cluster is


@dataclass(frozen=True, slots=True)
class Bootstrapping:
    """How far the beginning is."""

    cluster_id: str  # that exists; "" while none was seen
    record: Mapping[str, Any] | None
    actions: tuple[Bootstrap, ...] = ()
    events: tuple[Occurrence, ...] = ()
    refused: str = ""  # the contradiction that a person has to look at
    waits_for: str = ""


def plan_bootstrap(look: Look) -> Bootstrapping:
    """One look at the beginning."""
    record = look.status.get("bootstrap")
    foreign = _contradiction(look)
    if foreign:
        event = Occurrence(EventReason.BOOTSTRAP_REFUSED, foreign, warning=True)
        return Bootstrapping(look.recorded_cluster_id, record, (), (event,), refused=foreign)
    if look.exists:
        return Bootstrapping(look.recorded_cluster_id, record)
    if any(s.cluster_id == look.cluster_id for s in look.observed.sidecars.values()):
        event = Occurrence(EventReason.BOOTSTRAPPED, f"cluster {look.cluster_id} exists")
        return Bootstrapping(look.cluster_id, record, (), (event,))
    waits_for = _not_blank(look, look.want)
    if waits_for:
        return Bootstrapping("", record, waits_for=waits_for)
    if record is None:
        return Bootstrapping("", _record(look), waits_for="bootstrap")
    return _begin(look, record)


def _contradiction(look: Look) -> str:
    if len(look.claimed_cluster_ids) > 1:
        ids = ", ".join(sorted(look.claimed_cluster_ids))
        return f"the claims of this name hold the state of several clusters ({ids}); delete the old"
    for pod in look.desired_pods:
        sidecar = look.sidecar(pod)
        if sidecar is not None and sidecar.cluster_id not in ("", look.cluster_id):
            return f"{pod.name} holds the state of another cluster, {sidecar.cluster_id}"
    if look.exists and look.view is None and not _not_blank(look, max(look.want, look.have)):
        return (
            "the disks of all members are gone, and with them the cluster: delete this PartiCluster"
            " and create it anew; its epochs begin at 1 again"
        )
    return ""


def _not_blank(look: Look, replicas: int) -> str:
    """What is missing until so many pods answer and have no state; "" if nothing is."""
    for ordinal in range(replicas):
        pod = look.pods.get(ordinal)
        if pod is None or pod.deleting:
            name = look.pod_name(ordinal)
            return f"{name} does not exist yet (kubectl describe statefulset {look.ref.name})"
        sidecar = look.sidecar(pod)
        if sidecar is None:
            return f"the sidecar of {pod.name} does not answer: {pod.trouble or 'starting'}"
        if sidecar.cluster_id or sidecar.member_id or sidecar.state not in BLANK_STATES:
            return f"{pod.name} is {sidecar.state.value}"
    return ""


def _record(look: Look) -> dict[str, str]:
    pod, claim = look.pods[_FIRST], look.claim(_FIRST)
    return {"pod": pod.name, "podUID": pod.uid, "claimUID": claim.uid if claim else ""}


def _begin(look: Look, record: Mapping[str, Any]) -> Bootstrapping:
    """The disk decides: the claim where there is one, else the pod."""
    now = _record(look)
    disk = "claimUID" if record.get("claimUID") else "podUID"
    if record.get(disk) != now[disk]:
        text = (
            f"the disk of {record.get('pod')} was replaced while the cluster began on it: delete"
            " this PartiCluster and create it anew"
        )
        event = Occurrence(EventReason.BOOTSTRAP_REFUSED, text, warning=True)
        return Bootstrapping("", record, (), (event,), refused=text)
    spec = look.spec
    action = Bootstrap(
        pod=now["pod"],
        pod_uid=now["podUID"],
        cluster_id=look.cluster_id,
        partitions=spec.partitions,
        policy=spec.policy(look.want),
        lease_ttl_ms=spec.lease_ttl_ms,
    )
    return Bootstrapping("", record, (action,), waits_for="bootstrap")
