"""From lanes to links: which messages may leave now, and what becomes of them when a link ends.

A lane sends only while its partition is owned, the link to the owner is open, nothing older is
parked, and all its unsettled messages bear the epoch of the table (G4). A refusal stops the lane
until all that was sent is settled; it is tried again when the table has moved on or, where the
table stands, after a pause, by one message first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from parti_shard.batches import ForwardBatch
from parti_shard.core import Core
from parti_shard.errors import Executed, Failure, Reason
from parti_shard.gate import OWNED, REVOKING
from parti_shard.ids import NO_MEMBER, NO_SESSION, LogIndex, MemberId, PartitionId, SessionId
from parti_shard.lanes import Lane, Link
from parti_shard.messages import DONE, QUEUED, SENT, Message
from parti_shard.outcomes import Outcomes
from parti_shard.parking import Parking

_NOT_SENT_IN_TIME: Final = Failure(
    Reason.DEADLINE_EXCEEDED, Executed.NO, "waited until its deadline"
)
_CONNECTION_LOST: Final = Failure(
    Reason.CONNECTION_LOST, Executed.UNKNOWN, "the stream to the owner broke"
)
_OWNER_LOST: Final = Failure(
    Reason.OWNER_LOST, Executed.UNKNOWN, "the owner's session ended before it answered"
)


class Dispatch:
    """Routes lanes over links. `links` are the open ones; `local` leads to the own intake."""

    def __init__(self, core: Core, outcomes: Outcomes, lanes: Mapping[int, Lane]) -> None:
        self._core = core
        self._outcomes = outcomes
        self._lanes = lanes
        self.local = Link(core.me)
        self.links: dict[MemberId, Link] = {core.me: self.local}
        self.parking = Parking(core)
        self.held: dict[Lane, None] = {}
        self.probing: dict[Lane, None] = {}

    # -- lanes

    def refresh(self, lane: Lane, now_ms: int) -> None:
        """Find the way of a lane anew and send what waits for it."""
        lane.link = None
        link = self._route(lane, now_ms)
        if link is None:
            return
        while lane.parked and lane.unsettled < lane.window:
            self.queue(lane, link, self.parking.pop(lane))
        if not lane.parked and not lane.probing:
            lane.link = link

    def queue(self, lane: Lane, link: Link, message: Message) -> None:
        message.epoch = lane.epoch
        message.state = QUEUED
        lane.unsettled += 1
        if lane.probing:
            link.restarts.add(message)
        if not link.queue:
            self._core.dirty[link.destination] = None
        link.queue.append(message)

    def _route(self, lane: Lane, now_ms: int) -> Link | None:
        table, partition = self._core.table, lane.partition
        link = self.links.get(table.owner[partition])
        if table.phase[partition] != OWNED or link is None:
            return None
        if lane.held and not self._hold_ends(lane, now_ms):
            return None
        epoch = table.epoch[partition]
        if lane.unsettled:
            # G4: what was sent under another epoch must be settled first.
            return link if lane.epoch == epoch and lane.via is link else None
        if lane.epoch != epoch:
            lane.epoch = epoch
            self.end_probe(lane)
        lane.session = table.session[partition]
        lane.via = link
        return link

    def hold(self, lane: Lane, failure: Failure, now_ms: int) -> None:
        """Stop a lane after a refusal. A lapsed lease says nothing about the table."""
        if not lane.held:
            lane.hold_index = LogIndex(0)
            who = f"member {lane.via.member if lane.via else NO_MEMBER}"
            text = f"held: {failure.reason.name} by {who} at table {failure.table_index}"
            self._core.note(lane.partition, now_ms, f"{text}, epoch {lane.epoch}")
        lane.held = True
        self.held[lane] = None
        self.end_probe(lane)
        lane.link = None
        lane.hold_until_ms = now_ms + self._core.limits.refusal_retry_ms
        if failure.reason is not Reason.LEASE_EXPIRED:
            lane.hold_index = max(lane.hold_index, failure.table_index)

    def _hold_ends(self, lane: Lane, now_ms: int) -> bool:
        table = self._core.table
        if lane.unsettled or table.applied_index < lane.hold_index:
            return False
        moved_on = table.epoch[lane.partition] != lane.epoch
        if not moved_on and now_ms < lane.hold_until_ms:
            return False
        lane.held = False
        del self.held[lane]
        if not moved_on:
            lane.probing, lane.window = True, 1
            lane.hold_until_ms = now_ms + self._core.limits.refusal_retry_ms
            self.probing[lane] = None
        return True

    def end_probe(self, lane: Lane) -> None:
        lane.probing, lane.window = False, self._core.limits.partition_window
        self.probing.pop(lane, None)

    def table_changed(self, partitions: Iterable[PartitionId], now_ms: int) -> None:
        self._notice_ended_sessions(now_ms)
        for partition in partitions:
            lane = self._lanes.get(partition)
            if lane is not None:
                self.refresh(lane, now_ms)
        self.refresh_all(self.held, now_ms)

    def refresh_all(self, lanes: Iterable[Lane], now_ms: int) -> None:
        for lane in list(lanes):
            self.refresh(lane, now_ms)

    def tick(self, now_ms: int) -> None:
        self._notice_ended_sessions(now_ms)
        for lane in list(self.probing):
            if lane.unsettled and now_ms >= lane.hold_until_ms:
                self.end_probe(lane)
                self.refresh(lane, now_ms)
        self.refresh_all(self.held, now_ms)

    # -- messages that come back

    def put_back(self, message: Message) -> None:
        self._core.stats.put_back += 1
        self.parking.put_back(message.lane, message)

    def settle_unknown(self, message: Message, failure: Failure) -> None:
        """It may have run: tell so, unless it may run again."""
        if message.idempotent:
            self._core.stats.sent_again += 1
            self.parking.put_back(message.lane, message.for_another_attempt())
        else:
            self._outcomes.fail(message, failure)

    # -- links

    def link_up(self, member: MemberId, now_ms: int) -> None:
        assert member not in self.links, f"link to {member} is up"
        self.links[member] = Link(member)
        owner = self._core.table.owner
        waiting = [lane for lane in self.parking.lanes if owner[lane.partition] == member]
        self.refresh_all(waiting, now_ms)

    def link_down(self, member: MemberId, now_ms: int) -> None:
        assert member != self._core.me
        link = self.links.pop(member, None)
        if link is None:
            return
        for lane in self._lanes.values():
            if lane.link is link:
                lane.link = None
        self._lose(link, list(link.unanswered), list(link.queue), _CONNECTION_LOST, now_ms)

    def _lose(
        self, link: Link, ids: list[int], unsent: list[Message], failure: Failure, now_ms: int
    ) -> None:
        """Settle what will not be answered on this link; what was not sent is parked again."""
        lost = [link.unanswered.pop(item_id) for item_id in ids]
        for message in unsent:
            message.lane.unsettled -= 1
            self.put_back(message)
        link.forget_unqueued()
        for message in lost:
            message.lane.unsettled -= 1
            if message.state != DONE:
                self.settle_unknown(message, failure)
        self.refresh_all({message.lane: None for message in (*lost, *unsent)}, now_ms)

    def _notice_ended_sessions(self, now_ms: int) -> None:
        """Whoever's session ended will not answer in order any more; after a release he does."""
        members = self._core.table.members
        for link in list(self.links.values()):
            record = members.get(link.member)
            session = NO_SESSION if record is None else record.session
            if session != link.session:
                link.session = session
                self._lose_session(link, session, now_ms)

    def _lose_session(self, link: Link, session: SessionId, now_ms: int) -> None:
        ids = [i for i, message in link.unanswered.items() if message.lane.session != session]
        unsent = [message for message in link.queue if message.lane.session != session]
        if ids or unsent:
            self._lose(link, ids, unsent, _OWNER_LOST, now_ms)

    def wanted(self) -> set[MemberId]:
        """Owners, present or to come, of what waits here; and those that owe answers."""
        table = self._core.table
        members = {link.member for link in self.links.values() if link.unanswered or link.queue}
        for lane in self.parking.lanes:
            phase = table.phase[lane.partition]
            if phase == OWNED:
                members.add(table.owner[lane.partition])
            elif phase == REVOKING:
                members.add(table.target[lane.partition])
        return members - {NO_MEMBER, self._core.me}

    # -- frames out and results in

    def take(self, member: MemberId, now_ms: int) -> ForwardBatch | None:
        link = self.links.get(member)
        if link is None:
            return None
        messages = self._take_messages(link, now_ms)
        if not messages:
            return None
        self._core.stats.forwarded += len(messages)
        ids = self._number(link, messages)
        batch = ForwardBatch(
            ids,
            [message.partition for message in messages],
            [message.epoch for message in messages],
            [message.key for message in messages],
            [message.payload for message in messages],
            [message.deadline_ms - now_ms for message in messages],
        )
        for position, message in enumerate(messages):
            if message.headers:
                batch.headers[position] = message.headers
            if message.ping:
                batch.ping_at.append(position)
        if link.queue:
            self._core.dirty[link.destination] = None
        return batch

    def _take_messages(self, link: Link, now_ms: int) -> list[Message]:
        """Sent from here on, except those whose deadline has passed in the queue."""
        limits, queue = self._core.limits, link.queue
        room, room_bytes = limits.frame_items_max, limits.frame_bytes_target
        messages: list[Message] = []
        late: list[Message] = []
        while queue and room > 0 and room_bytes > 0:
            message = queue.popleft()
            if message.deadline_ms <= now_ms:
                late.append(message)
                continue
            message.state = SENT
            room -= 1
            room_bytes -= message.size_bytes
            messages.append(message)
        if late:
            self._drop_late(link, late, now_ms)
        return messages

    def _drop_late(self, link: Link, late: list[Message], now_ms: int) -> None:
        for message in late:
            message.lane.unsettled -= 1
            self._outcomes.fail(message, _NOT_SENT_IN_TIME)
        link.restarts.difference_update(late)
        self.refresh_all({message.lane: None for message in late}, now_ms)

    def _number(self, link: Link, messages: list[Message]) -> list[int]:
        """Ids rise by one; a gap before a message says that its lane starts anew there."""
        first = link.last_id + 1
        ids = list(range(first, first + len(messages)))
        if link.restarts:
            skipped = 0
            for position, message in enumerate(messages):
                if message in link.restarts:
                    link.restarts.discard(message)
                    skipped += 1
                ids[position] += skipped
        link.last_id = ids[-1]
        link.unanswered.update(zip(ids, messages, strict=True))
        return ids

    def take_local(self, now_ms: int) -> list[Message]:
        """Messages for this member's own intake, which hands them on in this same turn."""
        messages = self._take_messages(self.local, now_ms)
        if messages:
            ids = self._number(self.local, messages)
            for item_id, message in zip(ids, messages, strict=True):
                message.id = item_id
            self._core.stats.sent_locally += len(messages)
        return messages
