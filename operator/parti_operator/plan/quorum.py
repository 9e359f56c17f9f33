"""Whether the cluster has a leader, and what a person can order when it never will again. Pure.

A leader that does not answer may be an election, or a network between us and the pods. Only when
the sidecars that do answer know of no leader for a while is the quorum called lost. Nothing is ever
repaired then without an order: what the lost voters had acknowledged may be gone with them.

The order is the annotation `parti.dev/force-new-quorum` with the uid of the PartiCluster as value.
Its steps, each known from what is seen:

1. the survivor (the highest commit index that answers) and its incarnation are recorded;
2. the survivor is told to go on alone; its incarnation goes up, which shuts out all others;
3. pods whose disk has the former incarnation get a new disk, one after the other (`replacing`);
4. when all have joined, the annotation and the record go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from parti_operator import names
from parti_operator.actions import ClearAnnotation, ForceNewQuorum
from parti_operator.names import EventReason
from parti_operator.observed import PodSeen, SidecarSeen
from parti_operator.plan.look import Look
from parti_operator.plan.timestamps import as_text
from parti_operator.plan.values import Occurrence

LOST_AFTER_MS = 30_000  # without a leader; elections take a second or two


@dataclass(frozen=True, slots=True)
class Quorum:
    """The state of the quorum and what is done about it."""

    status: str  # of the condition: True, False, Unknown
    reason: str
    message: str
    record: Mapping[str, Any] | None = None  # status.forcedQuorum
    actions: tuple[ForceNewQuorum | ClearAnnotation, ...] = ()
    events: tuple[Occurrence, ...] = ()
    leaderless_since: str | None = None


def plan_quorum(look: Look) -> Quorum:
    """One look at the leader, and at a person's order."""
    if not look.exists:
        return Quorum("Unknown", "NotBootstrapped", "there is no cluster yet")
    order = look.observed.annotations.get(names.FORCE_NEW_QUORUM_ANNOTATION)
    record = look.status.get("forcedQuorum")
    if look.view is not None:
        return _with_leader(look, order, record)
    health = _without_leader(look)
    if record is not None:
        return _carry_on(look, health, record, ordered=order is not None)
    if order is None:
        return health
    return _obey(look, health, order)


def _with_leader(look: Look, order: str | None, record: Mapping[str, Any] | None) -> Quorum:
    assert look.view is not None, "somebody leads"
    if record is None:
        healthy = _healthy(look)
        if order is None:
            return healthy
        text = "a new quorum was ordered, but the cluster has one; the order is dropped"
        event = Occurrence(EventReason.QUORUM_FORCED, text, warning=True)
        return _with(healthy, None, (_clear(order),), (event,))
    if look.view.incarnation <= int(record["incarnation"]):
        text = "the former quorum is back; the order for a new one is dropped"
        event = Occurrence(EventReason.QUORUM_RESTORED, text)
        return _with(_healthy(look), None, _clear_all(order), (event,))
    return _after_force(look, order, record)


def _healthy(look: Look) -> Quorum:
    voters = look.spec.voters_for(look.want)
    if voters < look.spec.voters:
        text = f"{look.want} replicas allow {voters} voters, {look.spec.voters} are asked for"
        return Quorum("True", "VotersLowered", text)
    return Quorum("True", "LeaderElected", "a majority of the voters follows the leader")


def _without_leader(look: Look) -> Quorum:
    since = str(look.status.get("leaderlessSince") or as_text(look.now_ms))
    with_state = [s for s in look.observed.sidecars.values() if s.cluster_id]
    if any(sidecar.leader for sidecar in with_state):
        text = "the members' leader does not answer the operator"
        return Quorum("Unknown", "LeaderUnreachable", text)
    if not with_state:
        text = "no member of the cluster answers the operator"
        return Quorum("Unknown", "NobodyAnswers", text)
    if look.since_ms(since) < LOST_AFTER_MS:
        text = "the members are looking for a leader"
        return Quorum("Unknown", "NoLeader", text, leaderless_since=since)
    text = (
        f"{len(with_state)} members answer and cannot elect a leader. Bring the missing voters back"
        f" with their disks; if they are gone for good, annotate the PartiCluster with"
        f" {names.FORCE_NEW_QUORUM_ANNOTATION}={look.ref.uid} to go on without them: what only they"
        " had acknowledged is lost"
    )
    event = Occurrence(EventReason.QUORUM_LOST, text, warning=True)
    return Quorum("False", "QuorumLost", text, events=(event,), leaderless_since=since)


