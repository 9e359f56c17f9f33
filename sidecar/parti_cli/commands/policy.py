"""Commands about the cluster as a whole: its policy, and its beginning."""

from __future__ import annotations

import click

from parti_cli import output
from parti_cli.connection import AdminConnection
from parti_cli.errors import UsageError
from parti_cli.options import Settings, admin_options
from parti_proto import admin_pb2

__all__ = ["bootstrap", "policy"]

_FIELDS = tuple(field.name for field in admin_pb2.Policy.DESCRIPTOR.fields)
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@click.group()
def policy() -> None:
    """Show or change how partitions are placed."""


@policy.command("get")
@admin_options
def get_policy(settings: Settings) -> None:
    """Show the policy.

    JSON: {strategy, rebalance, moves_in_flight_max, partition_cooldown_ms, coalesce_quiet_ms,
    coalesce_max_ms, voters_max, voter_replace_after_ms, move_deadline_ms, load_aware}.
    """
    with settings.admin() as admin:
        _show(settings, _current(admin))


@policy.command("set")
@click.argument("assignments", nargs=-1, required=True, metavar="NAME=VALUE...")
@admin_options
def set_policy(settings: Settings, assignments: tuple[str, ...]) -> None:
    """Change some settings of the policy and show the result.

    For example: parti policy set strategy=balanced rebalance=off moves_in_flight_max=4
    JSON: as `parti policy get`.
    """
    with settings.admin() as admin:
        changed = _current(admin)
        for assignment in assignments:
            _assign(changed, assignment)
        admin.call(admin.stub.SetPolicy, admin_pb2.SetPolicyRequest(policy=changed))
        _show(settings, _current(admin))


@click.command()
@click.option("--cluster-id", default="", help="Default: a random one.")
@click.option("--partitions", type=click.IntRange(1, 65536), default=64, show_default=True)
@admin_options
def bootstrap(settings: Settings, cluster_id: str, partitions: int) -> None:
    """Make the member at --addr, which has no state yet, the first of a new cluster.

    Do this once, at one member; the others join it. The number of partitions is fixed for ever.
    JSON: {cluster_id, partitions}.
    """
    request = admin_pb2.BootstrapRequest(cluster_id=cluster_id, partitions=partitions)
    with settings.admin() as admin:
        reply = admin.call(admin.stub.Bootstrap, request)
    if settings.as_json:
        output.document({"cluster_id": reply.cluster_id, "partitions": partitions})
    else:
        click.echo(f"cluster {reply.cluster_id} with {partitions} partitions")


def _current(admin: AdminConnection) -> admin_pb2.Policy:
    status: admin_pb2.Status = admin.call(admin.stub.GetStatus, admin_pb2.GetStatusRequest())
    return status.policy


def _show(settings: Settings, shown: admin_pb2.Policy) -> None:
    values = {name: getattr(shown, name) for name in _FIELDS}
    if settings.as_json:
        output.document(values)
    else:
        words = {True: "on", False: "off"}
        output.fields(
            [
                (name, words[value] if isinstance(value, bool) else value)
                for name, value in values.items()
            ]
        )


def _assign(changed: admin_pb2.Policy, assignment: str) -> None:
    name, equals, text = assignment.partition("=")
    if not equals or name not in _FIELDS:
        raise UsageError(
            f"{assignment!r} is not NAME=VALUE of a known setting",
            hint=f"Settings: {', '.join(_FIELDS)}.",
        )
    before = getattr(changed, name)
    try:
        setattr(changed, name, _value(before, text))
    except (KeyError, ValueError):
        kind = "on or off" if isinstance(before, bool) else "a number that is not negative"
        raise UsageError(f"{name} takes {kind}, not {text!r}") from None


def _value(before: object, text: str) -> object:
    if isinstance(before, bool):
        return _WORDS[text.lower()]
    return int(text) if isinstance(before, int) else text
