"""Frames of the protocol as batches, and back.

A frame costs its Python objects, not its bytes: each array is copied out by one slice and written
by one extend, nothing is done per item, and payloads, keys and headers are relayed as they are.
Arrays that are empty mean the default for every item; any other difference in length is
MalformedFrameError and names the array. Extending the arrays of a nested message in place costs
half of building it apart and copying it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from parti_proto import app_pb2, errors_pb2, peer_pb2
from parti_shard.batches import (
    ForwardBatch,
    ResultBatch,
    SendBatch,
    WorkerInput,
    WorkerOutput,
    WorkerResults,
)
from parti_shard.errors import Failure, MalformedFrameError
from parti_shard.ids import BY_KEY
from parti_sidecar.status import detail_of, failure_from

T = TypeVar("T")


class _HeadersArrays(Protocol):
    """The frames that carry headers sparsely."""

    @property
    def headers_at(self) -> Sequence[int]: ...
    @property
    def headers(self) -> Sequence[bytes]: ...


# --- from the wire ---------------------------------------------------------------------------


def send_batch(frame: app_pb2.SendFrame) -> SendBatch:
    """Read messages of a client."""
    ids = frame.id[:]
    count = len(ids)
    return SendBatch(
        ids=ids,
        partitions=_full(frame.partition[:], count, BY_KEY, "partition"),
        keys=_checked(frame.key[:], count, "key"),
        payloads=_full(frame.payload[:], count, b"", "payload"),
        timeouts_ms=_checked(frame.timeout_ms[:], count, "timeout_ms"),
        idempotent_at=_positions(frame.idempotent_at[:], count, "idempotent_at"),
        headers=_headers(frame, count),
    )


def forward_batch(frame: peer_pb2.ForwardFrame) -> ForwardBatch:
    """Read messages an origin sends to this owner."""
    ids = frame.id[:]
    count = len(ids)
    return ForwardBatch(
        ids=ids,
        partitions=_exact(frame.partition[:], count, "partition"),
        epochs=_checked(frame.epoch[:], count, "epoch"),
        keys=_checked(frame.key[:], count, "key"),
        payloads=_full(frame.payload[:], count, b"", "payload"),
        timeouts_ms=_checked(frame.timeout_ms[:], count, "timeout_ms"),
        headers=_headers(frame, count),
        ping_at=_positions(frame.ping_at[:], count, "ping_at"),
    )


def result_batch(frame: peer_pb2.ForwardResults) -> ResultBatch:
    """Read the outcomes an owner sends to this origin."""
    ids = frame.id[:]
    count = len(ids)
    return ResultBatch(
        ids=ids,
        epochs=_checked(frame.epoch[:], count, "epoch"),
        payloads=_full(frame.payload[:], count, b"", "payload"),
        failures=_failures(frame.errors, count),
    )


def worker_input(frame: app_pb2.WorkerFrame) -> WorkerInput:
    """Read what a worker says after its Hello."""
    if frame.HasField("hello"):
        raise MalformedFrameError("hello is for the first frame only")
    return WorkerInput(
        started=[(item.partition, item.epoch) for item in frame.started],
        results=_worker_results(frame.results) if frame.HasField("results") else None,
        released=[(item.partition, item.epoch) for item in frame.released],
        closing=frame.closing,
    )


def _worker_results(results: app_pb2.Results) -> WorkerResults:
    ids = results.id[:]
    count = len(ids)
    return WorkerResults(
        ids=ids,
        payloads=_full(results.payload[:], count, b"", "results.payload"),
        failures=_failures(results.errors, count),
    )


# --- to the wire -----------------------------------------------------------------------------


def result_frame(batch: ResultBatch) -> app_pb2.ResultFrame:
    """Write outcomes for a client."""
    frame = app_pb2.ResultFrame(id=batch.ids, epoch=batch.epochs, payload=batch.payloads)
    if batch.failures:
        frame.errors.extend(_item_errors(batch.failures))
    return frame


def forward_results(batch: ResultBatch) -> peer_pb2.ForwardResults:
    """Write outcomes for an origin."""
    frame = peer_pb2.ForwardResults(id=batch.ids, epoch=batch.epochs, payload=batch.payloads)
    if batch.failures:
        frame.errors.extend(_item_errors(batch.failures))
    return frame


def forward_frame(batch: ForwardBatch) -> peer_pb2.ForwardFrame:
    """Write messages for an owner."""
    frame = peer_pb2.ForwardFrame(
        id=batch.ids,
        partition=batch.partitions,
        epoch=batch.epochs,
        key=batch.keys,
        payload=batch.payloads,
        timeout_ms=batch.timeouts_ms,
        ping_at=batch.ping_at,
    )
    if batch.headers:
        frame.headers_at.extend(batch.headers.keys())
        frame.headers.extend(batch.headers.values())
    return frame


def sidecar_frame(output: WorkerOutput) -> app_pb2.SidecarFrame:
    """Write one frame for a worker."""
    frame = app_pb2.SidecarFrame(closed=output.closed)
    if output.lease_until_ms:
        frame.lease.until_boottime_ms = output.lease_until_ms
    for partition, epoch in output.assign:
        frame.assign.add(partition=partition, epoch=epoch)
    if output.deliver is not None:
        _fill_deliver(frame.deliver, output.deliver)
    for partition, epoch in output.cancel:
        frame.cancel.add(partition=partition, epoch=epoch)
    for partition, epoch, within_ms in output.revoke:
        frame.revoke.add(partition=partition, epoch=epoch, within_ms=within_ms)
    return frame


def _fill_deliver(deliver: app_pb2.Deliver, batch: ForwardBatch) -> None:
    deliver.id.extend(batch.ids)
    deliver.partition.extend(batch.partitions)
    deliver.epoch.extend(batch.epochs)
    deliver.key.extend(batch.keys)
    deliver.payload.extend(batch.payloads)
    deliver.timeout_ms.extend(batch.timeouts_ms)
    if batch.headers:
        deliver.headers_at.extend(batch.headers.keys())
        deliver.headers.extend(batch.headers.values())


def _item_errors(failures: dict[int, Failure]) -> Iterable[errors_pb2.ItemError]:
    return (
        errors_pb2.ItemError(position=position, detail=detail_of(failure))
        for position, failure in failures.items()
    )


# --- checks ----------------------------------------------------------------------------------


def _checked(values: list[T], count: int, name: str) -> list[T]:
    """One value per item, or none at all."""
    if values and len(values) != count:
        raise MalformedFrameError(f"{name} has {len(values)} elements for {count} items")
    return values


def _exact(values: list[T], count: int, name: str) -> list[T]:
    """One value per item: there is no default that makes sense."""
    if len(values) != count:
        raise MalformedFrameError(f"{name} has {len(values)} elements for {count} items")
    return values


def _full(values: list[T], count: int, default: T, name: str) -> list[T]:
    """One value per item; the default for all when the array is empty."""
    if not values:
        return [default] * count
    return _exact(values, count, name)


def _positions(values: list[int], count: int, name: str) -> list[int]:
    if values:
        if max(values) >= count:
            raise MalformedFrameError(f"{name} names position {max(values)} of {count} items")
        if len(set(values)) != len(values):
            raise MalformedFrameError(f"{name} names a position twice")
    return values


def _headers(frame: _HeadersArrays, count: int) -> dict[int, bytes]:
    positions, values = frame.headers_at[:], frame.headers[:]
    if not positions and not values:
        return {}
    _exact(list(values), len(positions), "headers")
    _positions(list(positions), count, "headers_at")
    return dict(zip(positions, values, strict=True))


def _failures(errors: Sequence[errors_pb2.ItemError], count: int) -> dict[int, Failure]:
    if not errors:
        return {}
    failures = {error.position: failure_from(error.detail) for error in errors}
    if len(failures) != len(errors):
        raise MalformedFrameError("errors names a position twice")
    _positions(list(failures), count, "errors")
    return failures
