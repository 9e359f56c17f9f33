"""Where everything of a testbed stands: versions, names, addresses, folders.

The addresses exist only inside the namespaces of a cluster, so two clusters on one host may use
the same ones. What is visible on the host carries `PREFIX`: cgroups, the folder of running
clusters, names of images.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "1.34.4"
PREFIX = "parti-kube"

REPOSITORY = Path(__file__).resolve().parents[3]
TOOLS = REPOSITORY / "tests" / "kube" / "tools"

# Every cluster that runs on this host is noted here; a reboot empties it, as it ends them.
RUNNING = Path("/run") / PREFIX

HUB = "hub"
HUB_IP = "10.200.0.1"
API_PORT = 6443
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
FIRST_SERVICE_IP = "10.96.0.1"
CLUSTER_DOMAIN = "cluster.local"
NODES_MAX = 9

PAUSE_IMAGE = f"localhost/{PREFIX}-pause:1"
BASE_IMAGE = f"localhost/{PREFIX}-python:3.11"


def node_ip(number: int) -> str:
    """The address of a node; the hub is `HUB_IP`."""
    return f"10.200.0.{10 + number}"


def pod_network(number: int) -> str:
    """The addresses of a node's pods."""
    return f"10.244.{number}.0/24"


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where programs, the base image and image layers are kept between runs."""
    given = environment.get("XDG_CACHE_HOME")
    parent = Path(given) if given else Path("~/.cache").expanduser()
    return parent / "parti" / "kube"


def identity(workdir: Path) -> str:
    """Names a cluster's cgroups and its note among the running ones."""
    return f"{PREFIX}-{hashlib.sha256(str(workdir).encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Folders:
    """The places of one cluster below its work folder."""

    workdir: Path

    @property
    def state(self) -> Path:
        """What is known of the cluster's machines."""
        return self.workdir / "cluster.json"

    @property
    def certificates(self) -> Path:
        """Keys and certificates."""
        return self.workdir / "pki"

    @property
    def settings(self) -> Path:
        """Configuration of the daemons."""
        return self.workdir / "conf"

    @property
    def volumes(self) -> Path:
        """Data of persistent volumes."""
        return self.workdir / "volumes"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's way in, from the host."""
        return self.workdir / "kubeconfig"

    @property
    def forwarder_log(self) -> Path:
        """What the forwarder on the host said."""
        return self.workdir / "forwarder.log"

    def machine(self, name: str) -> Path:
        """Data and logs of one machine."""
        return self.workdir / "machines" / name

    def log(self, name: str, daemon: str = "init") -> Path:
        """What a daemon of a machine said."""
        return self.machine(name) / "log" / f"{daemon}.log"
