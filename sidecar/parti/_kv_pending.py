"""Every read and write of the store between its call and its outcome.

Without loop or clock: the link that owns it passes the time (seconds of one monotonic clock).

Invariants:
    - A write belongs to a session and has a number in it from when it is first sent; sent again,
      it keeps it, and so counts once. It is sent again until it is answered or its time is over.
    - `acknowledged_below` never passes a write that may still be sent again.
    - A refusal says "not executed" only for a write that was sent once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from parti import _limits as limits
from parti._errors import (
    Executed,
    NotExecuted,
    PartiError,
    Reason,
    UnknownOutcome,
    error_from_detail,
)
from parti._kv_values import Entry
from parti_proto import kv_pb2

NO_CONDITION: Final = (1 << 64) - 1
_SIZE_OVERHEAD: Final = 24
_REFUSED_FROM: Final = int(kv_pb2.KV_STATUS_SESSION_OVER)
_REASONS: Final = {
    int(kv_pb2.KV_STATUS_FORGOTTEN): Reason.INVALID_ARGUMENT,
    int(kv_pb2.KV_STATUS_WINDOW_FULL): Reason.OVERLOADED,
    int(kv_pb2.KV_STATUS_ANSWER_TOO_LARGE): Reason.PAYLOAD_TOO_LARGE,
}

# Status, revision, result of a transaction.
Answer = tuple[int, int, bytes]


class Write:
    """One write on its way."""

    __slots__ = ("attempts", "deadline", "expect", "future", "key", "op", "seq", "value")

    def __init__(
        self,
        op: int,
        key: bytes,
        value: bytes,
        expect: int,
        deadline: float,
        future: asyncio.Future[Answer],
    ) -> None:
        self.op = op
        self.key = key
        self.value = value
        self.expect = expect
        self.deadline = deadline
        self.future = future
        self.seq = -1
        self.attempts = 0


class Read:
    """One linearizable read on its way."""

    __slots__ = ("deadline", "future", "key")

    def __init__(self, key: bytes, deadline: float, future: asyncio.Future[Entry | None]) -> None:
        self.key = key
        self.deadline = deadline
        self.future = future


class Writes:
    """The writes of one session, `session` being its id once it is open."""

    def __init__(self) -> None:
        self.session = 0
        self.over = False
        self.queued: deque[Write] = deque()
        self.sent: dict[int, Write] = {}  # by seq, rising
        self.must_acknowledge = False  # the sidecar waits for it, and no write will carry it
        self._told = 0
        self._next_seq = 0
        self._refused: list[Write] = []  # by a session that is over

    @property
    def acknowledged_below(self) -> int:
        """All writes with smaller numbers are answered or given up."""
        for seq in self.sent:
            return seq
        return self._next_seq

    def acknowledge(self) -> int:
        """What to tell as acknowledged now."""
        self.must_acknowledge = False
        self._told = self.acknowledged_below
        return self._told

    def come_to_rest(self) -> None:
        """Nothing was asked for a while: let the store forget the last answers."""
        if not self.queued and self._told < self.acknowledged_below:
            self.must_acknowledge = True

    def take(self, now: float, window: int) -> list[Write]:
        """Move what fits into one frame from queued to sent."""
        taken: list[Write] = []
        size_bytes = 0
        queued = self.queued
        end = self.acknowledged_below + window
        while queued and size_bytes < limits.FRAME_BYTES_TARGET:
            write = queued[0]
            if len(taken) >= limits.FRAME_ITEMS_MAX or (write.seq < 0 and self._next_seq >= end):
                break
            queued.popleft()
            if write.future.done() or write.deadline <= now:
                self.give_up(write)
                continue
            if write.seq < 0:
                write.seq = self._next_seq
                self._next_seq += 1
                self.sent[write.seq] = write
            write.attempts += 1
            taken.append(write)
            size_bytes += len(write.key) + len(write.value) + _SIZE_OVERHEAD
        return taken

    def requeue(self, writes: Iterable[Write]) -> None:
        """Send these again, before all others and in their order."""
        self.queued.extendleft(sorted(writes, key=lambda write: -write.seq))

    def give_up(self, write: Write) -> None:
        """The write's time is over, or nobody waits for it."""
        self.sent.pop(write.seq, None)
        if write.future.done():
            return
        text = "no answer within the time given"
        if write.attempts:
            write.future.set_exception(UnknownOutcome(text, Reason.DEADLINE_EXCEEDED))
        else:
            write.future.set_exception(NotExecuted(text, Reason.DEADLINE_EXCEEDED))

    def fail(self, write: Write, error: PartiError) -> None:
        """Settle with an error; "not executed" counts only for a first attempt."""
        self.sent.pop(write.seq, None)
        if write.future.done():
            return
        if write.attempts > 1 and error.executed is Executed.NO:
            text = f"an earlier attempt may have run; the last one: {error.message}"
            error = UnknownOutcome(text, error.reason)
        write.future.set_exception(error)

    def session_over(self, write: Write) -> None:
        """A write was refused because the session is over: it may go into another one.

        Only if it was sent once: of several attempts an earlier one may have been in time. Those
        that are still under way get answers of their own.
        """
        self.over = True
        if write.attempts > 1:
            text = "the session of this client is over"
            self.fail(write, NotExecuted(text, Reason.SESSION_OVER))
        else:
            del self.sent[write.seq]
            self._refused.append(write)

    def leave(self) -> list[Write]:
        """Take out what was certainly not done, for another session."""
        rest = [*self._refused, *(write for write in self.queued if write.seq < 0)]
        self.queued = deque(write for write in self.queued if write.seq >= 0)
        self._refused.clear()
        for write in rest:
            write.seq, write.attempts = -1, 0
        return rest


