"""The client against a real gRPC server that does what the test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from parti import (
    Client,
    Executed,
    HandlerFailed,
    Message,
    NotExecuted,
    Outgoing,
    PartiError,
    Phase,
    Reason,
    Reply,
    UnknownOutcome,
    Worker,
)
from parti import _client as client_module
from parti import _limits as limits
from parti._transport import resolve_address
from parti.testing import FakeSidecar

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


async def echo(message: Message) -> bytes:
    return message.payload


class Counting:
    """A handler that counts, and holds messages back until told."""

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()

    async def __call__(self, message: Message) -> bytes:
        self.count += 1
        await self.go.wait()
        return message.payload


async def test_reply_carries_payload_and_epoch(sidecar: FakeSidecar) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        reply = await client.send(partition=3, payload="text")
        assert reply == Reply(b"text", sidecar.epoch_of(3))


async def test_key_and_headers_reach_the_handler(sidecar: FakeSidecar) -> None:
    seen: list[Message] = []

    async def handle(message: Message) -> None:
        seen.append(message)

    async with Worker(handle, sidecar.address), Client(sidecar.address) as client:
        reply = await client.send(key="user", headers={"trace": "1"}, timeout=20.0)
    (message,) = seen
    assert reply.payload == b""
    assert message.key == b"user"
    assert message.partition == sidecar.partition_of("user")
    assert message.headers == {"trace": "1"}
    assert 0 < message.remaining <= 20.0


async def test_many_messages_come_back_in_order_with_their_errors(sidecar: FakeSidecar) -> None:
    async def handle(message: Message) -> bytes:
        if message.payload == b"5":
            raise ValueError("five")
        return message.payload

    items = [Outgoing(partition=n % 8, payload=str(n)) for n in range(1_000)]
    items[7] = Outgoing(payload=b"no target")
    async with Worker(handle, sidecar.address), Client(sidecar.address) as client:
        outcomes = await client.send_many(items)
    failed = {n: one for n, one in enumerate(outcomes) if isinstance(one, PartiError)}
    assert set(failed) == {5, 7}
    assert isinstance(failed[5], HandlerFailed)
    assert failed[7].reason is Reason.BAD_TARGET
    replies = {n: one.payload for n, one in enumerate(outcomes) if isinstance(one, Reply)}
    assert replies == {n: str(n).encode() for n in range(1_000) if n not in failed}


async def test_send_many_holds_a_bounded_window(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_MANY_WINDOW", 10)
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        outcomes = await client.send_many([Outgoing(partition=0)] * 100)
    assert len(outcomes) == 100
    assert sidecar.in_flight_most <= 10


async def test_cancelled_send_many_sends_nothing_more(sidecar: FakeSidecar) -> None:
    async with Client(sidecar.address) as client:
        await client.ready(5)
        link = client._link
        assert link is not None
        sidecar.hold()
        sending = asyncio.create_task(client.send_many([Outgoing(partition=0)] * 10_000))
        await sidecar.wait_until(lambda: sidecar.received_count >= 4_096, 5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert link.pending.take_frame(0.0, 100_000) is None
        assert sidecar.received_count == 4_096


async def test_no_more_in_flight_than_welcomed_and_first_come_first_served() -> None:
    order: list[bytes] = []

    async def handle(message: Message) -> None:
        order.append(message.payload)

    async with (
        FakeSidecar(partitions=1, in_flight_max=4) as sidecar,
        Worker(handle, sidecar.address),
        Client(sidecar.address) as client,
    ):
        await asyncio.gather(*[client.send(partition=0, payload=b"%d" % n) for n in range(50)])
        assert sidecar.in_flight_most <= 4
    assert order == [b"%d" % n for n in range(50)]


async def test_waiting_for_a_slot_honours_the_deadline() -> None:
    handler = Counting()
    async with (
        FakeSidecar(in_flight_max=1) as sidecar,
        Worker(handler, sidecar.address),
        Client(sidecar.address) as client,
    ):
        first = asyncio.create_task(client.send(partition=0))
        await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=1, timeout=0.05)
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        handler.go.set()
        await first
    assert handler.count == 1


async def test_timeout_of_a_running_message_is_unknown(sidecar: FakeSidecar) -> None:
    handler = Counting()
    async with Worker(handler, sidecar.address), Client(sidecar.address) as client:
        await sidecar.wait_started()
        with pytest.raises(UnknownOutcome) as caught:
            await client.send(partition=0, timeout=0.2)
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        handler.go.set()


async def test_timeout_of_a_parked_message_is_not_executed(sidecar: FakeSidecar) -> None:
    sidecar.hold()
    async with Client(sidecar.address) as client:
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0, timeout=0.1)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


async def test_timeout_without_any_sidecar_is_not_executed() -> None:
    started = time.monotonic()
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0, timeout=0.1)
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        with pytest.raises(NotExecuted) as not_ready:
            await client.ready(0.05)
        assert not_ready.value.reason is Reason.NOT_READY
    assert time.monotonic() - started < 5


async def test_passing_refusals_are_tried_again(sidecar: FakeSidecar) -> None:
    sidecar.refuse(Reason.NO_WORKER, times=3, retry_after_ms=1)
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        assert (await client.send(partition=0, payload=b"x")).payload == b"x"
        assert client.counts == (1, 3, 0, 0)
    assert sidecar.received_count == 4


async def test_refusals_are_raised_at_once_without_retry(sidecar: FakeSidecar) -> None:
    sidecar.refuse(Reason.PARKING_FULL, retry_after_ms=7)
    async with Client(sidecar.address, retry=False) as client:
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0)
    assert caught.value.reason is Reason.PARKING_FULL
    assert caught.value.retry_after_ms == 7
    assert caught.value.retryable
    assert sidecar.received_count == 1


async def test_refusals_until_the_deadline_name_the_last_one(sidecar: FakeSidecar) -> None:
    sidecar.refuse(Reason.NO_WORKER, times=10_000, retry_after_ms=5)
    async with Client(sidecar.address) as client:
        with pytest.raises(NotExecuted, match="NO_WORKER"):
            await client.send(partition=0, timeout=0.1)
    assert sidecar.received_count > 1


@pytest.mark.parametrize("executed", [Executed.NO, Executed.UNKNOWN])
async def test_lasting_refusals_are_never_tried_again(
    sidecar: FakeSidecar, executed: Executed
) -> None:
    sidecar.refuse(Reason.INTERNAL, executed=executed)
    async with Client(sidecar.address) as client:
        with pytest.raises(PartiError) as caught:
            await client.send(partition=0, idempotent=True)
    assert caught.value.executed is executed
    assert sidecar.received_count == 1


async def test_unknown_is_tried_again_only_if_idempotent(sidecar: FakeSidecar) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        sidecar.refuse(Reason.OWNER_LOST, executed=Executed.UNKNOWN)
        with pytest.raises(UnknownOutcome):
            await client.send(partition=0)
        sidecar.refuse(Reason.OWNER_LOST, executed=Executed.UNKNOWN)
        assert (await client.send(partition=0, payload=b"x", idempotent=True)).payload == b"x"


async def test_broken_stream_makes_sent_messages_unknown(sidecar: FakeSidecar) -> None:
    handler = Counting()
    async with Worker(handler, sidecar.address), Client(sidecar.address) as client:
        sent = asyncio.create_task(client.send(partition=0))
        await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        sidecar.drop_clients()
        with pytest.raises(UnknownOutcome) as caught:
            await sent
        assert caught.value.reason is Reason.CONNECTION_LOST
        handler.go.set()
        assert (await client.send(partition=0, payload=b"again")).payload == b"again"
    assert handler.count == 2


async def test_broken_stream_sends_idempotent_messages_again(sidecar: FakeSidecar) -> None:
    handler = Counting()
    async with Worker(handler, sidecar.address), Client(sidecar.address) as client:
        sent = asyncio.create_task(client.send(partition=0, payload=b"x", idempotent=True))
        await sidecar.wait_until(lambda: sidecar.running_count == 1, 5)
        sidecar.drop_clients()
        handler.go.set()
        assert (await sent).payload == b"x"
    assert handler.count == 2


async def test_unsent_messages_wait_for_the_sidecar_to_come_back(
    sidecar: FakeSidecar, eventually: Eventually
) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        await client.send(partition=0)
        await sidecar.stop()
        link = client._link
        assert link is not None
        await eventually(lambda: link.welcome is None)  # what is sent before that is unknown
        sent = asyncio.create_task(client.send(partition=0, payload=b"patient"))
        with pytest.raises(NotExecuted):
            await client.send(partition=0, timeout=0.1)
        await sidecar.start()
        assert (await sent).payload == b"patient"


async def test_client_may_be_opened_before_the_sidecar(sidecar: FakeSidecar) -> None:
    await sidecar.stop()
    async with Client(sidecar.address) as client, Worker(echo, sidecar.address):
        sent = asyncio.create_task(client.send(partition=0, payload=b"early"))
        await asyncio.sleep(0)
        await sidecar.start()
        assert (await sent).payload == b"early"


async def test_other_protocol_version_is_refused_at_once() -> None:
    async with FakeSidecar(protocol_version=99) as sidecar, Client(sidecar.address) as client:
        with pytest.raises(NotExecuted) as caught:
            await client.ready(5)
        assert caught.value.reason is Reason.PROTOCOL_VERSION
        with pytest.raises(NotExecuted, match="version 99"):
            await client.send(partition=0)


async def test_close_refuses_unsent_and_leaves_sent_unknown() -> None:
    async with FakeSidecar(in_flight_max=1) as sidecar:
        sidecar.hold()
        async with Client(sidecar.address) as client:
            sends = [asyncio.create_task(client.send(partition=0)) for _ in range(2)]
            sends.append(asyncio.create_task(client.send(partition=0, idempotent=True)))
            await sidecar.wait_until(lambda: sidecar.received_count == 1, 5)
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(one) for one in outcomes] == [UnknownOutcome, NotExecuted, NotExecuted]


async def test_close_leaves_a_sent_idempotent_message_unknown(sidecar: FakeSidecar) -> None:
    sidecar.hold()
    async with Client(sidecar.address) as client:
        sending = asyncio.create_task(client.send(partition=0, idempotent=True))
        await sidecar.wait_until(lambda: sidecar.received_count == 1, 5)
    with pytest.raises(UnknownOutcome):
        async with asyncio.timeout(5):
            await sending


async def test_cancelled_send_is_forgotten(sidecar: FakeSidecar) -> None:
    handler = Counting()
    async with Worker(handler, sidecar.address), Client(sidecar.address) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.send(partition=0)
        handler.go.set()
        assert (await client.send(partition=0, payload=b"next")).payload == b"next"
        link = client._link
        assert link is not None
        assert not link.pending.sent


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, Reason.BAD_TARGET),
        ({"key": "a", "partition": 1}, Reason.BAD_TARGET),
        ({"key": ""}, Reason.EMPTY_KEY),
        ({"key": b"k" * 2_000}, Reason.PAYLOAD_TOO_LARGE),
        ({"partition": -1}, Reason.BAD_PARTITION),
        ({"partition": 1 << 40}, Reason.BAD_PARTITION),
        ({"partition": 8}, Reason.BAD_PARTITION),
        ({"partition": 0, "payload": bytes(2 << 20)}, Reason.PAYLOAD_TOO_LARGE),
        ({"partition": 0, "headers": {"h": "v" * 5_000}}, Reason.PAYLOAD_TOO_LARGE),
        ({"partition": 0, "timeout": 0}, Reason.INVALID_ARGUMENT),
        ({"partition": 0, "timeout": 1e9}, Reason.INVALID_ARGUMENT),
    ],
)
async def test_bad_messages_are_refused_and_the_rest_goes_on(
    sidecar: FakeSidecar, arguments: dict[str, object], reason: Reason
) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        await client.ready(5)
        with pytest.raises(NotExecuted) as caught:
            await client.send(**arguments)  # type: ignore[arg-type]
        assert caught.value.reason is reason
        assert not caught.value.retryable
        assert (await client.send(partition=0, payload=b"ok")).payload == b"ok"


@pytest.mark.parametrize("arguments", [{"key": 5}, {"partition": 0, "payload": bytearray(b"x")}])
async def test_wrong_types_are_type_errors(
    sidecar: FakeSidecar, arguments: dict[str, object]
) -> None:
    async with Client(sidecar.address) as client:
        with pytest.raises(TypeError, match="must be bytes or str"):
            await client.send(**arguments)  # type: ignore[arg-type]


async def test_locate_says_where_a_partition_lives(sidecar: FakeSidecar) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        await sidecar.wait_started()
        place = await client.locate(key="user")
        assert place.partition == sidecar.partition_of("user")
        assert (place.owner_name, place.epoch, place.phase) == ("fake-0", 1, Phase.OWNED)
        with pytest.raises(NotExecuted) as caught:
            await client.locate(partition=8)
        assert caught.value.reason is Reason.BAD_PARTITION


async def test_watch_shows_the_table_its_changes_and_survives_a_restart(
    sidecar: FakeSidecar,
) -> None:
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        await sidecar.wait_started()
        changes = client.watch_table()
        whole = await anext(changes)
        assert whole.whole
        assert len(whole.changed) == whole.partitions == 8
        await sidecar.revoke(3)
        change = await anext(changes)
        assert [(one.partition, one.phase) for one in change.changed] == [(3, Phase.FREE)]
        assert not change.whole
        await sidecar.stop()
        await sidecar.start()
        assert (await anext(changes)).whole
        await changes.aclose()


async def test_unix_socket_address_is_accepted(tmp_path: Path) -> None:
    async with Client(f"unix:{tmp_path}/parti.sock") as client:
        with pytest.raises(NotExecuted):
            await client.ready(0.05)


def test_address_comes_from_the_argument_then_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PARTI_ADDRESS", raising=False)
    assert resolve_address(None) == "127.0.0.1:5100"
    monkeypatch.setenv("PARTI_ADDRESS", "127.0.0.1:7000")
    assert resolve_address(None) == "127.0.0.1:7000"
    assert resolve_address("unix:/x") == "unix:/x"


async def test_closed_client_says_so() -> None:
    client = Client("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="not open"):
        await client.send(partition=0)


async def test_bug_in_the_link_fails_what_waits(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with Client(sidecar.address) as client:
        await client.ready(5)
        link = client._link
        assert link is not None
        monkeypatch.setattr(link.pending, "take_frame", broken)
        with pytest.raises(NotExecuted) as caught:
            await client.send(partition=0)
        assert caught.value.reason is Reason.INTERNAL


async def test_nothing_is_left_running(sidecar: FakeSidecar) -> None:
    before = asyncio.all_tasks()
    async with Worker(echo, sidecar.address), Client(sidecar.address) as client:
        await asyncio.gather(*[client.send(key=f"{n}") for n in range(100)])
    left = {task for task in asyncio.all_tasks() - before if task.get_name().startswith("parti-")}
    assert left == set()


def test_batch_settles_each_index_once() -> None:
    batch = client_module.Batch(asyncio.new_event_loop())
    batch._loop.close()
    index = batch.add()
    batch.settle(index, Reply(b"", 1))
    with pytest.raises(AssertionError):
        batch.settle(index, Reply(b"", 1))
