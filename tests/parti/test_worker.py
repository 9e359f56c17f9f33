"""The worker against a sidecar that moves, cuts off, refuses and disappears."""

from __future__ import annotations

import asyncio
import contextlib
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
    _lanes,
)
from parti import _limits as limits
from parti._assignments import Concurrency
from parti.testing import FakeSidecar
from parti_proto import app_pb2

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


async def echo(message: Message) -> bytes:
    return message.payload


class Story:
    """Records what the worker calls, in order; handlers wait for `go`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.go = asyncio.Event()
        self.running = 0

    async def handle(self, message: Message) -> bytes:
        name = f"{message.partition}:{message.payload.decode()}"
        self.events.append(f"enter {name}")
        self.running += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.events.append(f"cancelled {name}")
            raise
        finally:
            self.running -= 1
        self.events.append(f"exit {name}")
        return message.payload

    async def on_assigned(self, partition: int, epoch: int) -> None:
        self.events.append(f"assigned {partition} {epoch}")

    async def on_revoked(self, partition: int, epoch: int) -> None:
        self.events.append(f"revoked {partition} {epoch}")

    def worker(self, sidecar: FakeSidecar, concurrency: Concurrency = "partition") -> Worker:
        return Worker(
            self.handle,
            sidecar.address,
            concurrency=concurrency,
            on_assigned=self.on_assigned,
            on_revoked=self.on_revoked,
        )


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


async def test_nothing_starts_after_the_lease(sidecar: FakeSidecar) -> None:
    async with (
        Worker(echo, sidecar.address),
        Client(sidecar.address, retry=False) as client,
    ):
        await client.send(partition=0)
        sidecar.set_lease(-1)
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0)
        assert caught.value.reason is Reason.LEASE_EXPIRED
        sidecar.set_lease(60_000)
        assert (await client.send(partition=0, payload=b"x")).payload == b"x"


async def test_queued_messages_are_refused_when_the_lease_lapses(
    sidecar: FakeSidecar, story: Story
) -> None:
    async with story.worker(sidecar), Client(sidecar.address, retry=False) as client:
        await sidecar.wait_started()
        sends = [asyncio.create_task(client.send(partition=0, payload=p)) for p in (b"a", b"b")]
        await sidecar.wait_until(lambda: sidecar.running_count == 2, 5)
        sidecar.set_lease(-1)
        assert await sidecar.move(7) == 2  # whose Assign follows the lease on the same stream
        story.go.set()
        assert (await sends[0]).payload == b"a"
        with pytest.raises(NotExecuted) as caught:
            await sends[1]
        assert caught.value.reason is Reason.LEASE_EXPIRED
    assert "enter 0:b" not in story.events


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
    sidecar: FakeSidecar, story: Story, eventually: Eventually
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
        attachment.assignments.revoke(0, 2)
        story.go.set()
        assert await sidecar.assign(0) == 3
    mine = [one for one in story.events if one.split()[1] == "0"]
    assert mine[:5] == [
        "assigned 0 1",
        "revoked 0 1",
        "assigned 0 2",
        "revoked 0 2",
        "assigned 0 3",
    ]


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
    async with Client(sidecar.address) as client:
        async with Worker(story.handle, sidecar.address, drain_timeout=0.05):
            sent = asyncio.create_task(client.send(partition=0, payload=b"a"))
            await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        assert "cancelled 0:a" in story.events
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


async def test_lease_is_looked_at_again_after_letting_others_run(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address, retry=False) as client:
        await sidecar.wait_started()
        monkeypatch.setattr(_lanes, "boottime_ms", lambda: 1 << 62)
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0)
        assert caught.value.reason is Reason.LEASE_EXPIRED
