"""Commands that look at the cluster and change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import click

from parti_cli import output
from parti_cli.connection import AdminConnection
from parti_cli.members import format_id, list_members, named
from parti_cli.options import Settings, admin_options
from parti_proto import admin_pb2, app_pb2

__all__ = ["explain", "members", "partitions", "phase_name", "ping", "plan", "stats"]

_INTENTS = {
    admin_pb2.INTENT_NONE: "",
    admin_pb2.INTENT_CORDON: "cordon",
    admin_pb2.INTENT_DRAIN: "drain",
    admin_pb2.INTENT_REMOVE: "remove",
}


def phase_name(phase: app_pb2.Phase) -> str:
    """`free`, `owned` or `revoking`."""
    return app_pb2.Phase.Name(phase).removeprefix("PHASE_").lower()


@click.command()
@admin_options
def stats(settings: Settings) -> None:
    """Show the cluster at a glance, seen by one member.

    JSON: {cluster_id, incarnation, mode, partitions: {total, owned, free, revoking}, leader,
    members, ready, member: {member_id, name, version, state, raft_role, term, commit_index,
    applied_index, session, apply_lag, drained, lease_remaining_ms, worker_attached,
    parked_messages, in_flight_messages}}.
    """
    with settings.admin() as admin:
        status = admin.call(admin.stub.GetStatus, admin_pb2.GetStatusRequest())
        everyone = list_members(admin) if status.partitions else []
    names = {item.member_id: item.name for item in everyone}
    owned = sum(item.partitions_owned for item in everyone)
    if settings.as_json:
        output.document(_stats_json(status, everyone, owned))
        return
    moving, free = status.partitions_revoking, status.partitions_free
    partitions = f"{status.partitions}: {owned} owned, {moving} moving, {free} free"
    output.fields(
        [
            ("cluster", f"{status.cluster_id or 'none yet'}  ({status.mode})"),
            ("partitions", partitions),
            ("members", f"{len(everyone)}, {sum(item.ready for item in everyone)} ready"),
            ("leader", f"{named(status.leader, names)}  (term {status.term})"),
            ("asked", f"{status.name} {format_id(status.member_id)}, version {status.version}"),
            ("  state", f"{status.state}, {status.raft_role}"),
            ("  log", f"{status.commit_index} committed, {status.applied_index} applied"),
            ("  lease", f"{status.lease_remaining_ms} ms left"),
            ("  worker", "attached" if status.worker_attached else "none"),
            (
                "  messages",
                f"{status.in_flight_messages} in flight, {status.parked_messages} parked",
            ),
        ]
    )
    if not status.cluster_id:
        output.note("This member has no cluster yet: see `parti bootstrap --help`.")


def _stats_json(
    status: admin_pb2.Status, everyone: list[admin_pb2.Member], owned: int
) -> dict[str, object]:
    copied = (
        "name",
        "version",
        "state",
        "raft_role",
        "term",
        "commit_index",
        "applied_index",
        "apply_lag",
        "drained",
        "session",
        "lease_remaining_ms",
        "worker_attached",
        "parked_messages",
        "in_flight_messages",
    )
    return {
        "cluster_id": status.cluster_id,
        "incarnation": status.incarnation,
        "mode": status.mode,
        "partitions": {
            "total": status.partitions,
            "owned": owned,
            "free": status.partitions_free,
            "revoking": status.partitions_revoking,
        },
        "leader": _id_or_none(status.leader),
        "members": len(everyone),
        "ready": sum(item.ready for item in everyone),
        "member": {"member_id": format_id(status.member_id)}
        | {name: getattr(status, name) for name in copied},
    }


@click.command()
@admin_options
def members(settings: Settings) -> None:
    """List all members.

    JSON: [{member_id, name, address, zone, role, leader, session, intent, draining, ready,
    capacity, partitions_owned, match_index, caught_up, last_heard_ms, version}].
    """
    with settings.admin() as admin:
        everyone = list_members(admin)
    if settings.as_json:
        output.document([_member_json(item) for item in everyone])
        return
    columns = ("name", "id", "role", "ready", "owns", "intent", "zone", "heard", "address")
    output.table(columns, [_member_row(item) for item in everyone])


def _member_json(item: admin_pb2.Member) -> dict[str, object]:
    return {
        "member_id": format_id(item.member_id),
        "name": item.name,
        "address": item.address,
        "zone": item.zone,
        "role": item.role,
        "leader": item.leader,
        "session": item.session,
        "intent": _INTENTS[item.intent] or None,
        "draining": item.draining,
        "ready": item.ready,
        "capacity": item.capacity,
        "partitions_owned": item.partitions_owned,
        "match_index": item.match_index,
        "caught_up": item.caught_up,
        "last_heard_ms": item.last_heard_ms if item.last_heard_ms >= 0 else None,
        "version": item.version,
    }


def _member_row(item: admin_pb2.Member) -> tuple[object, ...]:
    return (
        item.name,
        format_id(item.member_id),
        "leader" if item.leader else item.role,
        "yes" if item.ready else ("no worker" if item.session else "no session"),
        item.partitions_owned,
        _INTENTS[item.intent] or ("draining" if item.draining else "-"),
        item.zone or "-",
        f"{item.last_heard_ms} ms" if item.last_heard_ms >= 0 else "-",
        item.address,
    )


@click.command()
@admin_options
def partitions(settings: Settings) -> None:
    """List who owns each partition.

    JSON: {table_index, partitions: [{partition, owner, owner_name, epoch, phase, target}]}; phase
    is free, owned or revoking; owner and target are null if there is none.
    """
    with settings.admin() as admin:
        reply = admin.call(admin.stub.ListPartitions, admin_pb2.ListPartitionsRequest())
    names = reply.member_names
    if settings.as_json:
        rows = [partition_json(item, names) for item in reply.partitions]
        output.document({"table_index": reply.table_index, "partitions": rows})
        return
    output.table(
        ("partition", "owner", "epoch", "phase", "moves to"),
        [
            (
                item.partition,
                named(item.owner, names),
                item.epoch,
                phase_name(item.phase),
                named(item.target, names),
            )
            for item in reply.partitions
        ],
    )


def partition_json(item: app_pb2.PartitionState, names: Mapping[int, str]) -> dict[str, object]:
    """A row of the table, as every command writes it."""
    return {
        "partition": item.partition,
        "owner": _id_or_none(item.owner),
        "owner_name": names.get(item.owner) if item.owner else None,
        "epoch": item.epoch,
        "phase": phase_name(item.phase),
        "target": _id_or_none(item.target),
    }


@click.command()
@click.argument("partition", type=click.IntRange(min=0))
@admin_options
def explain(settings: Settings, partition: int) -> None:
    """Say who owns PARTITION, since when, why, and what happened to it last.

    JSON: {partition, owner, owner_name, epoch, phase, target, since_unix_ms, pinned_to,
    explanation, changes: [{index, at_unix_ms, change, member, epoch, cause}]}.
    """
    request = admin_pb2.ExplainPartitionRequest(partition=partition)
    with settings.admin() as admin:
        reply = admin.call(admin.stub.ExplainPartition, request)
        names = {item.member_id: item.name for item in list_members(admin)}
    if settings.as_json:
        output.document(_explanation_json(reply))
        return
    state = reply.state
    output.fields(
        [
            ("partition", f"{state.partition}  ({phase_name(state.phase)}, epoch {state.epoch})"),
            ("owner", f"{reply.owner_name or named(state.owner, names)}"),
            ("since", _moment(reply.since_unix_ms)),
            ("pinned to", named(reply.pinned_to, names)),
            ("why", reply.explanation),
        ]
    )
    click.echo()
    output.table(
        ("at", "change", "member", "epoch", "cause", "log index"),
        [
            (
                _moment(item.at_unix_ms),
                item.change,
                named(item.member, names),
                item.epoch,
                item.cause,
                item.index,
            )
            for item in reply.changes
        ],
    )


def _explanation_json(reply: admin_pb2.ExplainPartitionReply) -> dict[str, object]:
    changes = [
        {
            "index": item.index,
            "at_unix_ms": item.at_unix_ms,
            "change": item.change,
            "member": _id_or_none(item.member),
            "epoch": item.epoch,
            "cause": item.cause,
        }
        for item in reply.changes
    ]
    return partition_json(reply.state, {reply.state.owner: reply.owner_name}) | {
        "since_unix_ms": reply.since_unix_ms,
        "pinned_to": _id_or_none(reply.pinned_to),
        "explanation": reply.explanation,
        "changes": changes,
    }


@click.command()
@admin_options
def plan(settings: Settings) -> None:
    """Show what placement would do now; changes nothing.

    JSON: {moves: [{partition, from, from_name, to, to_name, cause}], explanation}.
    """
    with settings.admin() as admin:
        reply = admin.call(admin.stub.Plan, admin_pb2.PlanRequest())
    names = reply.member_names
    if settings.as_json:
        moves = [
            {
                "partition": move.partition,
                "from": _id_or_none(move.from_member),
                "from_name": names.get(move.from_member) if move.from_member else None,
                "to": _id_or_none(move.to_member),
                "to_name": names.get(move.to_member) if move.to_member else None,
                "cause": move.cause,
            }
            for move in reply.moves
        ]
        output.document({"moves": moves, "explanation": reply.explanation})
        return
    click.echo(reply.explanation or f"{len(reply.moves)} moves")
    if reply.moves:
        rows = [
            (
                move.partition,
                named(move.from_member, names),
                named(move.to_member, names),
                move.cause,
            )
            for move in reply.moves
        ]
        output.table(("partition", "from", "to", "cause"), rows)


@click.command()
@click.argument("partition", type=click.IntRange(min=0))
@click.option("-c", "--count", type=click.IntRange(min=1), default=1, show_default=True)
@admin_options
def ping(settings: Settings, partition: int, count: int) -> None:
    """Send an empty message to the owner of PARTITION and time it.

    JSON, one line each: {partition, owner, owner_name, epoch, hops, microseconds}.
    """
    with settings.admin() as admin:
        for _ in range(count):
            _ping_once(settings, admin, partition)


def _ping_once(settings: Settings, admin: AdminConnection, partition: int) -> None:
    reply = admin.call(admin.stub.Ping, admin_pb2.PingRequest(partition=partition))
    if settings.as_json:
        output.line(
            {
                "partition": partition,
                "owner": _id_or_none(reply.owner),
                "owner_name": reply.owner_name,
                "epoch": reply.epoch,
                "hops": reply.hops,
                "microseconds": reply.microseconds,
            }
        )
        return
    way = "here" if reply.hops == 0 else f"{reply.hops} hop away"
    click.echo(
        f"partition {partition}: {reply.owner_name} answered in {reply.microseconds / 1000:.2f} ms "
        f"(epoch {reply.epoch}, {way})"
    )


def _id_or_none(member_id: int) -> str | None:
    return format_id(member_id) if member_id else None


def _moment(unix_ms: int) -> str:
    if not unix_ms:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(" ", "milliseconds")