# --- the order


def _obey(look: Look, health: Quorum, order: str) -> Quorum:
    if order != look.ref.uid:
        text = f"the value of {names.FORCE_NEW_QUORUM_ANNOTATION} is not the uid {look.ref.uid}"
        return _with(health, None, (), (Occurrence(EventReason.QUORUM_FORCED, text, warning=True),))
    survivor = _survivor(look)
    if health.status != "False" or survivor is None:
        return health
    pod, sidecar = survivor
    record = {
        "pod": pod.name,
        "podUID": pod.uid,
        "memberID": f"{sidecar.member_id:016x}",
        "incarnation": sidecar.incarnation,
        "since": as_text(look.now_ms),
    }
    text = f"{pod.name} goes on alone, by order; its commit index is {sidecar.commit_index}"
    event = Occurrence(EventReason.QUORUM_FORCED, text, warning=True)
    return _with(health, record, (), (*health.events, event))


def _survivor(look: Look) -> tuple[PodSeen, SidecarSeen] | None:
    """Who knows most; of equals the lowest ordinal."""
    answering = [
        (pod, sidecar)
        for pod in look.desired_pods
        if (sidecar := look.sidecar(pod)) is not None and sidecar.cluster_id == look.cluster_id
    ]
    return max(answering, key=lambda each: (each[1].commit_index, -each[0].ordinal), default=None)


def _carry_on(look: Look, health: Quorum, record: Mapping[str, Any], *, ordered: bool) -> Quorum:
    """Ask the recorded survivor, and nobody else: two survivors would be two histories."""
    pod = next((p for p in look.observed.pods if p.name == record["pod"]), None)
    sidecar = look.sidecar(pod) if pod is not None else None
    if pod is None or sidecar is None:
        return _with(health, record)
    if f"{sidecar.member_id:016x}" != record["memberID"]:
        text = f"the survivor {pod.name} lost its disk; the order for a new quorum begins anew"
        event = Occurrence(EventReason.QUORUM_FORCED, text, warning=True)
        return _with(health, None, (), (event,))
    before = int(record["incarnation"])
    if sidecar.incarnation > before:
        return _with(health, record)  # done; it will lead in a moment
    if not ordered:
        return _with(health, None)
    return _with(health, record, (ForceNewQuorum(pod.name, pod.uid, look.cluster_id, before),))


def _after_force(look: Look, order: str | None, record: Mapping[str, Any]) -> Quorum:
    """The others get new disks by `replacing`; wait until all have joined."""
    text = f"{record['pod']} went on alone, by order; the others come back with new disks"
    forced = Quorum("True", "QuorumForced", text)
    members = [look.member_at(ordinal) for ordinal in range(look.want)]
    if all(member is not None and look.is_alive(member) for member in members):
        event = Occurrence(EventReason.QUORUM_RESTORED, "all members have joined the new quorum")
        return _with(forced, None, _clear_all(order), (event,))
    return _with(forced, record)


def _clear(order: str) -> ClearAnnotation:
    return ClearAnnotation(names.FORCE_NEW_QUORUM_ANNOTATION, order)


def _clear_all(order: str | None) -> tuple[ClearAnnotation, ...]:
    return () if order is None else (_clear(order),)


def _with(
    health: Quorum,
    record: Mapping[str, Any] | None,
    actions: tuple[ForceNewQuorum | ClearAnnotation, ...] = (),
    events: tuple[Occurrence, ...] | None = None,
) -> Quorum:
    """The same health with something done about it."""
    said = health.events if events is None else events
    return replace(health, record=record, actions=actions, events=said)
