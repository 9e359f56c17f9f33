"""The origin: messages of this member's applications on their way to the owners and back.

Each message is in exactly one place: parked in its lane, queued for its owner's link, or sent and
unanswered. It leaves with one outcome for its client: the owner's answer, or what this side knows.
Parked or queued means it was not executed; sent and not answered means unknown, never failed.

An owner never forwards, and the origin never sends one attempt twice. A refused message goes back
to its place in the order; only idempotent ones get another attempt when the outcome is unknown.
A message that is given up after it was sent stays counted in its lane until its result comes or
its link ends, since it still occupies the owner.
"""

from __future__ import annotations

from typing import Final

from parti_shard.batches import ResultBatch, SendBatch
from parti_shard.core import Core
from parti_shard.dispatch import Dispatch
from parti_shard.entrance import Entrance
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.frames import check_results
from parti_shard.ids import NO_EPOCH, MemberId, StreamId
from parti_shard.lanes import Lane, Link
from parti_shard.messages import DONE, PARKED, QUEUED, SENT, Message
from parti_shard.outcomes import Outcomes
from parti_shard.streams import ClientStream

# Refusals after which a message is tried again.
PUT_BACK: Final = frozenset(
    {
        Reason.NOT_OWNER,
        Reason.STALE_EPOCH,
        Reason.NO_WORKER,
        Reason.LEASE_EXPIRED,
        Reason.DRAINING,
    }
)
# Unknown outcomes after which an idempotent message is sent again.
LOST: Final = frozenset({Reason.CONNECTION_LOST, Reason.OWNER_LOST, Reason.WORKER_LOST})

_NOT_SENT_IN_TIME: Final = Failure(
    Reason.DEADLINE_EXCEEDED, Executed.NO, "waited until its deadline"
)
_NOT_ANSWERED_IN_TIME: Final = Failure(
    Reason.DEADLINE_EXCEEDED, Executed.UNKNOWN, "sent, not answered by its deadline"
)
_PARKED_TOO_LONG: Final = Failure(
    Reason.PARKING_FULL, Executed.NO, "parked longer than parked_age_ms_max"
)


