"""Both sides of a lease, guard by guard."""

from __future__ import annotations

from typing import Any

import pytest

from parti_shard.ids import NO_SESSION
from parti_shard.lease import (
    DEAF_TTLS,
    RENEWALS_IN_FLIGHT_MAX,
    ROUNDS_IN_FLIGHT_MAX,
    LeaseHolder,
    LeaseKeeper,
    RenewAck,
    RenewRefusal,
    holder_term_ms,
    keeper_term_ms,
)
from parti_shard.limits import LeaseTimes

TIMES = LeaseTimes(ttl_ms=1_000)
S1: Any = 1
S2: Any = 2
M1: Any = 11
INDEX: Any = 50


def holder() -> LeaseHolder:
    made = LeaseHolder(TIMES)
    made.open(S1)
    made.applied(INDEX)
    return made


def keeper(now_ms: int = 0) -> LeaseKeeper:
    made = LeaseKeeper(TIMES)
    made.became_leader(now_ms, {S1: M1})
    return made


@pytest.mark.parametrize("ttl_ms", [1, 49, 50, 51, 999, 1_000, 2_001])
def test_rounding_is_on_the_safe_side(ttl_ms: int) -> None:
    assert holder_term_ms(ttl_ms) * 100 <= ttl_ms * 98
    assert (keeper_term_ms(ttl_ms) - 1) * 100 >= ttl_ms * 102


def test_a_lease_counts_from_its_own_sending() -> None:
    mine = holder()
    seq = mine.sent(100)
    assert mine.acknowledged(seq, S1, INDEX)
    assert mine.live_until_ms == 100 + 980
    assert mine.is_live(1_079)
    assert not mine.is_live(1_080)


def test_a_lease_counts_only_once_its_index_is_applied() -> None:
    mine = holder()
    later: Any = INDEX + 1
    seq = mine.sent(100)
    assert mine.acknowledged(seq, S1, later)
    assert mine.live_until_ms == 0
    assert mine.acknowledged_seq == 0
    mine.applied(later)
    assert mine.live_until_ms == 1_080
    assert mine.acknowledged_seq == seq


def test_answers_of_another_session_or_to_nothing_do_not_count() -> None:
    mine = holder()
    seq = mine.sent(100)
    assert not mine.acknowledged(seq, S2, INDEX)
    assert not mine.acknowledged(seq + 1, S1, INDEX)
    mine.open(S2)
    assert not mine.acknowledged(seq, S2, INDEX)
    assert mine.live_until_ms == 0


def test_a_lease_never_shrinks_within_its_session() -> None:
    mine = holder()
    first, second = mine.sent(100), mine.sent(300)
    assert mine.acknowledged(second, S1, INDEX)
    assert not mine.acknowledged(first, S1, INDEX)
    assert mine.live_until_ms == 1_280
    mine.open(S2)
    assert mine.live_until_ms == 0
    mine.check_invariants()


def test_renewals_are_due_by_time_and_bounded() -> None:
    mine = holder()
    assert mine.renewal_due(0)
    first = mine.sent(0)
    assert not mine.renewal_due(TIMES.renew_every_ms - 1)
    assert mine.renewal_due(TIMES.renew_every_ms)
    for number in range(RENEWALS_IN_FLIGHT_MAX):
        mine.sent(200 * number)
    mine.check_invariants()
    assert not mine.acknowledged(first, S1, INDEX)
    mine.open(NO_SESSION)
    assert not mine.renewal_due(10_000)


def test_all_that_wait_share_one_round() -> None:
    mine = LeaseKeeper(TIMES)
    mine.became_leader(0, {S1: M1, S2: M1})
    assert mine.received(S1, M1, 5, 0, 10) is None
    assert mine.received(S2, M1, 6, 0, 10) is None
    context = mine.begin_round(10)
    assert context is not None
    assert mine.begin_round(10) is None
    answers = mine.confirmed(context, INDEX, 12)
    assert answers == [(M1, RenewAck(5, S1, INDEX)), (M1, RenewAck(6, S2, INDEX))]
    assert mine.confirmed(context, INDEX, 12) == []


