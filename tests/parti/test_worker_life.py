"""The life of an epoch at the worker: assigned, revoked, cut off, out of lease."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

import pytest

from parti import (
    Client,
    Message,
    NotExecuted,
    Reason,
    UnknownOutcome,
    Worker,
    _lanes,
)
from parti.testing import FakeSidecar
from tests.parti.stories import Story, echo

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def story() -> Story:
    return Story()


async def test_assigned_before_messages_and_revoked_after(story: Story) -> None:
    story.go.set()
    async with FakeSidecar(partitions=1) as sidecar, Client(sidecar.address) as client:
        async with story.worker(sidecar) as worker:
            await client.send(partition=0, payload=b"a")
            assert worker.partitions == {0: 1}
            assert await sidecar.move(0) == 2
            await client.send(partition=0, payload=b"b")
        assert worker.partitions == {}
    assert story.events == [
        *["assigned 0 1", "enter 0:a", "exit 0:a", "revoked 0 1"],
        *["assigned 0 2", "enter 0:b", "exit 0:b", "revoked 0 2"],
    ]


async def test_revoke_finishes_what_was_delivered(sidecar: FakeSidecar, story: Story) -> None:
    async with story.worker(sidecar), Client(sidecar.address) as client:
        await sidecar.wait_started()
        sends = [asyncio.create_task(client.send(partition=0, payload=p)) for p in (b"a", b"b")]
        await sidecar.wait_until(lambda: sidecar.running_count == 2, 5)
        revoking = asyncio.create_task(sidecar.revoke(0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.shield(revoking)
        assert "revoked 0 1" not in story.events
        story.go.set()
        await revoking
        await asyncio.gather(*sends)
    mine = [one for one in story.events if one.split()[1].startswith("0")]
    assert mine[-5:] == ["enter 0:a", "exit 0:a", "enter 0:b", "exit 0:b", "revoked 0 1"]


async def test_cut_off_epoch_is_cancelled_and_its_queue_refused(
    sidecar: FakeSidecar, story: Story
) -> None:
    async with story.worker(sidecar), Client(sidecar.address) as client:
        await sidecar.wait_started()
        sends = [asyncio.create_task(client.send(partition=0, payload=p)) for p in (b"a", b"b")]
        other = asyncio.create_task(client.send(partition=1, payload=b"c"))
        await sidecar.wait_until(lambda: sidecar.running_count == 3, 5)
        sidecar.cut_off(0)
        for outcome in await asyncio.gather(*sends, return_exceptions=True):
            assert isinstance(outcome, UnknownOutcome)
        assert await sidecar.assign(0) == 2
        story.go.set()
        assert (await client.send(partition=0, payload=b"d")).epoch == 2
        await other
    mine = [one for one in story.events if one.split()[1].startswith("0")]
    assert mine == [
        *["assigned 0 1", "enter 0:a", "cancelled 0:a", "revoked 0 1"],
        *["assigned 0 2", "enter 0:d", "exit 0:d", "revoked 0 2"],
    ]


async def test_new_epoch_waits_for_a_handler_that_ignores_its_cancellation(
    sidecar: FakeSidecar, eventually: Eventually
) -> None:
    go, running = asyncio.Event(), list[int]()

    async def stubborn(message: Message) -> None:
        running.append(message.epoch)
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()
        running.remove(message.epoch)

    async with Worker(stubborn, sidecar.address), Client(sidecar.address) as client:
        await sidecar.wait_started()
        first = asyncio.create_task(client.send(partition=0))
        await eventually(lambda: running == [1])
        sidecar.cut_off(0)
        with pytest.raises(UnknownOutcome):
            await first
        assigning = asyncio.create_task(sidecar.assign(0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.shield(assigning)
        go.set()
        assert await assigning == 2
        assert (await client.send(partition=0)).epoch == 2


async def test_nothing_starts_after_the_lease_and_all_in_order_with_the_next(
    sidecar: FakeSidecar, story: Story
) -> None:
    """What is delivered with the new lease must not overtake what waited for it."""
    async with story.worker(sidecar), Client(sidecar.address, retry=False) as client:
        await sidecar.wait_started()
        sends = [asyncio.create_task(client.send(partition=0, payload=p)) for p in (b"a", b"b")]
        await sidecar.wait_until(lambda: sidecar.running_count == 2, 5)
        sidecar.set_lease(-1)
        assert await sidecar.move(7) == 2  # whose Assign follows the lease on the same stream
        story.go.set()
        assert (await sends[0]).payload == b"a"
        sends.append(asyncio.create_task(client.send(partition=0, payload=b"c")))
        await sidecar.wait_until(lambda: sidecar.running_count == 2, 5)
        assert await sidecar.move(7) == 3
        assert "enter 0:b" not in story.events
        sidecar.set_lease(60_000)
        assert [reply.payload for reply in await asyncio.gather(*sends)] == [b"a", b"b", b"c"]
    entered = [event for event in story.events if event.startswith("enter 0")]
    assert entered == ["enter 0:a", "enter 0:b", "enter 0:c"]


async def test_what_waits_for_a_lease_ends_with_its_epoch(
    sidecar: FakeSidecar, story: Story
) -> None:
    async with story.worker(sidecar), Client(sidecar.address, retry=False) as client:
        await sidecar.wait_started()
        sidecar.set_lease(-1)
        sending = asyncio.create_task(client.send(partition=0, payload=b"a"))
        await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        assert await sidecar.move(7) == 2
        sidecar.cut_off(0)
        with pytest.raises(UnknownOutcome):
            await sending
        assert await sidecar.assign(0) == 2  # only after the cut epoch was released
    assert "enter 0:a" not in story.events


async def test_what_waited_for_a_lease_beyond_its_deadline_does_not_start(
    sidecar: FakeSidecar, story: Story
) -> None:
    story.go.set()
    async with story.worker(sidecar), Client(sidecar.address, retry=False) as client:
        await sidecar.wait_started()
        sidecar.set_lease(-1)
        with pytest.raises(UnknownOutcome) as caught:
            await client.send(partition=0, payload=b"late", timeout=0.05)
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        sidecar.set_lease(60_000)
        await client.send(partition=0, payload=b"in time")
    assert "enter 0:late" not in story.events


async def test_cut_off_thread_is_waited_for_before_the_release(sidecar: FakeSidecar) -> None:
    entered, go, revoked = threading.Event(), threading.Event(), list[int]()

    def handle(message: Message) -> None:
        entered.set()
        assert go.wait(timeout=5)

    def on_revoked(partition: int, epoch: int) -> None:
        revoked.append(partition)

    worker = Worker(handle, sidecar.address, on_revoked=on_revoked)
    async with worker, Client(sidecar.address) as client:
        await sidecar.wait_started()
        sent = asyncio.create_task(client.send(partition=0))
        await asyncio.to_thread(entered.wait, 5)
        sidecar.cut_off(0)
        with pytest.raises(UnknownOutcome):
            await sent
        assigning = asyncio.create_task(sidecar.assign(0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.shield(assigning)
        assert revoked == []
        go.set()
        await assigning
        assert revoked == [0]


async def test_failing_on_assigned_gives_the_partition_back(
    sidecar: FakeSidecar, eventually: Eventually
) -> None:
    async def on_assigned(partition: int, epoch: int) -> None:
        if partition == 3 and epoch == 1:
            raise OSError("no state")

    revoked: list[int] = []

    async def on_revoked(partition: int, epoch: int) -> None:
        revoked.append(partition)

    worker = Worker(echo, sidecar.address, on_assigned=on_assigned, on_revoked=on_revoked)
    async with worker, Client(sidecar.address) as client:
        await eventually(lambda: len(worker.partitions) == 7)
        await eventually(lambda: worker.counts.callback_failures == 1)
        assert 3 not in worker.partitions
        assert await sidecar.assign(3) == 2
        assert (await client.send(partition=3)).epoch == 2
        assert revoked == []


async def test_failing_on_revoked_is_counted_and_the_partition_released(
    sidecar: FakeSidecar,
) -> None:
    async def on_revoked(partition: int, epoch: int) -> None:
        raise OSError("disk full")

    async with Worker(echo, sidecar.address, on_revoked=on_revoked) as worker:
        await sidecar.wait_started()
        assert await sidecar.move(2) == 2
        assert worker.counts.callback_failures == 1


async def test_revoke_while_assigning_never_starts(
    sidecar: FakeSidecar,
    story: Story,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def on_assigned(partition: int, epoch: int) -> None:
        await story.on_assigned(partition, epoch)
        if partition == 0 and epoch == 2:
            await story.go.wait()

    worker = Worker(
        story.handle, sidecar.address, on_assigned=on_assigned, on_revoked=story.on_revoked
    )
    async with worker:
        await sidecar.wait_started()
        await sidecar.revoke(0)
        assigning = asyncio.create_task(sidecar.assign(0))
        await eventually(lambda: "assigned 0 2" in story.events)
        assigning.cancel()
        attachment = worker._attachment
        assert attachment is not None
        started: list[tuple[int, int]] = []
        say_started = attachment.outbox.start

        def start(partition: int, epoch: int) -> None:
            started.append((partition, epoch))
            say_started(partition, epoch)

        monkeypatch.setattr(attachment.outbox, "start", start)
        attachment.assignments.revoke(0, 2)
        story.go.set()
        assert await sidecar.assign(0) == 3
        assert started == [(0, 3)]
    mine = [one for one in story.events if one.split()[1] == "0"]
    assert mine[:5] == [
        "assigned 0 1",
        "revoked 0 1",
        "assigned 0 2",
        "revoked 0 2",
        "assigned 0 3",
    ]


async def test_delivery_to_an_epoch_that_is_not_served_is_refused(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Worker(echo, sidecar.address),
        Client(sidecar.address, retry=False) as client,
    ):
        await sidecar.wait_started()
        assert sidecar._worker is not None
        monkeypatch.setitem(sidecar._worker.started, 0, 77)
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0)
        assert caught.value.reason is Reason.STALE_EPOCH
        monkeypatch.undo()


async def test_lease_is_looked_at_again_after_letting_others_run(
    sidecar: FakeSidecar, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.go.set()
    async with story.worker(sidecar), Client(sidecar.address, retry=False) as client:
        await sidecar.wait_started()
        monkeypatch.setattr(_lanes, "boottime_ms", lambda: 1 << 62)
        sending = asyncio.create_task(client.send(partition=0, payload=b"a"))
        await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        assert await sidecar.move(7) == 2
        assert "enter 0:a" not in story.events
        monkeypatch.undo()
        sidecar.set_lease(60_000)
        await sending


async def test_epoch_cut_while_it_waits_does_not_let_its_successor_pass(
    sidecar: FakeSidecar, eventually: Eventually
) -> None:
    go, running = asyncio.Event(), list[int]()

    async def stubborn(message: Message) -> None:
        running.append(message.epoch)
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()

    worker = Worker(stubborn, sidecar.address, drain_timeout=0.05)
    async with worker, Client(sidecar.address) as client:
        await sidecar.wait_started()
        first = asyncio.create_task(client.send(partition=0))
        await eventually(lambda: running == [1])
        sidecar.cut_off(0)
        with pytest.raises(UnknownOutcome):
            await first
        attachment = worker._attachment
        assert attachment is not None
        attachment.assignments.assign(0, 2)
        attachment.assignments.cancel(0, 2)
        attachment.assignments.assign(0, 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await eventually(lambda: 0 in worker.partitions)
        go.set()
        await eventually(lambda: worker.partitions.get(0) == 3)


async def test_delivery_before_started_is_refused(sidecar: FakeSidecar, story: Story) -> None:
    async def on_assigned(partition: int, epoch: int) -> None:
        await story.go.wait()

    async with (
        Worker(echo, sidecar.address, on_assigned=on_assigned),
        Client(sidecar.address, retry=False) as client,
    ):
        await sidecar.wait_until(lambda: sidecar.epoch_of(0) == 1, 5)
        assert sidecar._worker is not None
        sidecar._worker.started[0] = 1
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0)
        assert caught.value.reason is Reason.STALE_EPOCH
        story.go.set()
        await sidecar.wait_started()
