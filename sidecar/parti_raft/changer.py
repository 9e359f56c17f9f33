"""Compute the configuration that follows from a change, or refuse it.

A `Changer` never alters the tracker it was given; it returns a new configuration with new
progress. Three ways: *simple* (at most one voter changes), *enter joint* and *leave joint* (Raft
thesis, section 4.3). Between entering and leaving, both the incoming and the outgoing voters
must agree on everything.
"""

from __future__ import annotations

from collections.abc import Iterable

from parti_raft.confchange import ChangeType, ConfChangeV2, SingleChange
from parti_raft.errors import ConfChangeError, ConfChangeReason
from parti_raft.progress import Progress
from parti_raft.tracker import Configuration, ProgressMap, Tracker
from parti_raft.types import NO_MEMBER, ConfState, MemberId

Changed = tuple[Configuration, ProgressMap]


class Changer:
    """One change on top of a tracker's configuration."""

    def __init__(self, tracker: Tracker, last_index: int) -> None:
        """New members are first probed at `last_index`."""
        self._tracker = tracker
        self._last_index = last_index
        configuration = tracker.configuration
        self._voters = set(configuration.voters)
        self._outgoing = set(configuration.voters_outgoing)
        self._learners = set(configuration.learners)
        self._learners_next = set(configuration.learners_next)
        self._progress = {member: each.clone() for member, each in tracker.progress.items()}
        check_configuration(configuration, self._progress)

    def change(self, change: ConfChangeV2) -> Changed:
        """Apply a change the way it asks for."""
        if change.leaves_joint:
            return self.leave_joint()
        if change.enters_joint:
            return self.enter_joint(change.changes, auto_leave=change.auto_leave)
        return self.simple(change.changes)

    def simple(self, changes: Iterable[SingleChange]) -> Changed:
        """Change at most one voter, and any learners."""
        if self._outgoing:
            raise ConfChangeError(ConfChangeReason.SIMPLE_IN_JOINT)
        self._apply(changes)
        if len(self._voters ^ self._tracker.configuration.voters) > 1:
            raise ConfChangeError(ConfChangeReason.TOO_MANY_VOTERS_CHANGED)
        return self._result(auto_leave=False)

    def enter_joint(self, changes: Iterable[SingleChange], *, auto_leave: bool) -> Changed:
        """Keep the present voters as the outgoing half and change the incoming one."""
        if self._outgoing:
            raise ConfChangeError(ConfChangeReason.ALREADY_JOINT)
        if not self._voters:
            raise ConfChangeError(ConfChangeReason.NO_VOTERS_TO_JOIN)
        self._outgoing = set(self._voters)
        self._apply(changes)
        return self._result(auto_leave=auto_leave)

    def leave_joint(self) -> Changed:
        """Let the incoming voters decide alone; staged learners become learners."""
        if not self._outgoing:
            raise ConfChangeError(ConfChangeReason.NOT_JOINT)
        for member in self._learners_next:
            self._learners.add(member)
            self._progress[member].is_learner = True
        self._learners_next = set()
        for member in self._outgoing - self._voters - self._learners:
            del self._progress[member]
        self._outgoing = set()
        return self._result(auto_leave=False)

    def _apply(self, changes: Iterable[SingleChange]) -> None:
        for single in changes:
            if single.member == NO_MEMBER:
                continue
            if single.type is ChangeType.ADD_VOTER:
                self._make_voter(single.member)
            elif single.type is ChangeType.ADD_LEARNER:
                self._make_learner(single.member)
            elif single.type is ChangeType.REMOVE:
                self._remove(single.member)
            else:
                assert single.type is ChangeType.UPDATE
        if not self._voters:
            raise ConfChangeError(ConfChangeReason.NO_VOTERS_LEFT)

    def _make_voter(self, member: MemberId) -> None:
        progress = self._progress.get(member)
        if progress is None:
            self._voters.add(member)
            self._add_progress(member, is_learner=False)
            return
        progress.is_learner = False
        self._learners.discard(member)
        self._learners_next.discard(member)
        self._voters.add(member)

    def _make_learner(self, member: MemberId) -> None:
        progress = self._progress.get(member)
        if progress is None:
            self._learners.add(member)
            self._add_progress(member, is_learner=True)
            return
        if progress.is_learner:
            return
        self._remove(member)
        self._progress[member] = progress
        if member in self._outgoing:
            self._learners_next.add(member)
        else:
            progress.is_learner = True
            self._learners.add(member)

    def _remove(self, member: MemberId) -> None:
        if member not in self._progress:
            return
        self._voters.discard(member)
        self._learners.discard(member)
        self._learners_next.discard(member)
        if member not in self._outgoing:
            del self._progress[member]

    def _add_progress(self, member: MemberId, *, is_learner: bool) -> None:
        progress = Progress(
            max(self._last_index, 1), self._tracker.new_inflights(), is_learner=is_learner
        )
        # A new member has had no chance to answer yet: without this the leader could step down
        # for lack of an active quorum right after adding it.
        progress.recent_active = True
        self._progress[member] = progress

    def _result(self, *, auto_leave: bool) -> Changed:
        configuration = Configuration(
            voters=frozenset(self._voters),
            voters_outgoing=frozenset(self._outgoing),
            learners=frozenset(self._learners),
            learners_next=frozenset(self._learners_next),
            auto_leave=auto_leave,
        )
        check_configuration(configuration, self._progress)
        return configuration, self._progress


def check_configuration(configuration: Configuration, progress: ProgressMap) -> None:
    """Assert that configuration and progress fit together."""
    voters = configuration.all_voters
    for member in voters | configuration.learners | configuration.learners_next:
        assert member in progress, f"no progress for {member}"
    for member in configuration.learners_next:
        assert member in configuration.voters_outgoing, f"{member} is staged but not outgoing"
        assert not progress[member].is_learner, f"{member} is staged but already a learner"
    for member in configuration.learners:
        assert member not in voters, f"{member} is voter and learner"
        assert progress[member].is_learner, f"{member} is not marked as learner"
    if not configuration.joint:
        assert not configuration.learners_next, "staged learners outside of a joint configuration"
        assert not configuration.auto_leave, "auto-leave outside of a joint configuration"


def restore(tracker: Tracker, last_index: int, state: ConfState) -> None:
    """Bring an empty tracker to the configuration a snapshot recorded.

    A joint configuration is rebuilt the way it came about: the outgoing voters first, then one
    joint change that removes them and adds the incoming members.
    """
    assert not tracker.progress, "only an empty tracker can be restored"
    outgoing = [SingleChange(ChangeType.ADD_VOTER, each) for each in state.voters_outgoing]
    incoming = [SingleChange(ChangeType.REMOVE, each) for each in state.voters_outgoing]
    incoming += [SingleChange(ChangeType.ADD_VOTER, each) for each in state.voters]
    incoming += [
        SingleChange(ChangeType.ADD_LEARNER, each)
        for each in (*state.learners, *state.learners_next)
    ]
    for single in outgoing or incoming:
        tracker.use(*Changer(tracker, last_index).simple([single]))
    if outgoing:
        changer = Changer(tracker, last_index)
        tracker.use(*changer.enter_joint(incoming, auto_leave=state.auto_leave))
    assert set(state.voters) == tracker.configuration.voters
    assert set(state.learners) == tracker.configuration.learners
    assert set(state.learners_next) == tracker.configuration.learners_next
