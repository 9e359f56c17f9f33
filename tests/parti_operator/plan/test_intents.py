"""Wanted intents against those that are set: what is recorded, what is asked, what is left."""

from __future__ import annotations

import pytest

from parti_operator.actions import SetIntent
from parti_operator.observed import Intent
from parti_operator.plan.intents import plan_intents
from tests.parti_operator.plan.looks import UID, look, member, record

NONE, CORDON, DRAIN, REMOVE = Intent.NONE, Intent.CORDON, Intent.DRAIN, Intent.REMOVE

CASES = {
    # name: set now, recorded (intent, before), wanted -> recorded then, asked
    "first the record": (NONE, None, DRAIN, ("drain", "none"), None),
    "then the intent": (NONE, ("drain", "none"), DRAIN, ("drain", "none"), DRAIN),
    "it is set": (DRAIN, ("drain", "none"), DRAIN, ("drain", "none"), None),
    "taken back": (DRAIN, ("drain", "none"), NONE, ("drain", "none"), NONE),
    "taken back and seen": (NONE, ("drain", "none"), NONE, None, None),
    "a person's stays": (DRAIN, None, NONE, None, None),
    "a person's is enough": (DRAIN, None, DRAIN, None, None),
    "a person's stronger one stays": (DRAIN, None, CORDON, None, None),
    "the leader's removal stays": (REMOVE, ("drain", "none"), NONE, None, None),
    "back to a person's cordon": (DRAIN, ("drain", "cordon"), NONE, ("drain", "cordon"), CORDON),
    "a cordon of a person is kept in mind": (CORDON, None, DRAIN, ("drain", "cordon"), None),
    "a stronger record first": (CORDON, ("cordon", "none"), DRAIN, ("drain", "none"), None),
    "and then it is asked": (CORDON, ("drain", "none"), DRAIN, ("drain", "none"), DRAIN),
    "given up before it was asked": (CORDON, ("drain", "none"), NONE, ("drain", "none"), NONE),
    "weaker at once": (DRAIN, ("drain", "none"), CORDON, ("drain", "none"), CORDON),
    "a removal is cancelled": (REMOVE, ("remove", "none"), NONE, ("remove", "none"), NONE),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_intent_is_recorded_then_asked_then_taken_back(
    case: tuple[Intent, tuple[str, str] | None, Intent, tuple[str, str] | None, Intent | None],
) -> None:
    now, known, wanted, recorded, asked = case
    rows = [record(101, *known)] if known else []
    seen = look(
        members=[member(0), member(1, intent=now), member(2)],
        status={"clusterID": UID, "intents": rows},
    )
    wanted_of = {} if wanted is NONE else {101: wanted}
    made = plan_intents(seen, wanted_of, may_remove=True)
    assert [row.as_status() for row in made.records] == (
        [record(101, *recorded)] if recorded else []
    )
    assert [(action.member_id, action.intent) for action in made.actions] == (
        [(101, asked)] if asked else []
    )


def removing(*members_removed: int) -> list[dict[str, str]]:
    return [record(member_id, "remove") for member_id in members_removed]


def test_a_removal_names_the_state_it_was_judged_by() -> None:
    seen = look(status={"clusterID": UID, "intents": removing(102)})
    made = plan_intents(seen, {102: REMOVE}, may_remove=True)
    assert made.actions == (SetIntent(102, REMOVE, expected_config_index=7),)


def test_one_removal_at_a_time() -> None:
    seen = look(status={"clusterID": UID, "intents": removing(101, 102)})
    made = plan_intents(seen, {101: REMOVE, 102: REMOVE}, may_remove=True)
    assert len(made.actions) == 1


def test_no_removal_while_another_member_is_being_removed() -> None:
    members = [member(0), member(1, intent=REMOVE), member(2)]
    seen = look(members=members, status={"clusterID": UID, "intents": removing(102)})
    assert not plan_intents(seen, {102: REMOVE}, may_remove=True).actions


def test_no_removal_in_a_pass_that_does_something_else() -> None:
    seen = look(status={"clusterID": UID, "intents": removing(102)})
    assert not plan_intents(seen, {102: REMOVE}, may_remove=False).actions
    rows = [*removing(102), record(101, "drain")]
    seen = look(status={"clusterID": UID, "intents": rows})
    made = plan_intents(seen, {101: DRAIN, 102: REMOVE}, may_remove=True)
    assert made.actions == (SetIntent(101, DRAIN),)


def test_members_receive_again_before_others_are_drained() -> None:
    rows = [record(101, "drain"), record(102, "drain")]
    members = [member(0), member(1), member(2, intent=DRAIN)]
    seen = look(members=members, status={"clusterID": UID, "intents": rows})
    made = plan_intents(seen, {101: DRAIN}, may_remove=True)
    assert made.actions == (SetIntent(102, NONE), SetIntent(101, DRAIN))


def test_without_a_leader_all_records_are_kept() -> None:
    rows = [record(101, "drain")]
    seen = look(view=False, status={"clusterID": UID, "intents": rows})
    made = plan_intents(seen, {}, may_remove=True)
    assert [row.as_status() for row in made.records] == rows
    assert not made.actions


def test_the_record_of_a_member_that_is_gone_goes() -> None:
    seen = look(status={"clusterID": UID, "intents": [record(999, "remove")]})
    assert not plan_intents(seen, {}, may_remove=True).records
