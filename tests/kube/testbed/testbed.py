"""A real Kubernetes of several nodes on this machine, for tests and by hand.

`Testbed` keeps nothing in memory: each step reads the state on disk under a lock, so that tests,
commands and a second process may take turns on one cluster.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tests.kube.testbed import (
    buildah,
    certificates,
    forwarder,
    host,
    hub,
    images,
    layout,
    leftovers,
    machines,
    network,
    node,
    programs,
)
from tests.kube.testbed.api import Api, first_objects
from tests.kube.testbed.commands import TestbedError, run, say, wait_for
from tests.kube.testbed.kubectl import Kubectl
from tests.kube.testbed.layout import HUB, Folders
from tests.kube.testbed.processes import own_name
from tests.kube.testbed.state import ClusterState, Machine, locked, read

API_DEADLINE_S = 90.0
NODE_DEADLINE_S = 90.0


class Testbed:
    """One cluster, named by its work folder.

    A cluster belongs to the process that brought it up, and is removed by the next `up` of
    anybody when that process has died; a `kept` one stays until `down`.
    """

    __test__: ClassVar[bool] = False  # the name makes pytest look

    def __init__(self, workdir: Path, *, kept: bool = False) -> None:
        self.workdir = workdir.resolve()
        self._kept = kept
        self._folders = Folders(self.workdir)

    # --- the whole cluster ---

    def up(self, nodes: int = 0, port: int = 0) -> None:
        """Start the cluster, or whatever of it does not run, and wait until it is ready.

        `nodes` 0 means as many as it has, or three; `port` 0 any free one.
        """
        if not 0 <= nodes <= layout.NODES_MAX:
            raise TestbedError(f"a testbed has 1 to {layout.NODES_MAX} nodes")
        host.check(self.workdir)
        host.install_packages()
        programs.build()
        leftovers.remove_leftovers()
        began = time.monotonic()
        with self._alone():
            state = read(self.workdir) or self._new_state(nodes or 3, port)
            if nodes and nodes != len(state.nodes):
                raise TestbedError(f"this cluster has {len(state.nodes)} nodes; `down` first")
            state.owner = None if self._kept else own_name()
            state.programs = programs.programs_folder()
            self._start(state)
            state.save()
        say(f"{len(state.nodes)} nodes ready after {time.monotonic() - began:.1f} s")

    def down(self, *, keep: bool = False) -> None:
        """Stop it; `keep` leaves data and logs for another `up`."""
        with self._alone():
            state = read(self.workdir)
            if state is not None:
                leftovers.take_down(state, keep=keep)

    def power_cut(self) -> None:
        """All machines lose power at once; `up` brings them back with what they had stored."""
        with self._changing() as state:
            machines.stop(state, state.machines)

    def stop_apiserver(self) -> None:
        """Kill the apiserver and keep it down; etcd and the controllers go on."""
        with self._changing() as state:
            machines.hold(state, state.hub, hub.APISERVER)

    def start_apiserver(self) -> None:
        """Start the apiserver again and wait until it serves."""
        with self._changing() as state:
            machines.release(state, state.hub, hub.APISERVER)
            _wait_api(state)

    def status(self) -> ClusterState | None:
        """What is known of the cluster; None if there is none."""
        return read(self.workdir)

    # --- parts of it ---

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, for the host."""
        return self._folders.kubeconfig

    @property
    def kubectl(self) -> Kubectl:
        """The kubectl that belongs to this cluster."""
        return Kubectl(str(programs.programs_folder() / "kubectl"), self.kubeconfig)

    def node(self, name: str) -> Node:
        """One node, to break and to mend."""
        self._state().machine(name)
        return Node(self, name)

    def exec(self, machine: str, *command: str) -> str:
        """Run a program inside a machine, where addresses of pods and Services lead somewhere."""
        return run(self.exec_command(machine, *command))

    def exec_command(self, machine: str, *command: str) -> list[str]:
        """The command line of `exec`."""
        return [*machines.inside(self._state().machine(machine), "-p"), *command]

    def build_image(self, folder: Path, target: str, name: str) -> None:
        """Build a target of the folder's Dockerfile and load it on every running node."""
        buildah.build(folder, target, name)
        self.load_built([name])

    def load_built(self, names: Sequence[str]) -> None:
        """Load images that `buildah.build` made; layers they share travel once."""
        with tempfile.TemporaryDirectory(dir=layout.cache_folder()) as scratch:
            self.load_image(buildah.export(names, Path(scratch)))

    def load_image(self, archive: Path) -> None:
        """Load a docker or OCI archive on every running node."""
        if not archive.is_file():
            raise TestbedError(f"there is no archive {archive}")
        state = self._state()
        images.import_archive([node for node in state.nodes if node.alive], archive)

    def save_logs(self, folder: Path) -> None:
        """Copy every daemon's log, for a look after the cluster is gone."""
        for machine in self._state().machines:
            log = self._folders.log(machine.name).parent
            shutil.copytree(log, folder / machine.name, dirs_exist_ok=True)

    # --- inside ---

    def _new_state(self, nodes: int, port: int) -> ClusterState:
        numbers = range(1, nodes + 1)
        return ClusterState(
            workdir=self.workdir,
            port=port or forwarder.free_port(),
            programs=programs.programs_folder(),
            machines=[Machine(HUB, 0), *(Machine(f"node{number}", number) for number in numbers)],
        )

    def _start(self, state: ClusterState) -> None:
        state.save()  # whatever happens from here on can be found and removed
        host.prepare_settings()
        certificates.make_all(state)
        if not state.hub.alive:
            # Cables end in the hub's network: without it the nodes' are gone too.
            forwarder.stop(state)
            machines.stop(state, state.machines)
            machines.launch(state, state.hub)
            network.wire_hub(state.hub)
            machines.name_daemons(state, state.hub, hub.hub_daemons(state))
        forwarder.start(state)
        fresh = [machine for machine in state.nodes if not machine.alive]
        for machine in fresh:
            node.start_node(state, machine)
        _wait_api(state)
        api = Api(state.folders.certificates, state.port)
        for path, body in first_objects():
            api.create(path, body)
        images.import_archive(fresh, images.pause_archive(state.programs))
        for machine in state.nodes:
            _wait_node(state, machine)

    def _state(self) -> ClusterState:
        state = read(self.workdir)
        if state is None:
            raise TestbedError(f"no cluster in {self.workdir}; make one with `up`")
        return state

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(layout.RUNNING / f"{layout.identity(self.workdir)}.lock"):
            yield

    @contextmanager
    def _changing(self) -> Iterator[ClusterState]:
        with self._alone():
            yield self._state()


