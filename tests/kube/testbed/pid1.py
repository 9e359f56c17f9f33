"""Process 1 of a machine: starts its daemons, restarts the dead, reaps orphans.

It waits for `spec.json` in the machine's folder, a list of daemons. A daemon whose name lies in
the folder `held` is killed and not started again until that file is gone; SIGUSR1 makes process 1
look at once. After every change `daemons.json` says what runs.

    python -m tests.kube.testbed.pid1 MACHINE-FOLDER CGROUP
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.kube.testbed import cgroups
from tests.kube.testbed.commands import run

SPEC = "spec.json"
HELD = "held"
REPORT = "daemons.json"
RESTART_AFTER_S = 1.0
_LOOK_EVERY_S = 5.0
_LOOK_WHILE_WAITING_S = 0.1
_WAKING = (signal.SIGCHLD, signal.SIGUSR1)
_BLOCKED = (*_WAKING, signal.SIGTERM)


@dataclass(slots=True)
class Daemon:
    """One supervised program: started once `needs` (a socket's path or a URL) is there."""

    name: str
    arguments: list[str]
    needs: str = ""
    pid: int = 0
    starts: int = 0
    not_before_s: float = 0.0

    def ready_to_start(self) -> bool:
        """Whether it has rested after its end and what it needs is there."""
        if time.monotonic() < self.not_before_s:
            return False
        if self.needs.startswith("/"):
            return Path(self.needs).exists()
        return not self.needs or _answers(self.needs)

    def start(self, home: Path) -> None:
        """Start it, in a session of its own, with its own log."""
        log = os.open(home / "log" / f"{self.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pid = os.posix_spawn(
            self.arguments[0],
            self.arguments,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_CLOSE, log),
            ],
            setsid=True,
            setsigdef=_BLOCKED,
            setsigmask=[],
        )
        os.close(log)
        self.starts += 1
        _note(f"started {self.name} as {self.pid}")

    def ended(self, status: int) -> None:
        """It is gone; it may start again after a rest."""
        _note(f"{self.name} ended with status {status}")
        self.pid, self.not_before_s = 0, time.monotonic() + RESTART_AFTER_S


def _note(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _answers(url: str) -> bool:
    """Whether a daemon of this machine says it is well; it is our own, so no certificate check."""
    context = ssl._create_unverified_context() if url.startswith("https") else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _mount(home: Path) -> None:
    """Give the machine its own /var and /run, so that fixed paths cannot collide.

    kubelet and containerd write below /var/lib/kubelet/device-plugins, /var/log/containers,
    /var/lib/cni and /run whatever their flags say.
    """
    # Shared only among this machine's own mounts: the kubelet's volume mounts must reach the
    # containers that ask for them.
    run(["mount", "--make-rshared", "/"])
    (home / "var" / "run").unlink(missing_ok=True)
    (home / "var" / "run").symlink_to("/run")
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])
    run(["mount", "--rbind", home / "var", "/var"])


def _tend(daemons: list[Daemon], home: Path) -> bool:
    """Start who may run and kill who may not; whether anybody waits to be started."""
    waiting = False
    for daemon in daemons:
        held = (home / HELD / daemon.name).exists()
        if held and daemon.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGKILL)
        elif not held and not daemon.pid:
            if daemon.ready_to_start():
                daemon.start(home)
            else:
                waiting = True
    return waiting


def _reap(daemons: list[Daemon]) -> None:
    """Collect the dead: own daemons to restart, and containerd's orphaned shims."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        for daemon in daemons:
            if daemon.pid == pid:
                daemon.ended(status)


def _report(daemons: list[Daemon], home: Path) -> None:
    text = json.dumps({d.name: {"running": bool(d.pid), "starts": d.starts} for d in daemons})
    path = home / REPORT
    if not path.exists() or path.read_text() != text:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)


def supervise(home: Path, group: str) -> NoReturn:
    """Run a machine until it is killed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    cgroups.join(group)
    _mount(home)
    spec = home / SPEC
    while not spec.exists():
        signal.sigtimedwait(_WAKING, _LOOK_WHILE_WAITING_S)
    daemons = [Daemon(**fields) for fields in json.loads(spec.read_text())]
    while True:
        waiting = _tend(daemons, home)
        _report(daemons, home)
        signal.sigtimedwait(_WAKING, _LOOK_WHILE_WAITING_S if waiting else _LOOK_EVERY_S)
        _reap(daemons)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), sys.argv[2])
