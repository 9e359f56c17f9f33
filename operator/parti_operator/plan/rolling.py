"""Every pod to the newest revision, one at a time, the leader last. Pure.

The StatefulSet's strategy is OnDelete: it replaces a pod when that is gone, and only this module
decides which pod goes. (Stepping the controller's `partition` fixes the order to ordinals, waits
for ever behind a broken pod, and deletes a pod without the agreement of its disruption budget.)

A step: the pod's member is drained, leadership transferred, the pod evicted, and then awaited: the
new pod ready, its member alive and caught up. Only then its drain ends and the next step begins.
Whoever is outdated once somebody is updated is cordoned, so that a partition goes to a pod that
stays. A newer revision midway changes only who is outdated.

A pod that serves is touched only while all others serve. A pod that serves nothing (it never
started, its worker is not attached) is replaced without a drain as soon as the quorum can do
without it: the new revision may be its cure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parti_operator import names
from parti_operator.actions import DeletePod, EvictPod, TransferLeader
from parti_operator.names import EventReason
from parti_operator.observed import Intent, MemberSeen, PodSeen, Role
from parti_operator.plan.look import Look
from parti_operator.plan.progress import progress, stall_after_ms
from parti_operator.plan.values import Occurrence

WAITING = "Waiting"
DRAINING = "Draining"
TRANSFERRING = "TransferringLeadership"
RESTARTING = "Restarting"
_PROGRESS_KEYS = ("phase", "revision", "pod", "updated", "remaining")


@dataclass(frozen=True, slots=True)
class Rolling:
    """What the roll wants."""

    wanted: Mapping[int, Intent]
    transfer: TransferLeader | None = None
    replace: EvictPod | DeletePod | None = None
    status: Mapping[str, Any] | None = None
    events: tuple[Occurrence, ...] = ()
    stalled: str = ""
    finished: bool = False  # in this look

    @property
    def active(self) -> bool:
        return self.status is not None


@dataclass(frozen=True, slots=True)
class _Step:
    """Where the roll stands: the pod whose turn it is, and what it waits for."""

    phase: str
    ordinal: int | None
    reason: str


def plan_rolling(look: Look, *, scaling_down: bool) -> Rolling:
    """One look at the revisions of the pods."""
    before = look.status.get("roll")
    if not look.exists:
        return Rolling({}, replace=_before_bootstrap(look))
    stateful_set = look.observed.stateful_set
    if look.view is None or stateful_set is None or not stateful_set.update_revision:
        return _held(look, before)
    revision = stateful_set.update_revision
    outdated = [pod for pod in look.desired_pods if pod.revision != revision]
    step = _next_step(look, outdated, before, scaling_down=scaling_down)
    if step is None:
        return _ended(before)
    return _rolling(look, revision, outdated, step)


def is_outdated(look: Look, pod: PodSeen) -> bool:
    stateful_set = look.observed.stateful_set
    newest = stateful_set.update_revision if stateful_set else ""
    return bool(newest) and pod.revision != newest


def _before_bootstrap(look: Look) -> DeletePod | None:
    """Without a cluster there is nothing to be careful with, unless one may just begin."""
    if "bootstrap" in look.status:
        return None
    outdated = (pod for pod in look.desired_pods if is_outdated(look, pod) and not pod.deleting)
    return next((DeletePod(pod.name, pod.uid) for pod in outdated), None)


def _held(look: Look, before: Mapping[str, Any] | None) -> Rolling:
    """Nothing is known: what was drained or cordoned stays so."""
    if before is None:
        return Rolling({})
    asked = {m.member_id: m.intent for m in look.members.values() if m.intent is not Intent.NONE}
    return Rolling(asked, status=before)


def _ended(before: Mapping[str, Any] | None) -> Rolling:
    if before is None:
        return Rolling({})
    text = f"all pods have revision {before.get('revision', '')}"
    return Rolling({}, events=(Occurrence(EventReason.ROLL_COMPLETED, text),), finished=True)


# --- whose turn it is


def _next_step(
    look: Look,
    outdated: list[PodSeen],
    before: Mapping[str, Any] | None,
    *,
    scaling_down: bool,
) -> _Step | None:
    """The step to take; None if the roll is over or there is none."""
    current = names.ordinal(str(before.get("pod", ""))) if before else -1
    if 0 <= current < look.want and not _is_done(look, current):
        return _current_step(look, current, outdated, scaling_down=scaling_down)
    if not outdated:
        return None
    return _first_step(look, outdated, scaling_down=scaling_down)


def _is_done(look: Look, ordinal: int) -> bool:
    """The pod has the newest revision and serves again."""
    pod = look.pods.get(ordinal)
    return pod is not None and not is_outdated(look, pod) and _is_well(look, ordinal)


def _current_step(
    look: Look, ordinal: int, outdated: list[PodSeen], *, scaling_down: bool
) -> _Step:
    pod, member = look.pods.get(ordinal), look.member_at(ordinal)
    name = look.pod_name(ordinal)
    if pod is None or pod.deleting:
        return _Step(RESTARTING, ordinal, f"waits for {name} to be replaced")
    if not is_outdated(look, pod):
        cure = _cure(look, [p for p in outdated if p is not pod])
        sidecar_is_well = member is not None and look.is_alive(member)
        if sidecar_is_well and cure is not None:
            return cure
        return _Step(RESTARTING, ordinal, f"waits for {name}: {_ailment(look, ordinal)}")
    if _serves_nothing(look, pod):
        return _cure(look, [pod]) or _Step(WAITING, ordinal, "waits for the quorum")
    if scaling_down:
        return _Step(WAITING, None, "waits for the scale-down")
    return _step_of_serving(look, pod, member)


def _first_step(look: Look, outdated: list[PodSeen], *, scaling_down: bool) -> _Step:
    cure = _cure(look, outdated)
    if cure is not None:
        return cure
    if scaling_down:
        return _Step(WAITING, None, "waits for the scale-down")
    pod = min(outdated, key=lambda p: _turn(look, p))
    return _step_of_serving(look, pod, look.member_at(pod.ordinal))


def _turn(look: Look, pod: PodSeen) -> tuple[bool, int]:
    """The leader last, the others from the highest ordinal down."""
    member = look.member_at(pod.ordinal)
    return member is not None and member.leader, -pod.ordinal


def _step_of_serving(look: Look, pod: PodSeen, member: MemberSeen | None) -> _Step:
    ill = _first_ill(look, except_for=pod.ordinal)
    if ill is not None:
        reason = f"waits for {look.pod_name(ill)}: {_ailment(look, ill)}"
        return _Step(WAITING, pod.ordinal if _was_begun(look, pod) else None, reason)
    if not _quorum_allows(look, member):
        return _Step(WAITING, None, "the other voters are no majority")
    if member is not None and member.partitions_owned and len(look.members) > 1:
        if not _has_receiver(look, besides=member):
            return _Step(WAITING, None, "no other member can take partitions")
        reason = f"{member.partitions_owned} partitions are to be moved"
        return _Step(DRAINING, pod.ordinal, reason)
    if member is not None and member.leader and _heir(look, member) is not None:
        return _Step(TRANSFERRING, pod.ordinal, "leadership goes to another member")
    return _Step(RESTARTING, pod.ordinal, f"{pod.name} is to be evicted")


def _quorum_allows(look: Look, member: MemberSeen | None) -> bool:
    """A cluster of a single vote, if that is what was asked for, is led again after its restart."""
    if member is None or member.role is Role.LEARNER or look.keeps_quorum_without(member):
        return True
    voters = sum(1 for m in look.members.values() if m.role is Role.VOTER)
    return voters == look.spec.voters_for(look.want) == 1


def _was_begun(look: Look, pod: PodSeen) -> bool:
    before = look.status.get("roll") or {}
    return before.get("pod") == pod.name


def _has_receiver(look: Look, besides: MemberSeen) -> bool:
    """Whether somebody can take partitions; our own cordons end when that is needed."""
    return any(look.may_receive(m) for m in look.staying if m.member_id != besides.member_id)


# --- pods that serve nothing


def _cure(look: Look, outdated: list[PodSeen]) -> _Step | None:
    """Replace an outdated pod that serves nothing, if the quorum can do without it."""
    if any(pod.deleting for pod in look.observed.pods):
        return None
    for pod in sorted(outdated, key=lambda p: -p.ordinal):
        if _serves_nothing(look, pod) and _is_dispensable(look, look.member_at(pod.ordinal)):
            return _Step(RESTARTING, pod.ordinal, f"{pod.name} serves nothing and is replaced")
    return None


def _serves_nothing(look: Look, pod: PodSeen) -> bool:
    member = look.member_at(pod.ordinal)
    if member is None or not look.is_alive(member):
        return member is None or not member.partitions_owned
    useless = not pod.ready or (_workers_exist(look) and not member.ready)
    return useless and not member.partitions_owned and not member.leader


def _is_dispensable(look: Look, member: MemberSeen | None) -> bool:
    return member is None or look.keeps_quorum_without(member)


# --- who is well


def _first_ill(look: Look, except_for: int) -> int | None:
    others = (ordinal for ordinal in range(look.want) if ordinal != except_for)
    return next((ordinal for ordinal in others if not _is_well(look, ordinal)), None)


def _is_well(look: Look, ordinal: int) -> bool:
    return not _ailment(look, ordinal)


def _ailment(look: Look, ordinal: int) -> str:
    """Why a pod is not well, for people; "" if it is."""
    pod, member = look.pods.get(ordinal), look.member_at(ordinal)
    if pod is None or pod.deleting:
        return "its pod is being replaced"
    if pod.trouble:
        return str(pod.trouble)
    if member is None:
        return "it has not joined"
    if not look.is_alive(member):
        return "its member does not answer"
    if not member.caught_up:
        return "its member is catching up"
    if not pod.ready:
        return "its pod is not ready"
    if not member.ready and _workers_exist(look):
        return "its worker is not attached"
    return ""


def _workers_exist(look: Look) -> bool:
    """An application that never attaches a worker is not waited for."""
    return any(member.ready for member in look.staying)


# --- the plan of a step


def _rolling(look: Look, revision: str, outdated: list[PodSeen], step: _Step) -> Rolling:
    pod = look.pods.get(step.ordinal) if step.ordinal is not None else None
    member = look.member_at(step.ordinal) if step.ordinal is not None else None
    status = _status(look, revision, len(outdated), step, member)
    stalled = _stalled(look, status)
    skip = bool(stalled) and look.is_annotated(names.SKIP_DRAIN_CHECK_ANNOTATION)
    recorded = (look.status.get("roll") or {}).get("pod") == status.get("pod")
    heir = _heir(look, member) if step.phase == TRANSFERRING and member else None
    goes = step.phase == RESTARTING or (skip and step.phase == DRAINING)
    return Rolling(
        wanted=_wanted(look, outdated, step, member),
        transfer=TransferLeader(heir.member_id) if heir and recorded else None,
        replace=_replacement(look, pod) if goes and recorded and pod else None,
        status=status,
        events=_events(look, status, stalled, skip=skip),
        stalled="" if skip else stalled,
    )


def _replacement(look: Look, pod: PodSeen) -> EvictPod | DeletePod | None:
    if pod.deleting or not is_outdated(look, pod):
        return None
    if look.spec.max_unavailable == 0:
        return DeletePod(pod.name, pod.uid)  # such a budget refuses every eviction
    return EvictPod(pod.name, pod.uid)


def _wanted(
    look: Look, outdated: list[PodSeen], step: _Step, member: MemberSeen | None
) -> dict[int, Intent]:
    """Drain the one whose turn it is; cordon the outdated while an updated one can receive."""
    wanted: dict[int, Intent] = {}
    if step.phase != WAITING or step.ordinal is not None:
        old = [look.member_at(pod.ordinal) for pod in outdated]
        old_ids = {m.member_id for m in old if m is not None}
        turn = member.member_id if member is not None else 0
        fresh = [m for m in look.staying if m.member_id not in old_ids | {turn}]
        if any(map(look.may_receive, fresh)):
            wanted = dict.fromkeys(old_ids, Intent.CORDON)
        if member is not None:
            wanted[turn] = Intent.DRAIN
    return wanted


def _heir(look: Look, member: MemberSeen) -> MemberSeen | None:
    """An updated member if there is one, so that leadership moves once."""
    others = [m for m in look.staying if m.member_id != member.member_id]
    fresh = [m for m in others if not _is_outdated_member(look, m)]
    return look.heir(fresh) or look.heir(others)


def _is_outdated_member(look: Look, member: MemberSeen) -> bool:
    pod = look.pods.get(look.ordinal(member))
    return pod is None or is_outdated(look, pod)


def _status(
    look: Look, revision: str, outdated: int, step: _Step, member: MemberSeen | None
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": step.phase,
        "revision": revision,
        "updated": len(look.desired_pods) - outdated,
        "total": look.want,
        "remaining": member.partitions_owned if member is not None else 0,
        "reason": step.reason,
    }
    if step.ordinal is not None:
        status["pod"] = look.pod_name(step.ordinal)
    moments = progress(look.status.get("roll"), status, _PROGRESS_KEYS, look.now_ms)
    return {**status, "since": moments.since, "lastProgress": moments.last_progress}


def _stalled(look: Look, status: Mapping[str, Any]) -> str:
    times = look.spec.timeouts
    moving = status["phase"] in (DRAINING, TRANSFERRING)
    limit_ms = stall_after_ms(times.handover_ms) if moving else times.failure_ms
    if look.since_ms(status["lastProgress"]) < limit_ms:
        return ""
    return f"no progress since {status['lastProgress']}: {status['reason']}"


def _events(
    look: Look, status: Mapping[str, Any], stalled: str, *, skip: bool
) -> tuple[Occurrence, ...]:
    before = look.status.get("roll")
    if not before:
        text = f"{status['total'] - status['updated']} pods go to revision {status['revision']}"
        return (Occurrence(EventReason.ROLL_STARTED, text),)
    events = []
    if before.get("pod") and before.get("pod") != status.get("pod"):
        text = f"{before['pod']} has the newest revision"
        events.append(Occurrence(EventReason.POD_REPLACED, text))
    if skip:
        events.append(Occurrence(EventReason.DRAIN_CHECK_SKIPPED, stalled, warning=True))
    elif stalled:
        events.append(Occurrence(EventReason.ROLL_WAITING, stalled, warning=True))
    return tuple(events)
