"""The cluster's programs, built once from the Go modules below `tests/kube/tools`.

They lie in the cache folder under a key of all that decides them, so a later build is free and
a cache of that folder is all that a machine without Go needs.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.kube.testbed import layout
from tests.kube.testbed.commands import TestbedError, run, say
from tests.kube.testbed.state import locked

BUILD_DEADLINE_S = 40 * 60.0
OTHERS_KEPT = 1
_SOURCES = frozenset({".go", ".mod", ".sum"})
_KUBE = "k8s.io/kubernetes/cmd"
PROGRAMS = (
    "pause",
    "coredns",
    "etcd",
    "kubectl",
    "kubelet",
    "kube-proxy",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "helm",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One program: from which module and package, and how long it takes with an empty cache."""

    program: str
    module: str
    package: str
    expected: str


STEPS = (
    Step("pause", "pause", ".", "1 s"),
    # Its package is called "server", which would also name the file.
    Step("etcd", "kube", "go.etcd.io/etcd/server/v3", "1 min"),
    Step("kube-apiserver", "kube", f"{_KUBE}/kube-apiserver", "6 min"),
    Step("kube-controller-manager", "kube", f"{_KUBE}/kube-controller-manager", "1 min"),
    Step("kube-scheduler", "kube", f"{_KUBE}/kube-scheduler", "30 s"),
    Step("kube-proxy", "kube", f"{_KUBE}/kube-proxy", "20 s"),
    Step("kubelet", "kube", f"{_KUBE}/kubelet", "2 min"),
    Step("kubectl", "kube", f"{_KUBE}/kubectl", "1 min"),
    Step("coredns", "dns", ".", "3 min"),
    Step("helm", "helm", "helm.sh/helm/v4/cmd/helm", "2 min"),
)


def linker_flags(version: str) -> str:
    """Without a stamped version the apiserver calls itself v0.0.0.

    kubectl, client libraries and feature gates all read that number. -s -w drops the symbol
    tables, a third of each file.
    """
    major, minor, _ = version.split(".")
    at = "k8s.io/component-base/version"
    return f"-s -w -X {at}.gitVersion=v{version} -X {at}.gitMajor={major} -X {at}.gitMinor={minor}"


def cache_key(sources: Iterable[tuple[str, bytes]], flags: str, machine: str) -> str:
    """Changes when anything that decides the built programs changes."""
    digest = hashlib.sha256(f"{flags}\0{machine}\0".encode())
    for name, content in sorted(sources):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def programs_folder() -> Path:
    """Where the programs of this checkout are or will be."""
    sources = [
        (str(path.relative_to(layout.TOOLS)), path.read_bytes())
        for path in layout.TOOLS.rglob("*")
        if path.suffix in _SOURCES
    ]
    flags = linker_flags(layout.KUBERNETES_VERSION)
    return layout.cache_folder() / "programs" / cache_key(sources, flags, platform.machine())


def are_built() -> bool:
    """Whether nothing is left to build."""
    return all((programs_folder() / name).is_file() for name in PROGRAMS)


def build() -> Path:
    """Build what is missing; returns the folder of the programs."""
    folder = programs_folder()
    if are_built():
        return folder
    if not shutil.which("go"):
        raise TestbedError("`go` is not on the PATH; the cluster's programs are built with it")
    with locked(layout.cache_folder() / "build.lock", BUILD_DEADLINE_S):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [step for step in STEPS if not (folder / step.program).is_file()]
        for number, step in enumerate(missing, 1):
            say(f"building {step.program} ({number} of {len(missing)}; up to {step.expected})")
            _build(step, folder)
        for old in superseded(folder.parent.iterdir(), folder):
            shutil.rmtree(old)
    return folder


def superseded(folders: Iterable[Path], current: Path) -> list[Path]:
    """The programs to forget: all but the current ones and the newest of the others.

    Two checkouts on one machine may differ in their modules.
    """
    others = [folder for folder in folders if folder != current]
    others.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    return others[OTHERS_KEPT:]


def _build(step: Step, folder: Path) -> None:
    began = time.monotonic()
    flags = linker_flags(layout.KUBERNETES_VERSION)
    with tempfile.TemporaryDirectory(dir=folder, prefix="unfinished-") as scratch:
        fresh = Path(scratch) / step.program
        run(
            ["go", "build", "-trimpath", "-ldflags", flags, "-o", fresh, step.package],
            folder=layout.TOOLS / step.module,
            # Static programs run in any mount namespace, and pause in an empty image.
            environment={**os.environ, "CGO_ENABLED": "0"},
            deadline_s=BUILD_DEADLINE_S,
        )
        fresh.replace(folder / step.program)
    say(f"built {step.program} in {time.monotonic() - began:.0f} s")
