"""The voter controller: which members vote. Pure; asked by the leader, answers one action at most.

Rules, first match wins. Nothing while a change is under way. Members that shall be removed go
first (a leader hands leadership over before), then voters that have been dead for a while are
replaced or given up, then the number of voters grows or shrinks to its target, then zones are
evened out. No action may lead to voters without a live majority.

The target is the largest odd number of members that could vote, at most `voters_max`. Deaths alone
never take it below three: two live voters of three lose no acknowledged entry with the next
failure, a single one could.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from parti_raft.types import ConfState, LogIndex, MemberId
from parti_shard.commands import Intent
from parti_shard.policy import Policy

CAUGHT_UP_LAG_ENTRIES = 256  # a learner this close to the commit index may vote
VOTERS_DESPITE_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member of the table as the leader sees it."""

    zone: str
    intent: Intent
    match: LogIndex  # of its log; 0 when it is in no configuration
    heard_ms_ago: int  # since the leader heard anything of it; 0 for the leader itself
    live: bool  # recently active, as consensus sees it
    session_open: bool
    owns_partitions: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """What the controller looks at."""

    leader: MemberId
    conf: ConfState
    commit: LogIndex
    members: dict[MemberId, Candidate]
    policy: Policy
    busy: bool  # a configuration change or a leadership transfer is under way


@dataclass(frozen=True, slots=True)
class Promote:
    """Make a learner a voter."""

    member: MemberId


@dataclass(frozen=True, slots=True)
class Demote:
    """Make a voter a learner."""

    member: MemberId


