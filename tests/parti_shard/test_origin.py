"""Rules of the origin, one by one: intake, sending, deadlines, pings, own partitions. The owner
is played by hand through its results.
"""

from __future__ import annotations

import pytest

from parti_shard.batches import SendBatch, WorkerInput, WorkerResults
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import BY_KEY, StreamId
from parti_shard.keys import partition_of
from parti_shard.limits import RouterLimits
from parti_shard.streams import Destination
from tests.parti_shard.router_fakes import (
    CLIENT,
    ME,
    OTHER,
    THIRD,
    failed,
    linked,
    make_bench,
    ok,
    send,
)

# -- what is wrong with one message is told to its sender, and the stream goes on


@pytest.mark.parametrize(
    ("batch", "outcome"),
    [
        (send(b"m", partition=4), "BAD_PARTITION/NO"),
        (send(b"m", partition=BY_KEY), "EMPTY_KEY/NO"),
        (SendBatch([1], [0], [b"k"], [b"m"], []), "BAD_TARGET/NO"),
        (SendBatch([1], [9], [b"k"], [b"m"], []), "BAD_TARGET/NO"),
        (SendBatch([1], [BY_KEY], [b"k" * 9], [b"m"], []), "PAYLOAD_TOO_LARGE/NO"),
        (send(b"m" * 17), "PAYLOAD_TOO_LARGE/NO"),
        (SendBatch([1], [0], [], [b"m"], [], headers={0: b"h" * 5}), "PAYLOAD_TOO_LARGE/NO"),
    ],
)
def test_a_wrong_message_is_answered_with_its_reason(batch: SendBatch, outcome: str) -> None:
    bench = linked(RouterLimits(payload_bytes_max=16, key_bytes_max=8, headers_bytes_max=4))
    bench.send(batch)
    assert bench.outcomes() == {1: outcome}
    bench.send(send(b"fits", first=2))
    assert bench.forwarded() == [(1, b"fits")]


@pytest.mark.parametrize("key", [b"", b"k"])
def test_before_the_table_is_there_nothing_is_taken(key: bytes) -> None:
    bench = make_bench(partitions=0)
    bench.send(SendBatch([1], [BY_KEY], [key], [b"m"], []))
    assert bench.outcomes() == {1: "NOT_READY/NO"}


def test_largest_allowed_sizes_pass() -> None:
    bench = make_bench(RouterLimits(payload_bytes_max=16, key_bytes_max=8, headers_bytes_max=4))
    batch = SendBatch([1], [BY_KEY], [b"k" * 8], [b"m" * 16], [], headers={0: b"h" * 4})
    bench.send(batch)
    assert bench.outcomes() == {}
    assert bench.router.stats.parked_bytes == 28


def test_wrong_items_in_a_frame_do_not_touch_the_others() -> None:
    bench = linked()
    bench.send(SendBatch([5, 6, 7], [0, 99, 0], [], [b"a", b"b", b"c"], []))
    assert bench.outcomes() == {6: "BAD_PARTITION/NO"}
    assert bench.forwarded() == [(1, b"a"), (2, b"c")]


@pytest.mark.parametrize(
    "batch",
    [
        SendBatch([1, 2], [0], [], [b"a", b"b"], []),
        SendBatch([1, 2], [0, 0], [b"k"], [b"a", b"b"], []),
        SendBatch([1, 2], [0, 0], [], [b"a"], []),
        SendBatch([1, 2], [0, 0], [], [b"a", b"b"], [5]),
        SendBatch([1, 1], [0, 0], [], [b"a", b"b"], []),
        SendBatch([1], [0], [], [b"a"], [], idempotent_at=[1]),
        SendBatch([1], [0], [], [b"a"], [], headers={-1: b""}),
        SendBatch([1], [0], [], [b"a"], [], ping_at=[7]),
    ],
)
def test_a_frame_that_cannot_be_read_ends_the_stream_and_leaves_nothing(batch: SendBatch) -> None:
    bench = linked()
    with pytest.raises(MalformedFrameError):
        bench.router.client_frame(CLIENT, batch, bench.now_ms)
    bench.check()
    assert bench.forwarded() == []


def test_an_id_in_flight_cannot_be_used_again_until_it_is_answered() -> None:
    bench = linked()
    bench.send(send(b"a"))
    with pytest.raises(MalformedFrameError):
        bench.router.client_frame(CLIENT, send(b"b"), bench.now_ms)
    bench.forwarded()
    bench.results(ok(1))
    bench.send(send(b"c"))
    assert bench.forwarded() == [(2, b"c")]


