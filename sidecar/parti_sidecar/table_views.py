"""The partition table as messages, for clients, the CLI and watchers.

A large table is written in slices with the loop free between them, because heartbeats must not
wait. What changes meanwhile may already be in the view: its index is that of its beginning, so
that the changes after it, which follow anyway, are never missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from parti_proto import app_pb2
from parti_shard.errors import PartiError, Reason, refuse
from parti_shard.ids import NO_MEMBER, MemberId, PartitionId
from parti_shard.keys import partition_of
from parti_shard.table import Table
from parti_sidecar.host import Host
from parti_sidecar.unary_sends import NOT_READY

SLICE_PARTITIONS = 1_024  # some milliseconds of the loop


def table_of(host: Host) -> Table:
    """The table. Raises PartiError as long as there is none, or nothing is known of its cluster."""
    if host.member is None or host.member.table.partitions == 0:
        raise PartiError(NOT_READY)
    return host.member.table


def target_partition(request: object, table: Table) -> PartitionId:
    """Which partition a request with `partition` or `key` means. Raises PartiError."""
    assert isinstance(request, app_pb2.SendRequest | app_pb2.LocateRequest)
    by_partition = request.HasField("partition")
    if by_partition == request.HasField("key"):
        refuse(Reason.BAD_TARGET, "give either a partition or a key")
    if by_partition:
        return checked_partition(request.partition, table)
    if not request.key:
        refuse(Reason.EMPTY_KEY, "the key has no bytes")
    return partition_of(request.key, table.partitions)


def checked_partition(partition: int, table: Table) -> PartitionId:
    """Refuse a partition that does not exist."""
    if partition >= table.partitions:
        text = f"partition {partition} is not in 0..{table.partitions - 1}"
        refuse(Reason.BAD_PARTITION, text)
    return PartitionId(partition)


def partition_state(table: Table, partition: PartitionId) -> app_pb2.PartitionState:
    """One row of the table."""
    return app_pb2.PartitionState(
        partition=partition,
        owner=table.owner[partition],
        epoch=table.epoch[partition],
        phase=int(table.phase[partition]),  # type: ignore[arg-type]  # same numbers
        target=table.target[partition],
    )


async def whole_table(table: Table) -> app_pb2.TableEvent:
    """Every partition, as a first event."""
    event = app_pb2.TableEvent(
        table_index=table.applied_index, partitions=table.partitions, whole=True
    )
    for member, record in table.members.items():
        event.member_names[member] = record.name
    for start in range(0, table.partitions, SLICE_PARTITIONS):
        if start:
            await asyncio.sleep(0)
        end = min(start + SLICE_PARTITIONS, table.partitions)
        event.changed.extend(partition_state(table, PartitionId(p)) for p in range(start, end))
    return event


def changed_table(table: Table, changed: Iterable[PartitionId]) -> app_pb2.TableEvent:
    """The partitions that changed, as they are now."""
    event = app_pb2.TableEvent(table_index=table.applied_index, partitions=table.partitions)
    named: set[MemberId] = set()
    for partition in changed:
        event.changed.append(partition_state(table, partition))
        named.add(table.owner[partition])
        named.add(table.target[partition])
    for member in named - {NO_MEMBER}:
        event.member_names[member] = member_name(table, member)
    return event


def member_name(table: Table, member: MemberId) -> str:
    """A member's name, empty for nobody and for those who have left."""
    record = table.members.get(member)
    return record.name if record is not None else ""
