"""Majority and joint quorums: what is committed, who has won.

A joint quorum is two sets of voters of which each must agree on its own. An empty set agrees
to everything, so a plain majority is a joint quorum whose second set is empty. All results are
computed from scratch: no sorted prefix or counter is kept that could go stale.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import Enum

from parti_raft.types import MemberId

# What an empty set of voters has committed: everything.
INFINITE_INDEX = (1 << 64) - 1

AckedIndex = Callable[[MemberId], int | None]


class VoteResult(Enum):
    """Outcome of counting votes."""

    PENDING = "VotePending"
    LOST = "VoteLost"
    WON = "VoteWon"


def majority_committed_index(voters: Collection[MemberId], acked: AckedIndex) -> int:
    """The largest index that a majority of `voters` has acknowledged."""
    if not voters:
        return INFINITE_INDEX
    indexes = sorted([acked(voter) or 0 for voter in voters])
    return indexes[(len(indexes) - 1) // 2]


def committed_index(
    incoming: Collection[MemberId], outgoing: Collection[MemberId], acked: AckedIndex
) -> int:
    """The largest index that both halves of a joint quorum have committed."""
    committed = majority_committed_index(incoming, acked)
    if not outgoing:
        return committed
    return min(committed, majority_committed_index(outgoing, acked))


def majority_vote_result(
    voters: Collection[MemberId], votes: Mapping[MemberId, bool]
) -> VoteResult:
    """Count votes of one set; votes of members outside of it do not count."""
    if not voters:
        return VoteResult.WON
    granted = sum(1 for voter in voters if votes.get(voter, False))
    missing = sum(1 for voter in voters if voter not in votes)
    majority = len(voters) // 2 + 1
    if granted >= majority:
        return VoteResult.WON
    if granted + missing >= majority:
        return VoteResult.PENDING
    return VoteResult.LOST


def vote_result(
    incoming: Collection[MemberId],
    outgoing: Collection[MemberId],
    votes: Mapping[MemberId, bool],
) -> VoteResult:
    """Count votes of a joint quorum: both halves must win, one lost half loses."""
    results = {majority_vote_result(incoming, votes), majority_vote_result(outgoing, votes)}
    if VoteResult.LOST in results:
        return VoteResult.LOST
    if VoteResult.PENDING in results:
        return VoteResult.PENDING
    return VoteResult.WON


def describe(voters: Collection[MemberId], acked: AckedIndex) -> str:
    """Draw one row per voter; the bar shows how many voters are strictly behind it."""
    if not voters:
        return "<empty majority quorum>"
    width = len(voters)
    by_index = sorted(voters, key=lambda voter: (acked(voter) or 0, voter))
    bars: dict[MemberId, int] = {}
    for rank, voter in enumerate(by_index):
        before = by_index[rank - 1] if rank else voter
        level = (acked(before) or 0) == (acked(voter) or 0)
        bars[voter] = bars.get(before, 0) if level else rank
    rows = [" " * width + "    idx"]
    for voter in sorted(voters):
        index, bar = acked(voter), bars[voter]
        picture = "?" + " " * width if index is None else "x" * bar + ">" + " " * (width - bar)
        rows.append(f"{picture} {index or 0:5d}    (id={voter:x})")
    return "\n".join(rows) + "\n"
