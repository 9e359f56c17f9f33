"""How a worker attaches, comes back, hands over and ends."""

from __future__ import annotations

import asyncio
import contextlib
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
from parti import _limits as limits
from parti.testing import FakeSidecar
from parti_proto import app_pb2
from tests.parti.stories import Story, echo

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def story() -> Story:
    return Story()


async def test_lost_sidecar_cancels_everything_and_the_worker_comes_back(
    sidecar: FakeSidecar, story: Story
) -> None:
    async with story.worker(sidecar) as worker, Client(sidecar.address) as client:
        await sidecar.wait_started()
        sent = asyncio.create_task(client.send(partition=0, payload=b"a"))
        await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        await sidecar.stop()
        with pytest.raises(UnknownOutcome):
            await sent
        await sidecar.start()
        await sidecar.wait_started()
        story.go.set()
        assert (await client.send(partition=0, payload=b"b")).epoch == 2
        assert worker.counts.attaches == 2
    mine = [one for one in story.events if one.split()[1].startswith("0")]
    assert mine[:5] == [
        *["assigned 0 1", "enter 0:a", "cancelled 0:a", "revoked 0 1", "assigned 0 2"]
    ]


async def test_stop_hands_everything_over_after_finishing(
    sidecar: FakeSidecar, story: Story
) -> None:
    before = asyncio.all_tasks()
    async with Client(sidecar.address) as client:
        worker = story.worker(sidecar)
        async with worker:
            sent = asyncio.create_task(client.send(partition=0, payload=b"a"))
            await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
            stopping = asyncio.create_task(worker.stop())
            story.go.set()
            await stopping
        assert (await sent).payload == b"a"
        assert sum("revoked" in one for one in story.events) == 8
    left = {task for task in asyncio.all_tasks() - before if task.get_name().startswith("parti-")}
    assert left == set()


async def test_stop_cuts_off_what_does_not_end_in_time(sidecar: FakeSidecar, story: Story) -> None:
    async def slow_revoke(partition: int, epoch: int) -> None:
        await asyncio.sleep(0.02)
        await story.on_revoked(partition, epoch)

    async with Client(sidecar.address) as client:
        async with Worker(
            story.handle, sidecar.address, on_revoked=slow_revoke, drain_timeout=0.05
        ):
            sent = asyncio.create_task(client.send(partition=0, payload=b"a"))
            await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        assert "cancelled 0:a" in story.events
        assert sum("revoked" in one for one in story.events) == 8
        with pytest.raises(UnknownOutcome):
            await sent


async def test_run_ends_when_stopped(sidecar: FakeSidecar) -> None:
    worker = Worker(echo, sidecar.address)
    running = asyncio.create_task(worker.run())
    await sidecar.wait_started()
    await worker.stop()
    await running
    with pytest.raises(RuntimeError, match="runs once"):
        await worker.run()


async def test_cancelled_run_hands_over(sidecar: FakeSidecar, story: Story) -> None:
    running = asyncio.create_task(story.worker(sidecar).run())
    await sidecar.wait_started()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sum("revoked" in one for one in story.events) == 8


async def test_lasting_refusal_ends_the_worker() -> None:
    async with FakeSidecar(protocol_version=99) as sidecar:
        with pytest.raises(NotExecuted) as caught:
            await Worker(echo, sidecar.address).run()
    assert caught.value.reason is Reason.PROTOCOL_VERSION


