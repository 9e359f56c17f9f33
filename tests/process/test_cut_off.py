"""A member that hears nothing from the others: Strict refuses, Available goes on for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.history import Outcome
from tests.process.load import Sender
from tests.process.world import World, running_world

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

TTL_S = 2.0
AVAILABLE_FOR_S = 2.0
SLACK_S = 0.7  # the machine is shared with other tests


@dataclass(frozen=True, slots=True)
class Cut:
    """What a cut-off member did with messages for its own partitions."""

    served_until_s: float  # since the others were frozen
    refused_until_s: float


async def cut_off(world: World, sender: Sender, own: Sequence[int], give_up_s: float) -> Cut:
    """Freeze the others; send one message after the other until refused for a second.

    On a shared machine one may still be under way when its deadline comes: it tells nothing.
    """
    for name in world.cluster.running()[1:]:
        world.pause(name)
    begun = time.monotonic()
    served_s = refused_s = 0.0
    number = 0
    while refused_s < served_s + 1.0:
        number += 1
        at_s = time.monotonic() - begun
        assert at_s < give_up_s, "served for too long"
        sent = await sender.send(partition=own[number % len(own)], timeout_s=0.2)
        if sent.outcome is Outcome.ACKNOWLEDGED:
            served_s = at_s
        else:
            assert sent.reason == "DEADLINE_EXCEEDED"
            if sent.outcome is Outcome.REFUSED:  # else the deadline met it under way
                refused_s = at_s
        await asyncio.sleep(0.01)
    for name in world.cluster.running()[1:]:
        world.resume(name)
    return Cut(served_s, refused_s)


async def test_strict_refuses_when_the_lease_is_over(tmp_path: Path) -> None:
    async with running_world(tmp_path, 3) as world:
        sender = await world.sender("m1")
        cut = await cut_off(world, sender, await world.owned("m1", "m1"), 10)
        assert 0.5 < cut.served_until_s < TTL_S
        assert await world.metric("m1", "parti_gate_overtime_admitted_total") == 0
        await serves_again(world)


async def test_available_goes_on_for_its_time_and_counts_it(tmp_path: Path) -> None:
    available = ("--mode", "available", "--available-for-ms", str(int(AVAILABLE_FOR_S * 1000)))
    async with running_world(tmp_path, 3, arguments=available) as world:
        sender = await world.sender("m1")
        assert (await world.status("m1")).mode == "available"
        cut = await cut_off(world, sender, await world.owned("m1", "m1"), 15)
        assert TTL_S + SLACK_S < cut.served_until_s < TTL_S + AVAILABLE_FOR_S
        assert await world.metric("m1", "parti_gate_overtime_admitted_total") > 0
        await serves_again(world)


async def serves_again(world: World) -> None:
    await world.wait_settled()
    for name in world.cluster.running():
        sender = await world.sender(name)
        sent = await asyncio.gather(*(sender.send(partition=number) for number in range(64)))
        assert {each.outcome for each in sent} == {Outcome.ACKNOWLEDGED}
    world.judge()