class Node:
    """One node of a testbed: power, processor and cable."""

    def __init__(self, testbed: Testbed, name: str) -> None:
        self._testbed = testbed
        self.name = name

    def kill(self) -> None:
        """Cut its power: nothing of it runs any more, its disk stays."""
        with self._changing() as (state, machine):
            machines.stop(state, [machine])

    def start(self) -> None:
        """Power it on again."""
        with self._changing() as (state, machine):
            if not machine.alive:
                node.start_node(state, machine)

    def freeze(self) -> None:
        """Stop its processor: daemons and containers stand still."""
        with self._changing() as (state, machine):
            machines.freeze(state, machine)

    def thaw(self) -> None:
        """Let it go on."""
        with self._changing() as (state, machine):
            machines.thaw(state, machine)

    def cut(self) -> None:
        """Pull its cable: its pods reach each other and nobody else."""
        with self._changing() as (state, machine):
            network.set_cable(state, machine, connected=False)

    def heal(self) -> None:
        """Plug its cable in again."""
        with self._changing() as (state, machine):
            network.set_cable(state, machine, connected=True)

    def ready(self) -> bool:
        """Whether the control plane counts it as ready."""
        state = self._testbed._state()
        return Api(state.folders.certificates, state.port).node_ready(self.name)

    @contextmanager
    def _changing(self) -> Iterator[tuple[ClusterState, Machine]]:
        with self._testbed._changing() as state:
            yield state, state.machine(self.name)


def _wait_api(state: ClusterState) -> None:
    api = Api(state.folders.certificates, state.port)

    def ready() -> bool:
        state.must_live()
        return api.ready()

    wait_for(ready, API_DEADLINE_S, "the apiserver", seen=lambda: _said(state, state.hub))


def _wait_node(state: ClusterState, machine: Machine) -> None:
    api = Api(state.folders.certificates, state.port)

    def ready() -> bool:
        state.must_live()
        return api.node_ready(machine.name)

    wait_for(ready, NODE_DEADLINE_S, machine.name, seen=lambda: _said(state, machine))


def _said(state: ClusterState, machine: Machine) -> str:
    """The ends of a machine's logs."""
    logs = sorted(state.folders.log(machine.name).parent.glob("*.log"))
    return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-600:]}" for log in logs)
