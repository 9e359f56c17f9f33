"""The engine: the order of effects, what shares a turn, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from parti_raft.codec import decode_message
from parti_raft.replica_values import PersistJob
from parti_raft.types import (
    ConfState,
    HardState,
    LogIndex,
    MemberId,
    Message,
    MessageType,
    Snapshot,
    Term,
)
from parti_shard.effects import Effects, PeerFrame
from parti_shard.errors import MalformedFrameError
from parti_sidecar.engine import Engine, with_data
from parti_sidecar.storage.base import Storage, WriteBatch, WriteFailed
from parti_sidecar.storage.memory import MemoryDisk, MemoryStorage
from parti_sidecar.storage.writer import CommitStats

ME, PEER = MemberId(1), MemberId(2)
TICK_MS = 50
SNAPSHOT = Snapshot(LogIndex(7), Term(2), ConfState(voters=(ME,)), b"the whole table")


@dataclass
class Timer:
    callback: Callable[[], object]
    delay_s: float
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class HandLoop:
    """A loop that the test turns by hand."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.timers: list[Timer] = []

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.soon.append(lambda: callback(*args))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(lambda: callback(*args), delay)
        self.timers.append(timer)
        return timer

    def is_closed(self) -> bool:
        return False

    def run(self) -> None:
        while self.soon:
            self.soon.pop(0)()

    def fire(self) -> None:
        """Let every timer end that was set before."""
        due, self.timers = [t for t in self.timers if not t.cancelled], []
        for timer in due:
            timer.callback()
        self.run()


