"""Commands that change what members and partitions do.

`drain` and `remove` wait until it has happened. The wait itself has a deadline (--wait-timeout);
when it is over the intent stays set and the cluster goes on, which the error says.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from parti_cli import output
from parti_cli.connection import AdminConnection
from parti_cli.errors import CannotConnectError, CliError
from parti_cli.members import find_member, format_id, list_members, named
from parti_cli.options import Settings, admin_options
from parti_proto import admin_pb2

__all__ = ["cordon", "drain", "move", "remove", "transfer_leader", "uncordon"]

_POLL_S = 0.2
_WAIT_TIMEOUT_S = 120.0
_AUTOMATIC = "auto"


def _wait_options(command: Callable[..., None]) -> Callable[..., None]:
    no_wait = click.option(
        "--no-wait", is_flag=True, help="Only ask for it; do not wait until it is done."
    )
    limit = click.option(
        "--wait-timeout",
        "wait_timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=_WAIT_TIMEOUT_S,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait until it is done.",
    )
    return no_wait(limit(command))


@click.command()
@click.argument("member")
@_wait_options
@admin_options
def drain(settings: Settings, member: str, *, no_wait: bool, wait_timeout_s: float) -> None:
    """Hand over all partitions of MEMBER and wait until it owns none.

    It receives none until `parti uncordon MEMBER`.
    JSON: {member_id, name, intent, partitions_owned}.
    """
    with settings.admin() as admin:
        found = find_member(admin, member)
        _set_intent(admin, found, admin_pb2.INTENT_DRAIN)
        owned = found.partitions_owned
        if not no_wait:
            _wait_until_empty(admin, found, wait_timeout_s)
            owned = 0
    text = "is asked to hand everything over" if no_wait else "owns nothing any more"
    _report(settings, found, "drain", text, partitions_owned=owned)


@click.command()
@click.argument("member")
@_wait_options
@admin_options
def remove(settings: Settings, member: str, *, no_wait: bool, wait_timeout_s: float) -> None:
    """Drain MEMBER, take it out of the cluster and wait until it is gone.

    A dead member can be removed as well. The sidecar of a living one ends by itself; if it is the
    one asked (--addr), its end is taken for its leave.
    JSON: {member_id, name, intent}.
    """
    text = "is asked to leave"
    with settings.admin() as admin:
        found = find_member(admin, member)
        asked_id = admin.call(admin.stub.GetStatus, admin_pb2.GetStatusRequest()).member_id
        _set_intent(admin, found, admin_pb2.INTENT_REMOVE)
        if not no_wait:
            text = _wait_until_left(admin, found, asked_id, wait_timeout_s)
    _report(settings, found, "remove", text)


@click.command()
@click.argument("member")
@admin_options
def cordon(settings: Settings, member: str) -> None:
    """Give MEMBER no more partitions; it keeps those it owns.

    JSON: {member_id, name, intent}.
    """
    with settings.admin() as admin:
        found = find_member(admin, member)
        _set_intent(admin, found, admin_pb2.INTENT_CORDON)
    _report(settings, found, "cordon", "gets no more partitions")


@click.command()
@click.argument("member")
@admin_options
def uncordon(settings: Settings, member: str) -> None:
    """Let MEMBER own partitions again after a drain or cordon.

    JSON: {member_id, name, intent}.
    """
    with settings.admin() as admin:
        found = find_member(admin, member)
        _set_intent(admin, found, admin_pb2.INTENT_NONE)
    _report(settings, found, None, "may own partitions again")


@click.command()
@click.argument("partition", type=click.IntRange(min=0))
@click.argument("target", metavar="MEMBER|auto")
@admin_options
def move(settings: Settings, partition: int, target: str) -> None:
    """Move PARTITION to a member and keep it there, or give it back to placement with `auto`.

    The move itself goes on after the command has ended: see `parti explain PARTITION`.
    JSON: {partition, pinned_to, pinned_to_name}.
    """
    with settings.admin() as admin:
        found = None if target == _AUTOMATIC else find_member(admin, target)
        member_id = found.member_id if found is not None else 0
        request = admin_pb2.MoveRequest(partition=partition, to_member=member_id)
        admin.call(admin.stub.Move, request)
    if settings.as_json:
        output.document(
            {
                "partition": partition,
                "pinned_to": format_id(found.member_id) if found is not None else None,
                "pinned_to_name": found.name if found is not None else None,
            }
        )
    elif found is not None:
        click.echo(f"partition {partition} moves to {found.name} and stays there")
    else:
        click.echo(f"partition {partition} is placed automatically again")


@click.command("transfer-leader")
@click.argument("member", required=False)
@admin_options
def transfer_leader(settings: Settings, member: str | None) -> None:
    """Hand Raft leadership to MEMBER, or to the most suitable voter.

    JSON: {leader, leader_name}.
    """
    with settings.admin() as admin:
        target = find_member(admin, member).member_id if member else 0
        request = admin_pb2.TransferLeaderRequest(to_member=target)
        leader = admin.call(admin.stub.TransferLeader, request).leader
        names = {item.member_id: item.name for item in list_members(admin)}
    if settings.as_json:
        output.document({"leader": format_id(leader), "leader_name": names.get(leader)})
    else:
        click.echo(f"{named(leader, names)} is the leader")


def _set_intent(admin: AdminConnection, found: admin_pb2.Member, intent: admin_pb2.Intent) -> None:
    request = admin_pb2.SetIntentRequest(member_id=found.member_id, intent=intent)
    admin.call(admin.stub.SetIntent, request)


def _report(
    settings: Settings, found: admin_pb2.Member, intent: str | None, text: str, **others: object
) -> None:
    if settings.as_json:
        member_id = format_id(found.member_id)
        output.document({"member_id": member_id, "name": found.name, "intent": intent, **others})
    else:
        click.echo(f"{found.name} {text}")


def _wait_until_empty(admin: AdminConnection, found: admin_pb2.Member, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    said = -1
    while True:
        now = _current(admin, found)
        left = now.partitions_owned if now is not None else 0
        if left != said:
            output.note(f"{found.name} owns {left} partitions")
            said = left
        if left == 0:
            return
        _sleep_until(deadline, f"{found.name} still owns {left} partitions")


def _wait_until_left(
    admin: AdminConnection, found: admin_pb2.Member, asked_id: int, timeout_s: float
) -> str:
    """Wait, and tell what is known: a removed sidecar ends and cannot confirm its own leave."""
    try:
        _wait_until_gone(admin, found, timeout_s)
    except CannotConnectError:
        if found.member_id != asked_id:
            raise
        return (
            "accepted to leave and has ended, so it can tell no more; "
            "`parti members --addr` of another member shows that it is gone"
        )
    return "has left the cluster"


def _wait_until_gone(admin: AdminConnection, found: admin_pb2.Member, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    said = -1
    while (now := _current(admin, found)) is not None:
        if now.partitions_owned != said:
            output.note(f"{found.name} owns {now.partitions_owned} partitions")
            said = now.partitions_owned
        _sleep_until(deadline, f"{found.name} is still a member")


def _sleep_until(deadline: float, state: str) -> None:
    if time.monotonic() >= deadline:
        raise CliError(
            f"{state} and the time to wait is over",
            hint="The cluster goes on with it; `parti members` shows how far it is and "
            "`parti plan` what keeps it.",
        )
    time.sleep(_POLL_S)


def _current(admin: AdminConnection, found: admin_pb2.Member) -> admin_pb2.Member | None:
    same = (item for item in list_members(admin) if item.member_id == found.member_id)
    return next(same, None)
