from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_raft import (
    NO_LIMIT,
    ChangeType,
    ConfChange,
    ConfChangeError,
    ConfChangeReason,
    ConfChangeV1,
    ConfChangeV2,
    ConfState,
    EntryType,
    MalformedConfChangeError,
    MemberId,
    SingleChange,
    Transition,
)
from parti_raft.changer import Changer, restore
from parti_raft.confchange import as_v2, decode_conf_change, encode_conf_change
from parti_raft.tracker import Tracker

IDS = st.integers(0, (1 << 64) - 1).map(MemberId)
SINGLES = st.builds(SingleChange, st.sampled_from(ChangeType), IDS)
CHANGES = st.one_of(
    st.builds(ConfChangeV1, st.sampled_from(ChangeType), IDS, st.binary()),
    st.builds(
        ConfChangeV2,
        st.sampled_from(Transition),
        st.lists(SINGLES, max_size=4).map(tuple),
        st.binary(),
    ),
)


@given(CHANGES)
def test_changes_survive_their_byte_form(change: ConfChange) -> None:
    assert decode_conf_change(*encode_conf_change(change)) == change


def test_the_empty_change_has_no_bytes() -> None:
    assert encode_conf_change(ConfChangeV2()) == (EntryType.CONF_CHANGE_V2, b"")


@pytest.mark.parametrize("kind", [EntryType.CONF_CHANGE, EntryType.CONF_CHANGE_V2])
@given(data=st.binary(min_size=1, max_size=30))
def test_any_bytes_are_read_or_refused(kind: EntryType, data: bytes) -> None:
    try:
        change = decode_conf_change(kind, data)
    except MalformedConfChangeError:
        return
    again = decode_conf_change(*encode_conf_change(change))
    assert again == change


@pytest.mark.parametrize("cut", [1, 2, 5, 11])
def test_cut_changes_are_refused(cut: int) -> None:
    change = ConfChangeV2(changes=(SingleChange(ChangeType.REMOVE, MemberId(7)),))
    kind, data = encode_conf_change(change)
    with pytest.raises(MalformedConfChangeError):
        decode_conf_change(kind, data[:cut])


def test_too_many_changes_are_refused() -> None:
    single = SingleChange(ChangeType.REMOVE, MemberId(7))
    with pytest.raises(MalformedConfChangeError):
        encode_conf_change(ConfChangeV2(changes=(single,) * (1 << 16)))


def test_what_a_change_asks_for() -> None:
    single = SingleChange(ChangeType.ADD_VOTER, MemberId(7))
    assert as_v2(ConfChangeV1(ChangeType.ADD_VOTER, MemberId(7), b"c")) == ConfChangeV2(
        changes=(single,), context=b"c"
    )
    assert ConfChangeV2(context=b"x").leaves_joint
    assert not ConfChangeV2(changes=(single,)).enters_joint
    assert ConfChangeV2(changes=(single, single)).enters_joint
    assert ConfChangeV2(Transition.JOINT_IMPLICIT, (single,)).auto_leave
    assert not ConfChangeV2(Transition.JOINT_EXPLICIT).auto_leave


def tracker(state: ConfState) -> Tracker:
    made = Tracker(10, NO_LIMIT)
    restore(made, 5, state)
    return made


def ids(*numbers: int) -> tuple[MemberId, ...]:
    return tuple(MemberId(number) for number in numbers)


@pytest.mark.parametrize(
    "state",
    [
        ConfState(),
        ConfState(ids(1, 2, 3)),
        ConfState(ids(1), learners=ids(2, 3)),
        ConfState(ids(1, 2, 3), ids(1, 2, 4, 6), ids(5), ids(4), auto_leave=True),
        ConfState(ids(7), ids(1, 2)),
    ],
)
def test_a_configuration_is_restored_as_it_was(state: ConfState) -> None:
    restored = tracker(state)
    assert restored.configuration.conf_state() == state
    assert list(restored.progress) == sorted(restored.progress)


@given(
    st.lists(
        st.builds(SingleChange, st.sampled_from(ChangeType), st.integers(1, 6).map(MemberId)),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_a_joint_change_is_simple_changes_one_by_one(
    changes: list[SingleChange],
    auto_leave: bool,  # noqa: FBT001
) -> None:
    # Member 9 always votes, so that some voter is always left.
    start = ConfState(ids(1, 2, 3, 9), learners=ids(4))
    one_by_one, joint = tracker(start), tracker(start)
    for single in changes:
        one_by_one.use(*Changer(one_by_one, 5).simple([single]))
    joint.use(*Changer(joint, 5).enter_joint(changes, auto_leave=auto_leave))
    assert joint.configuration.auto_leave is auto_leave
    assert joint.configuration.voters_outgoing == set(start.voters)
    joint.use(*Changer(joint, 5).leave_joint())
    assert joint.configuration.voters == one_by_one.configuration.voters
    assert joint.configuration.learners == one_by_one.configuration.learners
    assert list(joint.progress) == list(one_by_one.progress)


def test_progress_survives_a_change_and_a_refusal_alters_nothing() -> None:
    group = tracker(ConfState(ids(1, 2, 3)))
    group.progress[MemberId(2)].match_index = 4
    group.use(*Changer(group, 5).simple([SingleChange(ChangeType.ADD_VOTER, MemberId(4))]))
    assert group.progress[MemberId(2)].match_index == 4
    before = group.configuration
    removals = [SingleChange(ChangeType.REMOVE, MemberId(member)) for member in (1, 2)]
    with pytest.raises(ConfChangeError) as refused:
        Changer(group, 5).simple(removals)
    assert refused.value.reason is ConfChangeReason.TOO_MANY_VOTERS_CHANGED
    assert group.configuration == before
    assert list(group.progress) == [1, 2, 3, 4]


def test_the_last_voter_cannot_be_removed() -> None:
    group = tracker(ConfState(ids(1), learners=ids(2)))
    with pytest.raises(ConfChangeError) as refused:
        Changer(group, 5).simple([SingleChange(ChangeType.REMOVE, MemberId(1))])
    assert refused.value.reason is ConfChangeReason.NO_VOTERS_LEFT


def test_a_voided_change_is_skipped() -> None:
    group = tracker(ConfState(ids(1)))
    group.use(*Changer(group, 5).simple([SingleChange(ChangeType.REMOVE, MemberId(0))]))
    assert group.configuration.conf_state() == ConfState(ids(1))