@dataclass(frozen=True, slots=True)
class Replace:
    """One joint change: the learner votes, the voter becomes a learner."""

    voter: MemberId
    learner: MemberId


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a member out of the cluster."""

    member: MemberId


@dataclass(frozen=True, slots=True)
class TransferLeader:
    """Hand leadership to another voter."""

    to: MemberId


Action: TypeAlias = Promote | Demote | Replace | Remove | TransferLeader


def is_caught_up(match: LogIndex, commit: LogIndex) -> bool:
    """Whether a log that matches so far is near enough to vote; 0: nothing is proven yet."""
    return match > 0 and match + CAUGHT_UP_LAG_ENTRIES >= commit


def next_action(membership: Membership) -> Action | None:
    """Return the one thing to do now."""
    if membership.busy or membership.conf.voters_outgoing:
        return None
    for rule in (_leaving, _dead_voter, _grow, _shrink, _spread):
        action = rule(membership)
        if action is not None:
            return action
    return None


def _leaving(given: Membership) -> Action | None:
    """Demote, then remove, members that shall go; also records left without a configuration."""
    for member, candidate in sorted(given.members.items()):
        is_voter = member in given.conf.voters
        done = not (candidate.session_open or candidate.owns_partitions)
        if not is_voter and member not in given.conf.learners:
            if done:
                return Remove(member)
            continue
        if candidate.intent is not Intent.REMOVE:
            continue
        if member == given.leader:
            action = _hand_over(given)
        elif is_voter:
            action = _retire(given, member)
        else:
            action = Remove(member) if done else None
        if action is not None:
            return action
    return None


def _dead_voter(given: Membership) -> Action | None:
    dead = [member for member in sorted(given.conf.voters) if _is_dead(given, member)]
    for member in dead:
        learner = _best_learner(given, leaving=member)
        if learner and _majority_lives(given, _swapped(given, member, learner)):
            return Replace(member, learner)
    if dead and len(given.conf.voters) > max(_target(given), VOTERS_DESPITE_DEATHS):
        return _demote(given, dead[0])
    return None


def _grow(given: Membership) -> Action | None:
    if len(given.conf.voters) >= _target(given):
        return None
    learner = _best_learner(given)
    if learner and _majority_lives(given, (*given.conf.voters, learner)):
        return Promote(learner)
    return None


def _shrink(given: Membership) -> Action | None:
    """Fewer voters, because members left or the policy says so; deaths have their own rule."""
    known = (given.members[member] for member in given.conf.voters if member in given.members)
    if any(candidate.intent is Intent.REMOVE for candidate in known):
        return None
    dead = any(_is_dead(given, member) for member in given.conf.voters)
    floor = VOTERS_DESPITE_DEATHS if dead else 1
    target = max(_target(given), min(floor, given.policy.voters_max))
    if len(given.conf.voters) <= target:
        return None
    zones = _zones(given, given.conf.voters)
    others = [m for m in given.conf.voters if m != given.leader and m in given.members]
    others.sort(key=lambda m: (given.members[m].live, -zones[given.members[m].zone], -m))
    demotions = (_demote(given, member) for member in others)
    return next((action for action in demotions if action is not None), None)


def _spread(given: Membership) -> Action | None:
    """Swap a voter of a crowded zone for a learner of one with two voters fewer."""
    learner = _best_learner(given)
    if not learner:
        return None
    zones = _zones(given, given.conf.voters)
    here = zones[given.members[learner].zone]
    for member in sorted(given.conf.voters):
        if member not in given.members:
            continue
        crowded = zones[given.members[member].zone] >= here + 2
        swapped = _swapped(given, member, learner)
        if crowded and member != given.leader and _majority_lives(given, swapped):
            return Replace(member, learner)
    return None


def _hand_over(given: Membership) -> Action | None:
    """Give leadership to the voter that is furthest; without one, make one first."""
    fit = [
        member
        for member in given.conf.voters
        if member != given.leader and _may_vote(given, member) and _is_caught_up(given, member)
    ]
    if fit:
        return TransferLeader(max(fit, key=lambda m: (given.members[m].match, -m)))
    learner = _best_learner(given)
    if learner and _majority_lives(given, (*given.conf.voters, learner)):
        return Promote(learner)
    return None


def _retire(given: Membership, member: MemberId) -> Action | None:
    learner = _best_learner(given, leaving=member)
    if learner and _majority_lives(given, _swapped(given, member, learner)):
        return Replace(member, learner)
    return _demote(given, member)


def _demote(given: Membership, member: MemberId) -> Demote | None:
    rest = tuple(voter for voter in given.conf.voters if voter != member)
    return Demote(member) if _majority_lives(given, rest) else None


def _target(given: Membership) -> int:
    able = sum(
        1
        for member, candidate in given.members.items()
        if candidate.intent is not Intent.REMOVE
        and not _is_dead(given, member)
        and (member in given.conf.voters or candidate.live)
    )
    number = min(given.policy.voters_max, max(able, 1))
    return number if number % 2 else number - 1


def _best_learner(given: Membership, leaving: MemberId | None = None) -> MemberId | None:
    """Return the learner whose zone has the fewest voters; the lowest id among equals."""
    fit = [
        member
        for member in given.conf.learners
        if _may_vote(given, member) and _is_caught_up(given, member)
    ]
    zones = _zones(given, (voter for voter in given.conf.voters if voter != leaving))
    return min(fit, key=lambda m: (zones[given.members[m].zone], m), default=None)


def _may_vote(given: Membership, member: MemberId) -> bool:
    candidate = given.members.get(member)
    return candidate is not None and candidate.live and candidate.intent is not Intent.REMOVE


def _is_caught_up(given: Membership, member: MemberId) -> bool:
    return is_caught_up(given.members[member].match, given.commit)


def _is_dead(given: Membership, member: MemberId) -> bool:
    candidate = given.members.get(member)
    if candidate is None:
        return True
    return not candidate.live and candidate.heard_ms_ago >= given.policy.voter_replace_after_ms


def _majority_lives(given: Membership, voters: tuple[MemberId, ...]) -> bool:
    live = sum(1 for voter in voters if voter in given.members and given.members[voter].live)
    return live * 2 > len(voters)


def _swapped(given: Membership, voter: MemberId, learner: MemberId) -> tuple[MemberId, ...]:
    return (*(member for member in given.conf.voters if member != voter), learner)


def _zones(given: Membership, members: Iterable[MemberId]) -> Counter[str]:
    return Counter(given.members[member].zone for member in members if member in given.members)
