"""The program `parti`: the list of its commands, and how it ends.

Command modules are imported only when their command runs, so that `parti --help` and shell
completion answer at once.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from parti_cli.errors import CliError

__all__ = ["main", "root"]

# name: module below parti_cli.commands, attribute, short help
_COMMANDS = {
    "stats": ("show", "stats", "The cluster at a glance, seen by one member."),
    "members": ("show", "members", "All members: roles, readiness, partitions."),
    "partitions": ("show", "partitions", "Who owns each partition."),
    "explain": ("show", "explain", "Why a partition is where it is; its last changes."),
    "plan": ("show", "plan", "What placement would do now; changes nothing."),
    "ping": ("show", "ping", "Send an empty message to a partition's owner and time it."),
    "send": ("messages", "send", "Send messages by key or partition and print the replies."),
    "locate": ("messages", "locate", "Where a key or partition lives now."),
    "watch": ("messages", "watch", "Print every change of ownership until Ctrl-C."),
    "kv": ("kv", "kv", "Read and change the replicated key-value store."),
    "lock": ("lock", "lock", "Run a command while holding a lock of the cluster."),
    "drain": ("change", "drain", "Hand over all partitions of a member."),
    "cordon": ("change", "cordon", "Give a member no more partitions."),
    "uncordon": ("change", "uncordon", "End a drain or cordon."),
    "remove": ("change", "remove", "Drain a member and take it out of the cluster."),
    "move": ("change", "move", "Move a partition to a member, or back to automatic placement."),
    "transfer-leader": ("change", "transfer_leader", "Hand Raft leadership over."),
    "member": ("member", "member", "Set what the cluster knows of a member."),
    "prepare-to-stop": (
        "member",
        "prepare_to_stop",
        "Let a member hand over everything before its process is ended.",
    ),
    "policy": ("policy", "policy", "Show or change how partitions are placed."),
    "bootstrap": ("policy", "bootstrap", "Make a fresh member the first of a new cluster."),
    "dev": ("dev", "dev", "A local cluster of real processes, for development."),
}


class LazyGroup(click.Group):
    """A group whose help comes from a table and whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of the table, which groups what belongs together."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command; None lets click report a wrong name."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"parti_cli.commands.{module}"), attribute)
        assert isinstance(command, click.Command), "the table names commands"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; its failure becomes words on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            click.echo(f"parti: {error.message}", err=True)
            if error.hint:
                click.echo(error.hint, err=True)
            ctx.exit(error.exit_code)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="parti", message="%(version)s")
def root() -> None:
    """Look at and steer a parti cluster.

    MEMBER is a name, a member id, or the beginning of an id as `parti members` prints it.
    Commands speak with the admin API of any member (--addr or PARTI_ADMIN); send, locate, watch, kv
    and lock speak with the app API of a sidecar (--app-addr or PARTI_ADDRESS).

    `-o json` prints one JSON document on stdout (send, watch, ping: one per line); member ids in it
    are strings of 16 hex digits. Messages for people go to stderr.

    Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 cannot connect; lock: that of its command.
    """


def main() -> None:
    """Entry point."""
    root(prog_name="parti", windows_expand_args=False)


if __name__ == "__main__":
    main()
