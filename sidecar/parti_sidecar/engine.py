"""Runs a pure member (its heart) on the event loop: turns, disk, peers, time.

A turn takes everything that came in since the last one, so that all of it shares one disk job and
one frame per peer. Effects are executed in this order: jobs are handed to the storage thread,
outcomes are told to callers, then frames go to the peer links. Frames wait until the callers have
run: what those propose next leaves in the same frames as the news of what was committed, which
halves the frames of a busy group. Nothing in a frame depends on a job of its own turn.

Ticks are not caught up after a pause: a process that slept must not let several election timeouts
pass at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from parti_raft.codec import MalformedMessageError, decode_message, encode_message
from parti_raft.replica_values import PersistJob
from parti_raft.types import LogIndex, MemberId, Message, MessageType, Snapshot
from parti_shard.effects import Effects, PeerFrame
from parti_shard.errors import MalformedFrameError, PartiError
from parti_sidecar.storage.base import Storage, WriteBatch
from parti_sidecar.storage.writer import CommitStats, StorageWriter

_NO_DATA = Snapshot()


class Heart(Protocol):
    """A pure member as the engine drives it; `now_ms` is the lease clock."""

    def tick(self, now_ms: int) -> None:
        """Let one tick pass."""
        ...

    def receive(
        self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes], now_ms: int
    ) -> None:
        """Take one frame of a peer; raises MalformedFrameError."""
        ...

    def receive_snapshot(self, message: Message) -> None:
        """Take a whole snapshot message."""
        ...

    def persisted(self, job: PersistJob) -> None:
        """Take note that a job is on disk; they end in order."""
        ...

    def turn(self, now_ms: int) -> Effects:
        """Work until nothing is left to do without outside help."""
        ...


class Links(Protocol):
    """Streams to the other members."""

    def send(self, member: MemberId, raft: list[bytes], session: list[bytes]) -> None:
        """Queue one frame; it may be lost."""
        ...

    def send_snapshot(self, member: MemberId, message: bytes, data: bytes) -> None:
        """Stream a snapshot; its end is reported to the host."""
        ...


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """Let it not happen."""
        ...


class Loop(Protocol):
    """What the engine needs of an event loop; the simulator has one of its own."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call it in the loop's next round."""
        ...

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> Any:
        """Do the same, asked from another thread."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call it after so many seconds."""
        ...

    def is_closed(self) -> bool:
        """Whether it has ended."""
        ...


class Writer(Protocol):
    """Writes jobs to the disk, in order, aside from the loop."""

    def submit(self, batch: WriteBatch, token: PersistJob) -> None:
        """Queue the batch; `on_durable` gets its token when it is on disk."""
        ...

    def close(self) -> None:
        """Write what is queued and end."""
        ...


class OpenWriter(Protocol):
    """Starts the writer of a storage; the callbacks may come from another thread."""

    def __call__(
        self,
        storage: Storage,
        *,
        on_durable: Callable[[list[PersistJob]], None],
        on_failure: Callable[[Exception], None],
        on_commit: Callable[[CommitStats], None],
    ) -> Writer:
        """See the class."""
        ...


