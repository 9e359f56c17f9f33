"""`parti dev`: a local cluster of real processes, remembered in a directory."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import asdict
from pathlib import Path

import click

from parti_cli import output
from parti_cli.devcluster import START_TIMEOUT_S, STOP_TIMEOUT_S, DevCluster, Part
from parti_cli.devstate import MemberState
from parti_cli.errors import CliError, DevClusterError
from parti_cli.launching import application_environment
from parti_cli.processes import is_paused, is_running

__all__ = ["dev"]

_FOLLOW_POLL_S = 0.2
_LOG_LINES = 20

_part_option = click.option(
    "--only",
    "part",
    type=click.Choice([Part.SIDECAR.value, Part.WORKER.value]),
    help="Only this process of the member; default: both.",
)


@click.group()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".parti/dev"),
    show_default=True,
    envvar="PARTI_DEV_DIR",
    help="Where the cluster keeps its data and logs.",
)
@click.pass_context
def dev(ctx: click.Context, directory: Path) -> None:
    """A local cluster of real processes, for development.

    MEMBER is m1, m2... as `parti dev status` shows them.
    """
    ctx.obj = DevCluster(directory, on_progress=output.note)


@dev.command()
@click.option("-n", "--members", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--partitions", type=click.IntRange(1, 65536), default=64, show_default=True)
@click.option("--worker", default="", metavar="CMD", help="Start this beside every sidecar.")
@click.option(
    "--base-port",
    type=click.IntRange(0, 65000),
    default=0,
    help="m1 uses this port (app) and the next three (peer, admin, http), m2 those ten above, and "
    "so on; default: free ports.",
)
@click.pass_obj
def up(cluster: DevCluster, members: int, partitions: int, worker: str, base_port: int) -> None:
    """Start a new cluster and wait until it is ready.

    The worker finds its sidecar by PARTI_ADDRESS, as every application does.
    """
    command = shlex.split(worker)
    existed = cluster.files.exists()
    try:
        cluster.up(members, partitions=partitions, worker=command, base_port=base_port)
    except BaseException:
        if not existed:
            cluster.close()
        raise
    _print_status(cluster)
    output.note("Try: parti dev run -- python app.py; parti dev add; parti dev kill m1")


@dev.command()
@click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def status(cluster: DevCluster, form: str) -> None:
    """Show the members with their processes and addresses.

    JSON: [{name, sidecar, worker, state, partitions_owned, addresses: {app, peer, admin, http}}];
    sidecar and worker are {pid, state} with state running, paused or ended, or null.
    """
    if form == "table":
        _print_status(cluster)
        return
    document = []
    for member in cluster.members():
        state, owned = _reported(cluster, member)
        document.append(
            {
                "name": member.name,
                "sidecar": _process_json(member, Part.SIDECAR),
                "worker": _process_json(member, Part.WORKER),
                "state": state,
                "partitions_owned": owned,
                "addresses": asdict(member.addresses),
            }
        )
    output.document(document)


@dev.command()
@click.pass_obj
def add(cluster: DevCluster) -> None:
    """Start one more member and wait until it is ready."""
    click.echo(cluster.add())


@dev.command()
@click.argument("member")
@click.pass_obj
def remove(cluster: DevCluster, member: str) -> None:
    """Drain MEMBER, take it out of the cluster, end it and delete its data."""
    cluster.remove(member)
    click.echo(f"{member} is gone")


@dev.command()
@click.argument("member")
@_part_option
@click.pass_obj
def kill(cluster: DevCluster, member: str, part: str | None) -> None:
    """Kill -9 MEMBER, as if its machine had died."""
    cluster.kill(member, _part(part))
    click.echo(f"{_named(member, part)} is dead; `parti dev restart {member}` brings it back")


@dev.command()
@click.argument("member")
@_part_option
@click.pass_obj
def pause(cluster: DevCluster, member: str, part: str | None) -> None:
    """Freeze MEMBER (SIGSTOP)."""
    cluster.pause(member, _part(part))
    click.echo(f"{_named(member, part)} is frozen; `parti dev resume {member}` lets it go on")


@dev.command()
@click.argument("member")
@_part_option
@click.pass_obj
def resume(cluster: DevCluster, member: str, part: str | None) -> None:
    """Let a frozen MEMBER go on (SIGCONT)."""
    cluster.resume(member, _part(part))
    click.echo(f"{_named(member, part)} goes on")


@dev.command()
@click.argument("member")
@click.pass_obj
def stop(cluster: DevCluster, member: str) -> None:
    """End MEMBER gracefully: it hands its partitions over first."""
    cluster.stop_gracefully(member, STOP_TIMEOUT_S)
    click.echo(f"{member} has ended; `parti dev restart {member}` brings it back")


@dev.command()
@click.argument("member", required=False)
@click.option("--lose-disk", is_flag=True, help="Delete its data first: it joins as a new member.")
@click.pass_obj
def restart(cluster: DevCluster, member: str | None, *, lose_disk: bool) -> None:
    """Start MEMBER again, gracefully ended first if it runs; without MEMBER: all that ended."""
    if member is not None:
        cluster.restart(member, lose_disk=lose_disk)
    elif lose_disk:
        raise click.UsageError("--lose-disk needs a MEMBER")
    else:
        cluster.start_ended(timeout_s=START_TIMEOUT_S)
    _print_status(cluster)


@dev.command()
@click.argument("member")
@click.option(
    "--part",
    type=click.Choice([Part.SIDECAR.value, Part.WORKER.value]),
    default=Part.SIDECAR.value,
    show_default=True,
)
@click.option("-f", "--follow", is_flag=True, help="Go on printing until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=_LOG_LINES, show_default=True)
@click.pass_obj
def logs(cluster: DevCluster, member: str, part: str, lines: int, *, follow: bool) -> None:
    """Print the last lines of MEMBER's log."""
    path = cluster.files.log(cluster.member(member).name, part)
    if not path.exists():
        raise DevClusterError(f"{member} has no {part} log", hint="Was it started with --worker?")
    with path.open(encoding="utf-8", errors="replace") as log:
        text = log.read().splitlines()
        for shown in text[len(text) - lines if len(text) > lines else 0 :]:
            click.echo(shown)
        while follow:
            click.echo(log.read(), nl=False)
            time.sleep(_FOLLOW_POLL_S)


