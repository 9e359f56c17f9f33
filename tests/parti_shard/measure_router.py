"""Microseconds per message of the router: `python -m tests.parti_shard.measure_router`.

Origin: client_frame, take_peer, peer_results, take_client. Owner: inbound_frame, take_worker,
worker_input, take_inbound. Local: client_frame, take_worker, worker_input, take_client.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from parti_shard.batches import ForwardBatch, ResultBatch, SendBatch, WorkerInput, WorkerResults
from tests.parti_shard.router_fakes import CLIENT, INBOUND, ME, OTHER, WORKER, Bench, make_bench

PARTITIONS = 256
MESSAGES = 60_000
REPEATS = 5
PAYLOAD = b"x" * 128


def owned_by_other() -> Bench:
    bench = make_bench(partitions=PARTITIONS)
    for partition in range(PARTITIONS):
        bench.table.grant(partition, OTHER)
    bench.router.peer_up(OTHER, bench.now_ms)
    bench.changed(*range(PARTITIONS))
    return bench


def owned_here() -> Bench:
    bench = make_bench(partitions=PARTITIONS)
    bench.attach(credits_=10_000, each=1_000)
    for partition in range(PARTITIONS):
        bench.table.grant(partition, ME)
    bench.changed(*range(PARTITIONS))
    assigned = bench.orders().assign
    bench.says(WorkerInput(started=assigned))
    return bench


def send_frames(size: int) -> list[SendBatch]:
    frames = []
    for first in range(0, MESSAGES, size):
        ids = list(range(first + 1, first + 1 + size))
        frames.append(SendBatch(ids, [i * 7 % PARTITIONS for i in ids], [], [PAYLOAD] * size, []))
    return frames


def measure_origin(size: int) -> float:
    bench, frames = owned_by_other(), send_frames(size)
    router, now_ms = bench.router, bench.now_ms
    started = time.perf_counter()
    for frame in frames:
        router.client_frame(CLIENT, frame, now_ms)
        batch = router.take_peer(OTHER, now_ms)
        assert batch is not None
        router.peer_results(OTHER, ResultBatch(batch.ids, batch.epochs, batch.payloads), now_ms)
        assert router.take_client(CLIENT) is not None
    elapsed = time.perf_counter() - started
    assert router.stats.succeeded == len(frames) * size
    return elapsed / (len(frames) * size) * 1e6


def measure_owner(size: int) -> float:
    bench = owned_here()
    router, now_ms = bench.router, bench.now_ms
    frames = [
        ForwardBatch(
            frame.ids, frame.partitions, [1] * size, [b""] * size, frame.payloads, [10_000] * size
        )
        for frame in send_frames(size)
    ]
    started = time.perf_counter()
    for frame in frames:
        router.inbound_frame(INBOUND, frame, now_ms)
        out = router.take_worker(WORKER, now_ms)
        assert out is not None
        assert out.deliver is not None
        results = WorkerResults(out.deliver.ids, out.deliver.payloads)
        router.worker_input(WORKER, WorkerInput(results=results), now_ms)
        assert router.take_inbound(INBOUND) is not None
    elapsed = time.perf_counter() - started
    assert router.stats.admitted == len(frames) * size
    return elapsed / (len(frames) * size) * 1e6


def measure_local(size: int) -> float:
    bench, frames = owned_here(), send_frames(size)
    router, now_ms = bench.router, bench.now_ms
    started = time.perf_counter()
    for frame in frames:
        router.client_frame(CLIENT, frame, now_ms)
        out = router.take_worker(WORKER, now_ms)
        assert out is not None
        assert out.deliver is not None
        results = WorkerResults(out.deliver.ids, out.deliver.payloads)
        router.worker_input(WORKER, WorkerInput(results=results), now_ms)
        assert router.take_client(CLIENT) is not None
    elapsed = time.perf_counter() - started
    assert router.stats.succeeded == len(frames) * size
    return elapsed / (len(frames) * size) * 1e6


def main() -> None:
    paths: list[tuple[str, Callable[[int], float]]] = [
        ("origin", measure_origin),
        ("owner", measure_owner),
        ("local", measure_local),
    ]
    for name, measure in paths:
        for size in (1, 16, 64):
            best_us = min(measure(size) for _ in range(REPEATS))
            print(f"{name:7} batch {size:3}: {best_us:6.2f} us/message")  # noqa: T201


if __name__ == "__main__":
    main()
