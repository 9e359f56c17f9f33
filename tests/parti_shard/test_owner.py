"""Rules of the owner: gate, intake, worker life. Origins and workers are played by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parti_shard.batches import ForwardBatch, WorkerInput, WorkerResults
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import Epoch, LogIndex, PartitionId, SessionId, StreamId, WorkerId
from parti_shard.limits import RouterLimits
from parti_shard.streams import Destination
from tests.parti_shard.router_fakes import (
    INBOUND,
    ME,
    OTHER,
    THIRD,
    WORKER,
    Bench,
    forward,
    make_bench,
    worker_failed,
    worker_ok,
)

SECOND = WorkerId(10)
Closing = Callable[[Bench], None]


def serving(limits: RouterLimits | None = None, *, each: int = 10, credits_: int = 100) -> Bench:
    """Partition 0 is owned here under epoch 1 and started by the worker."""
    bench = make_bench(limits)
    bench.attach(each=each, credits_=credits_)
    bench.serve(0)
    return bench


def payloads(deliveries: list[tuple[int, bytes]]) -> list[bytes]:
    return [payload for _, payload in deliveries]


# -- admission


def test_a_message_is_delivered_and_its_result_carries_the_epoch() -> None:
    bench = serving()
    batch = ForwardBatch([1], [0], [1], [b"k"], [b"m"], [500], headers={0: b"h"})
    bench.arrive(batch)
    assert Destination("worker", WORKER) in bench.router.take_dirty()
    bench.now_ms += 100
    deliver = bench.orders().deliver
    assert deliver is not None
    assert (deliver.partitions, deliver.epochs, deliver.keys) == ([0], [1], [b"k"])
    assert (deliver.payloads, deliver.timeouts_ms, deliver.headers) == ([b"m"], [400], {0: b"h"})
    bench.says(worker_ok(*deliver.ids))
    assert Destination("inbound", INBOUND) in bench.router.take_dirty()
    assert bench.answers() == {1: "ok@1"}
    assert bench.router.load() == {0: 1}
    assert bench.router.load() == {}


def lease_over(bench: Bench) -> None:
    bench.lease(for_ms=0)


def no_session(bench: Bench) -> None:
    bench.lease(member_session=0)


def other_session(bench: Bench) -> None:
    bench.lease(member_session=101)


def revoked(bench: Bench) -> None:
    bench.revoke(0, OTHER)


def freed(bench: Bench) -> None:
    bench.table.free(0)
    bench.changed(0)


def granted_away(bench: Bench) -> None:
    bench.grant(0, OTHER)


def granted_again(bench: Bench) -> None:
    bench.grant(0, ME)


def worker_gone(bench: Bench) -> None:
    bench.router.detach_worker(WORKER, bench.now_ms)


def stopped(bench: Bench) -> None:
    bench.router.stop_admitting(bench.now_ms)


CLOSINGS: list[tuple[Closing, str]] = [
    (lease_over, "LEASE_EXPIRED/NO"),
    (no_session, "LEASE_EXPIRED/NO"),
    (other_session, "LEASE_EXPIRED/NO"),
    (revoked, "NOT_OWNER/NO"),
    (freed, "NOT_OWNER/NO"),
    (granted_away, "STALE_EPOCH/NO"),
    (granted_again, "STALE_EPOCH/NO"),
    (worker_gone, "NO_WORKER/NO"),
    (stopped, "DRAINING/NO"),
]


@pytest.mark.parametrize(("close", "outcome"), CLOSINGS)
def test_a_shut_gate_refuses_what_arrives(close: Closing, outcome: str) -> None:
    bench = serving()
    close(bench)
    bench.arrive(forward(b"m", epoch=1, first=1))
    assert bench.delivered() == []
    assert bench.answers() == {1: outcome}


@pytest.mark.parametrize(("close", "outcome"), CLOSINGS)
def test_a_gate_that_shuts_refuses_what_waits(close: Closing, outcome: str) -> None:
    bench = serving()
    bench.arrive(forward(b"a", b"b", epoch=1, first=1))
    close(bench)
    assert bench.delivered() == []
    bench.tick()
    assert bench.answers() == {1: outcome, 2: outcome}


def test_the_lease_ends_at_its_millisecond() -> None:
    bench = serving()
    bench.lease(for_ms=10)
    bench.now_ms += 9
    bench.arrive(forward(b"a", epoch=1, first=1))
    assert payloads(bench.delivered()) == [b"a"]
    bench.arrive(forward(b"b", epoch=1, first=2))
    bench.now_ms += 1
    assert bench.delivered() == []


def test_the_gate_reads_the_table_itself_when_it_admits() -> None:
    """Even before the change of the table is announced."""
    bench = serving()
    bench.arrive(forward(b"a", epoch=1, first=1))
    bench.table.revoke(0, OTHER)
    assert bench.delivered() == []


def test_a_refusal_names_owner_epoch_index_and_when_to_retry() -> None:
    bench = serving()
    bench.grant(0, OTHER)
    bench.arrive(forward(b"m", epoch=1, first=1))
    batch = bench.router.take_inbound(INBOUND)
    assert batch is not None
    failure = batch.failures[0]
    assert (failure.owner, failure.epoch) == (OTHER, Epoch(2))
    assert failure.table_index == bench.table.applied_index
    bench.lease(for_ms=0)


def test_a_message_of_a_higher_epoch_waits_until_the_table_catches_up() -> None:
    bench = serving()
    bench.arrive(forward(b"m", epoch=2, first=1))
    assert bench.delivered() == []
    assert bench.answers() == {}
    bench.serve(0)
    assert payloads(bench.delivered()) == [b"m"]


def test_a_message_of_a_higher_epoch_is_refused_if_it_is_not_for_me() -> None:
    bench = serving()
    bench.arrive(forward(b"m", epoch=2, first=1))
    bench.grant(0, OTHER)
    assert bench.answers() == {1: "NOT_OWNER/NO"}


def test_what_waits_behind_a_message_of_a_higher_epoch_goes_on_when_that_is_gone() -> None:
    bench = serving()
    bench.arrive(forward(b"ahead", epoch=2, first=1, timeout_ms=100))
    bench.arrive(forward(b"m", epoch=1, first=2))
    assert bench.delivered() == []
    bench.router.take_dirty()
    bench.tick(100)
    assert Destination("worker", WORKER) in bench.router.take_dirty()
    assert payloads(bench.delivered()) == [b"m"]


@pytest.mark.parametrize("superseded", [False, True])
def test_what_waits_behind_a_stream_that_ends_goes_on(superseded: bool) -> None:  # noqa: FBT001
    bench = serving()
    bench.router.open_inbound(StreamId(81), THIRD)
    bench.arrive(forward(b"ahead", epoch=2, first=1))
    bench.arrive(forward(b"m", epoch=1, first=1), StreamId(81))
    bench.router.take_dirty()
    if superseded:
        bench.router.open_inbound(StreamId(80), OTHER)
    else:
        bench.router.close_inbound(INBOUND, bench.now_ms)
    assert Destination("worker", WORKER) in bench.router.take_dirty()
    assert payloads(bench.delivered()) == [b"m"]


def test_a_message_waits_until_the_worker_has_started_the_epoch() -> None:
    bench = make_bench()
    bench.attach()
    bench.grant(0, ME)
    bench.arrive(forward(b"m", epoch=1, first=1))
    assert bench.orders().deliver is None
    bench.says(WorkerInput(started=[(0, 1)]))
    assert payloads(bench.delivered()) == [b"m"]


def test_a_turn_left_over_from_an_older_epoch_delivers_nothing_before_the_start() -> None:
    bench = serving()
    bench.arrive(forward(b"old", epoch=1, first=1))
    bench.grant(0, ME)
    bench.arrive(forward(b"new", epoch=2, first=2))
    out = bench.orders()
    assert (out.assign, out.deliver) == ([(0, 2)], None)
    bench.says(WorkerInput(started=[(0, 2)]))
    assert payloads(bench.delivered()) == [b"new"]


def test_a_message_at_the_gate_runs_out_of_time_unexecuted() -> None:
    bench = make_bench()
    bench.attach()
    bench.grant(0, ME)
    bench.arrive(forward(b"m", epoch=1, first=1, timeout_ms=100))
    bench.tick(99)
    assert bench.answers() == {}
    bench.tick(1)
    assert bench.answers() == {1: "DEADLINE_EXCEEDED/NO"}


def test_a_message_past_its_deadline_is_not_delivered_even_before_the_tick() -> None:
    bench = serving()
    bench.arrive(forward(b"m", epoch=1, first=1, timeout_ms=100))
    bench.now_ms += 100
    assert bench.delivered() == []
    assert bench.answers() == {1: "DEADLINE_EXCEEDED/NO"}


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (RouterLimits(intake_messages_per_partition=2), "intake_messages_per_partition"),
        (RouterLimits(intake_messages_max=2), "intake_messages_max"),
        (RouterLimits(intake_bytes_max=2), "intake_bytes_max"),
    ],
)
def test_a_full_intake_is_overloaded(limits: RouterLimits, name: str) -> None:
    bench = serving(limits)
    bench.arrive(forward(b"a", b"b", b"c", epoch=1, first=1))
    assert bench.answers() == {3: "OVERLOADED/NO"}
    assert bench.router.stats.limits_hit == {name: 1}
    assert payloads(bench.delivered()) == [b"a", b"b"]


@pytest.mark.parametrize("ids", [[2, 2], [2, 1], [0]])
def test_ids_that_do_not_rise_end_the_stream(ids: list[int]) -> None:
    bench = serving()
    count = len(ids)
    batch = ForwardBatch(ids, [0] * count, [1] * count, [], [b"m"] * count, [])
    with pytest.raises(MalformedFrameError):
        bench.router.inbound_frame(INBOUND, batch, bench.now_ms)


def test_an_origin_that_reads_no_answers_is_cut_off() -> None:
    bench = serving(RouterLimits(answers_unread_max=2))
    bench.arrive(forward(b"a", b"b", b"c", epoch=0, first=1))
    with pytest.raises(MalformedFrameError):
        bench.router.inbound_frame(INBOUND, forward(b"d", epoch=1, first=4), bench.now_ms)


def test_a_partition_out_of_range_is_refused() -> None:
    bench = serving()
    bench.arrive(forward(b"a", epoch=1, first=1, partition=77))
    assert bench.answers() == {1: "BAD_PARTITION/NO"}


# -- order across refusals that may pass


def test_after_a_lapse_nothing_overtakes_the_refused_until_the_origin_starts_anew() -> None:
    """G4: message 2 was sent before its origin knew that 1 was refused."""
    bench = serving()
    bench.lease(for_ms=0)
    bench.arrive(forward(b"a", epoch=1, first=1))
    bench.lease()
    bench.arrive(forward(b"b", epoch=1, first=2))
    assert bench.delivered() == []
    assert bench.answers() == {1: "LEASE_EXPIRED/NO", 2: "LEASE_EXPIRED/NO"}
    bench.arrive(forward(b"a", b"b", epoch=1, first=4))  # the gap: 3 was skipped
    assert payloads(bench.delivered()) == [b"a", b"b"]


def test_a_grant_for_a_session_not_yet_told_here_refuses_in_order_too() -> None:
    """G4: the epoch comes to life when the lease of the new session is told."""
    bench = make_bench()
    bench.attach()
    bench.table.members[ME].session = SessionId(101)
    bench.grant(0, ME)
    bench.arrive(forward(b"a", epoch=1, first=1))
    bench.lease(member_session=101)
    bench.says(WorkerInput(started=bench.orders().assign))
    bench.arrive(forward(b"b", epoch=1, first=2))
    assert bench.delivered() == []
    assert set(bench.answers().values()) == {"LEASE_EXPIRED/NO"}


def test_the_fence_stands_for_one_partition_and_epoch_only() -> None:
    bench = serving()
    bench.serve(1)
    bench.lease(for_ms=0)
    bench.arrive(forward(b"a", epoch=1, first=1))
    bench.lease()
    bench.arrive(forward(b"x", epoch=1, first=2, partition=1))
    assert payloads(bench.delivered()) == [b"x"]
    bench.serve(0)
    bench.arrive(forward(b"b", epoch=2, first=3))
    assert payloads(bench.delivered()) == [b"b"]


def test_a_worker_that_sees_no_lease_fences_as_well() -> None:
    bench = serving()
    bench.arrive(forward(b"a", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.arrive(forward(b"b", epoch=1, first=2))
    bench.says(worker_failed(delivery, failure=Failure(Reason.LEASE_EXPIRED, Executed.NO)))
    bench.arrive(forward(b"c", epoch=1, first=3))
    assert bench.delivered() == []
    refused = "LEASE_EXPIRED/NO"
    assert bench.answers() == {1: refused, 2: refused, 3: refused}


def test_a_second_stream_of_an_origin_drops_what_the_first_left_at_the_gate() -> None:
    """Its origin has counted that as unknown and may have sent newer messages since."""
    bench = serving()
    bench.arrive(forward(b"old", epoch=1, first=1))
    bench.router.open_inbound(StreamId(80), OTHER)
    bench.arrive(forward(b"new", epoch=1, first=1), StreamId(80))
    bench.arrive(forward(b"old too", epoch=1, first=2))
    assert payloads(bench.delivered()) == [b"new"]
    assert bench.router.stats.frames_superseded == 1


def test_a_closed_stream_drops_what_waits_and_later_answers() -> None:
    bench = serving(each=1)
    bench.arrive(forward(b"a", b"b", epoch=1, first=1))
    ((delivery, _),) = bench.delivered()
    bench.router.close_inbound(INBOUND, bench.now_ms)
    bench.check()
    bench.says(worker_ok(delivery))
    assert bench.delivered() == []
    assert bench.router.take_inbound(INBOUND) is None
    assert bench.router.stats.answers_dropped == 2


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


# -- pings


def test_a_ping_is_answered_by_the_gate_even_without_a_worker() -> None:
    bench = make_bench()
    bench.grant(0, ME)
    bench.arrive(forward(b"", epoch=1, first=1, ping=True))
    assert bench.answers() == {1: "ok@1"}


@pytest.mark.parametrize(
    ("close", "outcome"), [pair for pair in CLOSINGS if pair[0] is not worker_gone]
)
def test_a_ping_passes_no_shut_gate(close: Closing, outcome: str) -> None:
    bench = serving()
    close(bench)
    bench.arrive(forward(b"", epoch=1, first=1, ping=True))
    assert bench.answers() == {1: outcome}


def test_a_ping_behind_messages_waits_for_its_turn() -> None:
    bench = serving(each=1)
    bench.arrive(forward(b"a", b"b", epoch=1, first=1))
    bench.arrive(forward(b"", epoch=1, first=3, ping=True))
    ((first, _),) = bench.delivered()
    assert bench.answers() == {}
    bench.says(worker_ok(first))
    ((second, _),) = bench.delivered()
    bench.says(worker_ok(second))
    assert bench.delivered() == []
    assert bench.answers() == {1: "ok@1", 2: "ok@1", 3: "ok@1"}


def test_a_ping_left_alone_by_a_lost_worker_is_answered() -> None:
    bench = serving(each=1)
    bench.arrive(forward(b"a", epoch=1, first=1))
    bench.arrive(forward(b"", epoch=1, first=2, ping=True))
    bench.router.detach_worker(WORKER, bench.now_ms)
    bench.check()
    assert bench.answers() == {1: "NO_WORKER/NO", 2: "ok@1"}


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
