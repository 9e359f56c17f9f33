"""What the demo does, chapter by chapter, and how it is judged."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from examples.demo import events
from examples.demo.database import Database
from examples.demo.moves import TableWatcher, wait_until
from examples.demo.narrator import Narrator
from examples.demo.recorder import faults, read_stays
from examples.demo.traffic import Traffic
from parti_cli.devcluster import DevCluster
from parti_cli.members import list_members
from parti_proto import admin_pb2

MEMBERS = 3
PARTITIONS = 64
_CALM_S = 6.0  # traffic between two chapters
_STEP_TIMEOUT_S = 40.0
_VOTERS_TO_LOSE_ONE = 3
_FAULTS_SHOWN_MAX = 5


class Story:
    """One run of the demo against a cluster that is owned by the caller."""

    def __init__(self, cluster: DevCluster, folder: Path, narrator: Narrator) -> None:
        self._cluster = cluster
        self._tell = narrator
        self._database_path = folder / "usage.db"
        self._notes = folder / "notes"
        self._lines = events.read_lines(events.EVENTS_FILE)
        self._traffic = Traffic(self._lines, PARTITIONS)
        self._watcher = TableWatcher()
        self._killed_ns: dict[str, int] = {}

    async def run(self) -> bool:
        """Tell it all; True if every verdict is good."""
        try:
            await self._start_cluster()
            await self._start_traffic()
            await self._grow()
            await self._scale_down("m2")
            await self._crash(await self._victim())
            await self._finish()
        finally:
            await self._watcher.close()
            await self._traffic.close()
        return self._judge()

    async def _start_cluster(self) -> None:
        self._tell.step(f"Start: {MEMBERS} members, {PARTITIONS} partitions")
        self._notes.mkdir(parents=True)
        Database(self._database_path).close()
        worker = [sys.executable, "-m", "examples.demo.worker"]
        worker += [str(self._database_path), str(self._notes)]
        await asyncio.to_thread(self._cluster.up, MEMBERS, partitions=PARTITIONS, worker=worker)
        self._tell.say(
            "Each member is a sidecar process with an application process beside it. The users of "
            "the application are spread over the partitions; each partition has one owner."
        )

    async def _start_traffic(self) -> None:
        self._watcher.start(self._cluster.addresses("m1").app)
        await self._balanced({"m1", "m2", "m3"})
        self._watcher.take_moves()
        self._tell.owners(self._watcher.counts())
        self._tell.step(
            f"Traffic: {len(self._lines)} events of users, through every sidecar in turn"
        )
        for member in ("m1", "m2", "m3"):
            await self._traffic.use(member, self._cluster.addresses(member).app)
        self._traffic.start()
        await self._calm()
        self._tell.say(
            f"{self._traffic.tally.events} events counted so far, each by the owner of its user; "
            f"the slowest heartbeat took {self._traffic.slowest_heartbeat_s() * 1000:.0f} ms"
        )

    async def _grow(self) -> None:
        self._tell.step("Grow: a fourth member joins")
        name = await asyncio.to_thread(self._cluster.add)
        self._tell.say(f"{name} has joined; it gets a fair share, and nothing else moves")
        await self._balanced({"m1", "m2", "m3", name})
        self._report_moves()
        await self._traffic.use(name, self._cluster.addresses(name).app)
        await self._calm()

    async def _scale_down(self, member: str) -> None:
        self._tell.step(f"Scale down: {member} hands everything over and leaves")
        await self._traffic.leave(member)
        begun = time.monotonic()
        await asyncio.to_thread(self._cluster.remove, member)
        self._tell.say(f"{member} was drained and is gone, {time.monotonic() - begun:.1f} s later")
        await self._balanced({"m1", "m3", "m4"})
        self._report_moves()
        await self._calm()

    async def _crash(self, victim: str) -> None:
        self._tell.step(f"Crash: kill -9 of {victim}, sidecar and application")
        await self._wait_for_voters()
        lost = self._watcher.owned_by(victim)
        epochs = {partition: self._traffic.served[partition].epoch for partition in lost}
        begun = time.monotonic()
        await asyncio.to_thread(self._cluster.kill, victim)
        self._killed_ns[victim] = time.monotonic_ns()
        self._tell.say(f"{victim} is dead; its {len(lost)} partitions wait until its lease is over")
        await self._traffic.leave(victim)

        def served_again() -> bool:
            served = self._traffic.served
            return all(served[partition].epoch > epochs[partition] for partition in lost)

        await self._until(served_again, "that others serve the partitions of the dead member")
        times = sorted(
            self._traffic.served[partition].first_of_epoch_at - begun for partition in lost
        )
        self._tell.say(
            f"others serve them again {times[0]:.2f} s (first) to {times[-1]:.2f} s (last) after "
            "the kill; messages for them waited meanwhile"
        )
        await self._balanced({"m1", "m3", "m4"} - {victim})
        self._watcher.take_moves()
        self._tell.owners(self._watcher.counts())
        await self._calm()

    async def _finish(self) -> None:
        self._tell.step("Finish: the rest of the events, as fast as they go")
        begun = time.monotonic()
        before = self._traffic.tally.events
        async with asyncio.timeout(_STEP_TIMEOUT_S):
            await self._traffic.finish()
        count = self._traffic.tally.events - before
        self._tell.say(f"{count} more events in {time.monotonic() - begun:.1f} s")

    def _judge(self) -> bool:
        """Compare what the cluster did with what had to come out."""
        self._tell.step("Verdict")
        tally = self._traffic.tally
        database = Database(self._database_path)
        counted, beats = database.usage(), database.heartbeats()
        database.close()
        stays = read_stays(self._notes, self._killed_ns)
        clashes = faults(stays)
        lost = len(self._lines) - sum(usage.requests for usage in counted.values())
        equal = counted == events.expected_usage(self._lines)
        own = f"{len(stays)} messages checked, {len(clashes)} faults"
        sent = (
            f"{tally.events} events, {tally.heartbeats} heartbeats, {tally.sent_again} sent again"
        )
        judged = [
            (f"each partition had one owner at a time, and epochs only rose: {own}", not clashes),
            (f"no message failed: {sent} through another sidecar", not tally.failures),
            (f"nothing was lost: {lost} lost", lost == 0 and beats >= tally.heartbeats),
            (f"the counts of all {len(counted)} users equal those of the file", equal),
        ]
        for text, good in judged:
            self._tell.verdict(text, good=good)
        for text in (clashes + tally.errors)[:_FAULTS_SHOWN_MAX]:
            self._tell.show(text)
        return all(good for _, good in judged)

    async def _victim(self) -> str:
        """An owner that does not lead: its crash costs exactly the lease."""
        leader = await asyncio.to_thread(self._leader)
        return next(name for name in ("m3", "m4") if name != leader)

    def _leader(self) -> str:
        return next((item.name for item in self._members() if item.leader), "")

    def _members(self) -> list[admin_pb2.Member]:
        with self._cluster.admin("m1") as admin:
            return list_members(admin)

    async def _wait_for_voters(self) -> None:
        """One of three voters may die; of two, none."""
        deadline = time.monotonic() + _STEP_TIMEOUT_S
        while True:
            members = await asyncio.to_thread(self._members)
            if sum(item.role == "voter" for item in members) >= _VOTERS_TO_LOSE_ONE:
                return
            if time.monotonic() >= deadline:
                raise TimeoutError("no third member was given a vote in time")
            await asyncio.sleep(0.1)

    async def _balanced(self, members: set[str]) -> None:
        await self._until(
            lambda: self._watcher.is_balanced(members),
            f"that {', '.join(sorted(members))} own equal shares",
        )

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        await wait_until(condition, _STEP_TIMEOUT_S, what)
        self._check_alive()

    async def _calm(self) -> None:
        await asyncio.sleep(_CALM_S)
        self._check_alive()

    def _check_alive(self) -> None:
        """Raise what ended the background work, if something did."""
        self._traffic.check_alive()
        self._watcher.check_alive()

    def _report_moves(self) -> None:
        self._tell.moves(self._watcher.take_moves())
        slowest_ms = self._traffic.slowest_heartbeat_s() * 1000
        self._tell.say(f"the slowest heartbeat of any partition meanwhile took {slowest_ms:.0f} ms")
        self._tell.owners(self._watcher.counts())
