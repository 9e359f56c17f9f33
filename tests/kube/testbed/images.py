"""Images on the nodes: the pause image made by hand, and archives imported into containerd."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.kube.testbed.commands import TestbedError, run, succeeds, wait_for
from tests.kube.testbed.layout import PAUSE_IMAGE
from tests.kube.testbed.machines import inside
from tests.kube.testbed.state import Machine

CONTAINERD_DEADLINE_S = 60.0
IMPORT_DEADLINE_S = 300.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def pause_archive(programs: Path) -> Path:
    """The image that holds a pod's namespaces, beside the program it is made of."""
    archive = programs / "pause.tar"
    if not archive.exists():
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as out:
            out.add(programs / "pause", "pause")
        fresh = archive.with_suffix(".new")
        content = docker_archive([layer.getvalue()], {"Entrypoint": ["/pause"]}, PAUSE_IMAGE)
        fresh.write_bytes(content)
        fresh.replace(archive)
    return archive


def docker_archive(layers: Sequence[bytes], settings: Mapping[str, Any], name: str) -> bytes:
    """An image made by hand, in the one form that ctr, buildah and podman all read."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise TestbedError(f"images for {machine} are not known")
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES[machine],
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    files = [f"{digest}.tar" for digest in digests]
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": files}]
    members = dict(zip(files, layers, strict=True))
    members |= {config_name: config, "manifest.json": json.dumps(manifest).encode()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def import_archive(nodes: Sequence[Machine], archive: Path) -> None:
    """Load an archive on every node; k8s.io is the namespace that the kubelet sees."""

    def load(node: Machine) -> None:
        wait_for(
            lambda: succeeds(inside(node, "ctr", "version")),
            CONTAINERD_DEADLINE_S,
            f"containerd of {node.name}",
        )
        # Over stdin, as the archive may lie where the node has a /var of its own.
        command = inside(node, "ctr", "-n", "k8s.io", "images", "import", "-")
        with archive.open("rb") as data:
            run(command, stdin=data, deadline_s=IMPORT_DEADLINE_S)

    if nodes:
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(load, nodes))
