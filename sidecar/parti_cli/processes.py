"""Start, recognise and end processes, also those an earlier program has started.

A pid alone is no identity: the kernel gives it to somebody else later. A process is therefore
remembered as pid and start time, and no signal is ever sent unless both still match. Each process
is started as the leader of its own group, so that a signal reaches what it has started as well
and Ctrl-C at the terminal does not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Process",
    "identify",
    "is_paused",
    "is_running",
    "send_signal",
    "spawn",
    "wait_ended",
]

_POLL_S = 0.005
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Fields of /proc/PID/stat, counted after the command's closing parenthesis.
_STATE_FIELD = 0
_START_TIME_FIELD = 19

# The children this program has started: only their parent can reap them.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it can be found again, by whoever reads this."""

    pid: int
    started: str  # differs between any two processes that ever had this pid


def spawn(command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Process:
    """Start `command` in a group of its own; its output is appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    _children[child.pid] = child
    # Nobody else reaps it, so even if it has ended already its pid is still its own.
    return Process(child.pid, _started(child.pid))


def identify(pid: int) -> Process | None:
    """The process that has this pid now."""
    started = _started(pid)
    return Process(pid, started) if started else None


def is_running(process: Process) -> bool:
    """Whether it is alive; paused counts as alive, ended but not yet reaped does not."""
    child = _children.get(process.pid)
    if child is None:
        return _started(process.pid) == process.started and _state(process.pid) != "Z"
    if child.poll() is None:  # until then a thread of it may still hold its files and ports
        return _started(process.pid) == process.started
    _children.pop(process.pid, None)  # another thread may have seen it first
    return False


def is_paused(process: Process) -> bool:
    """Whether it was stopped by SIGSTOP."""
    return is_running(process) and _state(process.pid) == "T"


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Signal the process and its group; False if it has ended."""
    if not is_running(process):
        return False
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_ended(process: Process, timeout_s: float) -> bool:
    """Wait until it has ended; False if it has not within the time."""
    deadline = time.monotonic() + timeout_s
    while is_running(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the command before it may hold anything


def _started(pid: int) -> str:
    """When the process was started; empty if there is none."""
    if sys.platform != "linux":
        return _ps(pid, "lstart")
    fields = _stat(pid)
    if not fields:
        return ""
    # Start times count from the boot, so they repeat after the next one.
    return f"{_BOOT_ID.read_text(encoding='ascii').strip()}:{fields[_START_TIME_FIELD]}"


def _state(pid: int) -> str:
    if sys.platform != "linux":
        return _ps(pid, "state")[:1]
    fields = _stat(pid)
    return fields[_STATE_FIELD] if fields else ""


def _ps(pid: int, column: str) -> str:
    answer = subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return answer.stdout.strip()
