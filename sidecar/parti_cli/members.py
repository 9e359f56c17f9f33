"""MEMBER at the command line: a name, an id, or the beginning of an id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parti_cli.connection import AdminConnection
from parti_cli.errors import CliError
from parti_proto import admin_pb2

__all__ = ["find_member", "format_id", "list_members", "named", "resolve"]


def format_id(member_id: int) -> str:
    """As ids are printed everywhere."""
    return f"{member_id:016x}"


def named(member_id: int, names: Mapping[int, str]) -> str:
    """A member as people call it."""
    if not member_id:
        return "-"
    return names.get(member_id) or format_id(member_id)


def list_members(admin: AdminConnection) -> list[admin_pb2.Member]:
    """All members of the cluster."""
    reply = admin.call(admin.stub.ListMembers, admin_pb2.ListMembersRequest())
    return list(reply.members)


def find_member(admin: AdminConnection, text: str) -> admin_pb2.Member:
    """The one member that `text` means."""
    return resolve(list_members(admin), text)


def resolve(members: Sequence[admin_pb2.Member], text: str) -> admin_pb2.Member:
    """Try `text` as a name, then as a whole id, then as the beginning of an id."""
    wanted = text.lower().removeprefix("0x")
    attempts = (
        [member for member in members if member.name == text],
        [member for member in members if text == str(member.member_id)],
        [member for member in members if wanted == format_id(member.member_id)],
        [member for member in members if format_id(member.member_id).startswith(wanted)],
    )
    found = next((attempt for attempt in attempts if attempt and wanted), [])
    if len(found) == 1:
        return found[0]
    listing = ", ".join(f"{item.name} ({format_id(item.member_id)})" for item in found or members)
    if found:
        raise CliError(f"{text!r} may mean several members: {listing}", hint="Give the id.")
    raise CliError(f"no member is called {text!r}", hint=f"There are: {listing or 'none'}.")
