"""Rules of the owner towards its worker: credits, results, handover, worker life."""

from __future__ import annotations

import pytest

from parti_shard.batches import WorkerInput, WorkerResults
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import LogIndex, PartitionId, SessionId, WorkerId
from parti_shard.limits import RouterLimits
from parti_shard.streams import Destination
from tests.parti_shard.router_fakes import (
    ME,
    OTHER,
    THIRD,
    WORKER,
    forward,
    make_bench,
    payloads,
    serving,
    worker_failed,
    worker_ok,
)

SECOND = WorkerId(10)


# -- credits and fairness


def test_credits_bound_what_a_worker_has_and_results_give_them_back() -> None:
    bench = serving(credits_=2)
    bench.arrive(forward(b"a", b"b", b"c", epoch=1, first=1))
    first = bench.delivered()
    assert payloads(first) == [b"a", b"b"]
    assert bench.delivered() == []
    bench.says(worker_ok(first[0][0]))
    assert payloads(bench.delivered()) == [b"c"]


def test_a_slow_partition_never_holds_up_another() -> None:
    bench = serving(each=2)
    bench.serve(1)
    bench.arrive(forward(*[b"slow"] * 5, epoch=1, first=1))
    bench.arrive(forward(b"x", b"y", epoch=1, first=6, partition=1))
    assert payloads(bench.delivered()) == [b"slow", b"slow", b"x", b"y"]


def test_partitions_take_turns() -> None:
    bench = serving(RouterLimits(frame_items_max=20), each=100)
    bench.serve(1)
    bench.arrive(forward(*[b"0"] * 60, epoch=1, first=1))
    bench.arrive(forward(*[b"1"] * 60, epoch=1, first=61, partition=1))
    seen = [*payloads(bench.delivered()), *payloads(bench.delivered())]
    assert abs(seen.count(b"0") - seen.count(b"1")) <= 16
    assert len(seen) == 40


def test_deliveries_are_bounded_in_bytes() -> None:
    bench = serving(RouterLimits(frame_bytes_target=10))
    bench.serve(1)
    bench.arrive(forward(b"a" * 20, epoch=1, first=1))
    bench.arrive(forward(b"b", epoch=1, first=2, partition=1))
    assert payloads(bench.delivered()) == [b"a" * 20]
    assert Destination("worker", WORKER) in bench.router.take_dirty()
    assert payloads(bench.delivered()) == [b"b"]


def test_no_credits_no_worker() -> None:
    bench = make_bench()
    with pytest.raises(MalformedFrameError):
        bench.attach(credits_=0)


# -- results


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Failure(Reason.HANDLER_FAILED, Executed.YES, "boom"), "HANDLER_FAILED/YES"),
        (Failure(Reason.DEADLINE_EXCEEDED, Executed.NO), "DEADLINE_EXCEEDED/NO"),
        (Failure(Reason.NOT_OWNER, Executed.NO), "HANDLER_FAILED/YES"),
        (Failure(Reason.HANDLER_FAILED, Executed.NO), "HANDLER_FAILED/YES"),
    ],
)
def test_failures_a_worker_may_tell(failure: Failure, outcome: str) -> None:
    bench = serving()
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.says(worker_failed(delivery, failure=failure))
    assert bench.answers() == {1: outcome}


def test_a_result_over_the_limit_is_a_failure_of_what_ran() -> None:
    bench = serving(RouterLimits(payload_bytes_max=4))
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.says(worker_ok(delivery, payload=b"large"))
    assert bench.answers() == {1: "PAYLOAD_TOO_LARGE/YES"}


def test_results_of_unknown_deliveries_are_counted_and_harmless() -> None:
    bench = serving()
    bench.says(worker_ok(99))
    assert bench.router.stats.worker_results_late == 1


def test_malformed_results_end_the_workers_stream() -> None:
    bench = serving()
    with pytest.raises(MalformedFrameError):
        bench.says(WorkerInput(results=WorkerResults([1], [])))


def test_a_late_result_of_an_epoch_that_is_over_still_tells_its_epoch() -> None:
    bench = serving()
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.grant(0, OTHER)
    assert bench.orders().cancel == [(0, 1)]
    bench.says(worker_ok(delivery))
    assert bench.answers() == {1: "ok@1"}


