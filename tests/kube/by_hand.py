"""A cluster to work with by hand, parti's images on it: `make kube-up`, `make kube-down`.

It stays until `kube-down`; the tests use it when `PARTI_KUBECONFIG` names its kubeconfig.
"""

from __future__ import annotations

import sys

import click

from tests.kube import parti_images
from tests.kube.testbed import layout, programs
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.testbed import Testbed


@click.group()
@click.pass_context
def main(context: click.Context) -> None:
    """A Kubernetes of three nodes on this machine, to work with by hand."""
    context.obj = Testbed(layout.cache_folder() / "cluster", kept=True)


@main.command()
@click.pass_obj
def up(testbed: Testbed) -> None:
    """Start it, with parti's images on every node."""
    testbed.up()
    images = parti_images.build_and_load(testbed)
    click.echo(f"images: {images.sidecar} {images.operator} {images.demo}")
    click.echo(f"export KUBECONFIG={testbed.kubeconfig}")
    click.echo(f"export PATH={programs.programs_folder()}:$PATH")


@main.command()
@click.pass_obj
def down(testbed: Testbed) -> None:
    """Remove it."""
    testbed.down()


if __name__ == "__main__":
    try:
        main(prog_name="python -m tests.kube.by_hand")
    except TestbedError as failure:
        sys.exit(f"testbed: {failure}")
