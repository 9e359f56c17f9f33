"""Rules of the origin when the owner refuses, its link breaks or its session ends."""

from __future__ import annotations

import pytest

from parti_shard.errors import Executed, Failure, Reason
from parti_shard.ids import LogIndex, SessionId
from parti_shard.limits import RouterLimits
from tests.parti_shard.router_fakes import (
    ME,
    OTHER,
    THIRD,
    failed,
    linked,
    ok,
    send,
)


def refusal(reason: Reason, table_index: int = 0) -> Failure:
    return Failure(reason, Executed.NO, table_index=LogIndex(table_index))


# -- refusals


@pytest.mark.parametrize(
    "reason",
    [
        Reason.NOT_OWNER,
        Reason.STALE_EPOCH,
        Reason.NO_WORKER,
        Reason.LEASE_EXPIRED,
        Reason.DRAINING,
    ],
)
def test_refused_messages_go_back_to_the_front_in_order(reason: Reason) -> None:
    bench = linked()
    bench.send(send(b"a", b"b", b"c"))
    bench.forwarded()
    bench.results(failed(2, failure=refusal(reason)))
    bench.send(send(b"d", first=4))
    bench.results(failed(1, 3, failure=refusal(reason)))
    assert bench.outcomes() == {}
    assert bench.forwarded() == []
    bench.grant(0, OTHER)
    assert [payload for _, payload in bench.forwarded()] == [b"a", b"b", b"c", b"d"]


def test_nothing_is_tried_again_before_all_that_was_sent_is_settled() -> None:
    bench = linked()
    bench.send(send(b"a", b"b"))
    bench.forwarded()
    bench.results(failed(1, failure=refusal(Reason.NOT_OWNER)))
    bench.grant(0, OTHER)
    assert bench.forwarded() == []
    bench.results(ok(2))
    assert [payload for _, payload in bench.forwarded()] == [b"a"]


def test_a_pause_does_not_end_while_something_sent_is_unsettled() -> None:
    """It may still be refused, and then it goes before what would have been sent."""
    bench = linked(RouterLimits(refusal_retry_ms=100))
    bench.send(send(b"a", b"b"))
    bench.forwarded()
    bench.results(failed(2, failure=refusal(Reason.LEASE_EXPIRED)))
    for _ in range(10):
        bench.tick(100)
    assert bench.forwarded() == []
    bench.results(failed(1, failure=refusal(Reason.LEASE_EXPIRED)))
    bench.tick(100)
    assert bench.forwarded() == [(4, b"a")]


def test_a_refusal_by_a_newer_table_waits_until_this_one_has_caught_up() -> None:
    bench = linked()
    bench.send(send(b"a"))
    bench.forwarded()
    ahead = bench.table.applied_index + 2
    bench.results(failed(1, failure=refusal(Reason.NOT_OWNER, ahead)))
    bench.tick(1_000)
    bench.table.grant(1, ME)
    bench.changed(1)
    assert bench.forwarded() == []
    bench.table.grant(1, ME)
    bench.changed(1)
    assert [payload for _, payload in bench.forwarded()] == [b"a"]


def test_a_refusal_whose_table_stands_is_tried_again_after_a_pause() -> None:
    bench = linked(RouterLimits(refusal_retry_ms=100))
    bench.send(send(b"a"))
    bench.forwarded()
    bench.results(failed(1, failure=refusal(Reason.LEASE_EXPIRED, 999)))
    bench.tick(50)
    assert bench.forwarded() == []
    bench.tick(50)
    assert [payload for _, payload in bench.forwarded()] == [b"a"]


