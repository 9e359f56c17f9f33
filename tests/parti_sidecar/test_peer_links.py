"""Links to real peers: frames, forwards, reconnects, refusals, full queues, shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from parti_proto import app_pb2, peer_pb2
from parti_shard.errors import Failure, Reason
from parti_shard.ids import MemberId
from parti_shard.router import Router
from parti_sidecar import frames_link, link, peer_dialling
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.link import Backoff
from parti_sidecar.logs import HumanFormatter
from parti_sidecar.peer_links import PeerLinks
from tests.parti_sidecar.api_clients import Client, EchoWorker, until
from tests.parti_sidecar.fake_host import ANY_PORTS, CLUSTER, FakeCluster, FakeHost, Node
from tests.parti_sidecar.raw_streams import RawStream, hello

TWO = MemberId(2)
PARTITIONS = 4


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    made = FakeCluster(count=2, partitions=PARTITIONS)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def one(cluster: FakeCluster) -> FakeHost:
    return cluster.nodes[0].host


@pytest.fixture
def two(cluster: FakeCluster) -> FakeHost:
    return cluster.nodes[1].host


def _links(host: FakeHost) -> PeerLinks:
    assert host.links is not None
    return host.links


async def _restart(node: Node) -> None:
    """Let the member's servers come back on the same port."""
    assert node.servers is not None
    await node.servers.stop(grace_ms=0)
    await node.start(replace(ANY_PORTS, peer=node.bound.peer))


async def test_what_is_sent_arrives_in_order_and_batched(one: FakeHost, two: FakeHost) -> None:
    for number in range(100):
        _links(one).send(TWO, [b"r%d" % number], [b"s"] if number == 7 else [])
    await until(lambda: sum(len(raft) for _, raft, _ in two.peer_frames) == 100, "the messages")
    assert [m for _, raft, _ in two.peer_frames for m in raft] == [b"r%d" % n for n in range(100)]
    assert [m for _, _, session in two.peer_frames for m in session] == [b"s"]
    assert len(two.peer_frames) < 5, "what waits goes out together"
    assert two.heard[0].from_address == one.addresses[one.me]


async def test_large_queues_leave_in_frames_of_bounded_size(
    one: FakeHost, two: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_link, "FRAME_BYTES_TARGET", 1_000)
    _links(one).send(TWO, [bytes(300)] * 20, [b"lease"] * 3)
    await until(lambda: sum(len(raft) for _, raft, _ in two.peer_frames) == 20, "the messages")
    assert all(sum(map(len, raft)) <= 1_300 for _, raft, _ in two.peer_frames)
    assert len(two.peer_frames[0][2]) == 3, "session messages leave first"


async def test_a_full_queue_drops_counts_and_reports_outside_of_send(
    one: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_link, "QUEUE_MESSAGES_MAX", 2)
    one.addresses = {}
    _links(one).send(TWO, [b"1", b"2", b"3", b"4"], [])
    assert _links(one).stats.messages_dropped == 2
    assert not one.unreachable, "the driver is in the middle of its effects"
    await until(lambda: one.unreachable, "the report")
    assert one.unreachable[0] == TWO


async def test_a_message_no_frame_can_carry_is_dropped(
    one: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_link, "RAFT_MESSAGE_BYTES_MAX", 10)
    _links(one).send(TWO, [bytes(11)], [])
    assert _links(one).stats.messages_dropped == 1


async def test_a_link_comes_back_after_its_peer_did(
    cluster: FakeCluster, one: FakeHost, two: FakeHost
) -> None:
    _links(one).send(TWO, [b"before"], [])
    await until(lambda: two.peer_frames, "the first message")
    await _restart(cluster.nodes[1])
    await until(lambda: TWO in one.unreachable, "the report")
    _links(one).send(TWO, [b"after"], [])
    await until(lambda: len(two.peer_frames) > 1, "a message after the restart")
    assert _links(one).stats.opened == 2
    assert _links(one).stats.failed >= 1


async def test_the_address_is_asked_for_at_every_attempt(one: FakeHost, two: FakeHost) -> None:
    right, one.addresses = one.addresses, {TWO: "127.0.0.1:1"}
    _links(one).send(TWO, [b"lost"], [])
    await until(lambda: one.unreachable, "the failure")
    one.addresses = right
    _links(one).send(TWO, [b"arrives"], [])
    await until(lambda: two.peer_frames, "the message")
    assert two.peer_frames[0][1] == [b"arrives"]


async def test_a_peer_that_is_someone_else_is_logged_once_and_retried(
    one: FakeHost, two: FakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "REFUSED_FIRST_MS", 10)
    two.refusal = Failure(Reason.UNKNOWN_MEMBER, message="who are you")
    links = _links(one)
    with caplog.at_level(logging.WARNING):
        for attempt in range(1, 4):
            links.send(TWO, [b"x"], [])
            await until(lambda: links.stats.refused >= attempt, "the refusal")  # noqa: B023
    assert len([r for r in caplog.records if r.message == "link to peer failed"]) == 1
    two.refusal = None
    links.send(TWO, [b"now"], [])
    await until(lambda: two.peer_frames, "the message")