@dataclass
class Bench:
    """An engine around a heart whose effects the test chooses; everything is written down."""

    loop: HandLoop = field(default_factory=HandLoop)
    log: list[tuple[str, Any]] = field(default_factory=list)
    effects: list[Effects] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    trouble: dict[str, Exception] = field(default_factory=dict)
    on_deliver: Callable[[], object] = lambda: None
    on_persisted: Callable[[], object] = lambda: None
    now_ms: int = 1_000

    def __post_init__(self) -> None:
        self.engine = Engine(
            self,
            MemoryStorage(MemoryDisk(), ME),
            self,
            clock=lambda: self.now_ms,
            tick_ms=TICK_MS,
            deliver=self._deliver,
            fail=self.failures.append,
            on_commit=lambda _: None,
            loop=self.loop,
            open_writer=self._open_writer,
        )

    # The heart.

    def tick(self, now_ms: int) -> None:
        self._note("tick", now_ms)

    def receive(
        self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes], now_ms: int
    ) -> None:
        self._note("receive", now_ms)

    def receive_snapshot(self, message: Message) -> None:
        self._note("snapshot", message.index)

    def persisted(self, job: PersistJob) -> None:
        self._note("persisted", job.compact_to)
        self.on_persisted()

    def turn(self, now_ms: int) -> Effects:
        self._note("turn", now_ms)
        return self.effects.pop(0) if self.effects else Effects()

    # Links, writer, callers.

    def send(self, member: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        self._note("send", (member, raft, session))

    def send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        self._note("send snapshot", (member, message, data))

    def _open_writer(self, storage: Storage, **callbacks: Any) -> Bench:
        self.on_durable: Callable[[list[PersistJob]], None] = callbacks["on_durable"]
        self.on_failure: Callable[[Exception], None] = callbacks["on_failure"]
        return self

    def submit(self, batch: WriteBatch, token: PersistJob) -> None:
        assert batch.hard_state is token.hard_state
        self._note("submit", token.compact_to)

    def close(self) -> None:
        self._note("close", None)

    def _deliver(self, effects: Effects) -> None:
        self._note("deliver", len(effects.applied))
        self.on_deliver()

    def _note(self, what: str, value: object) -> None:
        self.log.append((what, value))
        if what in self.trouble:
            raise self.trouble[what]

    def taken(self) -> list[tuple[str, Any]]:
        log, self.log = self.log, []
        return log

    def names(self) -> list[str]:
        return [name for name, _ in self.taken()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def job(number: int) -> PersistJob:
    return PersistJob(HardState(Term(number)), compact_to=LogIndex(number))


def frame(*raft: bytes, session: bytes = b"") -> PeerFrame:
    return PeerFrame(list(raft), [session] if session else [])


def test_the_disk_comes_first_then_the_callers_then_the_peers(bench: Bench) -> None:
    snapshot = Message(MessageType.SNAP, PEER, ME, snapshot=SNAPSHOT)
    bench.effects = [
        Effects([job(1), job(2)], {PEER: frame(b"r", session=b"s")}, [snapshot], [("tag", 1)])
    ]
    bench.engine.touch()
    bench.loop.run()
    log = bench.taken()
    assert log[:4] == [("turn", 1_000), ("submit", 1), ("submit", 2), ("deliver", 1)]
    assert log[5:] == [("send", (PEER, [b"r"], [b"s"]))]


def test_everything_fed_before_a_turn_shares_it(bench: Bench) -> None:
    for _ in range(3):
        bench.engine.touch()
    bench.engine.feed(lambda: bench.receive(PEER, [], [], 1))
    bench.loop.run()
    assert bench.names() == ["receive", "turn", "deliver"]


def test_what_callers_ask_for_at_once_leaves_in_the_same_frames(bench: Bench) -> None:
    bench.effects = [Effects(frames={PEER: frame(b"1")}), Effects(frames={PEER: frame(b"2")})]
    asked = [bench.engine.touch]

    def wake_the_caller() -> None:  # in the loop's next round, as one that waits for a future
        if asked:
            bench.loop.call_soon(asked.pop())

    bench.on_deliver = wake_the_caller
    bench.engine.touch()
    bench.loop.run()
    sent = [entry for entry in bench.taken() if entry[0] == "send"]
    assert sent == [("send", (PEER, [b"1", b"2"], []))]


def test_a_snapshot_goes_apart_from_its_message_and_is_made_whole_again(bench: Bench) -> None:
    message = Message(MessageType.SNAP, PEER, ME, Term(2), snapshot=SNAPSHOT)
    bench.effects = [Effects(snapshots=[message])]
    bench.engine.touch()
    bench.loop.run()
    (sent,) = [value for name, value in bench.taken() if name == "send snapshot"]
    member, head, data = sent
    assert (member, data) == (PEER, SNAPSHOT.data)
    assert SNAPSHOT.data not in head
    whole = with_data(decode_message(head), data)
    assert whole.snapshot == SNAPSHOT
    assert whole.term == 2


def test_a_tick_is_a_turn_and_a_pause_is_not_caught_up(bench: Bench) -> None:
    bench.engine.start()
    assert bench.loop.timers[0].delay_s == TICK_MS / 1000
    bench.loop.run()
    bench.taken()
    bench.now_ms += 100 * TICK_MS
    bench.loop.fire()
    assert bench.taken() == [("tick", 6_000), ("turn", 6_000), ("deliver", 0)]
    assert [timer.delay_s for timer in bench.loop.timers] == [TICK_MS / 1000]


def test_jobs_on_disk_are_told_in_order_and_followed_by_a_turn(bench: Bench) -> None:
    bench.on_durable([job(1), job(2)])
    bench.loop.run()
    assert bench.taken() == [
        ("persisted", 1),
        ("persisted", 2),
        ("turn", 1_000),
        ("deliver", 0),
    ]


@pytest.mark.parametrize("where", ["tick", "turn", "persisted", "receive", "submit", "deliver"])
def test_a_bug_ends_the_process_and_nothing_leaves_after_it(bench: Bench, where: str) -> None:
    bug = AssertionError("a bug")
    bench.trouble[where] = bug
    bench.effects = [Effects([job(1)], {PEER: frame(b"r")}) for _ in range(9)]
    bench.engine.start()
    bench.loop.fire()
    bench.on_durable([job(3), job(4)])
    bench.engine.feed(lambda: bench.receive(PEER, [], [], 1))
    bench.loop.run()
    assert bench.failures == [bug]
    bench.trouble.clear()
    bench.taken()
    bench.loop.fire()
    bench.on_durable([job(5)])
    bench.engine.feed(lambda: bench.receive(PEER, [], [], 1))
    bench.engine.touch()
    bench.loop.run()
    assert bench.taken() == []
    assert not bench.loop.timers


def test_what_is_wrong_with_a_peers_frame_is_told_to_the_peer(bench: Bench) -> None:
    bench.trouble["receive"] = MalformedFrameError("junk")
    with pytest.raises(MalformedFrameError, match="junk"):
        bench.engine.feed(lambda: bench.receive(PEER, [], [], 1))
    assert not bench.failures
    bench.engine.touch()
    bench.loop.run()
    assert bench.names() == ["receive", "turn", "deliver"]


def test_after_a_failure_of_the_disk_no_turn_is_had(bench: Bench) -> None:
    bench.effects = [Effects(frames={PEER: frame(b"r")})]
    bench.engine.touch()
    failure = WriteFailed("no disk")
    bench.on_failure(failure)
    bench.loop.soon.reverse()
    bench.loop.run()
    assert bench.failures == [failure]
    assert bench.taken() == []


def test_frames_that_wait_are_not_sent_once_it_has_ended(bench: Bench) -> None:
    bench.effects = [Effects(frames={PEER: frame(b"r")})]
    bench.engine.touch()
    bench.loop.soon.pop(0)()
    bench.engine.stop()
    bench.loop.run()
    assert bench.names() == ["turn", "deliver", "close"]


def test_after_the_stop_time_stands_still(bench: Bench) -> None:
    bench.engine.start()
    bench.engine.stop()
    bench.loop.fire()
    assert bench.names() == ["close"]


async def test_with_a_real_writer_what_was_submitted_is_written_and_errors_arrive() -> None:
    disk = MemoryDisk()
    storage = MemoryStorage(disk, ME)
    storage.load()
    heart, failed = Bench(), asyncio.get_running_loop().create_future()
    commits: list[CommitStats] = []
    engine = Engine(
        heart,
        storage,
        heart,
        clock=lambda: 1,
        tick_ms=1_000,
        deliver=lambda _: None,
        fail=failed.set_result,
        on_commit=commits.append,
    )
    heart.effects = [Effects([PersistJob(HardState(Term(1)))])]
    durable = asyncio.Event()
    heart.on_persisted = durable.set
    engine.touch()
    async with asyncio.timeout(5):
        await durable.wait()
    disk.fail_sync = WriteFailed("the disk is gone")
    heart.effects = [Effects([PersistJob(HardState(Term(2)))])]
    engine.touch()
    async with asyncio.timeout(5):
        assert str(await failed) == "the disk is gone"
    engine.stop()
    assert len(commits) == 1
    disk.crash()
    assert MemoryStorage(disk, ME).load().hard_state.term == 1