class Engine:
    """See the module's docstring. `loop` and `open_writer` are others only in the simulator."""

    def __init__(  # noqa: PLR0913 - the driver names all of them
        self,
        heart: Heart,
        storage: Storage,
        links: Links,
        *,
        clock: Callable[[], int],
        tick_ms: int,
        deliver: Callable[[Effects], None],
        fail: Callable[[BaseException], None],
        on_commit: Callable[[CommitStats], None],
        loop: Loop | None = None,
        open_writer: OpenWriter = StorageWriter,
    ) -> None:
        self._heart = heart
        self._links = links
        self._clock = clock
        self._tick_s = tick_ms / 1000
        self._deliver = deliver
        self._fail = fail
        self._loop: Loop = asyncio.get_running_loop() if loop is None else loop
        self._due = False
        self._frames: dict[MemberId, PeerFrame] = {}  # wait for `_send_frames`
        self._sending = False
        self._ended = False
        self._timer: Timer | None = None
        self._writer = open_writer(
            storage,
            on_durable=lambda jobs: self._from_thread(self._durable, jobs),
            on_failure=lambda error: self._from_thread(self._disk_failed, error),
            on_commit=on_commit,
        )

    def start(self) -> None:
        """Begin to let time pass."""
        self._timer = self._loop.call_later(self._tick_s, self._tick)
        self.touch()

    def stop(self) -> None:
        """Let no more time pass, write what is queued, end the storage thread."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._writer.close()

    def touch(self) -> None:
        """Have a turn soon; everything fed before it is part of it."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn)

    def feed(self, step: Callable[[], None]) -> None:
        """Let the heart take something from outside. What is wrong with it is raised as PartiError
        and the giver's fault; everything else is a bug and ends the process.
        """
        if self._ended:
            return
        try:
            step()
        except PartiError:
            raise
        except Exception as error:  # noqa: BLE001 - as in `_guarded`
            self._end(error)
        self.touch()

    def _from_thread(self, callback: Callable[[Any], None], value: object) -> None:
        """Go on in the loop; at the very end there may be none any more."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, value)

    def _tick(self) -> None:
        if self._ended:
            return
        self._timer = self._loop.call_later(self._tick_s, self._tick)
        self._guarded(lambda: self._heart.tick(self._clock()))
        self._turn()

    def _durable(self, jobs: list[PersistJob]) -> None:
        for job in jobs:
            if self._ended:
                return
            self._guarded(partial(self._heart.persisted, job))
        self._turn()

    def _disk_failed(self, error: Exception) -> None:
        self._end(error)

    def _turn(self) -> None:
        self._due = False
        if not self._ended:
            self._guarded(self._run_turn)

    def _guarded(self, step: Callable[[], None]) -> None:
        """A bug in the heart ends the process: nothing may be served from a half-done turn."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process ends with it
            self._end(error)

    def _end(self, reason: Exception) -> None:
        """Have no turn any more, so that nothing leaves, and let the process end."""
        self._ended = True
        self._fail(reason)

    def _run_turn(self) -> None:
        effects = self._heart.turn(self._clock())
        for job in effects.jobs:
            batch = WriteBatch(job.hard_state, job.entries, job.snapshot, job.compact_to)
            self._writer.submit(batch, job)
        self._deliver(effects)
        for message in effects.snapshots:
            self._send_snapshot(message)
        for member, frame in effects.frames.items():
            self._add_frame(member, frame)
        if self._frames and not self._sending:
            self._sending = True
            self._loop.call_soon(self._send_frames)

    def _add_frame(self, member: MemberId, frame: PeerFrame) -> None:
        waiting = self._frames.setdefault(member, frame)
        if waiting is not frame:
            waiting.raft += frame.raft
            waiting.session += frame.session

    def _send_frames(self) -> None:
        """The callers have run; if they asked for something, it shares the frames."""
        if self._due:
            self._turn()
        self._sending = False
        frames, self._frames = self._frames, {}
        if self._ended:
            return
        for member, frame in frames.items():
            self._links.send(member, frame.raft, frame.session)

    def _send_snapshot(self, message: Message) -> None:
        snapshot = message.snapshot
        assert snapshot is not None
        message.snapshot = Snapshot(snapshot.index, snapshot.term, snapshot.conf_state)
        self._links.send_snapshot(message.to, encode_message(message), snapshot.data)


def snapshot_head(data: bytes, sender: MemberId, me: MemberId) -> Message:
    """The message that came with a snapshot. Raises MalformedFrameError."""
    try:
        head = decode_message(data)
    except MalformedMessageError as error:
        raise MalformedFrameError(str(error)) from error
    if head.type is not MessageType.SNAP:
        raise MalformedFrameError(f"a {head.type.name} message came as a snapshot")
    if (head.sender, head.to) != (sender, me):
        raise MalformedFrameError("a snapshot message of somebody else")
    return head


def with_data(message: Message, data: bytes) -> Message:
    """A received snapshot message made whole again."""
    head = message.snapshot if message.snapshot is not None else _NO_DATA
    message.snapshot = Snapshot(LogIndex(head.index), head.term, head.conf_state, data)
    return message
