"""Checks of frames as a whole: what is wrong here ends the stream. And of one message's target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from parti_shard.batches import ForwardBatch, ResultBatch, SendBatch, WorkerResults
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.ids import BY_KEY
from parti_shard.limits import RouterLimits


def _require(*, equal: bool) -> None:
    if not equal:
        raise MalformedFrameError("arrays of a frame differ in length")


def _require_positions(positions: Iterable[int], count: int) -> None:
    if not all(0 <= position < count for position in positions):
        raise MalformedFrameError("a position lies outside of its frame")


def check_send(batch: SendBatch, in_flight: Mapping[int, object]) -> None:
    ids = batch.ids
    count = len(ids)
    keys, timeouts_ms = batch.keys, batch.timeouts_ms
    _require(equal=len(batch.payloads) == count and len(batch.partitions) == count)
    _require(equal=(not keys or len(keys) == count))
    _require(equal=(not timeouts_ms or len(timeouts_ms) == count))
    if batch.headers or batch.idempotent_at or batch.ping_at:
        _require_positions((*batch.headers, *batch.idempotent_at, *batch.ping_at), count)
    if len(set(ids)) != count or not in_flight.keys().isdisjoint(ids):
        raise MalformedFrameError("an id is used twice among unanswered messages")


def check_forward(batch: ForwardBatch, last_id: int) -> list[int]:
    """Positions before which the rising ids leave a gap."""
    ids = batch.ids
    count = len(ids)
    keys, timeouts_ms, epochs = batch.keys, batch.timeouts_ms, batch.epochs
    _require(equal=len(batch.payloads) == count and len(batch.partitions) == count)
    _require(equal=(not keys or len(keys) == count))
    _require(equal=(not timeouts_ms or len(timeouts_ms) == count))
    _require(equal=(not epochs or len(epochs) == count))
    if batch.headers or batch.ping_at:
        _require_positions((*batch.headers, *batch.ping_at), count)
    if ids == list(range(last_id + 1, last_id + 1 + count)):
        return []
    gaps = []
    for position, item_id in enumerate(ids):
        if item_id <= last_id:
            raise MalformedFrameError("ids of a stream must rise")
        if item_id != last_id + 1:
            gaps.append(position)
        last_id = item_id
    return gaps


def check_results(batch: ResultBatch | WorkerResults) -> None:
    count = len(batch.ids)
    _require(equal=len(batch.payloads) == count)
    if isinstance(batch, ResultBatch):
        _require(equal=(not batch.epochs or len(batch.epochs) == count))
    if batch.failures:
        _require_positions(batch.failures, count)


def target_problem(partition: int, key: bytes, partitions: int, limits: RouterLimits) -> Failure:
    """Why a message names no partition. Only asked when it does not."""
    if len(key) > limits.key_bytes_max:
        return Failure(
            Reason.PAYLOAD_TOO_LARGE,
            Executed.NO,
            f"key of {len(key)} bytes, limit {limits.key_bytes_max}",
        )
    if partition == BY_KEY:
        return Failure(Reason.EMPTY_KEY, Executed.NO, "sent by key, with an empty key")
    if key:
        return Failure(Reason.BAD_TARGET, Executed.NO, "both a key and a partition")
    return Failure(
        Reason.BAD_PARTITION, Executed.NO, f"partition {partition}, cluster has {partitions}"
    )


def size_problem(payload: bytes, headers: bytes, limits: RouterLimits) -> Failure:
    """Why a message is too large. Only asked when it is."""
    if len(payload) > limits.payload_bytes_max:
        text = f"payload of {len(payload)} bytes, limit {limits.payload_bytes_max}"
    else:
        text = f"headers of {len(headers)} bytes, limit {limits.headers_bytes_max}"
    return Failure(Reason.PAYLOAD_TOO_LARGE, Executed.NO, text)
