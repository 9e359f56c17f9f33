"""Every condition of admission on its own: each closes the gate by itself."""

from __future__ import annotations

import pytest

from parti_shard.core import Core
from parti_shard.errors import Reason
from parti_shard.gate import Gate
from parti_shard.ids import Epoch, PartitionId, SessionId
from parti_shard.limits import RouterLimits
from tests.parti_shard.router_fakes import FREE, ME, OTHER, REVOKING, FakeTable

P = PartitionId(0)
SESSION = SessionId(100)


def open_gate() -> tuple[Gate, FakeTable]:
    table = FakeTable()
    table.grant(P, ME)
    gate = Gate(Core(ME, table, RouterLimits()))
    gate.set_lease(SESSION, 1_000, 0)
    return gate, table


def test_the_gate_admits_the_owner_under_a_live_lease_to_its_last_millisecond() -> None:
    gate, _ = open_gate()
    assert gate.admits(P, Epoch(1), 999)
    assert gate.verdict(P, Epoch(1), 999) is Reason.OK


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"owner": OTHER}, Reason.NOT_OWNER),
        ({"session": SessionId(99)}, Reason.LEASE_EXPIRED),
        ({"phase": FREE}, Reason.NOT_OWNER),
        ({"phase": REVOKING}, Reason.NOT_OWNER),
        ({"epoch": Epoch(2)}, Reason.STALE_EPOCH),
    ],
)
def test_any_other_row_shuts_it(change: dict[str, int], reason: Reason) -> None:
    gate, table = open_gate()
    for name, value in change.items():
        getattr(table, name)[P] = value
    assert not gate.admits(P, Epoch(1), 0)
    assert gate.verdict(P, Epoch(1), 0) is reason


def test_an_epoch_above_the_table_is_not_admitted_but_may_wait() -> None:
    gate, _ = open_gate()
    assert not gate.admits(P, Epoch(2), 0)
    assert gate.verdict(P, Epoch(2), 0) is Reason.OK


def test_the_end_of_the_lease_shuts_it() -> None:
    gate, _ = open_gate()
    assert not gate.admits(P, Epoch(1), 1_000)
    assert gate.verdict(P, Epoch(1), 1_000) is Reason.LEASE_EXPIRED


def test_a_member_without_a_session_owns_nothing_even_if_the_row_says_session_0() -> None:
    gate, table = open_gate()
    gate.set_lease(SessionId(0), 1_000, 0)
    table.session[P] = SessionId(0)
    assert not gate.admits(P, Epoch(1), 0)
    assert not gate.mine(P)


def test_a_stopped_gate_stays_shut() -> None:
    gate, _ = open_gate()
    gate.stopped = True
    assert not gate.admits(P, Epoch(1), 0)
    assert gate.verdict(P, Epoch(2), 0) is Reason.DRAINING
