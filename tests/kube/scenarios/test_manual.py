"""The README's section on Kubernetes, pasted command by command into a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube.clusters import Cluster
from tests.kube.parti_images import Images
from tests.kube.proxy import Reader
from tests.kube.scenarios.console import Pasted, commands, difference, section
from tests.kube.scenarios.installation import Installation
from tests.kube.testbed import layout, programs
from tests.kube.testbed.kubectl import Kubectl

COMMAND_DEADLINE_S = 180.0
_READABLE = ("charts", "manifests")


@pytest.fixture
def bare(cluster: Cluster, api: Reader, images: Images) -> Iterator[Kubectl]:
    """The cluster without parti; the operator that was there before comes back."""
    cluster.nodes()  # nobody's own cluster is emptied
    operator = Installation(cluster.kubectl, api, images)
    kubectl = cluster.kubectl.within("default")
    was_there = operator.is_there()
    operator.uninstall()
    yield kubectl
    kubectl("delete", "particluster,pvc", "--all")
    operator.uninstall()
    if was_there:
        operator.install()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: a checkout, as far as the commands need one."""
    for name in _READABLE:
        (tmp_path / name).symlink_to(layout.REPOSITORY / name)
    return tmp_path


@pytest.mark.timeout(600)
def test_every_command_works_as_written_and_prints_what_the_page_says(
    bare: Kubectl, folder: Path
) -> None:
    page = (layout.REPOSITORY / "README.md").read_text()
    pasted = list(commands(section(page, "On Kubernetes")))
    assert any(one.command.startswith("helm install") for one in pasted)
    for one in pasted:
        assert not difference(one, paste(one, bare, folder))


def paste(pasted: Pasted, kubectl: Kubectl, folder: Path) -> str:
    """Run a command as a shell does; gives what it printed. It has to succeed."""
    paths = (Path(sys.executable).parent, programs.programs_folder(), os.environ["PATH"])
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubectl.kubeconfig),
        "PATH": os.pathsep.join(map(str, paths)),
    }
    done = subprocess.run(
        ["bash", "-c", pasted.command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # a terminal shows both
        text=True,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"$ {pasted.command}\n{done.stdout}"
    return done.stdout