def test_a_key_names_its_partition_and_travels_along() -> None:
    bench = make_bench()
    partition = partition_of(b"user-123", 4)
    bench.grant(partition, OTHER)
    bench.router.peer_up(OTHER, bench.now_ms)
    bench.send(SendBatch([1], [BY_KEY], [b"user-123"], [b"m"], [250], headers={0: b"h"}))
    batch = bench.router.take_peer(OTHER, bench.now_ms)
    assert batch is not None
    assert (batch.partitions, batch.keys, batch.epochs) == ([partition], [b"user-123"], [1])
    assert (batch.timeouts_ms, batch.headers) == ([250], {0: b"h"})


def test_too_many_in_flight_is_overloaded_at_once() -> None:
    bench = linked(RouterLimits(client_in_flight_max=2))
    bench.send(send(b"a", b"b", b"c"))
    assert bench.outcomes() == {3: "OVERLOADED/NO"}
    assert bench.router.stats.limits_hit == {"client_in_flight_max": 1}


def test_too_many_bytes_in_flight_is_overloaded_until_answers_come() -> None:
    bench = linked(RouterLimits(client_in_flight_bytes_max=10))
    bench.send(send(b"123456", b"12345"))
    assert bench.outcomes() == {2: "OVERLOADED/NO"}
    assert bench.router.stats.limits_hit == {"client_in_flight_bytes_max": 1}
    bench.forwarded()
    bench.results(ok(1))
    bench.send(send(b"1234567890", first=3))
    assert bench.outcomes() == {1: "ok@1"}


def test_a_client_that_reads_no_answers_is_cut_off() -> None:
    bench = linked(RouterLimits(answers_unread_max=2))
    bench.send(send(b"a", b"b", b"c", partition=99))
    with pytest.raises(MalformedFrameError):
        bench.router.client_frame(CLIENT, send(b"d", first=4), bench.now_ms)


# -- sending


def test_happy_path_tells_the_epoch_and_wakes_the_writers() -> None:
    bench = linked()
    bench.router.take_dirty()
    bench.send(send(b"a", b"b"))
    assert bench.router.take_dirty() == [Destination("peer", OTHER)]
    assert bench.forwarded() == [(1, b"a"), (2, b"b")]
    bench.results(ok(2, 1, epoch=1))
    assert bench.router.take_dirty() == [Destination("client", CLIENT)]
    assert bench.outcomes() == {2: "ok@1", 1: "ok@1"}
    assert bench.router.take_client(CLIENT) is None


def test_frames_are_bounded_in_items_and_bytes_and_the_rest_wakes_again() -> None:
    bench = linked(RouterLimits(frame_items_max=2, frame_bytes_target=10))
    bench.send(send(b"a", b"b", b"c" * 10, b"d"))
    bench.router.take_dirty()
    assert [payload for _, payload in bench.forwarded()] == [b"a", b"b"]
    assert bench.router.take_dirty() == [Destination("peer", OTHER)]
    assert [payload for _, payload in bench.forwarded()] == [b"c" * 10]
    assert [payload for _, payload in bench.forwarded()] == [b"d"]
    bench.results(ok(1, 2, payload=b"r" * 10))
    bench.results(failed(3, 4, failure=Failure(Reason.HANDLER_FAILED, Executed.YES)))
    assert bench.outcomes() == {1: "ok@1"}
    assert bench.outcomes() == {2: "ok@1"}
    assert bench.outcomes() == {3: "HANDLER_FAILED/YES", 4: "HANDLER_FAILED/YES"}


def test_the_window_bounds_unsettled_messages_and_results_open_it() -> None:
    bench = linked(RouterLimits(partition_window=2))
    bench.send(send(b"a", b"b", b"c", b"d"))
    assert bench.forwarded() == [(1, b"a"), (2, b"b")]
    assert bench.router.stats.parked_messages == 2
    bench.results(ok(1))
    assert bench.forwarded() == [(3, b"c")]
    bench.results(ok(2, 3))
    assert bench.forwarded() == [(4, b"d")]


def test_one_full_window_does_not_hold_up_other_partitions() -> None:
    bench = linked(RouterLimits(partition_window=1))
    bench.grant(1, OTHER)
    bench.send(send(b"a", b"b"))
    bench.send(send(b"c", partition=1, first=3))
    assert [payload for _, payload in bench.forwarded()] == [b"a", b"c"]


