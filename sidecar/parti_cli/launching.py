"""How a sidecar or a worker of the local cluster is started: command, environment, first words."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from parti_cli.devstate import Addresses, ClusterFiles, ClusterState, MemberState
from parti_cli.errors import DevClusterError
from parti_cli.processes import Process, is_running, spawn

__all__ = [
    "SIDECAR_COMMAND",
    "application_environment",
    "import_path_environment",
    "log_tail",
    "planned_addresses",
    "start_sidecar",
    "start_worker",
    "wait_for_addresses",
]

SIDECAR_COMMAND = (sys.executable, "-m", "parti_sidecar.main")
_HOST = "127.0.0.1"
_PORTS_PER_MEMBER = 10
_POLL_S = 0.02
_TAIL_LINES = 8
_TAIL_BYTES = 8192


def planned_addresses(base_port: int, number: int) -> Addresses:
    """Four fixed ports of the member with this number, or port 0: any free one."""
    first = base_port + _PORTS_PER_MEMBER * (number - 1) if base_port else 0
    ports = [first + offset if first else 0 for offset in range(4)]
    return Addresses(*(f"{_HOST}:{port}" for port in ports))


def start_sidecar(
    files: ClusterFiles,
    state: ClusterState,
    member: MemberState,
    *,
    command: Sequence[str],
    founding: bool,
) -> Process:
    """Start the sidecar; the first of a new cluster is `founding`, all others join."""
    data = files.data_directory(member.name)
    data.mkdir(parents=True, exist_ok=True)
    _address_file(files, member.name).unlink(missing_ok=True)
    addresses = member.addresses
    flags = ["--name", member.name, "--data-dir", str(data), "--log-format", "human"]
    flags += ["--app-address", addresses.app, "--peer-address", addresses.peer]
    flags += ["--admin-address", addresses.admin, "--http-address", addresses.http]
    if founding:
        flags += ["--bootstrap", "--partitions", str(state.partitions)]
    else:
        peers = [other.addresses.peer for other in state.members.values() if other is not member]
        flags += ["--join", ",".join(peer for peer in peers if not _unchosen(peer))]
    return spawn(
        [*command, *flags, *state.arguments, *member.arguments],
        log=files.log(member.name, "sidecar"),
        environment=import_path_environment(),
    )


def start_worker(files: ClusterFiles, state: ClusterState, member: MemberState) -> Process:
    """Start the application beside its sidecar."""
    return spawn(
        state.worker_command,
        log=files.log(member.name, "worker"),
        environment=application_environment(member),
    )


def application_environment(member: MemberState) -> dict[str, str]:
    """Where an application beside this member finds its sidecar."""
    return os.environ | {
        "PARTI_ADDRESS": member.addresses.app,
        "PARTI_ADMIN": member.addresses.admin,
        "PARTI_MEMBER": member.name,
    }


def import_path_environment() -> dict[str, str]:
    """For programs of parti itself: the same modules as here, and no settings from outside."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARTI_")}
    return inherited | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def wait_for_addresses(files: ClusterFiles, member: MemberState, deadline: float) -> Addresses:
    """The ports that the sidecar chose, once it listens."""
    if not _unchosen(member.addresses.peer):
        return member.addresses
    path = _address_file(files, member.name)
    while True:
        chosen = _read_addresses(path)
        if chosen is not None:
            return chosen
        assert member.sidecar is not None, "it was just started"
        log = files.log(member.name, "sidecar")
        if not is_running(member.sidecar):
            raise DevClusterError(
                f"the sidecar of {member.name} ended while starting", hint=log_tail(log)
            )
        if time.monotonic() >= deadline:
            raise DevClusterError(
                f"the sidecar of {member.name} does not listen yet", hint=log_tail(log)
            )
        time.sleep(_POLL_S)


def log_tail(log: Path) -> str:
    """The last words of a process and where to read the rest."""
    try:
        with log.open("rb") as lines:
            lines.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = lines.read().decode(errors="replace").strip()
    except OSError:
        text = ""
    last = "\n".join(f"  | {line}" for line in text.splitlines()[-_TAIL_LINES:])
    return f"Its log is {log}" + (f" and ends with:\n{last}" if last else "; it is empty.")


def _address_file(files: ClusterFiles, name: str) -> Path:
    return files.data_directory(name) / "addresses.json"


def _unchosen(address: str) -> bool:
    return address.endswith(":0")


def _read_addresses(path: Path) -> Addresses | None:
    try:
        return Addresses(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError:  # being written at this moment
        return None
