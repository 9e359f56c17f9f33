"""Two thousand moves back and forth under load: no overlap, nothing lost, nothing failed."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import grpc
import grpc.aio
import pytest

from parti_proto import admin_pb2, app_pb2
from parti_proto.admin_pb2_grpc import AdminStub
from tests.process.history import Outcome
from tests.process.load import PARTITIONS, Load, Sender
from tests.process.recorder import Execution, boottime_ns, read_executions
from tests.process.world import World, running_world

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

MOVES_MIN = 2_000
ROUND_S_MAX = 20.0
MOVES_IN_FLIGHT = 64


async def test_two_thousand_moves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running_world(tmp_path, 3) as world:
        await allow_many_moves(world)
        senders = await world.senders_everywhere()
        begun = time.monotonic()
        async with Load(senders, per_s=800):
            moved = await move_about(world)
        elapsed_s = time.monotonic() - begun
        verdict = world.judge()
        assert set(verdict.outcomes) == {Outcome.ACKNOWLEDGED}, f"\n{verdict}"
        assert moved >= MOVES_MIN
        assert verdict.changes_of_epoch >= MOVES_MIN // 2  # each seen by a message, not all are
        pauses = spread(pauses_ms(read_executions(world.notes)))
        with capsys.disabled():
            sys.stdout.write(
                f"\n{moved} moves in {elapsed_s:.1f} s; {verdict}\n"
                f"pause between messages of two epochs, at most: {pauses}\n"
                f"time of all sends: {spread(latencies_ms(senders))}\n"
            )


async def allow_many_moves(world: World) -> None:
    """Raise the limit on moves in flight, keep the rest of the policy."""
    policy = (await world.status("m1")).policy
    policy.moves_in_flight_max = MOVES_IN_FLIGHT

    def ask() -> None:
        with world.cluster.admin("m1") as admin:
            admin.call(admin.stub.SetPolicy, admin_pb2.SetPolicyRequest(policy=policy))

    await asyncio.to_thread(ask)


async def move_about(world: World) -> int:
    """Pin every partition to another member, round after round; counts real moves."""
    chance = random.Random(3)
    owners = [each.member_id for each in await world.member_list("m1")]
    moved = 0
    async with grpc.aio.insecure_channel(world.cluster.addresses("m2").admin) as channel:
        admin = AdminStub(channel)  # type: ignore[no-untyped-call]  # generated
        table = await table_of(admin)
        while moved < MOVES_MIN:
            wanted = {
                each.partition: chance.choice([owner for owner in owners if owner != each.owner])
                for each in table
            }
            requests = (
                admin.Move(admin_pb2.MoveRequest(partition=number, to_member=owner), timeout=10)
                for number, owner in wanted.items()
            )
            await asyncio.gather(*requests)
            table = await wait_for_owners(admin, wanted)
            moved += len(wanted)
    return moved


async def wait_for_owners(admin: AdminStub, wanted: dict[int, int]) -> list[app_pb2.PartitionState]:
    deadline = time.monotonic() + ROUND_S_MAX
    while True:
        table = await table_of(admin)
        missing = [
            each
            for each in table
            if each.owner != wanted[each.partition] or each.phase != app_pb2.PHASE_OWNED
        ]
        if not missing:
            return table
        assert time.monotonic() < deadline, missing
        await asyncio.sleep(0.01)


async def table_of(admin: AdminStub) -> list[app_pb2.PartitionState]:
    reply = await admin.ListPartitions(admin_pb2.ListPartitionsRequest(), timeout=10)
    return list(reply.partitions)


def pauses_ms(executions: Sequence[Execution]) -> list[float]:
    """Between the last exit under an epoch and the first entry under the next."""
    found: list[float] = []
    for number in range(PARTITIONS):
        mine = sorted(
            (each for each in executions if each.partition == number),
            key=lambda each: each.enter_ns,
        )
        found += [
            (later.enter_ns - (earlier.exit_ns or boottime_ns())) / 1e6
            for earlier, later in pairwise(mine)
            if later.epoch == earlier.epoch + 1
        ]
    return found


def latencies_ms(senders: Sequence[Sender]) -> list[float]:
    return [(each.ended_ns - each.begun_ns) / 1e6 for sender in senders for each in sender.sent]


def spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    at = {share: ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.9, 0.99, 1.0)}
    shown = ", ".join(f"p{share * 100:g} {value:.1f} ms" for share, value in at.items())
    return f"{shown} of {len(ordered)}"
