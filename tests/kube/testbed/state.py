"""What is known of one cluster, kept on disk before each step that matters.

It is written twice: into the work folder, for the next `up` (which may come after a reboot), and
into `layout.RUNNING`, where later runs find clusters whose owner died (module `leftovers`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.kube.testbed import layout
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.layout import HUB, Folders
from tests.kube.testbed.processes import ProcessName

LOCK_DEADLINE_S = 60.0


@dataclass(slots=True)
class Machine:
    """The hub or one node: a process tree in namespaces of its own."""

    name: str
    number: int
    init: ProcessName | None = None

    @property
    def ip(self) -> str:
        """Its address in the network of the nodes."""
        return layout.HUB_IP if self.name == HUB else layout.node_ip(self.number)

    @property
    def alive(self) -> bool:
        """Whether its process 1 runs (frozen counts as running)."""
        return self.init is not None and self.init.alive

    @property
    def pid(self) -> int:
        """The host's pid of its process 1."""
        if self.init is None:
            raise TestbedError(f"{self.name} is not running")
        return self.init.pid


@dataclass(slots=True)
class ClusterState:
    """One cluster. With an owner it is removed when the owner is gone, without it stays."""

    workdir: Path
    port: int
    programs: Path
    machines: list[Machine]
    owner: ProcessName | None = None
    forwarder: ProcessName | None = None
    folders: Folders = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.folders = Folders(self.workdir)

    @property
    def ident(self) -> str:
        """The name of its cgroup and of its note among the running ones."""
        return layout.identity(self.workdir)

    @property
    def hub(self) -> Machine:
        """The machine of the control plane."""
        return self.machine(HUB)

    @property
    def nodes(self) -> list[Machine]:
        """The machines that run pods."""
        return [machine for machine in self.machines if machine.name != HUB]

    def machine(self, name: str) -> Machine:
        """The machine of this name."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise TestbedError(f"no machine {name!r}; there are {known}")

    def group(self, machine: Machine) -> str:
        """The cgroup of all a machine runs."""
        return f"{self.ident}/{machine.name}"

    @property
    def note(self) -> Path:
        """Where later runs find it."""
        return layout.RUNNING / f"{self.ident}.json"

    def save(self) -> None:
        """Write it down in both places."""
        text = dump(self)
        for path in (self.folders.state, self.note):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(path)

    def must_live(self) -> None:
        """End a wait early, with the reason, when a machine has ended."""
        for machine in self.machines:
            if not machine.alive:
                said = self.folders.log(machine.name).read_text()[-2000:]
                raise TestbedError(f"{machine.name} has ended:\n{said}")


def dump(state: ClusterState) -> str:
    """A state as text."""
    fields = asdict(state)
    del fields["folders"]
    return json.dumps(fields, indent=1, default=str)


def load(text: str) -> ClusterState:
    """A state from text."""
    fields: dict[str, Any] = json.loads(text)
    return ClusterState(
        workdir=Path(fields["workdir"]),
        port=fields["port"],
        programs=Path(fields["programs"]),
        machines=[
            Machine(machine["name"], machine["number"], _process(machine["init"]))
            for machine in fields["machines"]
        ],
        owner=_process(fields["owner"]),
        forwarder=_process(fields["forwarder"]),
    )


def _process(fields: dict[str, Any] | None) -> ProcessName | None:
    return None if fields is None else ProcessName(fields["pid"], fields["born"])


def read(workdir: Path) -> ClusterState | None:
    """The cluster of a work folder, if there is one."""
    path = Folders(workdir).state
    return load(path.read_text()) if path.is_file() else None


@contextlib.contextmanager
def locked(path: Path, deadline_s: float = LOCK_DEADLINE_S) -> Iterator[None]:
    """One at a time: who comes second waits, until the deadline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + deadline_s
    with path.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TestbedError(f"another command has held {path} too long") from None
                time.sleep(0.05)
            else:
                break
        yield
