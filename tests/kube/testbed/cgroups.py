"""Control groups of machines, in the first version (a tree per controller) and the second (one).

`/<cluster>/<machine>/system` holds a machine's daemons, `/<cluster>/<machine>/kubepods` its pods,
so one write freezes or counts a whole machine. First version: proven. Second version: the paths
are there, no such host was at hand.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tests.kube.testbed.commands import TestbedError

_ROOT = Path("/sys/fs/cgroup")
# cpu and cpuset stay out: the daemons share the processors freely.
_JOINED = frozenset({"cgroup", "freezer", "memory", "pids", "cpuacct"})
REMOVE_DEADLINE_S = 10.0


def hierarchies(mountinfo: str, *, unified: bool) -> list[Path]:
    """The mounted trees: the only one of version 2, or one for each controller of version 1."""
    if unified:
        return [_ROOT]
    lines = [line.split(" - ") for line in mountinfo.splitlines()]
    return [Path(left.split()[4]) for left, right in lines if right.split()[0] == "cgroup"]


def mounted() -> list[Path]:
    """The trees of this host."""
    unified = (_ROOT / "cgroup.controllers").exists()
    roots = hierarchies(Path("/proc/self/mountinfo").read_text(), unified=unified)
    if not roots:
        raise TestbedError(f"no cgroup hierarchy is mounted below {_ROOT}")
    return roots


def writable() -> bool:
    """Whether groups can be made here; in many containers the trees are read-only."""
    try:
        return all(os.access(root, os.W_OK) for root in mounted())
    except TestbedError:
        return False


def make(group: str) -> None:
    """Make a group everywhere: the kubelet refuses a root that one hierarchy lacks."""
    for root in mounted():
        here = root
        for part in group.split("/"):
            parent, here = here, here / part
            here.mkdir(exist_ok=True)
            if root.name == "cpuset":
                _fill_cpuset(parent, here)


def _fill_cpuset(parent: Path, group: Path) -> None:
    """Take over the parent's processors: a new group has none and so takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (group / name).read_text().strip():
            (group / name).write_text((parent / name).read_text())


def join(group: str) -> None:
    """Put the calling process, and so all its children, into the group."""
    for root in mounted():
        if root.name in _JOINED:
            (root / group / "cgroup.procs").write_text("0")


def members(group: str) -> set[int]:
    """The processes in a group and below it."""
    pids: set[int] = set()
    for root in mounted():
        for listing in (root / group).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(int(pid) for pid in listing.read_text().split())
    return pids


def remove(group: str) -> None:
    """Remove an empty group with all below it; the kernel may need a moment."""
    # runc adds its groups to the second version's tree that hosts mount beside the first's.
    tops = [root / group for root in [*mounted(), _ROOT / "unified"]]
    end = time.monotonic() + REMOVE_DEADLINE_S
    while left := [top for top in tops if not _removed(top)]:
        if time.monotonic() > end:
            raise TestbedError(f"still in use: {', '.join(map(str, left))}")
        time.sleep(0.05)


def _removed(top: Path) -> bool:
    for here, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(here).rmdir()
    return not top.exists()


def freeze(group: str, *, frozen: bool) -> None:
    """Stop or resume every process of a group at once."""
    first, second = _ROOT / "freezer" / group / "freezer.state", _ROOT / group / "cgroup.freeze"
    if first.exists():
        first.write_text("FROZEN" if frozen else "THAWED")
    elif second.exists():
        second.write_text("1" if frozen else "0")
    else:
        raise TestbedError(f"cgroup {group} has no freezer")


def is_frozen(group: str) -> bool:
    """Whether every process of a group has stopped."""
    first, second = _ROOT / "freezer" / group / "freezer.state", _ROOT / group / "cgroup.events"
    if first.exists():
        return first.read_text().strip() == "FROZEN"
    return second.exists() and "frozen 1" in second.read_text()
