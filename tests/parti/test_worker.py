"""How the worker runs handlers: order, concurrency, results, failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from parti import (
    Client,
    HandlerFailed,
    Message,
    NotExecuted,
    Reason,
    UnknownOutcome,
    Worker,
)
from parti.testing import FakeSidecar
from tests.parti.stories import Story, echo

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def story() -> Story:
    return Story()


async def test_partition_mode_runs_one_after_the_other(sidecar: FakeSidecar) -> None:
    running: dict[int, int] = {}
    order: dict[int, list[bytes]] = {}

    async def handle(message: Message) -> None:
        running[message.partition] = running.get(message.partition, 0) + 1
        assert running[message.partition] == 1
        await asyncio.sleep(0)
        order.setdefault(message.partition, []).append(message.payload)
        running[message.partition] -= 1

    async with Worker(handle, sidecar.address), Client(sidecar.address) as client:
        await asyncio.gather(
            *[client.send(partition=n % 4, payload=b"%d" % (n // 4)) for n in range(400)]
        )
    assert order == {partition: [b"%d" % n for n in range(100)] for partition in range(4)}


async def test_slow_partition_does_not_hold_another(sidecar: FakeSidecar, story: Story) -> None:
    async def handle(message: Message) -> bytes:
        return await story.handle(message) if message.partition == 0 else b"quick"

    async with Worker(handle, sidecar.address), Client(sidecar.address) as client:
        slow = [asyncio.create_task(client.send(partition=0)) for _ in range(5)]
        await sidecar.wait_until(lambda: sidecar.running_count == 5, 5)
        assert (await client.send(partition=1)).payload == b"quick"
        assert story.running == 1
        story.go.set()
        await asyncio.gather(*slow)


async def test_key_mode_runs_keys_side_by_side_each_in_order(
    story: Story, eventually: Eventually
) -> None:
    async with (
        FakeSidecar(partitions=1) as sidecar,
        story.worker(sidecar, "key"),
        Client(sidecar.address) as client,
    ):
        sends = [
            asyncio.create_task(client.send(key=key, payload=f"{key}{n}"))
            for n in range(2)
            for key in ("a", "b")
        ]
        await eventually(lambda: story.running == 2)
        assert [one for one in story.events if "enter" in one] == ["enter 0:a0", "enter 0:b0"]
        story.go.set()
        await asyncio.gather(*sends)
    for key in ("a", "b"):
        mine = [one for one in story.events if f":{key}" in one]
        assert mine == [f"{word} 0:{key}{n}" for n in range(2) for word in ("enter", "exit")]


async def test_free_mode_runs_everything_side_by_side(story: Story, eventually: Eventually) -> None:
    async with (
        FakeSidecar(partitions=1) as sidecar,
        story.worker(sidecar, "free"),
        Client(sidecar.address) as client,
    ):
        sends = [asyncio.create_task(client.send(partition=0)) for _ in range(200)]
        await eventually(lambda: story.running == 200)
        story.go.set()
        await asyncio.gather(*sends)


async def test_credits_bound_what_is_delivered(sidecar: FakeSidecar, story: Story) -> None:
    worker = Worker(story.handle, sidecar.address, credits=6, partition_credits=4)
    async with worker, Client(sidecar.address) as client:
        sends = [asyncio.create_task(client.send(partition=n // 10)) for n in range(20)]
        await sidecar.wait_until(lambda: sidecar.running_count == 6, 5)
        assert sidecar.parked_count == 14
        story.go.set()
        await asyncio.gather(*sends)


async def test_message_whose_time_is_over_does_not_start(
    sidecar: FakeSidecar, story: Story, eventually: Eventually
) -> None:
    async with story.worker(sidecar), Client(sidecar.address) as client:
        first = asyncio.create_task(client.send(partition=0, payload=b"a"))
        await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        late = asyncio.create_task(client.send(partition=0, payload=b"late", timeout=0.1))
        await sidecar.wait_until(lambda: sidecar.running_count == 2, 5)
        with pytest.raises(UnknownOutcome):  # the fake cannot know that it will not start
            await late
        story.go.set()
        await first
        await eventually(lambda: sidecar.running_count == 0)
    assert "enter 0:late" not in story.events


async def test_handler_failure_reaches_the_sender(
    sidecar: FakeSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(message: Message) -> None:
        raise KeyError(message.payload.decode())

    async with Worker(handle, sidecar.address) as worker, Client(sidecar.address) as client:
        for n in range(20):
            with pytest.raises(HandlerFailed, match=f"KeyError: '{n}'"):
                await client.send(partition=0, payload=str(n))
    logged = [one for one in caplog.records if "handler failed" in one.message]
    assert 1 <= len(logged) < 20
    assert worker.counts.handler_failures == 20
    assert logged[0].exc_info is not None


async def test_cancellation_that_the_handler_raises_itself_is_its_failure(
    sidecar: FakeSidecar,
) -> None:
    async def handle(message: Message) -> None:
        raise asyncio.CancelledError

    async with Worker(handle, sidecar.address), Client(sidecar.address) as client:
        for _ in range(2):
            with pytest.raises(HandlerFailed, match="CancelledError"):
                await client.send(partition=0)


@pytest.mark.parametrize(
    ("result", "payload"), [(b"b", b"b"), ("s", b"s"), (None, b""), (5, None), (bytes(99), None)]
)
async def test_results_are_bytes_str_or_nothing_and_not_too_large(
    result: bytes, payload: bytes | None
) -> None:
    async def handle(message: Message) -> bytes:
        return result

    async with (
        FakeSidecar(payload_bytes_max=50) as sidecar,
        Worker(handle, sidecar.address),
        Client(sidecar.address) as client,
    ):
        if payload is not None:
            assert (await client.send(partition=0)).payload == payload
        else:
            with pytest.raises(HandlerFailed, match=r"TypeError|ValueError"):
                await client.send(partition=0)


async def test_plain_functions_run_in_threads_side_by_side(sidecar: FakeSidecar) -> None:
    meeting = threading.Barrier(3)
    threads: list[str] = []

    def handle(message: Message) -> str:
        meeting.wait(timeout=5)
        threads.append(threading.current_thread().name)
        return "met"

    def on_assigned(partition: int, epoch: int) -> None:
        threads.append(threading.current_thread().name)

    worker = Worker(handle, sidecar.address, on_assigned=on_assigned)
    async with worker, Client(sidecar.address) as client:
        await sidecar.wait_started()
        assert len(threads) == 8
        await asyncio.gather(*[client.send(partition=n) for n in range(3)])
    assert all(name.startswith("parti-handler") for name in threads)


async def test_more_messages_than_credits_are_refused(
    sidecar: FakeSidecar, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Worker(story.handle, sidecar.address, credits=2, partition_credits=2),
        Client(sidecar.address, retry=False) as client,
    ):
        await sidecar.wait_started()
        assert sidecar._worker is not None
        monkeypatch.setattr(sidecar._worker, "has_credit", lambda _: True)
        sends = [asyncio.create_task(client.send(partition=n)) for n in range(3)]
        with pytest.raises(NotExecuted) as caught:
            await sends[2]
        assert caught.value.reason is Reason.OVERLOADED
        story.go.set()
        await asyncio.gather(*sends[:2])


async def test_handlers_that_never_suspend_let_the_loop_turn(sidecar: FakeSidecar) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    seen: list[int] = []

    async def busy(message: Message) -> None:
        seen.append(turns)
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass

    sidecar.hold()
    async with Worker(busy, sidecar.address), Client(sidecar.address) as client:
        await sidecar.wait_started()
        sends = [asyncio.create_task(client.send(partition=0)) for _ in range(40)]
        await sidecar.wait_until(lambda: sidecar.parked_count == 40, 5)
        counting = asyncio.create_task(count_turns())
        sidecar.resume()
        await asyncio.gather(*sends)
        counting.cancel()
    assert len(set(seen)) >= 4


@pytest.mark.parametrize(
    "settings",
    [{"concurrency": "none"}, {"credits": 1}, {"partition_credits": 0}],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Worker(echo, **settings)  # type: ignore[arg-type]


async def test_large_replies_are_split_into_frames(sidecar: FakeSidecar) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        payload = bytes(300_000)
        replies = await asyncio.gather(
            *[client.send(partition=n % 8, payload=payload) for n in range(80)]
        )
    assert all(reply.payload == payload for reply in replies)
