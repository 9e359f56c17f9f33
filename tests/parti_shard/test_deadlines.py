from __future__ import annotations

import random

from parti_shard.deadlines import DeadlineWheel
from parti_shard.ids import Epoch, MemberId, PartitionId, StreamId
from parti_shard.messages import Arrival
from parti_shard.streams import InboundStream

STREAM = InboundStream(StreamId(1), MemberId(2))


def item(deadline_ms: int) -> Arrival:
    return Arrival(STREAM, 1, PartitionId(0), Epoch(1), b"", b"", deadline_ms)


def test_nothing_is_due_before_its_millisecond_and_all_of_it_then() -> None:
    wheel: DeadlineWheel[Arrival] = DeadlineWheel()
    rng = random.Random(11)
    now_ms, waiting = 1_000, []
    for _ in range(2_000):
        for _ in range(rng.randrange(3)):
            new = item(now_ms + rng.choice([1, 2, 60, 64, 65, 500, 30_000]))
            wheel.bucket(new.deadline_ms)[new] = None
            waiting.append((new, wheel.bucket(new.deadline_ms)))
        now_ms += rng.choice([0, 1, 7, 63, 64, 50, 3_000])
        due = wheel.due(now_ms)
        assert {id(one) for one in due} == {
            id(one) for one, _ in waiting if one.deadline_ms <= now_ms
        }
        for one, timer in waiting:
            if one.deadline_ms <= now_ms:
                del timer[one]
        waiting = [(one, timer) for one, timer in waiting if one.deadline_ms > now_ms]
        assert len(wheel) == len(waiting)


def test_a_jump_of_years_costs_no_walk_over_empty_buckets() -> None:
    wheel: DeadlineWheel[Arrival] = DeadlineWheel()
    early, late = item(5), item(10**12)
    for one in (early, late):
        wheel.bucket(one.deadline_ms)[one] = None
    assert wheel.due(10**12 - 1) == [early]
    assert wheel.due(10**12) == [late]
