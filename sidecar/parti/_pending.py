"""Every message between `send` and its outcome: queued, sent, or waiting to be sent again.

Without loop or clock: the link that owns it passes the time (seconds of one monotonic clock).

Invariants:
    - An item is settled exactly once, and counted in `items_count` and `bytes_count` until then.
    - An item whose id is in `sent` occupies one of the sidecar's slots, also after its caller
      has given up: the slot is free when the sidecar answers or the stream is gone.
    - Sent again is only what certainly did not run, or what its sender declared idempotent.
      Once an attempt may have run, a later refusal cannot say "not executed" any more.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from parti import _limits as limits
from parti._errors import (
    Executed,
    NotExecuted,
    PartiError,
    Reason,
    UnknownOutcome,
    error_from_detail,
)
from parti._values import Reply
from parti_proto import app_pb2

BY_KEY: Final = 0xFFFFFFFF
NEVER: Final = float("inf")
ITEM_OVERHEAD_BYTES: Final = 24  # ids, timeout and tags of one item in a frame
GRACE_S: Final = limits.ANSWER_GRACE_MS / 1000


class Batch(Protocol):
    """Takes the outcomes of one `send_many`."""

    abandoned: bool

    def settle(self, index: int, outcome: Reply | PartiError) -> None: ...


class Item:
    """One message on its way. Exactly one of `future` and `batch` waits for it."""

    __slots__ = (
        "attempts",
        "batch",
        "deadline",
        "done",
        "future",
        "headers",
        "id",
        "idempotent",
        "index",
        "key",
        "last_refusal",
        "maybe_ran",
        "partition",
        "payload",
        "size_bytes",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - made once per message: positional is quickest
        self,
        partition: int,
        key: bytes,
        payload: bytes,
        headers: bytes,
        idempotent: bool,  # noqa: FBT001
        deadline: float,
        future: asyncio.Future[Reply] | None,
        batch: Batch | None = None,
        index: int = 0,
    ) -> None:
        self.id = 0
        self.partition = partition
        self.key = key
        self.payload = payload
        self.headers = headers
        self.idempotent = idempotent
        self.deadline = deadline
        self.future = future
        self.batch = batch
        self.index = index
        self.size_bytes = len(key) + len(payload) + len(headers) + ITEM_OVERHEAD_BYTES
        self.attempts = 0
        self.done = False
        self.maybe_ran = False
        self.last_refusal: PartiError | None = None

    def abandoned(self) -> bool:
        """Tell whether the caller has stopped waiting (its task was cancelled)."""
        if self.future is not None:
            return self.future.done()
        assert self.batch is not None
        return self.batch.abandoned

    def deliver(self, outcome: Reply | PartiError) -> None:
        """Hand the outcome to whoever waits for it."""
        if self.future is None:
            assert self.batch is not None
            self.batch.settle(self.index, outcome)
        elif self.future.done():
            return
        elif isinstance(outcome, PartiError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Pending:
    """The messages of one client."""

    def __init__(self, *, retry: bool) -> None:
        self._retry = retry
        self._next_id = 1
        self.queued: deque[Item] = deque()
        self.sent: dict[int, Item] = {}
        self.waiting: set[Item] = set()  # refused, to be sent again after a pause
        self.payload_bytes_max = limits.GRPC_MESSAGE_BYTES_MAX // 2  # until a sidecar says it
        self.items_count = 0
        self.bytes_count = 0
        self.overloads_count = 0
        self.retries_count = 0

    def offer(self, item: Item) -> None:
        """Queue a message, or refuse it at once when the client holds too much already."""
        if (
            self.items_count >= limits.UNSETTLED_ITEMS_MAX
            or self.bytes_count + item.size_bytes > limits.UNSETTLED_BYTES_MAX
        ):
            self.overloads_count += 1
            raise NotExecuted(
                f"this client already holds {self.items_count} messages "
                f"({self.bytes_count} bytes) without an outcome",
                Reason.OVERLOADED,
                retry_after_ms=limits.RETRY_DELAY_MS,
            )
        self.items_count += 1
        self.bytes_count += item.size_bytes
        self.queued.append(item)

    def take_frame(self, now: float, in_flight_max: int) -> app_pb2.SendFrame | None:
        """Move what fits into one frame from queued to sent; None when nothing can go."""
        queued, sent = self.queued, self.sent
        # Half of all at most: so two frames are on the way, and two processes work at a time.
        half = max(limits.FRAME_ITEMS_SPLIT, self.items_count // 2)
        room = min(limits.FRAME_ITEMS_MAX, half, in_flight_max - len(sent))
        taken: list[Item] = []
        size_bytes = 0
        while queued and len(taken) < room and size_bytes < limits.FRAME_BYTES_TARGET:
            item = queued.popleft()
            if item.done:
                continue
            if item.abandoned():
                self._forget(item)
                continue
            if item.deadline <= now:
                self._settle_expired(item)
                continue
            if len(item.payload) > self.payload_bytes_max:  # queued before the limit was known
                self.settle_error(item, payload_too_large(len(item.payload), self))
                continue
            item.id = self._next_id
            self._next_id += 1
            item.attempts += 1
            sent[item.id] = item
            taken.append(item)
            size_bytes += item.size_bytes
        return build_frame(taken, now) if taken else None

    def answer(self, frame: app_pb2.ResultFrame, now: float) -> list[tuple[Item, float]]:
        """Settle what the frame answers; return what is to be sent again, with its pause."""
        ids = frame.id[:]
        count = len(ids)
        epochs = frame.epoch[:] or (0,) * count
        payloads = frame.payload[:] or (b"",) * count
        if len(epochs) != count or len(payloads) != count:
            raise UnknownOutcome("arrays of different length", Reason.MALFORMED_FRAME)
        failed = {error.position: error.detail for error in frame.errors}
        again: list[tuple[Item, float]] = []
        pop = self.sent.pop
        for position, (item_id, epoch, payload) in enumerate(
            zip(ids, epochs, payloads, strict=True)
        ):
            item = pop(item_id, None)
            if item is None or item.done:
                continue
            if failed and position in failed:
                error = error_from_detail(failed[position])
                pause_s = self._pause_before_retry(item, error, now)
                if pause_s is None:
                    self.settle_error(item, error)
                else:
                    again.append((item, pause_s))
                continue
            self._forget(item)
            item.deliver(Reply(payload, epoch))
        return again

    def requeue(self, item: Item) -> None:
        """Queue a refused message again, its pause being over."""
        self.waiting.discard(item)
        if not item.done:
            self.queued.append(item)

    def stream_lost(self, error: PartiError) -> None:
        """Settle what was sent; what may be sent again goes first on the next stream.

        It may have run, unless the sidecar has ended the stream with DRAINING: then it has
        answered everything it executed.
        """
        lost = list(self.sent.values())
        self.sent.clear()
        refused = error.executed is Executed.NO and error.reason is Reason.DRAINING
        again: list[Item] = []
        for item in lost:
            if item.done:
                continue
            item.maybe_ran |= not refused
            if self._retry and (refused or item.idempotent):
                self.retries_count += 1
                again.append(item)
            elif refused:
                self.settle_error(item, NotExecuted(error.message, error.reason))
            else:
                text = f"the stream to the sidecar broke before the answer: {error.message}"
                self.settle_error(item, UnknownOutcome(text, Reason.CONNECTION_LOST))
        self.queued.extendleft(reversed(again))

    def refuse_unsent(self, error: PartiError) -> None:
        """Settle everything that is not on a stream: it cannot be sent."""
        for item in [*self.queued, *self.waiting]:
            if not item.done:
                self.settle_error(item, NotExecuted(error.message, error.reason))
        self.queued.clear()
        self.waiting.clear()

    def expire(self, now: float) -> float:
        """Settle what is due; return the next moment something may be (infinite: nothing)."""
        self.queued = deque(item for item in self.queued if not self._over(item, now))
        self.waiting = {item for item in self.waiting if not self._over(item, now)}
        for item in self.sent.values():
            if not item.done:
                self._over(item, now - GRACE_S)
        live = (item.deadline + GRACE_S for item in self.sent.values() if not item.done)
        return min(min(live, default=NEVER), self._next_unsent((self.queued, self.waiting)))

    def settle_error(self, item: Item, error: PartiError) -> None:
        """Settle with an error, made honest about earlier attempts."""
        if item.maybe_ran and error.executed is Executed.NO:
            text = f"an earlier attempt may have run; the last was refused: {error.message}"
            error = UnknownOutcome(text, error.reason)
        self._forget(item)
        item.deliver(error)

    @staticmethod
    def _next_unsent(groups: Iterable[Iterable[Item]]) -> float:
        return min((item.deadline for group in groups for item in group), default=NEVER)

    def _over(self, item: Item, now: float) -> bool:
        """Tell whether an item needs no more care, settling it if its time is up."""
        if item.done:
            return True
        if item.abandoned():
            self._forget(item)
        elif item.deadline <= now:
            self._settle_expired(item)
        return item.done

    def _settle_expired(self, item: Item) -> None:
        reason = Reason.DEADLINE_EXCEEDED
        if item.id in self.sent:
            self.settle_error(item, UnknownOutcome("no answer within the timeout", reason))
            return
        text = "not sent within the timeout"
        if item.last_refusal is not None:
            text = f"not accepted within the timeout; last refusal: {item.last_refusal}"
        self.settle_error(item, NotExecuted(text, reason))

    def _pause_before_retry(self, item: Item, error: PartiError, now: float) -> float | None:
        """Return the pause before another attempt in seconds; None when there is none."""
        if error.executed is Executed.UNKNOWN:
            item.maybe_ran = True
            safe = item.idempotent and error.reason in LOST_ON_THE_WAY
        else:
            safe = error.retryable
        if not safe or not self._retry:
            return None
        step_ms = limits.RETRY_DELAY_MS << min(item.attempts - 1, 16)
        pause_ms = error.retry_after_ms or min(limits.RETRY_DELAY_MS_MAX, step_ms)
        pause_s = pause_ms * random.uniform(1.0, 1.25) / 1000  # noqa: S311 - jitter
        if now + pause_s >= item.deadline:
            return None
        item.last_refusal = error
        self.retries_count += 1
        self.waiting.add(item)
        return pause_s

    def _forget(self, item: Item) -> None:
        assert not item.done
        item.done = True
        self.items_count -= 1
        self.bytes_count -= item.size_bytes


LOST_ON_THE_WAY: Final = frozenset(
    {Reason.CONNECTION_LOST, Reason.OWNER_LOST, Reason.WORKER_LOST},
)


def payload_too_large(size_bytes: int, pending: Pending) -> NotExecuted:
    """Say that a payload is over the sidecar's limit."""
    text = f"the payload has {size_bytes} bytes, the limit is {pending.payload_bytes_max}"
    return NotExecuted(text, Reason.PAYLOAD_TOO_LARGE)


def build_frame(items: list[Item], now: float) -> app_pb2.SendFrame:
    """Write items, none of them due, as parallel arrays; one of defaults only stays empty."""
    by_key = any(item.key for item in items)
    frame = app_pb2.SendFrame(
        id=[item.id for item in items],
        partition=[item.partition for item in items],
        key=[item.key for item in items] if by_key else (),
        payload=[item.payload for item in items],
        timeout_ms=[int((item.deadline - now) * 1000) or 1 for item in items],
    )
    for position, item in enumerate(items):
        if item.idempotent:
            frame.idempotent_at.append(position)
        if item.headers:
            frame.headers_at.append(position)
            frame.headers.append(item.headers)
    return frame