def test_one_message_probes_a_refused_epoch_and_a_gap_in_the_ids_says_so() -> None:
    bench = linked(RouterLimits(refusal_retry_ms=100))
    bench.send(send(b"a", b"b", b"c"))
    bench.forwarded()
    bench.results(failed(1, 2, 3, failure=refusal(Reason.LEASE_EXPIRED)))
    bench.tick(100)
    assert bench.forwarded() == [(5, b"a")]
    bench.send(send(b"d", first=4))
    assert bench.forwarded() == []
    bench.results(failed(5, failure=refusal(Reason.LEASE_EXPIRED)))
    bench.tick(100)
    assert bench.forwarded() == [(7, b"a")]
    bench.results(ok(7))
    assert bench.forwarded() == [(8, b"b"), (9, b"c"), (10, b"d")]


def test_the_first_message_after_the_refused_ones_are_gone_is_the_probe() -> None:
    bench = linked(RouterLimits(refusal_retry_ms=100))
    bench.send(send(b"a", timeout_ms=60))
    bench.forwarded()
    bench.results(failed(1, failure=refusal(Reason.LEASE_EXPIRED)))
    bench.tick(60)
    assert bench.outcomes() == {1: "DEADLINE_EXCEEDED/NO"}
    bench.tick(500)
    bench.send(send(b"b", first=2))
    assert bench.forwarded() == [(3, b"b")]


def test_a_probe_is_not_over_before_it_was_sent() -> None:
    """The owner would still refuse whatever does not start anew."""
    bench = linked(RouterLimits(refusal_retry_ms=100))
    bench.send(send(b"a", timeout_ms=150))
    bench.forwarded()
    bench.results(failed(1, failure=refusal(Reason.LEASE_EXPIRED)))
    bench.tick(100)
    bench.tick(50)
    assert bench.outcomes() == {1: "DEADLINE_EXCEEDED/NO"}
    bench.tick(500)
    bench.send(send(b"b", first=2))
    assert bench.forwarded() == [(3, b"b")]


def test_a_new_epoch_needs_no_probe() -> None:
    bench = linked(RouterLimits(refusal_retry_ms=100))
    bench.send(send(b"a", timeout_ms=150))
    bench.forwarded()
    bench.results(failed(1, failure=refusal(Reason.LEASE_EXPIRED)))
    bench.tick(100)
    bench.tick(50)
    bench.outcomes()
    bench.grant(0, OTHER)
    bench.send(send(b"b", b"c", first=2))
    assert bench.forwarded() == [(2, b"b"), (3, b"c")]


def test_a_probe_that_takes_long_does_not_hold_up_the_others() -> None:
    """It was not refused, so it was admitted and its handler is slow."""
    bench = linked(RouterLimits(refusal_retry_ms=100))
    bench.send(send(b"a", b"b"))
    bench.forwarded()
    bench.results(failed(1, 2, failure=refusal(Reason.LEASE_EXPIRED)))
    bench.tick(100)
    assert bench.forwarded() == [(4, b"a")]
    bench.tick(99)
    assert bench.forwarded() == []
    bench.tick(1)
    assert bench.forwarded() == [(5, b"b")]


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Failure(Reason.HANDLER_FAILED, Executed.YES), "HANDLER_FAILED/YES"),
        (Failure(Reason.OVERLOADED, Executed.NO), "OVERLOADED/NO"),
        (Failure(Reason.WORKER_LOST, Executed.UNKNOWN), "WORKER_LOST/UNKNOWN"),
        (Failure(Reason.DEADLINE_EXCEEDED, Executed.NO), "DEADLINE_EXCEEDED/NO"),
        (Failure(Reason.NOT_OWNER, Executed.UNKNOWN), "NOT_OWNER/UNKNOWN"),
    ],
)
def test_other_failures_are_the_outcome(failure: Failure, outcome: str) -> None:
    bench = linked()
    bench.send(send(b"a"))
    bench.forwarded()
    bench.results(failed(1, failure=failure))
    assert bench.outcomes() == {1: outcome}


# -- links and sessions that end