def test_a_late_result_does_not_count_for_the_next_epoch() -> None:
    bench = serving(each=1)
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.serve(0)
    bench.arrive(forward(b"b", b"c", epoch=2, first=2))
    assert payloads(bench.delivered()) == [b"b"]
    bench.says(worker_ok(delivery))
    assert bench.delivered() == []


# -- handover


def test_a_revoke_shuts_the_gate_follows_the_deliveries_and_ends_with_the_release() -> None:
    bench = serving(RouterLimits(handover_ms=700))
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.revoke(0, OTHER)
    bench.now_ms += 100
    assert bench.orders().revoke == [(0, 1, 600)]
    assert bench.router.take_released() == []
    bench.says(WorkerInput(results=WorkerResults([delivery], [b"r"]), released=[(0, 1)]))
    assert bench.answers() == {1: "ok@1"}
    assert bench.router.take_released() == [(0, 1)]
    assert bench.router.take_released() == []


def test_a_worker_that_does_not_hand_over_in_time_is_cut_off() -> None:
    bench = serving(RouterLimits(handover_ms=100), credits_=1)
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.revoke(0, OTHER)
    bench.orders()
    bench.tick(99)
    assert bench.router.take_released() == []
    bench.tick(1)
    assert bench.answers() == {1: "WORKER_LOST/UNKNOWN"}
    assert bench.router.take_released() == [(0, 1)]
    assert bench.orders().cancel == [(0, 1)]
    assert bench.router.stats.handovers_cut_off == 1
    assert any("cut off" in line for line in bench.router.story(PartitionId(0)))
    bench.serve(1)
    bench.arrive(forward(b"x", epoch=1, first=2, partition=1))
    assert bench.delivered() == []  # the credit is still out
    bench.says(worker_ok(delivery))
    assert bench.router.stats.worker_results_late == 1
    assert bench.answers() == {}
    assert payloads(bench.delivered()) == [b"x"]


def test_a_new_epoch_for_the_same_member_cancels_the_old_one() -> None:
    bench = serving()
    bench.grant(0, ME)
    out = bench.orders()
    assert (out.assign, out.cancel) == ([(0, 2)], [(0, 1)])


def test_a_handover_is_told_once() -> None:
    bench = serving()
    bench.revoke(0, OTHER)
    assert len(bench.orders().revoke) == 1
    bench.changed(0)
    assert bench.orders().revoke == []


def test_an_epoch_the_worker_never_heard_of_is_released_at_once() -> None:
    bench = make_bench()
    bench.attach()
    bench.grant(0, ME)
    bench.revoke(0)
    assert bench.router.take_released() == [(0, 1)]
    out = bench.orders()
    assert (out.assign, out.revoke, out.cancel) == ([], [], [])


def test_without_a_worker_a_revoked_epoch_is_released_at_once() -> None:
    bench = make_bench()
    bench.grant(0, ME)
    bench.revoke(0)
    assert bench.router.take_released() == [(0, 1)]


def test_an_epoch_first_seen_when_it_is_revoked_is_released() -> None:
    bench = make_bench()
    bench.table.grant(0, ME)
    bench.revoke(0)
    assert bench.router.take_released() == [(0, 1)]


def test_an_assigned_epoch_is_handed_over_by_the_worker_even_before_it_started() -> None:
    bench = make_bench()
    bench.attach()
    bench.grant(0, ME)
    assert bench.orders().assign == [(0, 1)]
    bench.revoke(0)
    assert bench.router.take_released() == []
    assert [order[:2] for order in bench.orders().revoke] == [(0, 1)]
    bench.says(WorkerInput(started=[(0, 1)], released=[(0, 1)]))
    assert bench.router.take_released() == [(0, 1)]


def test_a_release_settles_what_the_worker_left_unanswered() -> None:
    bench = serving()
    bench.arrive(forward(b"a", epoch=1, first=1))
    bench.delivered()
    bench.revoke(0)
    bench.says(WorkerInput(released=[(0, 1)]))
    assert bench.answers() == {1: "WORKER_LOST/UNKNOWN"}