async def test_who_is_left_behind_hears_of_it_and_the_log_says_why(
    one: FakeHost, two: FakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "REFUSED_FIRST_MS", 10)
    two.refusal = Failure(Reason.LEFT_BEHIND, message="incarnation 1, not 0")
    with caplog.at_level(logging.WARNING):
        _links(one).send(TWO, [b"x"], [])
        await until(lambda: one.left_behind_by, "the news")
    assert one.left_behind_by[0] == TWO
    assert "incarnation 1, not 0" in HumanFormatter({}).format(caplog.records[0])


async def test_a_peer_that_accepts_and_says_nothing_is_given_up(
    one: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_dialling, "HANDSHAKE_MS", 100)
    release = asyncio.Event()

    async def freeze(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    frozen = await asyncio.start_server(freeze, "127.0.0.1", 0)
    one.addresses = {TWO: f"127.0.0.1:{frozen.sockets[0].getsockname()[1]}"}
    _links(one).send(TWO, [b"x"], [])
    await until(lambda: one.unreachable, "the report")
    release.set()
    frozen.close()
    await frozen.wait_closed()


def test_the_waits_grow_up_to_their_limit() -> None:
    backoff = Backoff()
    waits = [backoff.next_ms(refused=False) for _ in range(20)]
    assert waits[0] <= link.RETRY_FIRST_MS * 1.2
    assert link.RETRY_LAST_MS * 0.8 <= waits[-1] <= link.RETRY_LAST_MS * 1.2
    backoff.reset()
    assert backoff.next_ms(refused=False) <= link.RETRY_FIRST_MS * 1.2
    assert Backoff().next_ms(refused=True) >= link.REFUSED_FIRST_MS * 0.8


@pytest.fixture
async def worker(cluster: FakeCluster, two: FakeHost) -> AsyncIterator[EchoWorker]:
    """A worker at the second member, which owns everything."""
    async with Client(cluster.nodes[1].bound.app) as client:
        made = EchoWorker(client)
        await until(lambda: made.welcome, "the worker's welcome")
        for partition in range(PARTITIONS):
            cluster.grant(partition, two)
        await until(lambda: len(made.started) == PARTITIONS, "the assignments")
        yield made
        await made.stop()


async def _send(client: Client, payload: bytes) -> bytes:
    reply = await client.open("Router.Send", app_pb2.SendRequest(partition=1, payload=payload))
    answer: bytes = reply.payload
    return answer


async def test_messages_go_to_their_owner_and_answers_come_back(
    cluster: FakeCluster, worker: EchoWorker
) -> None:
    async with Client(cluster.nodes[0].bound.app) as client:
        sent = [b"%d" % n for n in range(50)]
        assert await asyncio.gather(*(_send(client, each) for each in sent)) == sent
    assert sorted(worker.delivered) == sorted(sent)


async def test_a_forward_link_that_broke_is_opened_again_when_it_is_wanted(
    cluster: FakeCluster, one: FakeHost, worker: EchoWorker
) -> None:
    async with Client(cluster.nodes[0].bound.app) as client:
        assert await _send(client, b"first") == b"first"
        await _rival_stream(cluster.nodes[1])
        await until(lambda: _links(one).stats.failed, "the end of the first link")
        assert await _send(client, b"second") == b"second"
    assert _links(one).stats.opened == 2


async def _rival_stream(node: Node) -> None:
    """Open a newer stream in the name of the first member, which breaks the one that is open."""
    handshake = LocalPeer(CLUSTER, MemberId(1), "").handshake(node.host.me)
    async with RawStream(node.bound.peer_streams) as stream:
        await stream.introduce(hello(handshake, peer_pb2.STREAM_KIND_FORWARD))


async def test_close_leaves_no_tasks(one: FakeHost, two: FakeHost) -> None:
    links = _links(one)
    links.send(TWO, [b"x"], [])
    links.hold_forwards({TWO})
    await until(lambda: two.peer_frames, "the message")
    await links.close()
    left = [task for task in asyncio.all_tasks() if "_keep" in repr(task.get_coro())]
    assert not left
    assert not one.failed


async def test_a_forgotten_member_gets_nothing_more(one: FakeHost, two: FakeHost) -> None:
    links = _links(one)
    links.send(TWO, [b"x"], [])
    await until(lambda: two.peer_frames, "the message")
    links.forget(TWO)
    assert not links._frames
    await links.close()


async def test_a_bug_in_a_link_ends_the_process(
    one: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_member: MemberId) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(one, "address_of", break_down)
    _links(one).send(TWO, [b"x"], [])
    await until(lambda: one.failed, "the failure")
    assert isinstance(one.failed[0], ZeroDivisionError)


async def test_a_bug_in_a_snapshot_transfer_ends_the_process(one: FakeHost) -> None:
    _links(one).send_snapshot(TWO, b"not a raft message", b"")
    await until(lambda: one.failed, "the failure")


async def test_a_peer_that_is_heard_is_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "RETRY_FIRST_MS", 60_000)
    monkeypatch.setattr(link, "RETRY_LAST_MS", 60_000)
    async with asyncio.timeout(10):
        host = FakeHost(MemberId(1), None)  # no address of the peer is known: attempts fail
        links = PeerLinks(host, cast("Router", None), LocalPeer("c", MemberId(1), "127.0.0.1:1"))
        links.send(MemberId(2), [b"x"], [])
        await until(lambda: links.stats.failed == 1)
        links.heard(MemberId(2))
        links.send(MemberId(2), [b"x"], [])
        await until(lambda: links.stats.failed == 2)
        await links.close()
