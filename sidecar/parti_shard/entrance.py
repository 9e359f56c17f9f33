"""From frames of clients to messages: every message is checked here, and answered if it is wrong.

A wrong message costs its sender an answer with the reason; the stream and the other messages of the
frame go on. Only a frame that cannot be read item by item ends the stream (`frames.py`).
"""

from __future__ import annotations

from itertools import repeat
from typing import Final

import xxhash

from parti_shard.batches import SendBatch
from parti_shard.core import Core
from parti_shard.deadlines import DeadlineWheel
from parti_shard.errors import Executed, Failure, MalformedFrameError, Reason
from parti_shard.frames import check_send, size_problem, target_problem
from parti_shard.ids import BY_KEY, PartitionId
from parti_shard.lanes import Lane
from parti_shard.messages import Message
from parti_shard.streams import ClientStream

_NO_TABLE: Final = Failure(Reason.NOT_READY, Executed.NO, "this member has no table yet")


class Entrance:
    """Makes messages, with their lane, order and deadline. `lanes` come into being here."""

    __slots__ = ("_core", "_seq", "lanes", "wheel")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._seq = 0
        self.lanes: dict[int, Lane] = {}
        self.wheel: DeadlineWheel[Message] = DeadlineWheel()

    def messages_of(self, client: ClientStream, batch: SendBatch, now_ms: int) -> list[Message]:
        """The messages of a frame that may go on; they are in flight from here."""
        check_send(batch, client.in_flight)
        if len(client.outbox.ids) > self._core.limits.answers_unread_max:
            self._core.stats.hit("answers_unread_max")
            raise MalformedFrameError("the client sends on without reading its answers")
        if not self._core.table.partitions:
            for client_id in batch.ids:
                self.refuse(client, client_id, _NO_TABLE)
            return []
        messages = self._checked(client, batch, now_ms)
        if batch.idempotent_at or batch.ping_at:
            _mark(client, batch)
        self._core.stats.accepted += len(messages)
        return messages

    def _checked(self, client: ClientStream, batch: SendBatch, now_ms: int) -> list[Message]:
        limits, lanes, in_flight = self._core.limits, self.lanes, client.in_flight
        partitions, digest = self._core.table.partitions, xxhash.xxh3_64_intdigest
        key_max, payload_max = limits.key_bytes_max, limits.payload_bytes_max
        headers_max, all_headers, headers = limits.headers_bytes_max, batch.headers, b""
        room = limits.client_in_flight_max - len(in_flight)
        room_bytes = limits.client_in_flight_bytes_max - client.in_flight_bytes
        seq, deadline_ms, timed_ms = self._seq, 0, 0
        timer: dict[Message, None] | None = None
        messages: list[Message] = []
        keys, timeouts_ms = batch.keys or repeat(b""), batch.timeouts_ms or repeat(0)
        rows = zip(batch.ids, batch.partitions, keys, batch.payloads, timeouts_ms, strict=False)
        for index, (client_id, partition, key, payload, timeout_ms) in enumerate(rows):
            if key and partition == BY_KEY and len(key) <= key_max:
                target = digest(key) % partitions
            elif key or partition >= partitions:
                self.refuse(client, client_id, target_problem(partition, key, partitions, limits))
                continue
            else:
                target = partition
            if all_headers:
                headers = all_headers.get(index, b"")
            if len(payload) > payload_max or len(headers) > headers_max:
                self.refuse(client, client_id, size_problem(payload, headers, limits))
                continue
            size_bytes = len(key) + len(payload) + len(headers)
            if room <= 0 or size_bytes > room_bytes:
                self._overloaded(client, client_id, count_hit=room <= 0)
                continue
            lane = lanes.get(target)
            if lane is None:
                lane = lanes[target] = Lane(PartitionId(target), limits.partition_window)
            if timer is None or timeout_ms != timed_ms:
                timed_ms = timeout_ms
                allowed_ms = min(timeout_ms or limits.default_timeout_ms, limits.timeout_ms_max)
                deadline_ms = now_ms + allowed_ms
                timer = self.wheel.bucket(deadline_ms)
            room -= 1
            room_bytes -= size_bytes
            seq += 1
            message = Message(
                client, client_id, lane, seq, key, payload, headers, now_ms, deadline_ms, timer
            )
            in_flight[client_id] = message
            timer[message] = None
            messages.append(message)
        self._seq = seq
        client.in_flight_bytes = limits.client_in_flight_bytes_max - room_bytes
        return messages

    def refuse(self, client: ClientStream, client_id: int, failure: Failure) -> None:
        self._core.stats.fail(failure.reason)
        client.outbox.fail(client_id, 0, failure)
        self._core.dirty[client.destination] = None

    def _overloaded(self, client: ClientStream, client_id: int, *, count_hit: bool) -> None:
        limit = "client_in_flight_max" if count_hit else "client_in_flight_bytes_max"
        self._core.stats.hit(limit)
        text = f"{limit} = {getattr(self._core.limits, limit)} reached on this stream"
        retry_after_ms = self._core.limits.refusal_retry_ms
        failure = Failure(Reason.OVERLOADED, Executed.NO, text, retry_after_ms)
        self.refuse(client, client_id, failure)


def _mark(client: ClientStream, batch: SendBatch) -> None:
    for position in batch.idempotent_at:
        message = client.in_flight.get(batch.ids[position])
        if message is not None:
            message.idempotent = True
    for position in batch.ping_at:
        message = client.in_flight.get(batch.ids[position])
        if message is not None:
            message.ping = True
