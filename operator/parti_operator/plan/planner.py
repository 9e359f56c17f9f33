"""The plan: asks every concern, lets one disruption at a time through, and puts all in order. Pure.

The order of actions: what pods need, the quorum, the beginning, what the cluster is told, intents
and leadership, then what takes something away, and last what may fail for reasons outside.

A disruption is what takes a vote, a pod or a disk away. At most one is in a plan; the gravest
trouble goes first, and the others wait for the look that follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from parti_operator import names
from parti_operator.actions import Action, ClearAnnotation
from parti_operator.names import EventReason
from parti_operator.observed import Intent, Observed
from parti_operator.plan.bootstrap import plan_bootstrap
from parti_operator.plan.conditions import was_paused
from parti_operator.plan.describing import plan_descriptions, plan_policy
from parti_operator.plan.findings import Findings
from parti_operator.plan.intents import plan_intents
from parti_operator.plan.look import Look
from parti_operator.plan.objects import plan_children, plan_claims
from parti_operator.plan.quorum import plan_quorum
from parti_operator.plan.records import read_records
from parti_operator.plan.replacing import plan_replacing
from parti_operator.plan.rolling import plan_rolling
from parti_operator.plan.scaling import plan_scaling
from parti_operator.plan.status import status_of
from parti_operator.plan.telling import events_of, lasting_of
from parti_operator.plan.values import Occurrence, Plan

AGAIN_MS = 100  # a record was written, the action it is for comes next
STEP_MS = 1_000  # something goes on that the next step waits for
UNSETTLED_MS = 5_000
IDLE_MS = 60_000
# Parts of the status that an action waits for: they are written in a pass before it.
_RECORDS = ("clusterID", "bootstrap", "intents", "forcedQuorum")


def plan(observed: Observed, now_ms: int) -> Plan:
    """What to do, what to say, and when to look again."""
    look = Look(observed, now_ms)
    found = _find(look)
    if observed.deleting or look.spec.paused or found.refused is not None:
        return _hands_off(look, found)
    return _act(look, found)


def _find(look: Look) -> Findings:
    scaling = plan_scaling(look)
    going_down = bool(look.leaving) or look.have > look.want
    return Findings(
        conflicts=_conflicts(look),
        bootstrapping=plan_bootstrap(look),
        quorum=plan_quorum(look),
        scaling=scaling,
        rolling=plan_rolling(look, scaling_down=look.exists and going_down),
        replacing=plan_replacing(look),
        asked=tuple(read_records(look.status).values()),
    )


def _conflicts(look: Look) -> str:
    if not look.observed.foreign:
        return ""
    found = ", ".join(f"{key.kind} {key.name}" for key in look.observed.foreign)
    return f"belongs to somebody else and is not taken over: {found}"


# --- plans without actions


def _hands_off(look: Look, found: Findings) -> Plan:
    """Only the status goes on being told; what was asked of members stays asked."""
    held = replace(
        found,
        scaling=replace(found.scaling, status=look.status.get("scaling"), stalled=""),
        rolling=replace(found.rolling, status=look.status.get("roll"), stalled=""),
        quorum=replace(found.quorum, record=look.status.get("forcedQuorum")),
        bootstrapping=replace(found.bootstrapping, record=look.status.get("bootstrap")),
    )
    events = list(lasting_of(look))
    if found.bootstrapping.refused:
        events.extend(found.bootstrapping.events)
    if found.conflicts:
        events.append(Occurrence(EventReason.NAME_CONFLICT, found.conflicts, warning=True))
    if look.spec.paused and not was_paused(look.status):
        events.append(Occurrence(EventReason.PAUSED, "only the status is written"))
    settled = IDLE_MS if look.view is not None else UNSETTLED_MS
    return Plan((), status_of(look, held), tuple(events), settled)


# --- plans with actions


def _act(look: Look, found: Findings) -> Plan:
    children, said = plan_children(look, found.scaling.replicas)
    policy = plan_policy(look)
    told = (*((policy,) if policy is not None else ()), *plan_descriptions(look))
    shrinking = any(action.destructive for action in children)
    taking = () if shrinking else _taking(found)
    quiet = not (shrinking or taking or told)
    intents = plan_intents(look, _wanted(found), may_remove=quiet)
    transfer = (found.scaling.transfer or found.rolling.transfer) if quiet else None
    actions: tuple[Action, ...] = (
        *children,
        *found.quorum.actions,
        *found.bootstrapping.actions,
        *told,
        *intents.actions,
        *((transfer,) if transfer is not None else ()),
        *taking,
        *plan_claims(look),
        *_clear_override(look, found),
    )
    found = replace(found, asked=intents.records, writing=bool(children))
    allowed = _until_live_is_needed(look, actions)
    status = status_of(look, found)
    return Plan(
        actions=allowed,
        status=status,
        events=(*said, *events_of(look, found, actions)),
        requeue_after_ms=_requeue_after_ms(look, found, status, acting=bool(actions)),
        look_closer=len(allowed) < len(actions),
    )


def _taking(found: Findings) -> tuple[Action, ...]:
    """The one thing that takes a pod or a disk away now."""
    if found.quorum.actions or found.bootstrapping.actions:
        return ()
    if found.replacing.actions:
        return found.replacing.actions
    return (found.rolling.replace,) if found.rolling.replace is not None else ()


def _wanted(found: Findings) -> Mapping[int, Intent]:
    """A member that two concerns speak of leaves or is replaced rather than rolled."""
    return {**found.rolling.wanted, **found.scaling.wanted, **found.replacing.wanted}


def _clear_override(look: Look, found: Findings) -> tuple[ClearAnnotation, ...]:
    """An override holds for the change it was given for, not for the next one."""
    key = names.SKIP_DRAIN_CHECK_ANNOTATION
    over = found.scaling.finished or found.rolling.finished
    if key not in look.observed.annotations or not over or found.progressing is not None:
        return ()
    return (ClearAnnotation(key, look.observed.annotations[key]),)


def _until_live_is_needed(look: Look, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Nothing is destroyed on the word of a cache."""
    if look.observed.live:
        return actions
    first = next((i for i, action in enumerate(actions) if action.destructive), len(actions))
    return actions[:first]


# --- time


def _requeue_after_ms(
    look: Look, found: Findings, status: Mapping[str, Any], *, acting: bool
) -> int:
    if any(status.get(record) != look.status.get(record) for record in _RECORDS):
        return AGAIN_MS
    if acting or found.progressing is not None or found.quorum.record is not None:
        return STEP_MS
    if not look.exists or look.view is None:
        return STEP_MS
    joined = all(map(look.has_joined, range(look.want)))
    # The sidecars tell nobody when partitions begin to move: what has changed may go on changing.
    settled = joined and not look.view.partitions.moving and status == look.status
    return IDLE_MS if settled else UNSETTLED_MS
