"""More members, or fewer. Pure; nothing but the wanted number and what is seen decides.

Up: the StatefulSet is raised; pods join by themselves, the leader lets them vote and own.

Down, one look after the other, the highest ordinals first:

1. every leaving member is drained at once; the leader moves their partitions;
2. one at a time, a leaving member that owns nothing is removed; a leader hands over before, and
   goes last. It has to be out of the member list before the next one is asked to go;
3. the StatefulSet is lowered to just above the highest ordinal whose member still votes or owns
   anything. A member that is being removed goes on sending for its application until its pod ends;
   then its session is over, and it is out.

A target that changes midway needs no rule: whoever is not leaving any more has no intent wanted,
and `intents` takes ours back. A member that was removed before comes back by `replacing`.

A drain needs somebody to drain to. While nobody who stays can receive, leaving members are only
cordoned: drained, their partitions would have no owner at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parti_operator import names
from parti_operator.actions import TransferLeader
from parti_operator.names import EventReason
from parti_operator.observed import Intent, MemberSeen, Role
from parti_operator.plan.look import Look
from parti_operator.plan.progress import progress, stall_after_ms
from parti_operator.plan.values import Occurrence

JOINING = "Joining"
DRAINING = "Draining"
TRANSFERRING = "TransferringLeadership"
REMOVING = "Removing"
SHRINKING = "ShrinkingStatefulSet"
_PROGRESS_KEYS = ("phase", "ordinals", "remaining")


@dataclass(frozen=True, slots=True)
class Scaling:
    """What scaling wants."""

    replicas: int  # of the StatefulSet
    wanted: Mapping[int, Intent]
    transfer: TransferLeader | None = None
    status: Mapping[str, Any] | None = None
    events: tuple[Occurrence, ...] = ()
    stalled: str = ""  # why it does not go on, for a person
    finished: bool = False  # in this look

    @property
    def active(self) -> bool:
        return self.status is not None


def plan_scaling(look: Look) -> Scaling:
    """One look at the number of members."""
    if not look.exists:
        return Scaling(_replicas_before_bootstrap(look), {})
    if look.view is None:
        return Scaling(_replicas_without_leader(look), {}, status=look.status.get("scaling"))
    if look.leaving or look.have > look.want:
        return _plan_down(look)  # before anybody joins: one thing at a time
    return _plan_up(look)


def _replicas_before_bootstrap(look: Look) -> int:
    """Free to follow until somebody may have been made the first member."""
    begun = "bootstrap" in look.status
    return max(look.want, look.have) if begun else look.want


def _replicas_without_leader(look: Look) -> int:
    """Never fewer than there are; a StatefulSet that somebody deleted comes back as large."""
    known = [names.ordinal(str(row["name"])) + 1 for row in look.status.get("members", ())]
    return max([look.have, look.want, *known])


# --- up


def _plan_up(look: Look) -> Scaling:
    before = look.status.get("scaling")
    missing = [o for o in range(look.want) if not look.has_joined(o)]
    cancelled = _is_cancelled(look, before)
    begun = look.have < look.want or cancelled
    if not missing or not (begun or _is_joining(before)):
        return Scaling(look.want, {}, events=_events_end(look, before), finished=bool(before))
    waiting = ", ".join(look.pod_name(ordinal) for ordinal in missing)
    status = _status(look, JOINING, missing, 0, f"waits for {waiting} to join")
    text = f"{look.want} members are wanted; {waiting} are to join"
    reason = EventReason.SCALING_CANCELLED if cancelled else EventReason.SCALING_UP
    events = (Occurrence(reason, text),) if begun else ()
    return Scaling(look.want, {}, status=status, events=events)


def _is_joining(before: Mapping[str, Any] | None) -> bool:
    return before is not None and before.get("phase") == JOINING


def _is_cancelled(look: Look, before: Mapping[str, Any] | None) -> bool:
    """Pods that were leaving are wanted again."""
    if not before or _is_joining(before):
        return False
    return any(ordinal < look.want for ordinal in before.get("ordinals", ()))


def _events_end(look: Look, before: Mapping[str, Any] | None) -> tuple[Occurrence, ...]:
    if not before:
        return ()
    if _is_cancelled(look, before):
        text = f"{look.want} members are wanted; none has to leave"
        return (Occurrence(EventReason.SCALING_CANCELLED, text),)
    return (Occurrence(EventReason.SCALED, f"there are {look.want} members"),)


# --- down


def _plan_down(look: Look) -> Scaling:
    leaving = look.leaving
    ordinals = list(range(look.want, 1 + max([look.have - 1, *map(look.ordinal, leaving)])))
    remaining = sum(member.partitions_owned for member in leaving)
    blocked = "" if _may_drain(look) else "no remaining member can take partitions"
    phase, reason = _phase(look, remaining, blocked)
    status = _status(look, phase, ordinals, remaining, reason)
    stalled = _stalled(look, status)
    skip = bool(stalled) and look.is_annotated(names.SKIP_DRAIN_CHECK_ANNOTATION)
    wanted = dict.fromkeys((m.member_id for m in leaving), Intent.DRAIN)
    if blocked and not skip:
        wanted = dict.fromkeys((m.member_id for m in leaving), Intent.CORDON)
    going = _next_to_go(look, skip=skip)
    transfer = None
    if going is not None and going.leader and (heir := look.heir(look.staying)) is not None:
        transfer = TransferLeader(heir.member_id)
    elif going is not None:
        wanted[going.member_id] = Intent.REMOVE
    return Scaling(
        replicas=_replicas_down(look, skip=skip),
        wanted=wanted,
        transfer=transfer,
        status=status,
        events=_events_down(look, ordinals, stalled, skip=skip),
        stalled="" if skip else stalled,
    )


def _may_drain(look: Look) -> bool:
    """Somebody takes what leaving members own, if they own anything."""
    owners = any(member.partitions_owned for member in look.leaving)
    return not owners or any(map(look.may_receive, look.staying))


def _phase(look: Look, remaining: int, blocked: str) -> tuple[str, str]:
    if remaining:
        return DRAINING, blocked or f"{remaining} partitions are to be moved"
    if any(member.leader for member in look.leaving[:1]):
        return TRANSFERRING, "leadership goes to a member that stays"
    if look.leaving:
        return REMOVING, f"{len(look.leaving)} members are to leave, their pods with them"
    return SHRINKING, "pods end"


def _stalled(look: Look, status: Mapping[str, Any]) -> str:
    limit_ms = stall_after_ms(look.spec.timeouts.handover_ms)
    if look.since_ms(status["lastProgress"]) < limit_ms:
        return ""
    return f"no progress since {status['lastProgress']}: {status['reason']}"


def _next_to_go(look: Look, *, skip: bool) -> MemberSeen | None:
    """The one member that may be asked to leave the Raft group now."""
    removing = [m for m in look.members.values() if m.intent is Intent.REMOVE]
    if removing:
        return next((m for m in removing if m in look.leaving), None)
    for member in sorted(look.leaving, key=lambda m: m.leader):
        drained = not member.partitions_owned or skip
        if drained and _may_stop_voting(look, member):
            return member
    return None


def _may_stop_voting(look: Look, member: MemberSeen) -> bool:
    return member.leader or look.rest_is_live_majority(member)


def _replicas_down(look: Look, *, skip: bool) -> int:
    """Just above the highest ordinal that still counts."""
    counting = [look.ordinal(m) for m in look.leaving if not _may_stop(m, skip=skip)]
    lowest = max([look.want - 1, *counting]) + 1
    return min(look.have, lowest) if look.have else lowest


def _may_stop(member: MemberSeen, *, skip: bool) -> bool:
    """Removed but for its session. Partitions that it keeps go elsewhere when its pod ends."""
    struck_off = member.role is Role.LEARNER and member.intent is Intent.REMOVE
    return struck_off and (skip or not member.partitions_owned)


def _status(
    look: Look, phase: str, ordinals: list[int], remaining: int, reason: str
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": phase,
        "ordinals": ordinals,
        "remaining": remaining,
        "reason": reason,
    }
    moments = progress(look.status.get("scaling"), status, _PROGRESS_KEYS, look.now_ms)
    return {**status, "since": moments.since, "lastProgress": moments.last_progress}


def _events_down(
    look: Look, ordinals: list[int], stalled: str, *, skip: bool
) -> tuple[Occurrence, ...]:
    before = look.status.get("scaling")
    text = f"to {look.want} members; pods {ordinals} are drained first"
    if not before or before.get("phase") == JOINING:
        return (Occurrence(EventReason.SCALING_DOWN, text),)
    if skip:
        return (Occurrence(EventReason.DRAIN_CHECK_SKIPPED, stalled, warning=True),)
    if stalled:
        return (Occurrence(EventReason.DRAIN_STALLED, stalled, warning=True),)
    return ()