class Pending:
    """All that one client waits for."""

    def __init__(self) -> None:
        self.all_writes: list[Writes] = []
        self.window = limits.KV_WINDOW
        self.reads_max = limits.FRAME_ITEMS_MAX
        self.reads: deque[Read] = deque()
        self.reads_sent: dict[int, Read] = {}
        self.paused_until = 0.0
        self._refusals = 0  # in a row
        self._next_read = 0
        self._turn = 0

    def take_frame(self, now: float) -> kv_pb2.KvFrame | None:
        """What goes out next: reads, and the writes of one session; None for nothing now."""
        if now < self.paused_until:
            return None
        frame: kv_pb2.KvFrame | None = None
        writes = self._next_writes(now)
        if writes is not None:
            owner, taken = writes
            frame = _write_frame(owner, taken, now)
        reads = self._take_reads(now)
        if reads:
            frame = kv_pb2.KvFrame() if frame is None else frame
            frame.read_id.extend(reads)
            frame.read_key.extend([self.reads_sent[number].key for number in reads])
            if not frame.timeout_ms:
                frame.timeout_ms = _timeout_ms(self.reads_sent.values(), now)
        return frame

    def _next_writes(self, now: float) -> tuple[Writes, list[Write]] | None:
        count = len(self.all_writes)
        for _ in range(count):
            self._turn = (self._turn + 1) % count
            each = self.all_writes[self._turn]
            if not each.session:
                continue
            taken = each.take(now, self.window)
            if taken or each.must_acknowledge:
                return each, taken
        return None

    def _take_reads(self, now: float) -> list[int]:
        taken: list[int] = []
        room = min(limits.FRAME_ITEMS_MAX, self.reads_max - len(self.reads_sent))
        while self.reads and len(taken) < room:
            read = self.reads.popleft()
            if read.future.done() or read.deadline <= now:
                _give_up_read(read)
                continue
            number = self._next_read
            self._next_read += 1
            self.reads_sent[number] = read
            taken.append(number)
        return taken

    def answer(self, frame: kv_pb2.KvAnswers, now: float) -> None:
        """Settle what the frame answers."""
        if frame.seq:
            self._answer_writes(frame, now)
        if frame.read_id:
            self._answer_reads(frame)
        for refused in frame.refused:
            self._refused(frame.session, refused, now)

    def _answer_writes(self, frame: kv_pb2.KvAnswers, now: float) -> None:
        owner = self._writes_of(frame.session)
        if owner is None:
            return
        statuses = frame.status or (0,) * len(frame.seq)
        results = dict(zip(frame.result_at, frame.result, strict=True))
        pop = owner.sent.pop
        columns = zip(frame.seq, statuses, frame.revision, strict=True)
        for position, (seq, status, revision) in enumerate(columns):
            if status >= _REFUSED_FROM:
                self._refused_write(owner, seq, status, now)
                continue
            write = pop(seq, None)
            if write is not None and not write.future.done():
                write.future.set_result((status, revision, results.get(position, b"")))
        self._refusals = 0

    def _answer_reads(self, frame: kv_pb2.KvAnswers) -> None:
        pop = self.reads_sent.pop
        for number, revision, created, value in zip(
            frame.read_id, frame.read_revision, frame.read_created, frame.read_value, strict=True
        ):
            read = pop(number, None)
            if read is not None and not read.future.done():
                read.future.set_result(Entry(value, revision, created) if revision else None)
        self._refusals = 0

    def _refused_write(self, owner: Writes, seq: int, status: int, now: float) -> None:
        write = owner.sent.get(seq)
        if write is None:
            return
        if status == kv_pb2.KV_STATUS_SESSION_OVER:
            owner.session_over(write)
        elif status == kv_pb2.KV_STATUS_WINDOW_FULL:
            owner.requeue([write])
            self._pause(now)
        else:
            reason = _REASONS.get(status, Reason.STORE_FULL)
            name = kv_pb2.KvStatus.Name(status).removeprefix("KV_STATUS_")
            text = f"the store refuses: {name.lower().replace('_', ' ')}"
            owner.fail(write, NotExecuted(text, reason))

    def _refused(self, session: int, refused: kv_pb2.KvRefusal, now: float) -> None:
        error = error_from_detail(refused.detail)
        again = error.executed is Executed.UNKNOWN or error.reason.passing
        owner = self._writes_of(session)
        if owner is not None:
            writes = [owner.sent[seq] for seq in refused.seq if seq in owner.sent]
            if again:
                owner.requeue(writes)
            else:
                for write in writes:
                    owner.fail(write, error)
        for number in refused.read_id:
            read = self.reads_sent.pop(number, None)
            if read is not None and (again or error.reason is Reason.DEADLINE_EXCEEDED):
                self.reads.append(read)
            elif read is not None and not read.future.done():
                read.future.set_exception(error)
        if again:
            self._pause(now)

    def stream_lost(self) -> None:
        """What was sent and not answered is sent again on the next stream."""
        for each in self.all_writes:
            waiting = set(each.queued)
            each.requeue(write for write in each.sent.values() if write not in waiting)
        self.reads.extendleft(reversed(self.reads_sent.values()))
        self.reads_sent.clear()

    def expire(self, now: float) -> None:
        """Give up what is too late."""
        for each in self.all_writes:
            for write in [*each.sent.values(), *each.queued]:
                if write.deadline <= now or write.future.done():
                    each.give_up(write)
            each.queued = deque(write for write in each.queued if not write.future.done())
        self.all_writes = [each for each in self.all_writes if not each.over or each.sent]
        late = [n for n, read in self.reads_sent.items() if _is_late(read, now)]
        for number in late:
            _give_up_read(self.reads_sent.pop(number))
        if any(_is_late(read, now) for read in self.reads):
            rest = [read for read in self.reads if not _is_late(read, now)]
            for read in self.reads:
                if _is_late(read, now):
                    _give_up_read(read)
            self.reads = deque(rest)

    def refuse_all(self, error: PartiError) -> None:
        """The client is closed or broken."""
        for each in self.all_writes:
            for write in [*each.sent.values(), *each.queued]:
                if write.attempts and not write.future.done():
                    text = f"sent, and not answered: {error.message}"
                    write.future.set_exception(UnknownOutcome(text, Reason.CONNECTION_LOST))
                each.fail(write, error)
            for write in each.leave():
                each.fail(write, error)
        for read in (*self.reads, *self.reads_sent.values()):
            if not read.future.done():
                read.future.set_exception(error)
        self.reads.clear()
        self.reads_sent.clear()

    def _writes_of(self, session: int) -> Writes | None:
        return next((each for each in self.all_writes if each.session == session), None)

    def _pause(self, now: float) -> None:
        delay_ms = min(limits.RETRY_DELAY_MS << min(self._refusals, 10), limits.RETRY_DELAY_MS_MAX)
        self._refusals += 1
        self.paused_until = max(self.paused_until, now + delay_ms / 1000)


def _is_late(read: Read, now: float) -> bool:
    return read.deadline <= now or read.future.done()


def _give_up_read(read: Read) -> None:
    if not read.future.done():
        text = "no answer within the time given"
        read.future.set_exception(NotExecuted(text, Reason.DEADLINE_EXCEEDED))


def _write_frame(owner: Writes, taken: list[Write], now: float) -> kv_pb2.KvFrame:
    frame = kv_pb2.KvFrame(
        timeout_ms=_timeout_ms(taken, now) if taken else 0,
        session=owner.session,
        acknowledged_below=owner.acknowledge(),
        seq=[write.seq for write in taken],
        key=[write.key for write in taken],
        value=[write.value for write in taken],
    )
    ops: list[Any] = [write.op for write in taken]
    if any(op != kv_pb2.KV_OP_PUT for op in ops):
        frame.op.extend(ops)
    expects = [write.expect for write in taken]
    if any(expect != NO_CONDITION for expect in expects):
        frame.expect.extend(expects)
    return frame


def _timeout_ms(items: Iterable[Write | Read], now: float) -> int:
    """How long the sidecar may try: as long as anybody in the frame waits."""
    longest = max(item.deadline for item in items) - now
    return max(1, int(longest * 1000))