def test_a_renewal_is_never_answered_by_a_round_that_began_before_it() -> None:
    mine = keeper()
    assert mine.received(S1, M1, 1, 0, 10) is None
    early = mine.begin_round(10)
    assert mine.received(S1, M1, 2, 0, 11) is None
    late = mine.begin_round(11)
    assert early is not None
    assert late is not None
    assert [ack.seq for _, ack in mine.confirmed(early, INDEX, 12)] == [1]
    assert [ack.seq for _, ack in mine.confirmed(late, INDEX, 12)] == [2]


def test_rounds_are_bounded_and_given_up() -> None:
    mine = keeper()
    contexts = []
    for seq in range(ROUNDS_IN_FLIGHT_MAX):
        assert mine.received(S1, M1, seq, 0, seq) is None
        contexts.append(mine.begin_round(seq))
    assert None not in contexts
    assert mine.received(S1, M1, 99, 0, 99) is None
    assert mine.begin_round(99) is None
    assert mine.begin_round(1_000) is not None
    assert mine.stats.rounds_lost == 1
    mine.check_invariants()


def test_a_session_expires_only_after_the_longest_lease() -> None:
    mine = keeper()
    assert mine.received(S1, M1, 1, 0, 500) is None
    assert mine.expirable(500 + 1_020) == []
    assert mine.next_wake_ms(500) == 500 + 1_021
    assert mine.expirable(500 + 1_021) == [S1]
    assert mine.received(S1, M1, 2, 0, 1_600) is RenewRefusal.SESSION_STOPPED


def test_a_stopped_session_is_not_answered_even_if_its_round_is_under_way() -> None:
    mine = keeper()
    assert mine.received(S1, M1, 1, 0, 10) is None
    context = mine.begin_round(10)
    assert mine.received(S1, M1, 2, 0, 20) is None
    mine.stop(S1)
    assert context is not None
    assert mine.confirmed(context, INDEX, 21) == []
    assert mine.begin_round(22) is None
    assert mine.received(S1, M1, 3, 0, 30) is RenewRefusal.SESSION_STOPPED
    assert mine.expirable(20 + 1_020) == []
    assert mine.expirable(20 + 1_021) == [S1]


def test_a_new_leader_counts_everybody_as_renewed() -> None:
    mine = keeper(now_ms=5_000)
    assert mine.expirable(6_020) == []
    assert mine.expirable(6_021) == [S1]


def test_a_session_opened_later_begins_then_and_an_ended_one_is_forgotten() -> None:
    mine = keeper()
    assert mine.received(S1, M1, 1, 0, 10) is None
    mine.sessions_changed(700, {S2: M1})
    assert mine.received(S1, M1, 2, 0, 710) is RenewRefusal.UNKNOWN_SESSION
    assert mine.begin_round(710) is None
    assert mine.expirable(1_720) == []
    assert mine.expirable(1_721) == [S2]


def test_only_a_leader_answers_and_only_the_sessions_member() -> None:
    mine = keeper()
    assert mine.received(S1, S2, 1, 0, 10) is RenewRefusal.UNKNOWN_SESSION
    assert mine.received(S1, M1, 1, 0, 10) is None
    context = mine.begin_round(10)
    mine.lost_leadership()
    mine.check_invariants()
    assert context is not None
    assert mine.confirmed(context, INDEX, 12) == []
    assert mine.received(S1, M1, 2, 0, 20) is RenewRefusal.NOT_LEADER
    assert mine.expirable(10**9) == []


@pytest.mark.parametrize("hears", [True, False])
def test_a_holder_that_no_answer_reaches_is_let_go(*, hears: bool) -> None:
    mine = keeper()
    now_ms, seq = 0, 0
    while now_ms < (DEAF_TTLS + 2) * TIMES.ttl_ms and not mine.is_stopped(S1):
        now_ms, seq = now_ms + 200, seq + 1
        assert mine.received(S1, M1, seq, seq - 1 if hears else 0, now_ms) is None
        context = mine.begin_round(now_ms)
        assert context is not None
        mine.confirmed(context, INDEX, now_ms)
        assert mine.expirable(now_ms) == []
    assert mine.is_stopped(S1) is not hears
    assert mine.stats.deaf == (not hears)
