"""What a member tells people about itself, the members and the partitions.

Every view can be given by any member from its own table. Only the leader knows how far the others
are and when it heard them; elsewhere these fields say that they are not known.
"""

from __future__ import annotations

from parti_proto import admin_pb2
from parti_raft.status import ProgressStatus
from parti_shard.commands import MemberRecord
from parti_shard.ids import NO_MEMBER, LogIndex, MemberId, PartitionId
from parti_shard.limits import PROTOCOL_VERSION
from parti_shard.member import Member
from parti_shard.membership import is_caught_up
from parti_shard.table import Phase, Table
from parti_sidecar.admin_values import policy_message
from parti_sidecar.driver_views import raft_role
from parti_sidecar.host import Host
from parti_sidecar.table_views import member_name, partition_state, whole_table

NOT_HEARD = -1


def status_of(host: Host, version: str) -> admin_pb2.Status:
    """This member's own view; also before it belongs to a cluster."""
    status = admin_pb2.Status(version=version, state=host.state, protocol_version=PROTOCOL_VERSION)
    if host.cluster_id:  # also of a member that was removed from it
        status.cluster_id = host.cluster_id
        status.incarnation = host.incarnation
        status.member_id = host.me
    member = host.member
    if member is not None:
        _fill_identity(status, member)
        _fill_raft(status, member)
        _fill_partitions(status, member)
        _fill_traffic(status, member, host.now_ms())
    return status


def _fill_identity(status: admin_pb2.Status, member: Member) -> None:
    table = member.table
    record = table.members.get(member.me)
    status.name = record.name if record is not None else ""
    status.session = record.session if record is not None else 0
    status.policy.CopyFrom(policy_message(table.policy))
    status.lease_ttl_ms = table.lease_ttl_ms
    status.mode = "available" if member.available_mode else "strict"
    status.config_index = table.config_index
    status.drained = member.drained


def _fill_raft(status: admin_pb2.Status, member: Member) -> None:
    basic = member.replica.raw.basic_status()
    status.raft_role = raft_role(member)
    status.term = basic.hard_state.term
    status.leader = basic.soft_state.leader
    status.commit_index = basic.hard_state.commit
    status.applied_index = member.table.applied_index
    status.apply_lag = status.commit_index - status.applied_index


def _fill_partitions(status: admin_pb2.Status, member: Member) -> None:
    table = member.table
    status.partitions = table.partitions
    status.partitions_owned = table.owner.count(member.me)
    status.partitions_free = table.phase.count(Phase.FREE)
    status.partitions_revoking = table.phase.count(Phase.REVOKING)


def _fill_traffic(status: admin_pb2.Status, member: Member, now_ms: int) -> None:
    stats = member.router.stats
    status.lease_remaining_ms = member.lease_remaining_ms(now_ms)
    status.worker_attached = member.router.worker_ready
    status.parked_messages = stats.parked_messages
    status.in_flight_messages = stats.intake_messages


def members_view(host: Host, member: Member) -> admin_pb2.ListMembersReply:
    """Everybody in the table, with what the leader knows of them if this is it."""
    table = member.table
    progress = member.replica.raw.status().progress
    conf = member.replica.conf_state
    voters = {*conf.voters, *conf.voters_outgoing}
    leader = host.leader()
    reply = admin_pb2.ListMembersReply(
        table_index=table.applied_index, config_index=table.config_index
    )
    for each, record in sorted(table.members.items()):
        row = _member_row(table, each, record, progress.get(each))
        row.role = "voter" if each in voters else "learner"
        row.leader = each == leader
        match = LogIndex(row.match_index)
        row.caught_up = is_caught_up(match, member.replica.raw.commit_index)
        _fill_heard(row, host, member)
        reply.members.append(row)
    return reply


def _member_row(
    table: Table, member: MemberId, record: MemberRecord, progress: ProgressStatus | None
) -> admin_pb2.Member:
    return admin_pb2.Member(
        member_id=member,
        name=record.name,
        address=record.address,
        zone=record.zone,
        session=record.session,
        intent=int(record.intent),  # type: ignore[arg-type]  # same numbers
        capacity=record.capacity,
        partitions_owned=table.owner.count(member),
        match_index=progress.match_index if progress is not None else 0,
        version=record.version,
        set_zone=record.set_zone,
        set_capacity=record.set_capacity,
    )


def _fill_heard(row: admin_pb2.Member, host: Host, member: Member) -> None:
    """Add what the leader heard last in the member's renewals."""
    heard = member.heard(MemberId(row.member_id))
    if heard is None:
        row.last_heard_ms = NOT_HEARD
        return
    row.last_heard_ms = host.now_ms() - heard.at_ms
    row.ready = heard.worker_ready
    row.draining = heard.draining


async def partitions_view(table: Table) -> admin_pb2.ListPartitionsReply:
    """Every partition."""
    event = await whole_table(table)
    return admin_pb2.ListPartitionsReply(
        partitions=event.changed,
        member_names=event.member_names,
        table_index=event.table_index,
    )


def partition_view(
    table: Table, partition: PartitionId, explanation: str
) -> admin_pb2.ExplainPartitionReply:
    """One partition: who owns it, since when, why, and its last changes."""
    history = table.history[partition]
    owner = table.owner[partition]
    reply = admin_pb2.ExplainPartitionReply(
        state=partition_state(table, partition),
        owner_name=member_name(table, owner),
        since_unix_ms=history[-1].at_unix_ms if history else 0,
        explanation=explanation,
        pinned_to=table.pins.get(partition, NO_MEMBER),
    )
    for change in history:
        reply.changes.add(
            index=change.at_index,
            at_unix_ms=change.at_unix_ms,
            change=change.change.label,
            member=change.member,
            epoch=change.epoch,
            cause=change.cause.label,
        )
    return reply
