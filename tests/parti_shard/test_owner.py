"""Rules of the owner's gate: admission, order, pings. Origins and workers are played by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parti_shard.batches import ForwardBatch, WorkerInput
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import Epoch, SessionId, StreamId
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
    payloads,
    serving,
    worker_failed,
    worker_ok,
)

Closing = Callable[[Bench], None]


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
