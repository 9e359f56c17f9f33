"""Run `committed` and `vote` steps.

Each result is computed in several ways that must agree; a disagreement shows up in the output
and so fails the step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from parti_raft.quorum import (
    INFINITE_INDEX,
    committed_index,
    describe,
    majority_committed_index,
    majority_vote_result,
    vote_result,
)
from parti_raft.types import MemberId
from tests.conformance.datadriven import ScriptError, Step

COMMANDS = frozenset({"committed", "vote"})


class QuorumScript:
    """A stateless runner of quorum steps."""

    def run(self, step: Step) -> str:
        """Run one step and give its output."""
        incoming = _members(step.values("cfg"))
        joint = step.has("cfgj")
        outgoing = [] if step.value("cfgj") == "zero" else _members(step.values("cfgj"))
        values = step.values("votes" if step.command == "vote" else "idx")
        voters = list(dict.fromkeys([*incoming, *outgoing]))
        if len(voters) != len(values):
            return f"error: mismatched input (explicit or _) for voters {voters}: {values}"
        given = {voter: value for voter, value in zip(voters, values, strict=True) if value != "_"}
        if step.command == "vote":
            votes = {voter: _vote(value) for voter, value in given.items()}
            return _vote_output(incoming, outgoing, votes, joint=joint)
        acked = {voter: int(value) for voter, value in given.items()}
        return _committed_output(incoming, outgoing, acked, joint=joint)


def _members(values: Collection[str]) -> list[MemberId]:
    return [MemberId(int(value)) for value in values]


def _vote(value: str) -> bool:
    if value not in ("y", "n"):
        raise ScriptError(f"unknown vote {value}")
    return value == "y"


def _index_text(index: int) -> str:
    return "∞" if index == INFINITE_INDEX else str(index)


def _committed_output(
    incoming: list[MemberId], outgoing: list[MemberId], acked: dict[MemberId, int], *, joint: bool
) -> str:
    text = describe(set(incoming) | set(outgoing), acked.get)
    index = committed_index(set(incoming), set(outgoing), acked.get)
    others = {"symmetry": committed_index(set(outgoing), set(incoming), acked.get)}
    if not joint:
        others = _other_ways(set(incoming), acked, index)
    for name, other in others.items():
        if other != index:
            text += f"{_index_text(other)} <-- via {name}\n"
    return text + _index_text(index)


def _other_ways(voters: set[MemberId], acked: Mapping[MemberId, int], index: int) -> dict[str, int]:
    ways = {
        "alternative computation": _by_counting(voters, acked),
        "majority alone": majority_committed_index(voters, acked.get),
        "self-joint quorum": committed_index(voters, voters, acked.get),
    }
    for voter in voters:
        own = acked.get(voter, 0)
        if 0 < own < index:
            # What is below the committed index does not matter.
            for lower in (own - 1, 0):
                lowered = {**acked, voter: lower}
                ways[f"overlay {voter}->{lower}"] = majority_committed_index(voters, lowered.get)
    return ways


def _by_counting(voters: set[MemberId], acked: Mapping[MemberId, int]) -> int:
    if not voters:
        return INFINITE_INDEX
    reached = [
        index
        for index in acked.values()
        if 2 * sum(acked.get(voter, 0) >= index for voter in voters) > len(voters)
    ]
    return max(reached, default=0)


def _vote_output(
    incoming: list[MemberId],
    outgoing: list[MemberId],
    votes: dict[MemberId, bool],
    *,
    joint: bool,
) -> str:
    result = vote_result(incoming, outgoing, votes)
    other = vote_result(outgoing, incoming, votes)
    if not joint:
        other = majority_vote_result(incoming, votes)
    text = "" if other is result else f"{other.value} <-- via symmetry\n"
    return text + result.value
