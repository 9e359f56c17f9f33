"""The exhaustive search finds nothing wrong with the core, and notices what is made wrong."""

from __future__ import annotations

import pytest

from parti_raft import leader
from parti_raft.core import Core
from parti_raft.log import RaftLog
from tests.parti_raft.exhaustive import SMALL, Bounds, Found, Search, ViolationError

_TWO = Bounds(elections=2, proposals=0, slow_disks=False)


@pytest.mark.parametrize("bounds", SMALL, ids=str)
def test_no_interleaving_of_a_small_group_violates_anything(bounds: Bounds) -> None:
    found = Search(bounds).run()
    assert found.states > 40_000
    assert found.commits >= 1
    assert {"FOLLOWER", "CANDIDATE", "LEADER"} <= found.roles.keys()


def test_a_search_is_the_same_each_time() -> None:
    bounds = Bounds(elections=1, proposals=0)
    first, second = (Search(bounds).run() for _ in range(2))
    assert isinstance(first, Found)
    assert first == second


def _always(*_args: object) -> bool:
    return True


def test_votes_for_an_old_log_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RaftLog, "is_up_to_date", _always)
    with pytest.raises(ViolationError, match=r"leader of term|disks hold"):
        Search(_TWO).run()


def test_a_violation_tells_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "maybe_commit", _commit_alone)
    with pytest.raises(ViolationError, match=r"after:\n  1 campaigns\n"):
        Search(_TWO).run()


def _commit_alone(state: Core) -> bool:
    return state.log.maybe_commit(state.log.last_index(), state.term)