@pytest.mark.parametrize("phase", ["free", "revoking"])
def test_messages_park_while_nobody_can_take_them_and_leave_in_order(phase: str) -> None:
    bench = linked()
    if phase == "free":
        bench.table.free(0)
    else:
        bench.table.revoke(0, THIRD)
    bench.changed(0)
    bench.send(send(b"a", b"b"))
    bench.send(send(b"c", first=3))
    assert bench.forwarded() == []
    assert bench.router.stats.parked_messages == 3
    bench.grant(0, OTHER)
    assert bench.forwarded() == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_messages_park_while_the_link_is_down_and_the_driver_is_told_whom_to_reach() -> None:
    bench = make_bench()
    bench.grant(0, OTHER)
    bench.send(send(b"a"))
    assert bench.router.peers_wanted() == {OTHER}
    bench.router.peer_up(OTHER, bench.now_ms)
    assert bench.forwarded() == [(1, b"a")]
    assert bench.router.peers_wanted() == {OTHER}
    bench.results(ok(1))
    assert bench.router.peers_wanted() == set()


def test_the_target_of_a_move_is_wanted_before_it_owns() -> None:
    bench = linked()
    bench.revoke(0, THIRD)
    bench.send(send(b"a"))
    assert bench.router.peers_wanted() == {THIRD}


def test_nothing_is_sent_under_a_new_epoch_before_the_old_one_is_settled() -> None:
    """G4 across a move: the old owner still has a message."""
    bench = linked()
    bench.router.peer_up(THIRD, bench.now_ms)
    bench.send(send(b"a"))
    bench.forwarded()
    bench.grant(0, THIRD)
    bench.send(send(b"b", first=2))
    assert bench.forwarded(THIRD) == []
    bench.results(ok(1))
    assert bench.forwarded(THIRD) == [(1, b"b")]


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (RouterLimits(parked_messages_per_partition=2), "parked_messages_per_partition"),
        (RouterLimits(parked_bytes_per_partition=2), "parked_bytes_per_partition"),
        (RouterLimits(parked_messages_max=2), "parked_messages_max"),
        (RouterLimits(parked_bytes_max=2), "parked_bytes_max"),
    ],
)
def test_full_parking_answers_at_once(limits: RouterLimits, name: str) -> None:
    bench = make_bench(limits)
    bench.send(send(b"a", b"b", b"c"))
    assert bench.outcomes() == {3: "PARKING_FULL/NO"}
    assert bench.router.stats.limits_hit == {name: 1}


def test_full_parking_of_one_partition_lets_a_healthy_one_through() -> None:
    bench = linked(RouterLimits(parked_messages_max=1))
    bench.send(send(b"a", partition=1))
    bench.send(send(b"b", first=2))
    assert bench.forwarded() == [(1, b"b")]


def test_a_message_does_not_park_beyond_the_age_limit() -> None:
    bench = make_bench(RouterLimits(parked_age_ms_max=100))
    bench.send(send(b"a"))
    bench.tick(50)
    bench.send(send(b"b", first=2))
    bench.tick(50)
    assert bench.outcomes() == {1: "PARKING_FULL/NO"}
    assert bench.router.stats.limits_hit == {"parked_age_ms_max": 1}
    assert bench.router.stats.parked_messages == 1


# -- deadlines and clients that leave


def test_a_parked_message_that_runs_out_of_time_was_not_executed() -> None:
    bench = make_bench()
    bench.send(send(b"a", timeout_ms=99))
    bench.tick(98)
    assert bench.outcomes() == {}
    bench.tick(1)
    assert bench.outcomes() == {1: "DEADLINE_EXCEEDED/NO"}


def test_a_queued_message_that_runs_out_of_time_is_never_sent() -> None:
    bench = linked()
    bench.send(send(b"a", timeout_ms=99))
    bench.now_ms += 99
    assert bench.forwarded() == []
    assert bench.outcomes() == {1: "DEADLINE_EXCEEDED/NO"}


def test_a_sent_message_is_unknown_and_stays_in_the_window_until_its_result() -> None:
    bench = linked(RouterLimits(partition_window=1))
    bench.send(send(b"a", timeout_ms=100))
    bench.forwarded()
    bench.tick(100)
    assert bench.outcomes() == {1: "DEADLINE_EXCEEDED/UNKNOWN"}
    bench.send(send(b"b", first=2))
    assert bench.forwarded() == []
    bench.results(ok(1))
    assert bench.router.stats.results_late == 1
    assert bench.forwarded() == [(2, b"b")]
    assert bench.outcomes() == {}


def test_timeouts_are_capped_and_have_a_default() -> None:
    bench = linked(RouterLimits(default_timeout_ms=100, timeout_ms_max=300))
    bench.send(SendBatch([1, 2, 3], [0] * 3, [], [b"a", b"b", b"c"], [0, 200, 9_999]))
    batch = bench.router.take_peer(OTHER, bench.now_ms)
    assert batch is not None
    assert batch.timeouts_ms == [100, 200, 300]


