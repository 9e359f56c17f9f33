"""Machines: one process tree each, in network, mount, process, host name and IPC namespaces.

This buys what running the daemons on the host does not: nothing can leave the host; stopping is
exact, as killing process 1 makes the kernel end every process, mount, rule and link made inside;
several real kubelets fit side by side, so the loss of a node can be tested.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kube.testbed import cgroups, layout, pid1
from tests.kube.testbed.commands import TestbedError, run, tail, wait_for
from tests.kube.testbed.processes import identify
from tests.kube.testbed.state import ClusterState, Machine

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 60.0
FREEZE_DEADLINE_S = 20.0
HOLD_DEADLINE_S = 20.0
_FOLDERS = ("log", "held", "var/lib/cni", "var/lib/kubelet", "var/log", "var/tmp")
_NAMESPACES = ("--mount", "--net", "--pid", "--fork", "--uts", "--ipc", "--mount-proc")

# The programs that made the namespaces: children of this process must be waited for.
_launchers: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class DaemonSpec:
    """What process 1 is told about one daemon."""

    name: str
    arguments: Sequence[str]
    needs: str = ""


def launch(state: ClusterState, machine: Machine) -> None:
    """Start a machine's process 1; it waits for its daemons to be named."""
    home = state.folders.machine(machine.name)
    for part in _FOLDERS:
        (home / part).mkdir(parents=True, exist_ok=True)
    for name in (pid1.SPEC, pid1.REPORT):
        (home / name).unlink(missing_ok=True)
    for held in (home / pid1.HELD).iterdir():
        held.unlink()
    group = f"{state.group(machine)}/system"
    cgroups.make(group)
    program = [sys.executable, "-m", pid1.__name__, str(home), group]
    with state.folders.log(machine.name).open("ab") as log:
        launcher = subprocess.Popen(
            # Without --kill-child a killed launcher would leave the tree running.
            ["unshare", *_NAMESPACES, "--kill-child", "--propagation", "private", *program],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=layout.REPOSITORY,
        )
    pid = _first_child(launcher, state.folders.log(machine.name))
    machine.init = identify(pid)
    _launchers[pid] = launcher
    state.save()


def _first_child(launcher: subprocess.Popen[bytes], log: Path) -> int:
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")

    def forked() -> str:
        if launcher.poll() is not None:
            raise TestbedError(f"a machine did not start:\n{tail(log)}")
        return children.read_text()

    return int(wait_for(forked, START_DEADLINE_S, "process 1 of a machine", poll_s=0.01).split()[0])


def name_daemons(state: ClusterState, machine: Machine, daemons: Sequence[DaemonSpec]) -> None:
    """Tell process 1 what to run."""
    path = state.folders.machine(machine.name) / pid1.SPEC
    fresh = path.with_suffix(".new")
    spec = [{"name": d.name, "arguments": list(d.arguments), "needs": d.needs} for d in daemons]
    fresh.write_text(json.dumps(spec, indent=1))
    fresh.replace(path)


def stop(state: ClusterState, machines: Sequence[Machine]) -> None:
    """Cut the power of machines, all at once; the kernel ends whatever they ran."""
    for machine in machines:
        if machine.alive:
            thaw(state, machine)  # a frozen process does not die
    for machine in machines:
        if machine.init is not None:
            machine.init.send(signal.SIGKILL)
    for machine in machines:
        _wait_stopped(state, machine)
        machine.init = None
    state.save()


def _wait_stopped(state: ClusterState, machine: Machine) -> None:
    group = state.group(machine)
    wait_for(
        lambda: not machine.alive and not cgroups.members(group),
        STOP_DEADLINE_S,
        f"the end of {machine.name}",
        poll_s=0.02,
        seen=lambda: f"processes {sorted(cgroups.members(group))}",
    )
    if machine.init is not None and (launcher := _launchers.pop(machine.init.pid, None)):
        launcher.wait(STOP_DEADLINE_S)
    cgroups.remove(group)


def freeze(state: ClusterState, machine: Machine) -> None:
    """Stop everything of a machine where it stands: daemons, shims and containers."""
    group = state.group(machine)
    cgroups.freeze(group, frozen=True)
    wait_for(lambda: cgroups.is_frozen(group), FREEZE_DEADLINE_S, f"{machine.name} to freeze")


def thaw(state: ClusterState, machine: Machine) -> None:
    """Let a frozen machine go on."""
    cgroups.freeze(state.group(machine), frozen=False)


def hold(state: ClusterState, machine: Machine, daemon: str) -> None:
    """Kill one daemon and keep it down."""
    home = state.folders.machine(machine.name)
    (home / pid1.HELD / daemon).touch()
    _wait_running(state, machine, daemon, running=False)


def release(state: ClusterState, machine: Machine, daemon: str) -> None:
    """Let a daemon that was held start again."""
    home = state.folders.machine(machine.name)
    (home / pid1.HELD / daemon).unlink(missing_ok=True)
    _wait_running(state, machine, daemon, running=True)


def _wait_running(state: ClusterState, machine: Machine, daemon: str, *, running: bool) -> None:
    if machine.init is None:
        raise TestbedError(f"{machine.name} is not running")
    machine.init.send(signal.SIGUSR1)
    wait_for(
        lambda: daemons(state, machine).get(daemon, {}).get("running") is running,
        HOLD_DEADLINE_S,
        f"{daemon} on {machine.name} to {'start' if running else 'end'}",
    )


def daemons(state: ClusterState, machine: Machine) -> dict[str, Any]:
    """What process 1 says of its daemons: running or not, and how often started."""
    path = state.folders.machine(machine.name) / pid1.REPORT
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def inside(machine: Machine, *arguments: str | Path) -> list[str]:
    """A command line that runs in the machine's network and mounts."""
    return ["nsenter", "-t", str(machine.pid), "-n", "-m", *map(str, arguments)]


def run_inside(machine: Machine, *arguments: str | Path) -> str:
    """Run a program in the machine's network and mounts."""
    return run(inside(machine, *arguments))
