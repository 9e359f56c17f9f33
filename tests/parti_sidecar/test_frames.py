"""Frames against batches: round trips, defaults, and every array that can be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from parti_proto import app_pb2, errors_pb2, peer_pb2
from parti_shard.batches import ForwardBatch, ResultBatch, WorkerOutput
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import BY_KEY, Epoch, LogIndex, MemberId
from parti_sidecar import frames
from parti_sidecar.status import detail_of

FAILURE = Failure(Reason.NOT_OWNER, Executed.NO, "moved", 7, MemberId(9), Epoch(4), LogIndex(11))


def test_a_full_send_frame_becomes_a_batch() -> None:
    batch = frames.send_batch(
        app_pb2.SendFrame(
            id=[5, 6],
            partition=[1, BY_KEY],
            key=[b"", b"k"],
            payload=[b"p", b"q"],
            timeout_ms=[10, 20],
            idempotent_at=[1],
            headers_at=[0],
            headers=[b"h"],
        )
    )
    assert (batch.ids, batch.partitions, batch.keys) == ([5, 6], [1, BY_KEY], [b"", b"k"])
    assert (batch.payloads, batch.timeouts_ms) == ([b"p", b"q"], [10, 20])
    assert (batch.idempotent_at, batch.headers, batch.ping_at) == ([1], {0: b"h"}, [])


def test_empty_arrays_mean_the_default_for_every_item() -> None:
    batch = frames.send_batch(app_pb2.SendFrame(id=[1, 2], key=[b"a", b"b"]))
    assert batch.partitions == [BY_KEY, BY_KEY]
    assert batch.payloads == [b"", b""]
    assert batch.timeouts_ms == []


@pytest.mark.parametrize(
    ("array", "values", "says"),
    [
        ("partition", {"partition": [1]}, "partition has 1 elements for 2 items"),
        ("key", {"key": [b"k"]}, "key has 1 elements for 2 items"),
        ("payload", {"payload": [b"1", b"2", b"3"]}, "payload has 3 elements for 2 items"),
        ("timeout_ms", {"timeout_ms": [1]}, "timeout_ms has 1 elements"),
        ("idempotent_at", {"idempotent_at": [2]}, "idempotent_at names position 2 of 2"),
        ("idempotent_at", {"idempotent_at": [1, 1]}, "idempotent_at names a position twice"),
        ("headers", {"headers_at": [0], "headers": []}, "headers has 0 elements for 1"),
        ("headers", {"headers": [b"h"]}, "headers has 1 elements for 0"),
        ("headers_at", {"headers_at": [5], "headers": [b"h"]}, "headers_at names position 5"),
        (
            "headers_at",
            {"headers_at": [0, 0], "headers": [b"h", b"i"]},
            "headers_at names a position twice",
        ),
    ],
)
def test_a_wrong_array_of_a_send_frame_is_named(
    array: str, values: dict[str, Any], says: str
) -> None:
    with pytest.raises(MalformedFrameError, match=says):
        frames.send_batch(app_pb2.SendFrame(id=[1, 2], **values))


def test_a_forward_batch_survives_the_wire() -> None:
    batch = ForwardBatch(
        ids=[1, 2],
        partitions=[3, 4],
        epochs=[5, 6],
        keys=[b"a", b""],
        payloads=[b"p", b"q"],
        timeouts_ms=[7, 8],
        headers={1: b"h"},
        ping_at=[0],
    )
    raw = frames.forward_frame(batch).SerializeToString()
    assert frames.forward_batch(peer_pb2.ForwardFrame.FromString(raw)) == batch


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "partition has 0 elements for 2 items"),
        ({"partition": [1, 1], "epoch": [1]}, "epoch has 1 elements"),
        ({"partition": [1, 1], "ping_at": [2]}, "ping_at names position 2"),
    ],
)
def test_a_wrong_array_of_a_forward_frame_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(MalformedFrameError, match=says):
        frames.forward_batch(peer_pb2.ForwardFrame(id=[1, 2], **values))


def test_results_survive_the_wire_with_their_failures() -> None:
    batch = ResultBatch(ids=[1, 2], epochs=[3, 0], payloads=[b"p", b""], failures={1: FAILURE})
    raw = frames.forward_results(batch).SerializeToString()
    assert frames.result_batch(peer_pb2.ForwardResults.FromString(raw)) == batch
    for_client = frames.result_frame(batch)
    assert for_client.SerializeToString() == raw, "clients and origins get the same shape"


def test_an_error_position_outside_or_twice_is_refused() -> None:
    error = errors_pb2.ItemError(position=1)
    with pytest.raises(MalformedFrameError, match="errors names position 1 of 1 items"):
        frames.result_batch(peer_pb2.ForwardResults(id=[1], errors=[error]))
    with pytest.raises(MalformedFrameError, match="errors names a position twice"):
        frames.result_batch(peer_pb2.ForwardResults(id=[1, 2], errors=[error, error]))


def test_worker_input_holds_its_parts() -> None:
    frame = app_pb2.WorkerFrame(
        started=[app_pb2.Started(partition=1, epoch=2)],
        results=app_pb2.Results(
            id=[7],
            errors=[errors_pb2.ItemError(position=0, detail=detail_of(FAILURE))],
        ),
        released=[app_pb2.Released(partition=3, epoch=4)],
        closing=True,
    )
    said = frames.worker_input(frame)
    assert (said.started, said.released, said.closing) == ([(1, 2)], [(3, 4)], True)
    assert said.results is not None
    assert (said.results.ids, said.results.payloads) == ([7], [b""])
    assert said.results.failures == {0: FAILURE}


def test_worker_input_refuses_a_second_hello_and_wrong_results() -> None:
    with pytest.raises(MalformedFrameError, match="hello is for the first frame only"):
        frames.worker_input(app_pb2.WorkerFrame(hello=app_pb2.Hello()))
    results = app_pb2.Results(id=[1, 2], payload=[b"x"])
    with pytest.raises(MalformedFrameError, match=r"results\.payload has 1 elements"):
        frames.worker_input(app_pb2.WorkerFrame(results=results))


def test_a_sidecar_frame_holds_what_the_router_says() -> None:
    output = WorkerOutput(
        lease_until_ms=99,
        assign=[(1, 2)],
        deliver=ForwardBatch([1], [2], [3], [b"k"], [b"p"], [4], headers={0: b"h"}),
        cancel=[(5, 6)],
        revoke=[(7, 8, 9)],
        closed="bye",
    )
    frame = frames.sidecar_frame(output)
    assert frame.lease.until_boottime_ms == 99
    assert (frame.assign[0].partition, frame.assign[0].epoch) == (1, 2)
    assert (frame.cancel[0].partition, frame.cancel[0].epoch) == (5, 6)
    revoke = frame.revoke[0]
    assert (revoke.partition, revoke.epoch, revoke.within_ms) == (7, 8, 9)
    deliver = frame.deliver
    assert (deliver.id[:], deliver.partition[:], deliver.epoch[:]) == ([1], [2], [3])
    assert (deliver.key[:], deliver.payload[:], deliver.timeout_ms[:]) == ([b"k"], [b"p"], [4])
    assert (deliver.headers_at[:], deliver.headers[:]) == ([0], [b"h"])
    assert frame.closed == "bye"


def test_an_empty_output_sets_nothing() -> None:
    assert frames.sidecar_frame(WorkerOutput()).ByteSize() == 0
