"""Workers that crash, hang, freeze, never let go, come twice, or are not there at all."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from parti_cli.devcluster import Part
from parti_cli.processes import is_running
from parti_proto import app_pb2
from tests.process.history import Outcome, Sent
from tests.process.load import Load, Sender, settled
from tests.process.recorder import read_executions
from tests.process.world import World, eventually, running_world

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

GRACE_MS = 1_500
HANDOVER_MS = 1_000


async def begun(
    world: World, sender: Sender, partition: int, order: str, timeout_s: float
) -> asyncio.Task[Sent]:
    """Send an order and wait until it is inside the handler."""
    number = len(sender.sent) + 1
    task = asyncio.create_task(sender.send(partition=partition, order=order, timeout_s=timeout_s))
    name = f"{sender.name}:{number}"
    await eventually(
        lambda: any(each.message == name for each in read_executions(world.notes)),
        f"{name} is inside a handler",
    )
    return task


async def test_a_crashed_worker_is_waited_for_then_its_partitions_move(tmp_path: Path) -> None:
    arguments = ("--worker-grace-ms", str(GRACE_MS))
    async with running_world(tmp_path, 2, arguments=arguments) as world:
        sender = await world.sender("m1")
        theirs = await world.owned("m2", "m1")
        epochs = {each.partition: each.epoch for each in await world.table("m1")}
        crash = await sender.send(partition=theirs[0], order="crash")
        crashed_at = time.monotonic()
        assert (crash.outcome, crash.reason) == (Outcome.UNKNOWN, "WORKER_LOST")
        sent = await asyncio.gather(*(sender.send(partition=number) for number in theirs))
        assert {each.outcome for each in sent} == {Outcome.ACKNOWLEDGED}
        assert time.monotonic() - crashed_at > GRACE_MS / 1000
        assert all(each.epoch > epochs[number] for each, number in zip(sent, theirs, strict=True))
        assert await world.owned("m2", "m1") == []
        world.judge()


async def test_a_worker_back_within_the_grace_gets_its_partitions_under_new_epochs(
    tmp_path: Path,
) -> None:
    arguments = ("--worker-grace-ms", "20000")
    async with running_world(tmp_path, 2, arguments=arguments) as world:
        sender = await world.sender("m1")
        theirs = await world.owned("m2", "m1")
        epochs = {each.partition: each.epoch for each in await world.table("m1")}
        async with Load([sender]):
            await settled(sender, 20)
            await world.kill("m2", part=Part.WORKER)
            parked = [asyncio.create_task(sender.send(partition=number)) for number in theirs]
            await asyncio.to_thread(world.cluster.start_ended)
            sent = await asyncio.gather(*parked)
        assert {each.outcome for each in sent} == {Outcome.ACKNOWLEDGED}
        assert await world.owned("m2", "m1") == theirs
        assert {each.epoch - epochs[number] for each, number in zip(sent, theirs, strict=True)} == {
            1
        }
        verdict = world.judge()
        assert verdict.outcomes[Outcome.REFUSED] == 0, f"\n{verdict}"
        assert set(verdict.reasons) <= {"WORKER_LOST"}, f"\n{verdict}"


@pytest.mark.parametrize("order", ["hang", "keep"])
async def test_a_worker_that_does_not_let_go_is_cut_off(tmp_path: Path, order: str) -> None:
    arguments = ("--handover-ms", str(HANDOVER_MS))
    async with running_world(tmp_path, 2, arguments=arguments) as world:
        sender = await world.sender("m1")
        stuck, *others = await world.owned("m2", "m1")
        hanging = await begun(world, sender, stuck, order, timeout_s=20)
        await asyncio.gather(*(sender.send(partition=number) for number in others))
        before = (await world.table("m1"))[stuck].epoch
        asked_at = time.monotonic()
        await world.move(stuck, "m1", asked="m1")
        await world.wait_phase(stuck, app_pb2.PHASE_REVOKING, "m1")
        waiting = asyncio.create_task(sender.send(partition=stuck, timeout_s=20))
        assert await world.wait_owner(stuck, "m1", "m1") == before + 1
        assert time.monotonic() - asked_at > HANDOVER_MS / 1000
        assert (await waiting).outcome is Outcome.ACKNOWLEDGED
        if order == "hang":
            answer = await hanging
            assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "WORKER_LOST")
        assert await world.metric("m2", "parti_handovers_cut_off_total") == 1
        served = await asyncio.gather(*(sender.send(partition=number) for number in others))
        assert {each.outcome for each in served} == {Outcome.ACKNOWLEDGED}
        world.judge()


async def test_a_hanging_message_runs_into_its_deadline_and_harms_no_other_partition(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path, 2) as world:
        sender = await world.sender("m1")
        stuck, *others = await world.owned("m2", "m1")
        hanging = await begun(world, sender, stuck, "hang", timeout_s=1)
        served = await asyncio.gather(*(sender.send(partition=number) for number in others))
        assert {each.outcome for each in served} == {Outcome.ACKNOWLEDGED}
        answer = await hanging
        assert (answer.outcome, answer.reason) == (Outcome.UNKNOWN, "DEADLINE_EXCEEDED")
        world.judge()


async def test_a_second_worker_replaces_the_first(tmp_path: Path) -> None:
    async with running_world(tmp_path, 2) as world:
        senders = await world.senders_everywhere()
        theirs = await world.owned("m2", "m1")
        epochs = {each.partition: each.epoch for each in await world.table("m1")}
        first = world.cluster.member("m2").worker
        assert first is not None
        slow = await begun(world, senders[0], theirs[0], "sleep 20000", timeout_s=30)
        async with Load(senders):
            await settled(senders[0], 20)
            second = world.second_worker("m2")
            await eventually(lambda: not is_running(first), "the first worker ends")
            assert (await slow).reason == "WORKER_LOST"
            await settled(senders[1], 100)
        assert is_running(second)
        sent = await asyncio.gather(*(senders[0].send(partition=number) for number in theirs))
        assert {each.outcome for each in sent} == {Outcome.ACKNOWLEDGED}
        assert all(
            each.epoch == epochs[number] + 1 for each, number in zip(sent, theirs, strict=True)
        )
        verdict = world.judge()
        assert verdict.outcomes[Outcome.REFUSED] == 0, f"\n{verdict}"
        assert set(verdict.reasons) <= {"WORKER_LOST"}, f"\n{verdict}"


async def test_a_frozen_worker_delays_only_its_own_partitions(tmp_path: Path) -> None:
    async with running_world(tmp_path, 2) as world:
        sender = await world.sender("m1")
        ours, theirs = await world.owned("m1", "m1"), await world.owned("m2", "m1")
        slow = await begun(world, sender, theirs[0], "sleep 300", timeout_s=20)
        world.pause("m2", Part.WORKER)
        waiting = [
            asyncio.create_task(sender.send(partition=number, timeout_s=20)) for number in theirs
        ]
        late = [
            asyncio.create_task(sender.send(partition=number, timeout_s=0.5)) for number in theirs
        ]
        served = await asyncio.gather(*(sender.send(partition=number) for number in ours))
        assert {each.outcome for each in served} == {Outcome.ACKNOWLEDGED}
        given_up = await asyncio.gather(*late)
        assert {each.reason for each in given_up} == {"DEADLINE_EXCEEDED"}
        assert Outcome.ACKNOWLEDGED not in {each.outcome for each in given_up}
        world.resume("m2", Part.WORKER)
        answers = await asyncio.gather(slow, *waiting)
        assert {each.outcome for each in answers} == {Outcome.ACKNOWLEDGED}
        verdict = world.judge()
        assert slow.result().message in {each.message for each in verdict.thawed}


async def test_a_router_only_member_sends_and_owns_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path, 2) as world:
        name = await asyncio.to_thread(world.cluster.add, sidecar_arguments=("--role", "router"))
        refused = world.cluster.member(name).worker
        assert refused is not None
        await eventually(lambda: not is_running(refused), "its worker is refused and ends")
        log = world.cluster.files.log(name, "worker").read_text(encoding="utf-8")
        assert "this sidecar only routes" in log
        sender = await world.sender(name)
        async with Load([sender]):
            await settled(sender, 200)
        assert await world.owned(name, "m1") == []
        assert (await world.status(name)).version
        assert set(world.judge().outcomes) == {Outcome.ACKNOWLEDGED}
