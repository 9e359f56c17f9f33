"""What people are told by Events of one plan. Pure.

The concerns tell what they began and ended; here stands what shows only in the actions as a whole,
or in the spec. An Event says what is asked for: whether it was done, the next look says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from parti_operator.actions import Action, GrowClaim, SetIntent, SetPolicy, TransferLeader
from parti_operator.names import ConditionType, EventReason
from parti_operator.observed import Intent
from parti_operator.plan.conditions import message_of, was_paused
from parti_operator.plan.findings import Findings
from parti_operator.plan.look import Look
from parti_operator.plan.pod_troubles import LISTED_MAX, failing_pods
from parti_operator.plan.values import Occurrence
from parti_operator.spec import warnings


def events_of(look: Look, found: Findings, actions: tuple[Action, ...]) -> tuple[Occurrence, ...]:
    """Everything but what is said of the children."""
    told = list(lasting_of(look))
    if was_paused(look.status):
        told.append(Occurrence(EventReason.RESUMED, "the spec is followed again"))
    of_actions = (event for action in actions if (event := _of_action(look, action)) is not None)
    lost = (Occurrence(EventReason.MEMBER_LOST, t, warning=True) for t in found.replacing.lost)
    parts = (found.bootstrapping, found.quorum, found.scaling, found.rolling, found.replacing)
    return (*told, *of_actions, *lost, *chain.from_iterable(part.events for part in parts))


def lasting_of(look: Look) -> Iterator[Occurrence]:
    """What is unwise in the spec, and pods that do not run, if the status does not say it yet."""
    known = look.status.get("warnings", ())
    for text in warnings(look.spec):
        if text not in known:
            yield Occurrence(EventReason.SPEC_WARNING, text, warning=True)
    said = message_of(look.status, ConditionType.DEGRADED)
    for pod in failing_pods(look)[:LISTED_MAX]:
        if pod.headline not in said:
            yield Occurrence(EventReason.POD_FAILING, pod.text, warning=True)


def _of_action(look: Look, action: Action) -> Occurrence | None:
    if isinstance(action, SetPolicy):
        return _of_policy(look, action)
    if isinstance(action, SetIntent) and action.intent is Intent.REMOVE:
        text = f"{look.members[action.member_id].name} leaves the Raft group"
        return Occurrence(EventReason.MEMBER_REMOVED, text)
    if isinstance(action, TransferLeader) and look.leader is not None:
        heir = look.members[action.to_member_id].name
        text = f"{look.leader.name} hands leadership over to {heir}"
        return Occurrence(EventReason.LEADER_TRANSFERRED, text)
    if isinstance(action, GrowClaim):
        return Occurrence(EventReason.STORAGE_GROWN, f"{action.claim} grows to {action.size}")
    return None


def _of_policy(look: Look, action: SetPolicy) -> Occurrence:
    voters = action.policy.voters_max
    if voters < look.spec.voters:
        text = f"{look.want} replicas allow {voters} voters, {look.spec.voters} are asked for"
        return Occurrence(EventReason.VOTERS_LOWERED, text)
    return Occurrence(EventReason.POLICY_CHANGED, "the policy follows the spec")
