"""The program `kubectl-parti`, which kubectl runs as `kubectl parti`: the same commands for the
cluster of a PartiCluster, and two of its own, `status` and `report`.

A command reaches the admin API of one of the cluster's pods through a forwarded port. Members have
the names of their pods.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from parti_cli import output
from parti_cli.errors import CliError
from parti_cli.kubectl import PARTI_CLUSTERS, Kubectl
from parti_cli.main import root
from parti_cli.report import write_report

__all__ = ["main", "plugin"]

_FORWARDED = {
    "members": "All members: roles, readiness, partitions.",
    "partitions": "Who owns each partition.",
    "explain": "Why a partition is where it is; its last changes.",
    "plan": "What placement would do now; changes nothing.",
    "stats": "The cluster at a glance, seen by one member.",
    "ping": "Send an empty message to a partition's owner and time it.",
    "drain": "Hand over all partitions of a member.",
    "cordon": "Give a member no more partitions.",
    "uncordon": "End a drain or cordon.",
    "move": "Move a partition to a member, or back to automatic placement.",
    "transfer-leader": "Hand Raft leadership over.",
}
_Command = Callable[..., None]


class _Plugin(click.Group):
    """A group whose failures become words and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            click.echo(f"kubectl parti: {error.message}", err=True)
            if error.hint:
                click.echo(error.hint, err=True)
            ctx.exit(error.exit_code)


def _kubectl_options(command: _Command) -> _Command:
    """Add the options that choose a cluster; the command gets a `Kubectl` first."""

    @wraps(command)
    def run(*, namespace: str, context: str, kubeconfig: str, **others: Any) -> None:
        command(Kubectl(namespace, context, kubeconfig), **others)

    options = (
        click.option("-n", "--namespace", default="", help="Default: that of the context."),
        click.option("--context", default="", help="Default: the current one."),
        click.option("--kubeconfig", default="", help="Default: as kubectl finds it."),
    )
    decorated: _Command = run
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


@click.group(
    cls=_Plugin,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="parti", message="%(version)s")
def plugin() -> None:
    """Look at and steer the cluster of a PartiCluster.

    NAME is that of the PartiCluster, MEMBER that of a pod. All commands but `status` and `report`
    are those of the program `parti`; `kubectl parti COMMAND NAME --help` shows their options.

    Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 cannot connect.
    """


@plugin.command()
@click.argument("name")
@_kubectl_options
def status(kubectl: Kubectl, name: str) -> None:
    """Show what the operator knows of the cluster NAME: conditions and members."""
    cluster = kubectl.get(PARTI_CLUSTERS, name)
    known = cluster.get("status", {})
    partitions = known.get("partitions", {})
    counts = ", ".join(f"{partitions.get(key, 0)} {key}" for key in ("owned", "moving", "unowned"))
    output.fields(
        [
            ("cluster", f"{cluster['metadata']['namespace']}/{name}"),
            ("phase", known.get("phase", "unknown")),
            ("ready", known.get("ready", "unknown")),
            ("leader", known.get("leader") or "none"),
            ("partitions", f"{partitions.get('total', 0)}: {counts}"),
        ]
    )
    for warning in known.get("warnings", []):
        click.echo(f"warning: {warning}")
    click.echo()
    output.table(
        ("condition", "status", "reason", "message"),
        [
            (each["type"], each["status"], each.get("reason", ""), each.get("message", ""))
            for each in known.get("conditions", [])
        ],
    )
    click.echo()
    output.table(
        ("member", "role", "ready", "owns", "lag", "version", "zone"),
        [_member_row(each, known.get("leader")) for each in known.get("members", [])],
    )


def _member_row(member: Any, leader: str | None) -> tuple[object, ...]:
    name = member.get("name", "")
    role = "leader" if name and name == leader else member.get("role", "")
    ready = "yes" if member.get("ready") else "no"
    facts = (member.get(key, "") for key in ("partitions", "lag", "version", "zone"))
    return (name, role.lower(), ready, *facts)


@plugin.command()
@click.argument("name")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; default: parti-report-NAME.zip.",
)
@_kubectl_options
def report(kubectl: Kubectl, name: str, path: Path | None) -> None:
    """Collect what is needed to understand a problem of NAME: objects, events, logs, members.

    It holds no payloads and no Secrets; environment variables of the pods are in it.
    """
    target = path or Path(f"parti-report-{name}.zip")
    missing = write_report(kubectl, name, target)
    output.note(f"wrote {target}" + (f"; not in it: {', '.join(missing)}" if missing else ""))


def _forwarding(command: str, text: str) -> click.Command:
    @click.argument("name")
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
    @_kubectl_options
    def run(kubectl: Kubectl, name: str, rest: tuple[str, ...]) -> None:
        if {"-h", "--help"}.isdisjoint(rest):
            with kubectl.admin_address(name) as address:
                _run(command, [*rest, "--addr", address])
        else:
            _run(command, ["--help"])

    settings = {"ignore_unknown_options": True, "help_option_names": []}
    return click.command(command, short_help=text, help=text, context_settings=settings)(run)


def _run(command: str, arguments: list[str]) -> None:
    """Run a command of `parti` here; it says itself what went wrong."""
    try:
        code = root.main([command, *arguments], prog_name="parti", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    if isinstance(code, int) and code:
        click.get_current_context().exit(code)


for _name, _text in _FORWARDED.items():
    plugin.add_command(_forwarding(_name, _text))


def main() -> None:
    """Entry point."""
    plugin(prog_name="kubectl parti", windows_expand_args=False)
