"""The voter controller, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from parti_raft.types import ConfState
from parti_shard.commands import Intent
from parti_shard.membership import (
    Action,
    Candidate,
    Demote,
    Membership,
    Promote,
    Remove,
    Replace,
    TransferLeader,
    next_action,
)
from parti_shard.policy import Policy

LONG_AGO_MS = 60_000
N: Any = int


def given(
    voters: str, learners: str = "", *, leader: int = 1, busy: bool = False, **more: Any
) -> Membership:
    """Build a membership from words such as `1 2a 3!`: id, zone, marks.

    `!` dead for long, `?` silent since a moment, `-` shall be removed, `*` owns partitions,
    `<` lags behind.
    """
    more.setdefault("voters_max", 5)
    members: dict[Any, Candidate] = {}
    for word in f"{voters} {learners} {more.pop('strangers', '')}".split():
        marks = word[1:]
        members[int(word[0])] = Candidate(
            zone=next((mark for mark in marks if mark.isalpha()), ""),
            intent=Intent.REMOVE if "-" in marks else Intent.NONE,
            match=N(10 if "<" in marks else 1_000),
            heard_ms_ago=LONG_AGO_MS if "!" in marks else 0,
            live=not ("!" in marks or "?" in marks),
            session_open="*" in marks,
            owns_partitions="*" in marks,
        )
    conf = ConfState(
        voters=tuple(N(word[0]) for word in voters.split()),
        learners=tuple(N(word[0]) for word in learners.split()),
        voters_outgoing=more.pop("outgoing", ()),
    )
    return Membership(N(leader), conf, N(1_000), members, Policy(**more), busy)


def n(value: int) -> Any:
    return value


CASES: list[tuple[Membership, Action | None]] = [
    (given("1"), None),
    (given("1", "2"), None),
    (given("1", "2 3"), Promote(n(2))),
    (given("1 2", "3"), Promote(n(3))),
    (given("1", "2< 3"), Promote(n(3))),
    (given("1", "2? 3"), None),
    (given("1", "2 3", busy=True), None),
    (given("1 2", "3", outgoing=(1,)), None),
    (given("1", "2 3", voters_max=1), None),
    (given("1 2 3", "4 5", voters_max=3), None),
    (given("1a 2b 3b", "4b 5c"), Promote(n(5))),
    (given("1 2 3!", "4"), Replace(n(3), n(4))),
    (given("1 2 3!", "4<"), None),
    (given("1 2 3!"), None),
    (given("1 2 3?", "4"), None),
    (given("1 2 3 4! 5!"), Demote(n(4))),
    (given("1 2 3! 4! 5!"), None),
    (given("1 2 3 4! 5"), Demote(n(4))),
    (given("1 2 3 4 5", voters_max=3), Demote(n(5))),
    (given("1a 2b 3b 4c 5a", voters_max=3), Demote(n(5))),
    (given("1 2 3-", "4"), Replace(n(3), n(4))),
    (given("1 2 3-"), Demote(n(3))),
    (given("1 2? 3-"), None),
    (given("1 2 3", "4-"), Remove(n(4))),
    (given("1 2 3", "4-*"), None),
    (given("1- 2 3"), TransferLeader(n(2))),
    (given("1- 2? 3"), TransferLeader(n(3))),
    (given("1-", "2"), Promote(n(2))),
    (given("1-"), None),
    (given("1 2 3", strangers="4"), Remove(n(4))),
    (given("1 2 3", strangers="4*"), None),
    (given("1 2"), Demote(n(2))),
    (given("1a 2a 3a", "4b", voters_max=3), Replace(n(2), n(4))),
    (given("1a 2a 3b", "4b", voters_max=3), None),
]


@pytest.mark.parametrize(("membership", "action"), CASES)
def test_the_next_action(membership: Membership, action: Action | None) -> None:
    assert next_action(membership) == action
