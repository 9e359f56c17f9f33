"""What must always hold inside a router; run after every event in tests and in the simulator."""

from __future__ import annotations

from parti_shard.core import Core
from parti_shard.holdings import WITH_WORKER, Stage
from parti_shard.intake import Intake
from parti_shard.lanes import Lane
from parti_shard.messages import DONE, PARKED, QUEUED, SENT, Message
from parti_shard.origin import Origin
from parti_shard.tenures import Tenures


def check_origin(origin: Origin, core: Core, now_ms: int) -> None:
    places = _places(origin)
    in_flight = [m for client in origin.clients.values() for m in client.in_flight.values()]
    for message in in_flight:
        assert places.pop(message, None) == message.state, f"message {message.seq} is misplaced"
        assert message.accepted_ms <= now_ms, f"message {message.seq} comes from the future"
        assert message in message.timer, f"message {message.seq} has no deadline"
    assert all(message.state == DONE for message in places), "a message without a client waits"
    assert len(origin.entrance.wheel) == len(in_flight), "the wheel holds others"
    for client in origin.clients.values():
        size_bytes = sum(message.size_bytes for message in client.in_flight.values())
        assert size_bytes == client.in_flight_bytes
        assert len(client.in_flight) <= core.limits.client_in_flight_max
        assert size_bytes <= core.limits.client_in_flight_bytes_max
    _check_lanes(origin, core)


def _places(origin: Origin) -> dict[Message, int]:
    """Every message that parking and links hold, and the state it must have there."""
    places: dict[Message, int] = {}

    def put(message: Message, state: int) -> None:
        assert message not in places, f"message {message.seq} is in two places"
        places[message] = state

    for lane in origin.entrance.lanes.values():
        for message in lane.parked:
            put(message, PARKED)
    for link in origin.dispatch.links.values():
        for message in link.queue:
            put(message, QUEUED)
        for message in link.unanswered.values():
            put(message, SENT)
        assert link.restarts <= set(link.queue)
    return places


def _check_lanes(origin: Origin, core: Core) -> None:
    unsettled: dict[Lane, int] = {}
    for link in origin.dispatch.links.values():
        for message in (*link.queue, *link.unanswered.values()):
            lane = message.lane
            unsettled[lane] = unsettled.get(lane, 0) + 1
            assert message.epoch == lane.epoch, "unsettled under two epochs"
            assert lane.via is link, "unsettled over two links"
    messages, size_bytes = 0, 0
    for lane in origin.entrance.lanes.values():
        messages += len(lane.parked)
        size_bytes += lane.parked_bytes
        _check_lane(lane, unsettled.get(lane, 0), core)
        assert bool(lane.parked) == (lane in origin.parking.lanes)
        assert lane.held == (lane in origin.dispatch.held)
        assert lane.probing == (lane in origin.dispatch.probing)
        assert not (lane.held and lane.probing)
    assert messages == core.stats.parked_messages
    assert size_bytes == core.stats.parked_bytes


def _check_lane(lane: Lane, unsettled: int, core: Core) -> None:
    limits = core.limits
    assert lane.unsettled == unsettled, f"lane {lane.partition} counts {lane.unsettled}"
    assert unsettled <= limits.partition_window
    assert lane.parked_bytes == sum(message.size_bytes for message in lane.parked)
    sequence = [message.seq for message in lane.parked]
    assert sequence == sorted(sequence), f"lane {lane.partition} is parked out of order"
    assert len(sequence) <= limits.parked_messages_per_partition + limits.partition_window
    shut = bool(lane.parked) or lane.held or lane.probing
    assert lane.link is None or not shut, f"lane {lane.partition} overtakes"
    if lane.link is not None:
        assert lane.link is lane.via


def check_intake(intake: Intake, tenures: Tenures, core: Core) -> None:
    messages, size_bytes = 0, 0
    ring = list(intake.ring)
    assert len(ring) == len(set(ring)), "a partition has two turns"
    for holding in intake.holdings.values():
        messages += len(holding.queue)
        size_bytes += sum(item.size_bytes for item in holding.queue)
        assert len(holding.queue) <= core.limits.intake_messages_per_partition
        assert holding.ready == (holding in intake.ring)
        assert all(item.intake_timer is not None for item in holding.queue)
        held = tenures.current is not None and holding.partition in tenures.current.held
        assert held == (holding.stage in WITH_WORKER), f"{holding.partition} {holding.stage!r}"
        revoking = holding.partition in tenures.revoking
        assert revoking == (holding.stage is Stage.REVOKING)
    assert messages == core.stats.intake_messages == len(intake.wheel)
    assert size_bytes == core.stats.intake_bytes
    assert messages <= core.limits.intake_messages_max
    assert size_bytes <= core.limits.intake_bytes_max
    _check_credits(intake, tenures)


def _check_credits(intake: Intake, tenures: Tenures) -> None:
    worker = tenures.current
    if worker is None:
        return
    assert worker.credits >= 0
    for holding in worker.held.values():
        mine = [
            item
            for item in worker.delivered.values()
            if (item.partition, item.epoch) == (holding.partition, holding.epoch)
        ]
        assert len(mine) == holding.in_worker <= worker.partition_credits
    assert intake.partition_credits == worker.partition_credits
