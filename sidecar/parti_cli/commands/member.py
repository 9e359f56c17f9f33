"""Commands about one member: what an operator knows of it, and the end of its process."""

from __future__ import annotations

import re

import click

from parti_cli import output
from parti_cli.connection import AdminConnection
from parti_cli.members import format_id, resolve
from parti_cli.options import Settings, admin_options
from parti_proto import admin_pb2

__all__ = ["member", "prepare_to_stop"]

_PREPARE_WAIT = "20s"
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """A time span such as 20s, 1.5m or 500ms; a bare number means seconds."""
    found = _DURATION.fullmatch(value)
    seconds = float(found[1]) * _UNITS_S[found[2] or "s"] if found else 0.0
    if seconds <= 0:
        raise click.BadParameter(f"{value!r} is not a time span above 0 such as 20s or 500ms")
    return seconds


@click.group()
def member() -> None:
    """Set what the cluster knows of a member."""


@member.command("set")
@click.argument("name", metavar="MEMBER")
@click.option("--zone", help="Its failure domain; empty: as the member says itself.")
@click.option(
    "--capacity",
    type=click.IntRange(0, 1000),
    help="Its share of partitions; 0: as the member says itself.",
)
@admin_options
def set_member(settings: Settings, name: str, *, zone: str | None, capacity: int | None) -> None:
    """Set facts that MEMBER cannot know itself; what is not given stays.

    What is set wins over the member's own settings, also after its restart.
    JSON: {member_id, name, zone, capacity, set_zone, set_capacity}.
    """
    if zone is None and capacity is None:
        raise click.UsageError("give --zone, --capacity or both")
    with settings.admin() as admin:
        reply = admin.call(admin.stub.ListMembers, admin_pb2.ListMembersRequest())
        found = resolve(reply.members, name)
        request = admin_pb2.SetMemberRequest(
            member_id=found.member_id,
            zone=found.set_zone if zone is None else zone,
            capacity=found.set_capacity if capacity is None else capacity,
            expected_config_index=reply.config_index,
        )
        admin.call(admin.stub.SetMember, request)
        after = admin.call(admin.stub.ListMembers, admin_pb2.ListMembersRequest())
    _show(settings, resolve(after.members, format_id(found.member_id)))


def _show(settings: Settings, found: admin_pb2.Member) -> None:
    facts = ("zone", "capacity", "set_zone", "set_capacity")
    if settings.as_json:
        document: dict[str, object] = {"member_id": format_id(found.member_id), "name": found.name}
        output.document(document | {fact: getattr(found, fact) for fact in facts})
        return
    click.echo(f"{found.name} has zone {found.zone or '-'} and capacity {found.capacity}")


@click.command("prepare-to-stop")
@click.option(
    "--wait",
    "wait_s",
    callback=_seconds,
    default=_PREPARE_WAIT,
    metavar="TIME",
    show_default=True,
    help="How long to wait until nothing is left.",
)
@admin_options
def prepare_to_stop(settings: Settings, wait_s: float) -> None:
    """Let the member at --addr hand over its partitions and leadership before its process is ended.

    It receives no more until its process ends, and goes on as an origin for its application. Made
    for the preStop hook of a container. Ends with 1 if something is left when the time is over; the
    member goes on handing over.
    JSON: {prepared}.
    """
    with AdminConnection(settings.address, wait_s) as admin:
        admin.call(admin.stub.PrepareToStop, admin_pb2.PrepareToStopRequest())
    if settings.as_json:
        output.document({"prepared": True})
    else:
        click.echo("owns nothing and does not lead")
