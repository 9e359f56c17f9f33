"""A cluster of real processes whose network and disks can be troubled, with load on it."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from parti_cli.devcluster import DevCluster, Part
from parti_cli.launching import planned_addresses
from parti_cli.processes import is_running
from parti_proto import admin_pb2
from tests.process.chaos.network import HOST, VIA, Network
from tests.process.chaos.notes import NoteReader
from tests.process.chaos.sidecar import STREAM_PORT_OFFSET
from tests.process.chaos.slow_disk import set_slow
from tests.process.history import Freeze
from tests.process.world import ROOT, World

# Below the ports that the kernel gives to whoever dials, so that a member finds its own again.
BASE_PORTS: Final = range(10_000, 30_000, 500)
MEMBERS_EVER_MAX: Final = 40  # ten ports each


class ChaosWorld(World):
    """`World` with a network in between and disks that can be slow."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        environment = ["/usr/bin/env", _import_path(), sys.executable, "-m"]
        self.cluster = DevCluster(
            folder / "cluster", sidecar_command=[*environment, "tests.process.chaos.sidecar"]
        )
        self.network = Network(self._processes)
        self.reader = NoteReader(self.notes)
        self._worker_command = [*environment, "tests.process.chaos.worker", str(self.notes)]

    @property
    def worker_command(self) -> list[str]:
        return self._worker_command

    async def open(self, members: int, arguments: Sequence[str], partitions: int) -> None:
        base_port = self._stack.enter_context(claimed_base_port())
        await asyncio.to_thread(self.cluster.__enter__)
        self._stack.push_async_callback(asyncio.to_thread, self.cluster.close)
        self._stack.push_async_callback(self.network.close)
        for number in range(1, MEMBERS_EVER_MAX + 1):
            peer = planned_addresses(base_port, number).peer
            port = int(peer.rpartition(":")[2])
            await self.network.add(f"m{number}", [port, port + STREAM_PORT_OFFSET])
        await asyncio.to_thread(
            self.cluster.up,
            members,
            partitions=partitions,
            worker=self.worker_command,
            base_port=base_port,
            sidecar_arguments=arguments,
        )
        await self.wait_spread(members, partitions)

    # --- trouble ---

    def set_disk(self, member: str, delay_ms: int) -> None:
        """Make each durable step of a member so much longer."""
        set_slow(self.cluster.files.data_directory(member), delay_ms)

    async def set_intent(self, member: str, intent: admin_pb2.Intent, asked: str) -> None:
        """Cordon, drain or give back a member, as `parti` does."""
        member_id = (await self.members(asked))[member].member_id

        def ask() -> None:
            request = admin_pb2.SetIntentRequest(member_id=member_id, intent=intent)
            with self.cluster.admin(asked) as admin:
                admin.call(admin.stub.SetIntent, request)

        await asyncio.to_thread(ask)

    # --- looking ---

    @property
    def freezes(self) -> list[Freeze]:
        return self._freezes

    @property
    def ended_ns(self) -> Mapping[str, int]:
        return self._ended_ns

    def ended_by_themselves(self) -> list[str]:
        """Processes that should run and do not."""
        ended = []
        for member in self.cluster.members():
            for part, process in ((Part.SIDECAR, member.sidecar), (Part.WORKER, member.worker)):
                if process is None or not is_running(process):
                    ended.append(f"{part} of {member.name}")
        return ended

    def _processes(self) -> dict[int, str]:
        members = self.cluster.members()
        return {each.sidecar.pid: each.name for each in members if each.sidecar is not None}


@asynccontextmanager
async def chaos_world(
    folder: Path, members: int, partitions: int, arguments: Sequence[str] = ()
) -> AsyncIterator[ChaosWorld]:
    """A world for one run; on failure its logs are part of the error."""
    world = ChaosWorld(folder)
    try:
        await world.open(members, arguments, partitions)
        yield world
    except BaseException as error:
        error.add_note(world.logs())
        raise
    finally:
        await world.close()


def _import_path() -> str:
    return f"PYTHONPATH={os.pathsep.join([str(ROOT), *filter(None, sys.path)])}"


@contextmanager
def claimed_base_port() -> Iterator[int]:
    """Where the ports of a run begin; until the block ends no run beside it takes the same.

    The last port of a run, which no member uses, is listened on as a sign.
    """
    for base in random.sample(BASE_PORTS, len(BASE_PORTS)):
        try:
            with socket.create_server((HOST, base)):
                sign = socket.create_server((VIA, base + BASE_PORTS.step - 1))
        except OSError:
            continue
        with sign:
            yield base
        return
    raise OSError(f"no free ports in {BASE_PORTS}")