class Origin:
    """Clients of one member, and the way of their messages."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._outcomes = Outcomes(core)
        self.clients: dict[StreamId, ClientStream] = {}
        self.entrance = Entrance(core)
        self.dispatch = Dispatch(core, self._outcomes, self.entrance.lanes)
        self.parking = self.dispatch.parking

    def open_client(self, stream: StreamId) -> None:
        assert stream not in self.clients, f"client stream {stream} is open"
        self.clients[stream] = ClientStream(stream)

    def close_client(self, stream: StreamId, now_ms: int) -> None:
        client = self.clients.pop(stream, None)
        if client is None:
            return
        messages = list(client.in_flight.values())
        self._core.stats.abandoned += len(messages)
        states = [message.state for message in messages]
        for message in messages:
            self._outcomes.finish(message)
        self._remove(messages, states, now_ms)

    def frame(self, stream: StreamId, batch: SendBatch, now_ms: int) -> None:
        """The hot path: a message is queued at once if nothing is in its way."""
        dirty = self._core.dirty
        for message in self.entrance.messages_of(self.clients[stream], batch, now_ms):
            lane = message.lane
            link = lane.link
            if link is None or lane.unsettled >= lane.window:
                self._wait(lane, message, now_ms)
                continue
            message.epoch = lane.epoch
            lane.unsettled += 1
            if not link.queue:
                dirty[link.destination] = None
            link.queue.append(message)

    def _wait(self, lane: Lane, message: Message, now_ms: int) -> None:
        """The lane is shut, full or has not been asked yet: send if it can, else park."""
        dispatch = self.dispatch
        if not lane.parked:
            dispatch.refresh(lane, now_ms)
            if lane.link is not None and lane.unsettled < lane.window:
                dispatch.queue(lane, lane.link, message)
                return
        limit = self.parking.limit_hit(lane, message.size_bytes)
        if limit:
            self._core.stats.hit(limit)
            text = f"{limit} reached while partition {lane.partition} cannot be served"
            retry_after_ms = self._core.limits.refusal_retry_ms
            failure = Failure(Reason.PARKING_FULL, Executed.NO, text, retry_after_ms)
            self._outcomes.fail(message, failure)
            return
        self.parking.park(lane, message)
        if lane.probing:
            dispatch.refresh(lane, now_ms)

    def results(self, member: MemberId, batch: ResultBatch, now_ms: int) -> None:
        """Answers of an owner. After the link's end they find nothing and count as late."""
        check_results(batch)
        link = self.dispatch.links.get(member)
        if link is None:
            self._core.stats.results_late += len(batch.ids)
            return
        if batch.failures or not batch.epochs:
            self._mixed_results(link, batch, now_ms)
            return
        self._successes(link, batch, now_ms)

    def _successes(self, link: Link, batch: ResultBatch, now_ms: int) -> None:
        """The hot path of answers."""
        unanswered, stats, dirty = link.unanswered, self._core.stats, self._core.dirty
        late = 0
        waiting: dict[Lane, None] = {}
        for item_id, epoch, payload in zip(batch.ids, batch.epochs, batch.payloads, strict=True):
            message = unanswered.pop(item_id, None)
            if message is None:
                late += 1
                continue
            lane = message.lane
            lane.unsettled -= 1
            if lane.link is None:
                waiting[lane] = None
            if message.state == DONE:
                late += 1
                continue
            message.state = DONE
            client = message.client
            client.in_flight_bytes -= message.size_bytes
            del client.in_flight[message.client_id]
            del message.timer[message]
            outbox = client.outbox
            if not outbox.ids:
                dirty[client.destination] = None
            outbox.ids.append(message.client_id)
            outbox.epochs.append(epoch)
            outbox.payloads.append(payload)
            outbox.size_bytes += len(payload)
        stats.results_late += late
        stats.succeeded += len(batch.ids) - late
        for lane in waiting:
            self._settled(lane, now_ms)

    def _settled(self, lane: Lane, now_ms: int) -> None:
        if lane.probing:
            self.dispatch.end_probe(lane)
        self.dispatch.refresh(lane, now_ms)

    def _mixed_results(self, link: Link, batch: ResultBatch, now_ms: int) -> None:
        epochs = batch.epochs or [NO_EPOCH] * len(batch.ids)
        lanes: dict[Lane, None] = {}
        for position, item_id in enumerate(batch.ids):
            message = link.unanswered.pop(item_id, None)
            if message is None:
                self._core.stats.results_late += 1
                continue
            lane = message.lane
            lane.unsettled -= 1
            lanes[lane] = None
            failure = batch.failures.get(position)
            if failure is not None:
                self._failed(message, failure, epochs[position], now_ms)
            elif message.state == DONE:
                self._core.stats.results_late += 1
            else:
                self._succeeded(message, epochs[position], batch.payloads[position])
        for lane in lanes:
            self._settled(lane, now_ms)

    def _succeeded(self, message: Message, epoch: int, payload: bytes) -> None:
        self._outcomes.finish(message)
        self._core.stats.succeeded += 1
        client = message.client
        client.outbox.succeed(message.client_id, epoch, payload)
        self._core.dirty[client.destination] = None

    def _failed(self, message: Message, failure: Failure, epoch: int, now_ms: int) -> None:
        refused = failure.executed is Executed.NO and failure.reason in PUT_BACK
        lost = failure.executed is Executed.UNKNOWN and failure.reason in LOST
        if refused or lost:
            self.dispatch.hold(message.lane, failure, now_ms)
        if message.state == DONE:
            self._core.stats.results_late += 1
        elif refused:
            self.dispatch.put_back(message)
        elif lost:
            self.dispatch.settle_unknown(message, failure)
        else:
            self._outcomes.fail(message, failure, epoch)

    def tick(self, now_ms: int) -> None:
        due = self.entrance.wheel.due(now_ms)
        if due:
            self._give_up(due, _NOT_SENT_IN_TIME, now_ms)
        oldest_ms = now_ms - self._core.limits.parked_age_ms_max
        old = self.parking.older_than(oldest_ms)
        if old:
            self._core.stats.hit("parked_age_ms_max")
            self._give_up(old, _PARKED_TOO_LONG, now_ms)
        self.dispatch.tick(now_ms)

    def _give_up(self, messages: list[Message], unsent: Failure, now_ms: int) -> None:
        states = [message.state for message in messages]
        for message, state in zip(messages, states, strict=True):
            failure = _NOT_ANSWERED_IN_TIME if state == SENT else unsent
            self._outcomes.fail(message, failure)
        self._remove(messages, states, now_ms)

    def _remove(self, messages: list[Message], states: list[int], now_ms: int) -> None:
        """Take finished messages out of parking and queues; sent ones stay counted."""
        parked: dict[Lane, None] = {}
        queued: dict[Lane, None] = {}
        for message, state in zip(messages, states, strict=True):
            if state == PARKED:
                parked[message.lane] = None
            elif state == QUEUED:
                message.lane.unsettled -= 1
                queued[message.lane] = None
        for lane in parked:
            self.parking.forget_done(lane)
        for link in {lane.via: None for lane in queued}:
            assert link is not None
            link.forget_unqueued()
        self.dispatch.refresh_all({**parked, **queued}, now_ms)
