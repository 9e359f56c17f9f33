from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_raft import NO_LIMIT, ProgressState
from parti_raft.progress import Inflights, Progress
from parti_raft.quorum import (
    INFINITE_INDEX,
    VoteResult,
    committed_index,
    describe,
    majority_committed_index,
    majority_vote_result,
    vote_result,
)
from parti_raft.types import MemberId

IDS = st.sets(st.integers(1, 9).map(MemberId), max_size=7)
ACKS = st.dictionaries(st.integers(1, 9).map(MemberId), st.integers(0, 12))
VOTES = st.dictionaries(st.integers(1, 9).map(MemberId), st.booleans())


@given(IDS, ACKS)
def test_a_majority_holds_the_committed_index_and_none_a_larger_one(
    voters: set[MemberId], acked: dict[MemberId, int]
) -> None:
    index = majority_committed_index(voters, acked.get)
    if not voters:
        assert index == INFINITE_INDEX
        return
    holding = [sum(acked.get(voter, 0) >= at for voter in voters) for at in (index, index + 1)]
    assert 2 * holding[0] > len(voters)
    assert 2 * holding[1] <= len(voters)


@given(IDS, IDS, ACKS)
def test_a_joint_quorum_commits_what_both_halves_commit(
    one: set[MemberId], other: set[MemberId], acked: dict[MemberId, int]
) -> None:
    halves = [majority_committed_index(voters, acked.get) for voters in (one, other)]
    assert committed_index(one, other, acked.get) == min(halves)
    assert committed_index(other, one, acked.get) == min(halves)


@given(IDS, VOTES)
def test_an_election_is_decided_exactly_when_no_answer_can_change_it(
    voters: set[MemberId], votes: dict[MemberId, bool]
) -> None:
    granted = sum(votes.get(voter, False) for voter in voters)
    open_votes = sum(voter not in votes for voter in voters)
    result = majority_vote_result(voters, votes)
    won = not voters or 2 * granted > len(voters)
    can_win = not voters or 2 * (granted + open_votes) > len(voters)
    expected = VoteResult.WON if won else VoteResult.PENDING if can_win else VoteResult.LOST
    assert result is expected


@given(IDS, IDS, VOTES)
def test_a_joint_election_needs_both_halves(
    one: set[MemberId], other: set[MemberId], votes: dict[MemberId, bool]
) -> None:
    halves = [majority_vote_result(voters, votes) for voters in (one, other)]
    result = vote_result(one, other, votes)
    assert (result is VoteResult.WON) == all(half is VoteResult.WON for half in halves)
    assert (result is VoteResult.LOST) == any(half is VoteResult.LOST for half in halves)


def test_the_picture_of_a_quorum() -> None:
    acked = {MemberId(1): 100, MemberId(2): 101}
    rows = describe([MemberId(1), MemberId(2), MemberId(3)], acked.get).splitlines()
    assert rows == [
        "       idx",
        "x>     100    (id=1)",
        "xx>    101    (id=2)",
        "?        0    (id=3)",
    ]


def progress(match: int = 0, next_index: int = 1, max_messages: int = 2) -> Progress:
    made = Progress(next_index, Inflights(max_messages, NO_LIMIT), is_learner=False)
    made.match_index = match
    return made


def test_the_window_is_limited_in_messages_and_bytes() -> None:
    window = Inflights(2, 100)
    window.add(5, 10)
    assert not window.full
    window.add(7, 10)
    assert window.full
    window.free_to(4)
    assert len(window) == 2
    window.free_to(6)
    assert len(window) == 1
    window.add(9, 95)
    window.free_to(7)
    assert not window.full
    window.add(12, 5)
    assert window.full
    with pytest.raises(AssertionError):
        window.add(13, 1)
    window.reset()
    assert len(window) == 0
    window.add(14, 100)
    assert window.full, "one message fills the bytes"


def test_probing_sends_one_message_at_a_time() -> None:
    each = progress()
    each.sent_entries(0, 0)
    assert not each.paused
    each.sent_entries(3, 30)
    assert each.paused
    assert each.next_index == 1


def test_replicating_streams_until_the_window_is_full() -> None:
    each = progress()
    each.become_replicate()
    each.sent_entries(3, 30)
    assert (each.next_index, each.paused) == (4, False)
    each.sent_entries(1, 10)
    assert (each.next_index, each.paused) == (5, True)


def test_a_snapshot_pauses_and_its_end_probes_behind_it() -> None:
    each = progress(match=3)
    each.become_snapshot(10)
    assert (each.next_index, each.paused, each.sent_commit) == (11, True, 10)
    each.become_probe()
    assert (each.state, each.next_index, each.pending_snapshot) == (ProgressState.PROBE, 11, 0)
    each.become_snapshot(20)
    with pytest.raises(AssertionError):
        each.sent_entries(1, 1)


def test_a_match_only_rises() -> None:
    each = progress(match=5, next_index=6)
    assert not each.maybe_update(5)
    assert not each.maybe_update(4)
    assert each.maybe_update(7)
    assert (each.match_index, each.next_index) == (7, 8)


@pytest.mark.parametrize(
    ("state", "rejected", "hint", "taken", "next_index"),
    [
        (ProgressState.REPLICATE, 5, 9, False, 10),
        (ProgressState.REPLICATE, 9, 7, True, 6),
        (ProgressState.PROBE, 8, 8, False, 10),
        (ProgressState.PROBE, 9, 7, True, 8),
        (ProgressState.PROBE, 9, 20, True, 9),
        (ProgressState.PROBE, 9, 2, True, 6),
    ],
)
def test_rejections(
    state: ProgressState,
    rejected: int,
    hint: int,
    taken: bool,  # noqa: FBT001
    next_index: int,
) -> None:
    each = progress(match=5, next_index=10)
    each.state = state
    assert each.maybe_decrease(rejected, hint) is taken
    assert each.next_index == next_index


def test_a_commit_index_is_sent_while_it_can_move_the_member() -> None:
    each = progress(match=5, next_index=10)
    each.sent_commit = 4
    assert each.can_bump_commit(5)
    assert not each.can_bump_commit(4)
    each.sent_commit = 9
    assert not each.can_bump_commit(12)
