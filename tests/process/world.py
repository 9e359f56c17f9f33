"""A cluster of real processes, what was done to it, and the judgement at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from parti_cli.devcluster import DevCluster, Part
from parti_cli.launching import application_environment
from parti_cli.processes import Process, send_signal, spawn, wait_ended
from parti_proto import admin_pb2, app_pb2
from tests.process.history import Freeze, Sent, Verdict, judge
from tests.process.load import PARTITIONS, Sender
from tests.process.recorder import boottime_ns, read_executions

ROOT = Path(__file__).parents[2]
POLL_S = 0.02
WAIT_S = 30.0
LOG_LINES_SHOWN = 25


class World:
    """One cluster with its test workers and senders."""

    def __init__(self, folder: Path, worker_limits: Sequence[int] = ()) -> None:
        self.cluster = DevCluster(folder / "cluster")
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.senders: list[Sender] = []
        self._worker_limits = [str(limit) for limit in worker_limits]
        self._ended_ns: dict[str, int] = {}
        self._freezes: list[Freeze] = []
        self._frozen_since_ns: dict[str, int] = {}
        self._stack = AsyncExitStack()

    @property
    def worker_command(self) -> list[str]:
        """The interpreter finds this repository whatever the current directory is."""
        path = f"PYTHONPATH={os.pathsep.join([str(ROOT), *filter(None, sys.path)])}"
        program = [sys.executable, "-m", "tests.process.worker"]
        return ["/usr/bin/env", path, *program, str(self.notes), *self._worker_limits]

    async def open(self, members: int, arguments: Sequence[str], partitions: int) -> None:
        """Start everything and wait until every partition is served."""
        await asyncio.to_thread(self.cluster.__enter__)
        self._stack.push_async_callback(asyncio.to_thread, self.cluster.close)
        await asyncio.to_thread(
            self.cluster.up,
            members,
            partitions=partitions,
            worker=self.worker_command,
            sidecar_arguments=arguments,
        )
        await self.wait_spread(members, partitions)

    async def close(self) -> None:
        """End everything."""
        await self._stack.aclose()

    # --- senders ---

    async def sender(self, member: str, *, retry: bool = False) -> Sender:
        """A new client on this member; it is closed with the world."""
        name = f"{member}.{len(self.senders)}"
        sender = Sender(name, self.cluster.addresses(member).app, retry=retry)
        await self._stack.enter_async_context(sender)
        self.senders.append(sender)
        return sender

    async def senders_everywhere(self, *, retry: bool = False) -> list[Sender]:
        """One client on each running member."""
        return [await self.sender(name, retry=retry) for name in self.cluster.running()]

    @property
    def sent(self) -> list[Sent]:
        return [each for sender in self.senders for each in sender.sent]

    # --- trouble ---

    async def kill(self, *members: str, part: Part = Part.ALL) -> None:
        """Kill -9, and note when the workers were dead."""
        kills = (asyncio.to_thread(self.cluster.kill, member, part) for member in members)
        await asyncio.gather(*kills)
        if part is not Part.SIDECAR:
            for member in members:
                self._ended_ns[self.worker_name(member)] = boottime_ns()

    def pause(self, member: str, part: Part = Part.ALL) -> None:
        """Freeze."""
        if part is not Part.SIDECAR:
            self._frozen_since_ns[self.worker_name(member)] = boottime_ns()
        self.cluster.pause(member, part)

    def resume(self, member: str, part: Part = Part.ALL) -> None:
        """Let it go on."""
        self.cluster.resume(member, part)
        if part is not Part.SIDECAR:
            worker = self.worker_name(member)
            since_ns = self._frozen_since_ns.pop(worker)
            self._freezes.append(Freeze(worker, since_ns, boottime_ns()))

    def second_worker(self, member: str) -> Process:
        """Another process beside the same sidecar; it ends when it is let go or stopped."""
        state = self.cluster.member(member)
        log = self.cluster.files.log(member, "second-worker")
        environment = application_environment(state)
        process = spawn(self.worker_command, log=log, environment=environment)
        self._stack.push_async_callback(asyncio.to_thread, self.end, process)
        return process

    def end(self, process: Process) -> None:
        """Kill a process beside the cluster's."""
        send_signal(process, signal.SIGKILL)
        assert wait_ended(process, WAIT_S)

    # --- looking ---

    def worker_name(self, member: str) -> str:
        worker = self.cluster.member(member).worker
        assert worker is not None
        return f"{member}-{worker.pid}"

    async def status(self, member: str) -> admin_pb2.Status:
        return await asyncio.to_thread(self.cluster.status, member)

    async def wait_phase(self, partition: int, phase: app_pb2.Phase, asked: str) -> None:
        """Wait until a member's table shows a partition in a phase."""
        deadline = time.monotonic() + WAIT_S
        while (row := (await self.table(asked))[partition]).phase != phase:
            assert time.monotonic() < deadline, f"partition {partition} is not in {phase}: {row}"
            await asyncio.sleep(POLL_S)

    async def metric(self, member: str, name: str) -> float:
        """The sum of a metric's samples at one member."""

        def ask() -> str:
            url = f"http://{self.cluster.addresses(member).http}/metrics"
            with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
                text: str = answer.read().decode()
                return text

        families = text_string_to_metric_families(await asyncio.to_thread(ask))
        samples = [each for family in families for each in family.samples if each.name == name]
        assert samples, f"there is no metric {name}"
        return sum(each.value for each in samples)

    async def move(self, partition: int, member: str, asked: str) -> None:
        """Ask for a move, as `parti move` does; it has happened when the table says so."""
        member_id = (await self.members(asked))[member].member_id

        def ask() -> None:
            request = admin_pb2.MoveRequest(partition=partition, to_member=member_id)
            with self.cluster.admin(asked) as admin:
                admin.call(admin.stub.Move, request)

        await asyncio.to_thread(ask)

    async def wait_owner(self, partition: int, member: str, asked: str) -> int:
        """Wait until the table gives a partition to a member; the epoch it has there."""
        member_id = (await self.members(asked))[member].member_id
        deadline = time.monotonic() + WAIT_S
        while True:
            row = (await self.table(asked))[partition]
            if row.owner == member_id and row.phase == app_pb2.PHASE_OWNED:
                return row.epoch
            assert time.monotonic() < deadline, f"partition {partition} is not of {member}: {row}"
            await asyncio.sleep(POLL_S)

    async def table(self, member: str) -> list[app_pb2.PartitionState]:
        return await asyncio.to_thread(self.cluster.partitions, member)

    async def member_list(self, asked: str) -> list[admin_pb2.Member]:
        """What the cluster says of its members."""

        def ask() -> admin_pb2.ListMembersReply:
            with self.cluster.admin(asked) as admin:
                reply: admin_pb2.ListMembersReply = admin.call(
                    admin.stub.ListMembers, admin_pb2.ListMembersRequest()
                )
                return reply

        return list((await asyncio.to_thread(ask)).members)

    async def members(self, asked: str) -> dict[str, admin_pb2.Member]:
        """The same by name."""
        return {member.name: member for member in await self.member_list(asked)}

    async def member_ids(self, asked: str) -> set[int]:
        return {member.member_id for member in await self.member_list(asked)}

    async def leader(self, asked: str) -> str:
        """The leader's name; empty if there is none now."""
        return next((name for name, each in (await self.members(asked)).items() if each.leader), "")

    async def owned(self, member: str, asked: str) -> list[int]:
        """Partitions that the table gives to a member."""
        table, members = await self.table(asked), await self.members(asked)
        member_id = members[member].member_id
        return [each.partition for each in table if each.owner == member_id]

    async def wait_member_gone(self, member_id: int, asked: str) -> None:
        """Wait until a member was taken out."""
        deadline = time.monotonic() + WAIT_S
        while member_id in await self.member_ids(asked):
            assert time.monotonic() < deadline, f"{member_id:x} is still a member"
            await asyncio.sleep(POLL_S)

    async def wait_spread(self, members: int, partitions: int = PARTITIONS) -> None:
        """Wait until so many members own equal shares."""
        deadline = time.monotonic() + WAIT_S
        fair = {partitions // members, -(-partitions // members)}
        while True:
            table = await self.table(self.cluster.running()[0])
            owned = Counter(each.owner for each in table if each.phase == app_pb2.PHASE_OWNED)
            if len(owned) == members and set(owned.values()) <= fair:
                return
            assert time.monotonic() < deadline, f"not spread evenly: {owned}"
            await asyncio.sleep(POLL_S)

    async def wait_settled(self, timeout_s: float = WAIT_S) -> None:
        await asyncio.to_thread(self.cluster.wait_settled, timeout_s=timeout_s)

    def executions_count(self) -> int:
        return len(read_executions(self.notes))

    def judge(self) -> Verdict:
        """Check everything that happened; fails with what is wrong."""
        verdict = judge(
            read_executions(self.notes),
            self.sent,
            now_ns=boottime_ns(),
            ended_ns=self._ended_ns,
            freezes=self._freezes,
        )
        assert not verdict.faults, f"\n{verdict}"
        return verdict

    def logs(self) -> str:
        """The last lines of every process."""
        texts = []
        for path in sorted(self.cluster.files.directory.glob("members/*/*.log")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            texts.append(
                "\n".join([f"--- {path.parent.name} {path.stem}", *lines[-LOG_LINES_SHOWN:]])
            )
        return "\n".join(texts)


@asynccontextmanager
async def running_world(
    folder: Path,
    members: int,
    *,
    arguments: Sequence[str] = (),
    partitions: int = PARTITIONS,
    worker_limits: Sequence[int] = (),
) -> AsyncIterator[World]:
    """A cluster for one test; on failure its logs are part of the error."""
    world = World(folder, worker_limits)
    try:
        await world.open(members, arguments, partitions)
        yield world
    except BaseException as error:
        error.add_note(world.logs())
        raise
    finally:
        await world.close()


async def eventually(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(POLL_S)