@dev.command()
@click.option("--wipe", is_flag=True, help="Delete logs and data as well.")
@click.pass_obj
def down(cluster: DevCluster, *, wipe: bool) -> None:
    """End every process of the cluster at once and forget it.

    Logs and data stay in the directory until the next `up`.
    """
    names = [member.name for member in cluster.members()]
    cluster.close()
    if wipe:
        cluster.files.wipe()
    click.echo(f"ended {', '.join(names)}")


@dev.command(context_settings={"ignore_unknown_options": True})
@click.option("--member", help="Beside this member; default: the first that runs.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run(cluster: DevCluster, member: str | None, command: tuple[str, ...]) -> None:
    """Run a program with the addresses of a sidecar: parti dev run -- python app.py.

    Sets PARTI_ADDRESS (for the SDK and `parti send`), PARTI_ADMIN (for `parti stats` and the like)
    and PARTI_MEMBER. Ends with the exit code of the program.
    """
    running = cluster.running()
    if not running:
        raise DevClusterError("no member runs", hint="`parti dev restart` starts them again.")
    chosen = cluster.member(member or running[0])
    try:
        os.execvpe(command[0], command, application_environment(chosen))  # noqa: S606 - asked for
    except OSError as error:
        raise CliError(f"cannot run {command[0]}: {error.strerror}") from None


def _part(text: str | None) -> Part:
    return Part(text) if text else Part.ALL


def _named(member: str, part: str | None) -> str:
    """What a command did something to: a member, or one process of it."""
    return f"the {part} of {member}" if part else member


def _print_status(cluster: DevCluster) -> None:
    rows = []
    for member in cluster.members():
        state, owned = _reported(cluster, member)
        addresses = member.addresses
        rows.append(
            (
                member.name,
                _process_text(member, Part.SIDECAR),
                _process_text(member, Part.WORKER),
                state or "-",
                "-" if owned is None else owned,
                addresses.app,
                addresses.admin,
                f"http://{addresses.http}",
            )
        )
    columns = ("name", "sidecar", "worker", "state", "owns", "app", "admin", "page")
    output.table(columns, rows)


def _reported(cluster: DevCluster, member: MemberState) -> tuple[str | None, int | None]:
    """What the sidecar says about itself, nothing if it does not answer."""
    if member.sidecar is None or not is_running(member.sidecar) or is_paused(member.sidecar):
        return None, None
    try:
        said = cluster.status(member.name)
    except CliError:
        return None, None
    return said.state, said.partitions_owned


def _process_json(member: MemberState, part: Part) -> dict[str, object] | None:
    process = member.sidecar if part is Part.SIDECAR else member.worker
    if process is None:
        return None
    state = "paused" if is_paused(process) else "running" if is_running(process) else "ended"
    return {"pid": process.pid, "state": state}


def _process_text(member: MemberState, part: Part) -> str:
    item = _process_json(member, part)
    return "-" if item is None else f"{item['state']} {item['pid']}"
