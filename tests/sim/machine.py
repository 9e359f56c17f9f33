"""A machine: its disk, clock and address outlive the programs that run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parti_shard.ids import MemberId
from parti_sidecar.storage.base import CorruptState, StorageError
from parti_sidecar.storage.memory import MemoryDisk
from tests.sim.clocks import Clock
from tests.sim.process import Process
from tests.sim.timeline import MS, S

if TYPE_CHECKING:
    from tests.sim.actors import Actor
    from tests.sim.applications import Client, Worker
    from tests.sim.store_user import StoreUser
    from tests.sim.world import World

BOOT_LOCAL_US = 600 * S  # clocks start anywhere below


class Machine:
    """See the module's docstring. It has at most one application of each kind."""

    def __init__(self, world: World, name: str, zone: str) -> None:
        self.world = world
        self.name = name
        self.zone = zone
        self.rng = world.fork_rng(f"machine {name}")
        self.disk = MemoryDisk()
        self.clock = Clock(
            world.timeline.now_us,
            self.rng.randrange(BOOT_LOCAL_US),
            world.draw_rate_ppm(self.rng),
            1_700_000_000_000 + self.rng.randint(-60_000, 60_000),
        )
        self.process: Process | None = None
        self.worker: Worker | None = None
        self.client: Client | None = None
        self.store_user: StoreUser | None = None
        self.slow_disk = False
        self.gone = False  # removed for good
        self._runs = 0
        self._moves = 0
        self.address = f"{name}:0"

    def new_member_id(self) -> MemberId:
        return MemberId(self.rng.getrandbits(63) + 1)

    def durable_index(self) -> int:
        """The last log index that a power cut would not take."""
        writer = self.process.writer if self.process is not None else None
        return writer.durable_index if writer is not None else 0

    def sync_us(self) -> int:
        if self.slow_disk:
            return self.rng.randint(5 * MS, 300 * MS)
        return self.rng.randint(200, 3 * MS)

    def start(self) -> None:
        """Run a sidecar, unless one runs. A damaged disk is given up for an empty one."""
        if self.gone or self.is_up:
            return
        self._runs += 1
        try:
            self.process = Process(self, self._runs)
        except CorruptState as error:
            self.world.counts["damage noticed"] += 1
            self.world.note(f"{self.name}: {error.damage}")
            self.replace_disk()
            self.process = Process(self, self._runs)
        except StorageError as error:
            self.world.note(f"{self.name} does not start: {error}")
            self.disk.crash(self.disk.unsynced)
            self.world.revive(self)
            return
        self.world.tell(self.process, "process starts")

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.alive

    def crash(self, *, power: bool) -> None:
        """The process is killed, or the power fails: then unsynced writes may be lost."""
        process, disk = self.process, self.disk
        if process is None or not process.alive:
            return
        self.world.tell(process, "power fails" if power else "killed")
        process.die(quietly=power)
        if power:
            disk.crash(self.rng.randint(0, disk.unsynced))
            self.clock.reboot(self.world.timeline.now_us, self.rng.randrange(BOOT_LOCAL_US))
            for application in self.applications():
                application.die(quietly=True)
        else:
            disk.crash(disk.unsynced)

    def applications(self) -> list[Actor]:
        """What runs beside the sidecar."""
        found = (self.worker, self.client, self.store_user)
        return [application for application in found if application is not None]

    def replace_disk(self) -> None:
        """An empty disk: whoever starts on it is another member."""
        self.disk = MemoryDisk()

    def change_address(self) -> None:
        self._moves += 1
        self.address = f"{self.name}:{self._moves}"
