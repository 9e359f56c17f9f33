"""The testbed by hand: `python -m tests.kube.testbed --help`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from tests.kube.testbed import buildah, cgroups, host, layout, programs
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.testbed import Testbed

FAULTS = ("kill", "start", "freeze", "thaw", "cut", "heal")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    help="State and logs of one cluster.  [default: cluster, in the cache folder]",
)
@click.pass_context
def main(context: click.Context, workdir: Path | None) -> None:
    """Run a real Kubernetes of several nodes on this machine, without Docker (as root).

    Every node is a process tree in namespaces of its own, with containerd, kubelet and kube-proxy.
    Nothing but one port of 127.0.0.1 leads in. `down` removes everything that `up` made.
    """
    context.obj = Testbed(workdir or layout.cache_folder() / "cluster", kept=True)


@main.command()
def build() -> None:
    """Install packages and build the programs: once, up to 15 minutes."""
    if reason := host.obstacle():
        raise TestbedError(reason)
    host.install_packages()
    click.echo(programs.build())


@main.command()
@click.option("--nodes", type=click.IntRange(1, layout.NODES_MAX), default=None, help="[3]")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="[any free one]")
@click.pass_obj
def up(testbed: Testbed, nodes: int | None, port: int | None) -> None:
    """Start the cluster, or what of it does not run (10 s once built)."""
    testbed.up(nodes or 0, port or 0)
    click.echo(f"export KUBECONFIG={testbed.kubeconfig}")
    click.echo(f"export PATH={programs.programs_folder()}:$PATH")


@main.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", default="", help="Of the image, as in localhost/app:test.")
@click.option("--target", default="", help="The Dockerfile's target.  [the last one]")
@click.pass_obj
def image(testbed: Testbed, path: Path, name: str, target: str) -> None:
    """Load an image archive on every node, or build a folder's Dockerfile and load that."""
    began = time.monotonic()
    if path.is_dir():
        if not name:
            raise click.UsageError("an image that is built needs --name")
        buildah.build(path, target, name)
        click.echo(f"built {name} in {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        testbed.load_built([name])
    else:
        testbed.load_image(path)
    click.echo(f"loaded in {time.monotonic() - began:.1f} s")


@main.command()
@click.pass_obj
def status(testbed: Testbed) -> None:
    """Show what runs, and the memory it takes."""
    state = testbed.status()
    if state is None:
        click.echo(f"no cluster in {testbed.workdir}")
        return
    for machine in state.machines:
        shown = f"running, process 1 is {machine.pid}" if machine.alive else "stopped"
        click.echo(f"{machine.name}: {shown}")
        used = memory_mib(cgroups.members(state.group(machine)))
        if used:
            click.echo("  MiB: " + ", ".join(f"{name} {size}" for name, size in used.items()))
    for machine in state.nodes:
        ready = testbed.node(machine.name).ready()
        click.echo(f"{machine.name}: {'Ready' if ready else 'not Ready'}")


@main.command()
@click.argument("name")
@click.argument("fault", type=click.Choice(FAULTS))
@click.pass_obj
def node(testbed: Testbed, name: str, fault: str) -> None:
    """Break or mend a node: power, processor, cable."""
    getattr(testbed.node(name), fault)()


@main.command()
@click.argument("what", type=click.Choice(["start", "stop"]))
@click.pass_obj
def apiserver(testbed: Testbed, what: str) -> None:
    """Kill the apiserver and keep it down, or start it again."""
    if what == "stop":
        testbed.stop_apiserver()
    else:
        testbed.start_apiserver()


@main.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("machine")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def execute(testbed: Testbed, machine: str, command: tuple[str, ...]) -> None:
    """Run a program inside the hub or a node, where pods can be reached."""
    line = testbed.exec_command(machine, *command)
    os.execvp(line[0], line)


@main.command()
@click.option("--keep", is_flag=True, help="Keep data and logs: `up` is then a power cut.")
@click.pass_obj
def down(testbed: Testbed, *, keep: bool) -> None:
    """Stop the cluster and remove what it made."""
    testbed.down(keep=keep)


def memory_mib(pids: set[int]) -> dict[str, int]:
    """Memory by program, shared pages counted in parts."""
    total: dict[str, int] = {}
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        pss = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        total[name] = total.get(name, 0) + pss
    return {name: kib // 1024 for name, kib in sorted(total.items())}


if __name__ == "__main__":
    try:
        main(prog_name="python -m tests.kube.testbed")
    except TestbedError as failure:
        sys.exit(f"testbed: {failure}")