def test_a_client_that_leaves_takes_its_waiting_messages_along() -> None:
    bench = linked(RouterLimits(frame_items_max=1, partition_window=2))
    bench.router.open_client(StreamId(70))
    bench.send(send(b"a", b"b", b"c"))
    bench.send(send(b"z"), StreamId(70))
    assert bench.forwarded() == [(1, b"a")]
    bench.router.close_client(CLIENT, bench.now_ms)
    bench.check()
    assert bench.router.take_client(CLIENT) is None
    assert bench.forwarded() == [(2, b"z")]
    bench.results(ok(1, 2))
    assert bench.outcomes(StreamId(70)) == {1: "ok@1"}
    assert bench.router.stats.abandoned == 3


def test_what_is_gone_already_may_be_ended_and_asked_again() -> None:
    bench = make_bench()
    bench.router.close_client(StreamId(99), bench.now_ms)
    bench.router.peer_down(THIRD, bench.now_ms)
    bench.check()
    assert bench.router.take_client(StreamId(99)) is None
    assert bench.router.take_peer(THIRD, bench.now_ms) is None


# -- pings


def test_a_ping_travels_as_one_and_comes_back() -> None:
    bench = linked()
    bench.send(send(b"a"))
    bench.send(send(b"", first=2, ping=True))
    batch = bench.router.take_peer(OTHER, bench.now_ms)
    assert batch is not None
    assert batch.ping_at == [1]
    bench.results(ok(1, 2))
    assert bench.outcomes() == {1: "ok@1", 2: "ok@1"}


def test_an_own_ping_is_answered_at_once() -> None:
    bench = make_bench()
    bench.grant(0, ME)
    bench.send(SendBatch([1, 2], [99, 0], [], [b"", b""], [], ping_at=[0, 1]))
    assert bench.outcomes() == {1: "BAD_PARTITION/NO", 2: "ok@1"}
    assert bench.router.stats.pings == 1


# -- own partitions


def test_own_messages_take_the_short_way_and_come_back() -> None:
    bench = make_bench()
    bench.attach()
    epoch = bench.serve(0)
    bench.send(send(b"a", b"b"))
    assert Destination("worker", 9) in bench.router.take_dirty()
    deliveries = bench.delivered()
    assert [payload for _, payload in deliveries] == [b"a", b"b"]
    ids = [item_id for item_id, _ in deliveries]
    bench.says(worker_results(ids))
    assert bench.outcomes() == {1: f"ok@{epoch}", 2: f"ok@{epoch}"}
    assert bench.router.stats.forwarded == 0


def test_own_messages_that_wait_at_the_gate_were_not_executed() -> None:
    bench = make_bench()
    bench.attach()
    bench.grant(0, ME)
    bench.send(send(b"a", timeout_ms=100))
    bench.tick(100)
    assert bench.outcomes() == {1: "DEADLINE_EXCEEDED/NO"}


def test_own_messages_park_while_the_partition_moves_away_and_follow_it() -> None:
    bench = make_bench()
    bench.router.peer_up(OTHER, bench.now_ms)
    bench.attach()
    epoch = bench.serve(0)
    bench.send(send(b"a", timeout_ms=5_000))
    (delivery,) = bench.delivered()
    bench.send(send(b"b", first=2))
    bench.revoke(0, OTHER)
    assert bench.router.stats.parked_messages == 1
    bench.says(worker_results([delivery[0]], released=[(0, epoch)]))
    assert bench.outcomes() == {1: "ok@1"}
    bench.grant(0, OTHER)
    assert bench.forwarded() == [(1, b"b")]


def test_an_own_idempotent_message_of_a_lost_session_is_answered_once() -> None:
    """The record given up is still with the worker; its late answer settles nothing else."""
    bench = make_bench()
    bench.router.peer_up(OTHER, bench.now_ms)
    bench.attach()
    bench.serve(0)
    bench.send(send(b"a", idempotent=True))
    (delivery,) = bench.delivered()
    bench.changed(*bench.table.end_session(ME))
    bench.grant(0, OTHER)
    assert [payload for _, payload in bench.forwarded()] == [b"a"]
    bench.says(worker_results([delivery[0]]))
    assert bench.outcomes() == {}
    bench.results(ok(1, epoch=2))
    assert bench.outcomes() == {1: "ok@2"}


def worker_results(ids: list[int], released: list[tuple[int, int]] | None = None) -> WorkerInput:
    return WorkerInput(results=WorkerResults(ids, [b"r"] * len(ids)), released=released or [])
