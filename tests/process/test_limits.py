"""Full waiting rooms and expired deadlines: refused in time, with the right `executed`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from parti_cli.devcluster import Part
from tests.process.history import Outcome, Sent
from tests.process.recorder import read_executions
from tests.process.world import World, eventually, running_world

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

PARKED_MAX = 8
CREDITS, PARTITION_CREDITS = 4, 2
IN_FLIGHT_MAX = 4_096  # of one client stream, at the sidecar
WINDOW = 256  # of them on their way to one partition, the others are parked
SHORT_S = 0.4


async def wait_parked(world: World, member: str, count: int) -> None:
    deadline = time.monotonic() + 10
    while (await world.status(member)).parked_messages < count:
        assert time.monotonic() < deadline, f"{count} messages are not parked at {member}"
        await asyncio.sleep(0.02)


def outcomes(sent: Sequence[Sent]) -> set[tuple[Outcome, str]]:
    return {(each.outcome, each.reason) for each in sent}


async def test_a_full_parking_refuses_at_once_and_loses_nothing(tmp_path: Path) -> None:
    arguments = ("--parked-messages-per-partition", str(PARKED_MAX), "--worker-grace-ms", "30000")
    async with running_world(tmp_path, 2, arguments=arguments) as world:
        sender = await world.sender("m1")
        shut, other = (await world.owned("m2", "m1"))[:2]
        await world.kill("m2", part=Part.WORKER)
        parked = [asyncio.create_task(sender.send(partition=shut))]
        await wait_parked(world, "m1", 1)
        parked += [asyncio.create_task(sender.send(partition=shut)) for _ in range(PARKED_MAX - 1)]
        await wait_parked(world, "m1", PARKED_MAX)
        more = {asyncio.create_task(sender.send(partition=shut)) for _ in range(20)}
        refused, waiting = await asyncio.wait(more, timeout=1.0)
        # One parked message at a time is out to probe the owner: another may have its place.
        assert len(waiting) <= 1
        parked += waiting
        assert outcomes([each.result() for each in refused]) == {(Outcome.REFUSED, "PARKING_FULL")}
        assert await world.metric("m1", "parti_limits_hit_total") >= len(refused)
        parked.append(asyncio.create_task(sender.send(partition=other)))  # another one has room
        await asyncio.to_thread(world.cluster.start_ended)
        assert outcomes(await asyncio.gather(*parked)) == {(Outcome.ACKNOWLEDGED, "OK")}
        world.judge()


async def test_a_deadline_passes_while_parked(tmp_path: Path) -> None:
    arguments = ("--worker-grace-ms", "30000")
    async with running_world(tmp_path, 2, arguments=arguments) as world:
        senders = await world.senders_everywhere()
        shut = (await world.owned("m2", "m1"))[0]
        await world.kill("m2", part=Part.WORKER)
        for sender in senders:  # from another member, and at the owner itself
            waited = await asyncio.gather(
                *(sender.send(partition=shut, timeout_s=SHORT_S) for _ in range(5))
            )
            assert {each.reason for each in waited} == {"DEADLINE_EXCEEDED"}
            # One at a time is sent to the owner to probe it; its time may pass on the way.
            assert sum(each.outcome is Outcome.REFUSED for each in waited) >= len(waited) - 1
        assert world.executions_count() == 0
        assert (await world.status("m1")).parked_messages == 0
        await asyncio.to_thread(world.cluster.start_ended)
        assert (await senders[0].send(partition=shut)).outcome is Outcome.ACKNOWLEDGED
        world.judge()


async def test_a_deadline_passes_at_the_gate_and_in_the_worker(tmp_path: Path) -> None:
    """The worker takes 2 messages of a partition: one runs, one waits in it, the rest outside."""
    limits = (CREDITS, PARTITION_CREDITS)
    async with running_world(tmp_path, 2, worker_limits=limits) as world:
        near, far = await world.sender("m2"), await world.sender("m1")
        slow = (await world.owned("m2", "m1"))[0]
        running = asyncio.create_task(near.send(partition=slow, order="sleep 2500"))
        name = f"{near.name}:1"
        await eventually(lambda: has_begun(world, name), "the slow message runs")
        ran_out = asyncio.create_task(near.send(partition=slow, timeout_s=SHORT_S))
        await wait_admitted(world, "m2", 2)
        at_gate = [
            asyncio.create_task(near.send(partition=slow, timeout_s=SHORT_S)) for _ in range(5)
        ]
        from_afar = [
            asyncio.create_task(far.send(partition=slow, timeout_s=SHORT_S)) for _ in range(5)
        ]
        # Given to the worker: the sidecar cannot know. At the gate: certainly not executed, and
        # whoever asked from afar may hear that in time or not.
        assert outcomes([await ran_out]) == {(Outcome.UNKNOWN, "DEADLINE_EXCEEDED")}
        assert outcomes(await asyncio.gather(*at_gate)) == {(Outcome.REFUSED, "DEADLINE_EXCEEDED")}
        assert outcomes(await asyncio.gather(*from_afar)) <= {
            (Outcome.REFUSED, "DEADLINE_EXCEEDED"),
            (Outcome.UNKNOWN, "DEADLINE_EXCEEDED"),
        }
        assert (await running).outcome is Outcome.ACKNOWLEDGED
        assert (await far.send(partition=slow)).outcome is Outcome.ACKNOWLEDGED
        assert world.executions_count() == 2, "an expired message was executed"
        world.judge()


async def test_a_deadline_passes_in_the_client(tmp_path: Path) -> None:
    """All places of the stream are taken by messages to one partition that hangs."""
    async with running_world(tmp_path, 1) as world:
        sender = await world.sender("m1")
        filling = [
            asyncio.create_task(sender.send(partition=0, order="hang", timeout_s=3))
            for _ in range(IN_FLIGHT_MAX)
        ]
        await wait_parked(world, "m1", IN_FLIGHT_MAX - WINDOW)
        waited = await asyncio.gather(
            *(sender.send(partition=1, timeout_s=SHORT_S) for _ in range(5))
        )
        assert outcomes(waited) == {(Outcome.REFUSED, "DEADLINE_EXCEEDED")}
        filled = await asyncio.gather(*filling)
        assert {each.reason for each in filled} == {"DEADLINE_EXCEEDED"}
        ran = {each.message for each in read_executions(world.notes)}
        unknown = {each.message for each in filled if each.outcome is Outcome.UNKNOWN}
        assert ran <= unknown
        assert (await sender.send(partition=1)).outcome is Outcome.ACKNOWLEDGED
        world.judge()


def has_begun(world: World, message: str) -> bool:
    return any(each.message == message for each in read_executions(world.notes))


async def wait_admitted(world: World, member: str, count: int) -> None:
    deadline = time.monotonic() + 10
    while await world.metric(member, "parti_gate_admitted_total") < count:
        assert time.monotonic() < deadline, f"{count} messages are not with the worker of {member}"
        await asyncio.sleep(0.02)
