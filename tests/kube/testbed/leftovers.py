"""Taking clusters down, our own and those whose owner died without doing it.

Only what a cluster's note names is touched: processes by pid and start time, and cgroups that
carry our prefix and the cluster's name.
"""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from tests.kube.testbed import cgroups, forwarder, host, layout, machines
from tests.kube.testbed.commands import say
from tests.kube.testbed.state import ClusterState, load, locked

_CONTENT = ("machines", "volumes", "pki", "conf")
_FILES = ("kubeconfig", "forwarder.log", "cluster.json", "cluster.new")


def is_leftover(state: ClusterState) -> bool:
    """Whether a cluster belonged to somebody who is gone; one without an owner is kept."""
    return state.owner is not None and not state.owner.alive


def remove_leftovers() -> list[Path]:
    """Take down the clusters of dead runs; gives their work folders."""
    removed = []
    with locked(layout.RUNNING / "leftovers.lock", machines.STOP_DEADLINE_S * 2):
        for note in sorted(layout.RUNNING.glob("*.json")):
            state = load(note.read_text())
            if is_leftover(state):
                say(f"removing what a dead run left in {state.workdir}")
                take_down(state)
                removed.append(state.workdir)
    return removed


def take_down(state: ClusterState, *, keep: bool = False) -> None:
    """Stop what a cluster started and nothing else; `keep` leaves data and logs."""
    forwarder.stop(state)
    for machine in state.machines:
        if machine.init is None:
            # Its starter died between making it and noting it.
            for pid in cgroups.members(state.group(machine)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    machines.stop(state, state.machines)
    cgroups.remove(state.ident)
    state.note.unlink(missing_ok=True)
    host.restore_settings()
    if not keep:
        for part in _CONTENT:
            shutil.rmtree(state.workdir / part, ignore_errors=True)
        for part in _FILES:
            (state.workdir / part).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files are in it
            state.workdir.rmdir()
