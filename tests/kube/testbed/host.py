"""What this host must have and be: root, namespaces, distribution packages, kernel settings."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.kube.testbed import cgroups, layout, programs
from tests.kube.testbed.commands import TestbedError, run, say, succeeds

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
INSTALL_DEADLINE_S = 600.0
INOTIFY_INSTANCES = 1024
_DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
# A machine has a /var and a /run of its own, so nothing it reads may lie there.
_HIDDEN = (Path("/var"), Path("/run"))
_NAMESPACES = ("--mount", "--net", "--pid", "--fork", "--uts", "--ipc")
# What a machine does first, tried in namespaces that end with it.
_PROBE = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/merged
mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/merged
"""
_INOTIFY = "fs/inotify/max_user_instances"
# The kubelet writes these for the whole host; the last `down` puts the old values back.
TOUCHED_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    _INOTIFY,
)


@dataclass(frozen=True, slots=True)
class Need:
    """A program or file, and the distribution's package that brings it."""

    what: str
    package: str


NEEDS = (
    Need("unshare", "util-linux"),
    Need("nsenter", "util-linux"),
    Need("ip", "iproute2"),
    Need("iptables", "iptables"),
    Need("conntrack", "conntrack"),
    Need("openssl", "openssl"),
    Need("containerd", "containerd"),
    Need("ctr", "containerd"),
    Need("runc", "runc"),
    Need("CNI plugins", "containernetworking-plugins"),
    Need("buildah", "buildah"),
    Need("debootstrap", "debootstrap"),
    Need(_DEBIAN_KEYS, "debian-archive-keyring"),
)


def cni_folder() -> Path | None:
    """Where the distribution keeps the programs that wire pods."""
    return next((folder for folder in CNI_FOLDERS if (folder / "ptp").exists()), None)


def _present(what: str) -> bool:
    if what.startswith("/"):
        return Path(what).exists()
    return cni_folder() is not None if what == "CNI plugins" else shutil.which(what) is not None


def missing_packages(present: Callable[[str], bool] = _present) -> list[str]:
    """The packages to install."""
    return sorted({need.package for need in NEEDS if not present(need.what)})


def hidden(paths: Iterable[Path]) -> list[Path]:
    """Which of these paths a machine would not see."""
    return [path for path in paths if any(path.is_relative_to(top) for top in _HIDDEN)]


def obstacle() -> str:
    """Why no testbed can run here, in one line; nothing if one can."""
    if platform.system() != "Linux":
        return f"the testbed needs Linux, this is {platform.system()}"
    if os.geteuid():
        return "the testbed needs root: it makes namespaces and cgroups"
    if bad := hidden([layout.cache_folder(), layout.REPOSITORY]):
        return f"{bad[0]} lies under /var or /run, which the testbed's machines have of their own"
    if not programs.are_built() and not shutil.which("go"):
        return "the testbed's programs are not built, and there is no Go to build them with"
    if (packages := missing_packages()) and not shutil.which("apt-get"):
        return f"the testbed lacks the packages {', '.join(packages)}, and there is no apt-get"
    if not cgroups.writable():
        return "the testbed needs cgroups it can write to, and this machine has none"
    if not succeeds(["unshare", *_NAMESPACES, "sh", "-e", "-c", _PROBE]):
        return "the testbed needs namespaces and overlay mounts, which this machine refuses"
    return ""


def check(workdir: Path) -> None:
    """Refuse a host or a work folder that cannot do."""
    if reason := obstacle():
        raise TestbedError(reason)
    if hidden([workdir]):
        raise TestbedError(f"{workdir} must not lie under /var or /run: machines have their own")


def install_packages() -> None:
    """Install what is missing from the distribution."""
    packages = missing_packages()
    if not packages:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise TestbedError(f"install the packages {', '.join(packages)}")
    say(f"installing {', '.join(packages)} (up to 2 min)")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], environment=quiet, deadline_s=INSTALL_DEADLINE_S)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    run(install, environment=quiet, deadline_s=INSTALL_DEADLINE_S)
    if still := missing_packages():
        raise TestbedError(f"apt-get installed them, and still missing: {', '.join(still)}")


def _settings_note() -> Path:
    return layout.RUNNING / "sysctls"


def prepare_settings() -> None:
    """Note the host's kernel settings before a kubelet changes them, and raise one."""
    note = _settings_note()
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        found = {name: Path("/proc/sys", name).read_text().strip() for name in TOUCHED_SETTINGS}
        fresh = note.with_suffix(".new")
        fresh.write_text(json.dumps(found))
        fresh.replace(note)
    # Each kubelet and containerd holds dozens; the usual 128 ends at the second node.
    limit = Path("/proc/sys", _INOTIFY)
    limit.write_text(str(max(INOTIFY_INSTANCES, int(limit.read_text()))))


def restore_settings() -> None:
    """Put the kernel settings back, once no cluster is left on this host."""
    note = _settings_note()
    if note.exists() and not any(layout.RUNNING.glob("*.json")):
        for name, value in json.loads(note.read_text()).items():
            Path("/proc/sys", name).write_text(value)
        note.unlink()
