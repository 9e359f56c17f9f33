"""Members that will not come back by themselves. Pure; one at a time, never below a majority.

Kubernetes starts pods again and the leader gives a dead voter's vote to somebody else; neither
needs us. What they cannot do is to tell a disk that is lost from one that is away. So here:

- a pod whose member was removed but that is wanted again gets a new disk;
- so does one whose sidecar found its state damaged, or that took no part in a forced quorum;
- a disk that lay on a node that is gone is given up after `timeouts.failure`;
- a pod that waits for such a node to confirm its end is deleted by force, after the same time;
- a former self of a member that came back with a new disk is taken out, if the leader has not.

A pod that comes back with a new disk joins as a new member, and the leader takes out the former
one then, not before: so the number of voters does not shrink meanwhile. A node that is only silent
may still run its pod; there we wait for Kubernetes, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parti_operator.actions import DeleteClaim, DeletePod
from parti_operator.names import EventReason
from parti_operator.observed import (
    ClaimSeen,
    Intent,
    MemberSeen,
    PodSeen,
    SidecarSeen,
    SidecarState,
)
from parti_operator.plan.look import Look
from parti_operator.plan.values import Occurrence

EXIT_CODE_DAMAGED = 3  # of parti-sidecar: the stored state is damaged


@dataclass(frozen=True, slots=True)
class Replacing:
    """What has to go so that something new can come."""

    wanted: Mapping[int, Intent] = field(default_factory=dict)
    actions: tuple[DeleteClaim | DeletePod, ...] = ()
    lost: tuple[str, ...] = ()  # what people should know of members that are away
    events: tuple[Occurrence, ...] = ()


def plan_replacing(look: Look) -> Replacing:
    """One look for the lost."""
    if look.view is None:
        return Replacing()
    lost = tuple(text for text in (_loss(look, o) for o in range(look.want)) if text)
    wanted = _former_selves(look)
    for ordinal in range(look.want):
        why = _why_replace(look, ordinal)
        if why:
            actions = _fresh_start(look, ordinal)
            event = Occurrence(EventReason.MEMBER_REPLACED, why)
            return Replacing(wanted, actions, lost, (event,) if actions else ())
    forced = (_force(look, pod) for pod in look.observed.pods)
    return Replacing(wanted, tuple(action for action in forced if action is not None)[:1], lost)


def lost_since(look: Look, member: MemberSeen) -> str | None:
    """Since when a member is silent, as the status recorded it."""
    if not look.is_lost(member):
        return None
    for row in look.status.get("members", ()):
        if row.get("memberID") == f"{member.member_id:016x}":
            since: Any = row.get("lostSince")
            return since if isinstance(since, str) else None
    return None


# --- a new disk


def _why_replace(look: Look, ordinal: int) -> str:
    """Why the disk of a pod is of no use any more; "" if it is, or may be."""
    pod, member = look.pods.get(ordinal), look.member_at(ordinal)
    if pod is None:
        return ""
    sidecar = look.sidecar(pod)
    if sidecar is not None and _is_shut_out(look, sidecar):
        return f"{pod.name} took no part in the quorum that was forced"
    if sidecar is not None and sidecar.state is SidecarState.REMOVED:
        return f"{pod.name} was removed before and is wanted again" if member is None else ""
    if member is not None and (look.is_alive(member) or not look.keeps_quorum_without(member)):
        return ""
    if sidecar is None and pod.sidecar_exit_code == EXIT_CODE_DAMAGED:
        return f"the state of {pod.name} is damaged"
    if pod.node or not _is_overdue(look, member):
        return ""
    claim = look.claim(ordinal)
    if claim is None or not look.node_is_gone(claim.node):
        return ""
    return f"the disk of {pod.name} was on node {claim.node}, which is gone"


def _is_shut_out(look: Look, sidecar: SidecarSeen) -> bool:
    """Its disk is of the cluster before a quorum was forced: nobody lets it in."""
    assert look.view is not None, "only a leader knows the present incarnation"
    return sidecar.cluster_id == look.cluster_id and sidecar.incarnation < look.view.incarnation


def _fresh_start(look: Look, ordinal: int) -> tuple[DeleteClaim | DeletePod, ...]:
    """The claim first: it goes with the pod, and the StatefulSet then makes both anew."""
    claim, pod = look.claim(ordinal), look.pods.get(ordinal)
    actions: list[DeleteClaim | DeletePod] = []
    if claim is not None and not claim.deleting and _belongs(look, claim):
        actions.append(DeleteClaim(claim.name, claim.uid))
    if pod is not None and not pod.deleting:
        actions.append(DeletePod(pod.name, pod.uid))
    return tuple(actions)


def _belongs(look: Look, claim: ClaimSeen) -> bool:
    """Never a disk that was made for something else."""
    return claim.cluster_id in ("", look.cluster_id)


def _is_overdue(look: Look, member: MemberSeen | None) -> bool:
    since = lost_since(look, member) if member is not None else None
    return since is not None and look.since_ms(since) >= look.spec.timeouts.failure_ms


# --- nodes


def _force(look: Look, pod: PodSeen) -> DeletePod | None:
    """Nobody is left on the node to confirm that the pod has ended."""
    member = look.member_at(pod.ordinal)
    if not look.node_is_gone(pod.node) or (member is not None and not _is_overdue(look, member)):
        return None
    return DeletePod(pod.name, pod.uid, force=True)


# --- former selves


def _former_selves(look: Look) -> dict[int, Intent]:
    """Of members whose pod has come back as another one; the highest id only, one at a time."""
    former = [
        m
        for m in look.members.values()
        if 0 <= look.ordinal(m) < look.want and look.is_lost(m) and _has_successor(look, m)
    ]
    if any(m.intent is Intent.REMOVE and m not in former for m in look.members.values()):
        return {}
    removing = [m for m in former if m.intent is Intent.REMOVE]
    chosen = removing or former[:1]
    return {m.member_id: Intent.REMOVE for m in chosen if look.rest_is_live_majority(m)}


def _has_successor(look: Look, member: MemberSeen) -> bool:
    current = look.member_at(look.ordinal(member))
    if current is None or current.member_id == member.member_id:
        return False
    return look.is_alive(current)


# --- words


def _loss(look: Look, ordinal: int) -> str:
    """What to tell people of a member that has been away for long."""
    pod, member = look.pods.get(ordinal), look.member_at(ordinal)
    if member is None or not _is_overdue(look, member):
        return ""
    away = f"{member.name} has been silent for more than {look.spec.timeouts.failure_ms // 1000} s"
    if pod is None:
        return f"{away}: it has no pod"
    return f"{away}: {_circumstances(look, pod)}"


def _circumstances(look: Look, pod: PodSeen) -> str:
    nodes = look.observed.nodes
    if pod.deleting and nodes is not None and not look.node_is_gone(pod.node):
        return (
            f"its pod waits for node {pod.node}. If nothing runs there any more, delete the node or"
            " taint it node.kubernetes.io/out-of-service"
        )
    if pod.trouble:
        return str(pod.trouble)
    return f"its pod is on node {pod.node or '-'}"
