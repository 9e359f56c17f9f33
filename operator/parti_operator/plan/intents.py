"""From the intents that are wanted to those that are set, and back. Pure.

The concerns only say which intent each member should have now; nothing else about them is
remembered. This module compares that with what the cluster has, and keeps in `status.intents` what
the operator asked for, with what was there before. So a drain or a cordon that a person set by hand
stays, and one of ours is taken back even by an operator that started a moment ago.

The record is written in a pass before the intent is set: whatever we may have set is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parti_operator.actions import SetIntent
from parti_operator.observed import Intent, MemberSeen
from parti_operator.plan.look import Look
from parti_operator.plan.records import Asked, read_records

_STRENGTH = (Intent.NONE, Intent.CORDON, Intent.DRAIN, Intent.REMOVE)


@dataclass(frozen=True, slots=True)
class IntentPlan:
    """The records that the status shall have, and the changes that they already cover."""

    records: tuple[Asked, ...]
    actions: tuple[SetIntent, ...]


def plan_intents(look: Look, wanted: Mapping[int, Intent], *, may_remove: bool) -> IntentPlan:
    """Compare what is wanted with what is set. Without a leader nothing is known: keep all.

    A removal is the only change of its pass, and there is one at a time in the cluster.
    """
    recorded = read_records(look.status)
    if look.view is None:
        return IntentPlan(tuple(recorded.values()), ())
    records: list[Asked] = []
    actions: list[SetIntent] = []
    for member in sorted(look.members.values(), key=lambda m: m.member_id):
        known = recorded.get(member.member_id)
        record, intent = _decide(member, known, wanted.get(member.member_id, Intent.NONE))
        if record is not None:
            records.append(record)
        if intent is not None and record == known:
            actions.append(SetIntent(member.member_id, intent, _expected(look, intent)))
    return IntentPlan(tuple(records), _one_removal(look, actions, may_remove=may_remove))


def _one_removal(
    look: Look, actions: Sequence[SetIntent], *, may_remove: bool
) -> tuple[SetIntent, ...]:
    """Members that may receive again come before others are drained towards them."""
    mild = sorted((a for a in actions if not a.destructive), key=lambda a: _strength(a.intent))
    under_way = any(member.intent is Intent.REMOVE for member in look.members.values())
    if mild or under_way or not may_remove:
        return tuple(mild)
    return tuple(actions[:1])


def _decide(
    member: MemberSeen, known: Asked | None, wanted: Intent
) -> tuple[Asked | None, Intent | None]:
    """The record that a member shall have, and the intent to set, if any.

    What is not stronger than the strongest we have asked may be ours: a change is on its way, or
    did not arrive. Something stronger is a person's, or the leader's.
    """
    ours = known is not None and _strength(member.intent) <= _strength(known.intent)
    before = known.before if known is not None else member.intent
    if wanted is Intent.NONE:
        return (known, before) if ours and member.intent is not before else (None, None)
    foreign_and_stronger = not ours and _strength(member.intent) > _strength(wanted)
    if member.intent is wanted or foreign_and_stronger:
        return known, None
    strongest = max(wanted, known.intent if known is not None else wanted, key=_strength)
    return Asked(member.member_id, strongest, before), wanted


def _expected(look: Look, intent: Intent) -> int:
    """A removal is refused if anything that it was judged by has changed."""
    assert look.view is not None, "intents are compared with a leader's word"
    return look.view.config_index if intent is Intent.REMOVE else 0


def _strength(intent: Intent) -> int:
    return _STRENGTH.index(intent)