def test_a_broken_link_leaves_unknown_what_was_taken_and_parks_the_rest() -> None:
    bench = linked(RouterLimits(frame_items_max=1))
    bench.send(send(b"a", b"b"))
    assert bench.forwarded() == [(1, b"a")]
    bench.router.peer_down(OTHER, bench.now_ms)
    bench.check()
    assert bench.outcomes() == {1: "CONNECTION_LOST/UNKNOWN"}
    bench.router.peer_up(OTHER, bench.now_ms)
    assert bench.forwarded() == [(1, b"b")]


def test_idempotent_messages_are_sent_again_in_order_after_a_broken_link() -> None:
    bench = linked(RouterLimits(frame_items_max=2))
    bench.send(send(b"a", b"b", b"c", idempotent=True))
    bench.forwarded()
    bench.router.peer_down(OTHER, bench.now_ms)
    bench.check()
    assert bench.outcomes() == {}
    bench.router.peer_up(OTHER, bench.now_ms)
    assert bench.forwarded() == [(1, b"a"), (2, b"b")]
    assert bench.router.stats.sent_again == 2


def test_after_an_attempt_that_may_have_run_no_outcome_says_not_executed() -> None:
    bench = linked()
    bench.send(send(b"a", idempotent=True, timeout_ms=200))
    bench.forwarded()
    bench.router.peer_down(OTHER, bench.now_ms)
    bench.tick(200)
    assert bench.outcomes() == {1: "DEADLINE_EXCEEDED/UNKNOWN"}


def test_results_after_the_end_of_a_link_are_late() -> None:
    bench = linked()
    bench.send(send(b"a"))
    bench.forwarded()
    bench.router.peer_down(OTHER, bench.now_ms)
    bench.results(ok(1))
    assert bench.outcomes() == {1: "CONNECTION_LOST/UNKNOWN"}
    assert bench.router.stats.results_late == 1


@pytest.mark.parametrize("idempotent", [False, True])
def test_the_end_of_the_owners_session_settles_what_it_had(idempotent: bool) -> None:  # noqa: FBT001
    bench = linked(RouterLimits(frame_items_max=1))
    bench.router.peer_up(THIRD, bench.now_ms)
    bench.send(send(b"a", b"b", idempotent=idempotent))
    bench.forwarded()
    freed = bench.table.end_session(OTHER)
    bench.changed(*freed)
    assert bench.outcomes() == ({} if idempotent else {1: "OWNER_LOST/UNKNOWN"})
    bench.grant(0, THIRD)
    sent = [*bench.forwarded(THIRD), *bench.forwarded(THIRD)]
    assert [payload for _, payload in sent] == ([b"a", b"b"] if idempotent else [b"b"])


def test_a_session_that_ends_after_a_graceful_move_settles_too() -> None:
    """The table change no longer names the partition, which is with another by then."""
    bench = linked()
    bench.router.peer_up(THIRD, bench.now_ms)
    bench.send(send(b"a"))
    bench.forwarded()
    bench.grant(0, THIRD)
    bench.send(send(b"b", first=2))
    bench.changed(*bench.table.end_session(OTHER))
    assert bench.outcomes() == {1: "OWNER_LOST/UNKNOWN"}
    assert bench.forwarded(THIRD) == [(1, b"b")]


def test_after_a_graceful_release_answers_still_come() -> None:
    bench = linked()
    bench.send(send(b"a"))
    bench.forwarded()
    bench.revoke(0)
    bench.table.free(0)
    bench.changed(0)
    assert bench.outcomes() == {}
    bench.results(ok(1))
    assert bench.outcomes() == {1: "ok@1"}


def test_a_new_session_of_the_owner_does_not_answer_for_the_old_one() -> None:
    bench = linked()
    bench.send(send(b"a"))
    bench.forwarded()
    freed = bench.table.end_session(OTHER)
    bench.table.members[OTHER].session = SessionId(201)
    bench.changed(*freed)
    assert bench.outcomes() == {1: "OWNER_LOST/UNKNOWN"}
