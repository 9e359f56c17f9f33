"""The active configuration and the progress of each of its members.

`progress` is kept in the order of member ids, so that iterating over it sends messages in a
stable order. The configuration is immutable: a change replaces it as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parti_raft.progress import Inflights, Progress
from parti_raft.quorum import VoteResult, committed_index, vote_result
from parti_raft.types import ConfState, MemberId

ProgressMap = dict[MemberId, Progress]


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who votes and who learns; joint while `voters_outgoing` is not empty.

    A voter that is to become a learner stays a voter (in the outgoing half) until the joint
    configuration is left, and waits in `learners_next`: nobody is voter and learner at once.
    """

    voters: frozenset[MemberId] = frozenset()
    voters_outgoing: frozenset[MemberId] = frozenset()
    learners: frozenset[MemberId] = frozenset()
    learners_next: frozenset[MemberId] = frozenset()
    auto_leave: bool = False

    @property
    def joint(self) -> bool:
        """Two majorities must agree."""
        return bool(self.voters_outgoing)

    @property
    def all_voters(self) -> frozenset[MemberId]:
        """Voters of either half."""
        return self.voters | self.voters_outgoing

    def conf_state(self) -> ConfState:
        """The same as plain sorted tuples, for snapshots."""
        return ConfState(
            voters=tuple(sorted(self.voters)),
            voters_outgoing=tuple(sorted(self.voters_outgoing)),
            learners=tuple(sorted(self.learners)),
            learners_next=tuple(sorted(self.learners_next)),
            auto_leave=self.auto_leave,
        )


class Tracker:
    """Configuration, progress and votes of one member's view."""

    __slots__ = (
        "configuration",
        "max_inflight_bytes",
        "max_inflight_messages",
        "progress",
        "votes",
    )

    def __init__(self, max_inflight_messages: int, max_inflight_bytes: int) -> None:
        """Start without members."""
        self.max_inflight_messages = max_inflight_messages
        self.max_inflight_bytes = max_inflight_bytes
        self.configuration = Configuration()
        self.progress: ProgressMap = {}
        self.votes: dict[MemberId, bool] = {}

    def use(self, configuration: Configuration, progress: Mapping[MemberId, Progress]) -> None:
        """Switch to another configuration."""
        self.configuration = configuration
        self.progress = {member: progress[member] for member in sorted(progress)}

    def new_inflights(self) -> Inflights:
        """An empty window with the configured limits."""
        return Inflights(self.max_inflight_messages, self.max_inflight_bytes)

    @property
    def is_singleton(self) -> bool:
        """One voter decides alone."""
        configuration = self.configuration
        return len(configuration.voters) == 1 and not configuration.voters_outgoing

    def match_index_of(self, member: MemberId) -> int | None:
        """What a member has acknowledged, None for a member without progress."""
        progress = self.progress.get(member)
        return None if progress is None else progress.match_index

    def committed_index(self) -> int:
        """The largest index a quorum has acknowledged."""
        configuration = self.configuration
        return committed_index(
            configuration.voters, configuration.voters_outgoing, self.match_index_of
        )

    def quorum_active(self) -> bool:
        """A quorum has been heard of lately."""
        active = {
            member: progress.recent_active
            for member, progress in self.progress.items()
            if not progress.is_learner
        }
        return self._result(active) is VoteResult.WON

    def record_vote(self, member: MemberId, *, granted: bool) -> None:
        """Keep the first vote of each member: a repeated or changed answer counts once."""
        self.votes.setdefault(member, granted)

    def tally_votes(self) -> VoteResult:
        """The state of the election."""
        return self._result(self.votes)

    def _result(self, votes: Mapping[MemberId, bool]) -> VoteResult:
        configuration = self.configuration
        return vote_result(configuration.voters, configuration.voters_outgoing, votes)