def test_a_released_epoch_is_not_admitted_under_though_the_table_still_shows_it() -> None:
    bench = serving()
    bench.says(WorkerInput(released=[(0, 1)]))
    bench.arrive(forward(b"a", epoch=1, first=1))
    assert bench.answers() == {1: "NOT_OWNER/NO"}
    assert bench.router.take_released() == [(0, 1)]
    bench.revoke(0)
    assert bench.router.take_released() == [(0, 1)]


def test_stale_words_of_a_worker_are_counted() -> None:
    bench = serving()
    bench.says(WorkerInput(started=[(0, 1), (3, 9)], released=[(0, 7)]))
    assert bench.router.stats.worker_frames_stale == 3


def test_a_worker_that_starts_what_it_was_not_told_breaks_the_protocol() -> None:
    bench = make_bench()
    bench.attach()
    bench.grant(0, ME)
    with pytest.raises(MalformedFrameError):
        bench.says(WorkerInput(started=[(0, 1)]))


# -- worker life


def test_a_lost_worker_leaves_unknown_what_it_had_and_comes_back_within_grace() -> None:
    bench = serving(RouterLimits(worker_grace_ms=1_000), each=1)
    bench.arrive(forward(b"a", b"b", epoch=1, first=1))
    bench.delivered()
    bench.router.detach_worker(WORKER, bench.now_ms)
    bench.check()
    assert bench.answers() == {1: "WORKER_LOST/UNKNOWN", 2: "NO_WORKER/NO"}
    bench.tick(999)
    assert bench.router.worker_ready
    assert bench.router.take_released() == []
    bench.attach(SECOND)
    assert bench.router.take_released() == [(0, 1)]
    assert bench.orders(SECOND).assign == []
    bench.grant(0, ME)
    assert bench.orders(SECOND).assign == [(0, 2)]


def test_after_the_grace_everything_is_released() -> None:
    bench = serving(RouterLimits(worker_grace_ms=1_000))
    bench.router.detach_worker(WORKER, bench.now_ms)
    bench.grant(1, ME)
    bench.tick(1_000)
    assert not bench.router.worker_ready
    assert sorted(bench.router.take_released()) == [(0, 1), (1, 1)]


def test_a_new_worker_cuts_off_the_old_one_and_gets_new_epochs_only() -> None:
    bench = serving()
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.attach(SECOND)
    assert bench.answers() == {1: "WORKER_LOST/UNKNOWN"}
    assert bench.orders(WORKER).closed == "replaced by w10"
    assert bench.router.take_worker(WORKER, bench.now_ms) is None
    assert bench.router.take_released() == [(0, 1)]
    bench.says(worker_ok(delivery), WORKER)
    assert bench.answers() == {}
    bench.router.detach_worker(WORKER, bench.now_ms)
    assert bench.router.worker_ready


def test_an_epoch_never_assigned_goes_to_the_next_worker_as_it_is() -> None:
    bench = make_bench()
    bench.attach()
    bench.grant(0, ME)
    bench.attach(SECOND)
    assert bench.router.take_released() == []
    assert bench.orders(SECOND).assign == [(0, 1)]


def test_the_first_worker_gets_what_was_granted_before() -> None:
    bench = make_bench()
    assert not bench.router.worker_ready
    bench.grant(0, ME)
    bench.attach()
    assert bench.router.worker_ready
    assert bench.orders().assign == [(0, 1)]


def test_a_closing_worker_is_let_go_when_nothing_is_assigned() -> None:
    bench = serving()
    bench.says(WorkerInput(closing=True))
    assert not bench.router.worker_ready
    assert bench.orders().closed == ""
    bench.grant(1, ME)
    assert bench.orders().assign == []
    bench.revoke(0, OTHER)
    bench.orders()
    bench.says(WorkerInput(released=[(0, 1)]))
    assert bench.orders().closed == "drained"
    bench.router.detach_worker(WORKER, bench.now_ms)
    assert not bench.router.worker_ready


def test_a_closing_worker_that_leaves_early_gets_no_grace() -> None:
    bench = serving()
    bench.says(WorkerInput(closing=True))
    bench.router.detach_worker(WORKER, bench.now_ms)
    assert bench.router.take_released() == [(0, 1)]


