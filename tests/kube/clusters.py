"""The cluster that the tests in this folder run on: our testbed, or anybody's.

`PARTI_KUBECONFIG` names a cluster that is there already. If it lies in the work folder of a
testbed (as `make kube-up` leaves it), its nodes can be broken and images be loaded; of any other
cluster `PARTI_KUBE_IMAGES` says which images to use.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.kube import parti_images
from tests.kube.parti_images import Images
from tests.kube.testbed import host, layout, programs
from tests.kube.testbed.kubectl import Kubectl
from tests.kube.testbed.layout import Folders
from tests.kube.testbed.testbed import Testbed

GIVEN = "PARTI_KUBECONFIG"
GIVEN_IMAGES = "PARTI_KUBE_IMAGES"
REQUIRED = "PARTI_KUBE_REQUIRED"
NODES = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster to test on; only of a testbed can nodes be broken."""

    kubectl: Kubectl
    testbed: Testbed | None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.kubectl.kubeconfig

    def nodes(self) -> Testbed:
        """The testbed below, to break nodes; the test is skipped where there is none."""
        if self.testbed is None:
            pytest.skip(f"nodes of the cluster that {GIVEN} names cannot be broken")
        return self.testbed


def cannot(reason: str, environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Skip, with one line that says why; fail where the tests are required."""
    if environment.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, and {reason}", pytrace=False)
    pytest.skip(reason)


@contextmanager
def cluster_for_tests(logs: Path) -> Iterator[Cluster]:
    """The cluster that was given, or a testbed of our own; `logs` takes what it said."""
    if given := os.environ.get(GIVEN):
        yield _given(Path(given).resolve())
        return
    if reason := host.obstacle():
        cannot(reason)
    testbed = Testbed(layout.cache_folder() / "runs" / str(os.getpid()))
    try:
        testbed.up(NODES)
        yield Cluster(testbed.kubectl, testbed)
    finally:
        if testbed.status() is not None:
            testbed.save_logs(logs)
        testbed.down()


def _given(kubeconfig: Path) -> Cluster:
    if not kubeconfig.is_file():
        pytest.fail(f"{GIVEN} names {kubeconfig}, which is not there", pytrace=False)
    if Folders(kubeconfig.parent).state.is_file():
        testbed = Testbed(kubeconfig.parent, kept=True)
        return Cluster(testbed.kubectl, testbed)
    program = shutil.which("kubectl")
    if program is None and programs.are_built():
        program = str(programs.programs_folder() / "kubectl")
    if program is None:
        cannot("there is no kubectl on the PATH")
    return Cluster(Kubectl(str(program), kubeconfig), None)


def images_for(cluster: Cluster, environment: Mapping[str, str] = os.environ) -> Images:
    """parti's images on the cluster: as given, or built from the Dockerfile and loaded."""
    if given := environment.get(GIVEN_IMAGES, ""):
        return parti_images.parse(given)
    if cluster.testbed is None:
        cannot(f"{GIVEN_IMAGES} does not say which images the given cluster has")
    return parti_images.build_and_load(cluster.testbed)