async def test_bug_in_a_runner_ends_the_worker(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(echo, sidecar.address)
    running = asyncio.create_task(worker.run())
    await sidecar.wait_started()
    attachment = worker._attachment
    assert attachment is not None

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(attachment.outbox, "succeed", broken)
    async with Client(sidecar.address, retry=False) as client:
        with pytest.raises(UnknownOutcome):
            await client.send(partition=0)
    with pytest.raises(ZeroDivisionError):
        await running


async def test_worker_waits_for_a_sidecar_that_is_not_there_yet(sidecar: FakeSidecar) -> None:
    await sidecar.stop()
    async with Worker(echo, sidecar.address) as worker:
        with pytest.raises(NotExecuted):
            await worker.ready(0.05)
        await sidecar.start()
        await worker.ready(5)


async def test_replaced_worker_ends_with_the_reason(sidecar: FakeSidecar) -> None:
    first = asyncio.create_task(Worker(echo, sidecar.address).run())
    await sidecar.wait_started()
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        with pytest.raises(NotExecuted, match="another worker has attached") as caught:
            await first
        assert caught.value.reason is Reason.CONFLICT
        assert (await client.send(partition=0)).epoch == 2


async def test_same_epoch_assigned_twice_ends_the_attachment(
    sidecar: FakeSidecar, eventually: Eventually
) -> None:
    async with Worker(echo, sidecar.address) as worker:
        await sidecar.wait_started()
        stream = sidecar._worker
        assert stream is not None
        stream.say(app_pb2.SidecarFrame(assign=[app_pb2.Assign(partition=0, epoch=1)]))
        await eventually(lambda: worker.counts.attaches == 2)


async def test_runner_cancelled_by_the_ending_loop_ends(
    sidecar: FakeSidecar,
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    monkeypatch.setattr(limits, "CLOSE_MS_MAX", 50)
    worker = Worker(story.handle, sidecar.address, drain_timeout=0.05)
    async with worker, Client(sidecar.address) as client:
        sending = asyncio.create_task(client.send(partition=0))
        await eventually(lambda: story.running == 1)
        runners = [one for one in asyncio.all_tasks() if one.get_name() == "parti-worker-runner"]
        for runner in runners:
            runner.cancel()  # as asyncio.run does when the program ends
        async with asyncio.timeout(5):
            await asyncio.wait(runners)
    with pytest.raises(UnknownOutcome):
        await sending


async def test_runner_is_as_new_after_a_handler_that_swallowed_its_cancellation(
    sidecar: FakeSidecar, story: Story, eventually: Eventually
) -> None:
    async def handle(message: Message) -> None:
        if message.partition == 1:
            raise asyncio.CancelledError
        with contextlib.suppress(asyncio.CancelledError):
            await story.handle(message)

    async with Worker(handle, sidecar.address), Client(sidecar.address) as client:
        await sidecar.wait_started()
        sent = asyncio.create_task(client.send(partition=0))
        await eventually(lambda: story.running == 1)
        sidecar.cut_off(0)
        with pytest.raises(UnknownOutcome):
            await sent
        for _ in range(3):
            with pytest.raises(HandlerFailed, match="CancelledError"):
                await client.send(partition=1, timeout=5)


async def test_runners_of_a_lost_attachment_end(
    sidecar: FakeSidecar, story: Story, eventually: Eventually
) -> None:
    async with story.worker(sidecar), Client(sidecar.address) as client:
        sends = [asyncio.create_task(client.send(partition=n)) for n in range(8)]
        await eventually(lambda: story.running == 8)
        runners = [one for one in asyncio.all_tasks() if one.get_name() == "parti-worker-runner"]
        await sidecar.stop()
        await eventually(lambda: all(one.done() for one in runners))
        await asyncio.gather(*sends, return_exceptions=True)


async def test_closing_worker_takes_nothing_more(
    sidecar: FakeSidecar, story: Story, eventually: Eventually
) -> None:
    async with story.worker(sidecar) as worker, Client(sidecar.address) as client:
        await sidecar.wait_started()
        await sidecar.revoke(5)
        sent = asyncio.create_task(client.send(partition=0))
        await eventually(lambda: story.running == 1)
        stopping = asyncio.create_task(worker.stop())
        await eventually(lambda: len(worker.partitions) == 0)
        with pytest.raises(TimeoutError):
            await sidecar.assign(5, 0.05)
        story.go.set()
        await stopping
        await sent
    assert "assigned 5 2" not in story.events


async def test_stop_before_the_welcome_still_hands_over(
    sidecar: FakeSidecar, eventually: Eventually
) -> None:
    worker = Worker(echo, sidecar.address)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: worker._attachment is not None)
    assert worker._attachment is not None
    assert not worker._attachment.welcomed
    async with asyncio.timeout(5):
        await worker.stop()
    await running