def test_grace_ends_with_the_next_worker() -> None:
    bench = serving()
    bench.router.detach_worker(WORKER, bench.now_ms)
    bench.attach(SECOND)
    bench.says(WorkerInput(closing=True), SECOND)
    bench.router.detach_worker(SECOND, bench.now_ms)
    assert not bench.router.worker_ready


def test_a_process_about_to_end_is_not_ready() -> None:
    bench = serving()
    assert bench.router.worker_ready
    bench.router.stop_admitting(bench.now_ms)
    assert not bench.router.worker_ready


def test_a_worker_that_leaves_during_a_handover_releases_it() -> None:
    bench = serving()
    bench.revoke(0, OTHER)
    bench.router.detach_worker(WORKER, bench.now_ms)
    bench.check()
    assert bench.router.take_released() == [(0, 1)]


def test_a_new_session_ends_all_epochs_of_the_old_one() -> None:
    bench = serving()
    bench.lease(member_session=101)
    assert bench.orders().cancel == [(0, 1)]
    assert bench.router.take_released() == []
    bench.table.members[ME].session = SessionId(101)
    bench.grant(0, ME)
    assert bench.orders().assign == [(0, 2)]


def test_an_epoch_cut_off_with_its_session_does_not_come_back_with_it() -> None:
    """The worker was told to stop it."""
    bench = serving()
    bench.lease(member_session=0)
    bench.lease()
    bench.arrive(forward(b"a", epoch=1, first=1))
    assert bench.answers() == {1: "NOT_OWNER/NO"}
    assert bench.router.take_released() == [(0, 1)]


def test_grants_that_precede_the_lease_of_their_session_are_found() -> None:
    bench = make_bench()
    bench.attach()
    bench.table.members[ME].session = SessionId(101)
    bench.grant(0, ME)
    assert bench.orders().assign == []
    bench.lease(member_session=101)
    assert bench.orders().assign == [(0, 1)]


def test_the_worker_is_told_the_lease_once_per_move() -> None:
    bench = make_bench()
    bench.attach()
    assert bench.orders().lease_until_ms == 1_001_000
    assert bench.router.take_worker(WORKER, bench.now_ms) is None
    bench.now_ms += 10
    bench.lease()
    bench.now_ms += 10
    bench.lease()
    assert Destination("worker", WORKER) in bench.router.take_dirty()
    assert bench.orders().lease_until_ms == 1_001_020


def test_admissions_in_overtime_are_counted() -> None:
    bench = serving()
    end_ms = bench.now_ms + 100
    session = SessionId(100)
    bench.router.set_lease(session, end_ms, bench.now_ms, overtime_from_ms=bench.now_ms + 1)
    bench.arrive(forward(b"a", epoch=1, first=1))
    bench.delivered()
    bench.now_ms += 1
    bench.arrive(forward(b"b", epoch=1, first=2))
    bench.delivered()
    assert (bench.router.stats.admitted, bench.router.stats.admitted_overtime) == (2, 1)


def test_many_assignments_come_in_several_frames() -> None:
    bench = make_bench(RouterLimits(frame_items_max=3))
    bench.attach()
    for partition in range(4):
        bench.grant(partition, ME)
    assert len(bench.orders().assign) == 3
    assert Destination("worker", WORKER) in bench.router.take_dirty()
    assert len(bench.orders().assign) == 1


def test_a_worker_that_is_gone_takes_and_says_nothing() -> None:
    bench = serving()
    bench.router.detach_worker(WORKER, bench.now_ms)
    assert bench.router.take_worker(WORKER, bench.now_ms) is None
    bench.says(worker_ok(1))
    assert bench.router.stats.worker_frames_stale == 1


def test_stories_are_bounded() -> None:
    bench = make_bench()
    for _ in range(50):
        bench.grant(0, ME)
        bench.grant(0, THIRD)
    lines = bench.router.story(PartitionId(0))
    assert len(lines) == 32
    assert "epoch 99" in lines[-1]
    assert bench.table.applied_index == LogIndex(101)
