"""Who owns a partition and why, in sentences for people."""

from __future__ import annotations

from parti_shard.coordinator import Coordinator
from parti_shard.ids import NO_MEMBER, MemberId, PartitionId
from parti_shard.standing import Standing
from parti_shard.table import Phase, Table


def explain(table: Table, coordinator: Coordinator, partition: PartitionId) -> str:
    """Return the state of a partition, its reason, and what keeps it from being better."""
    sentences = [_state(table, partition)]
    if table.phase[partition] == Phase.FREE:
        sentences.extend(_why_nobody(table, coordinator))
    pinned = table.pins.get(partition, NO_MEMBER)
    if pinned:
        sentences.append(f"It is pinned to {_name(table, pinned)}.")
        judged = coordinator.standing(pinned)
        if table.owner[partition] != pinned and judged is not None:
            sentences.append(f"{_name(table, pinned)} {judged[1]}.")
    command = coordinator.under_way(partition)
    if command is not None:
        sentences.append(f"A {type(command).__name__.lower()} is on its way through the log.")
    return " ".join(sentences)


def _state(table: Table, partition: PartitionId) -> str:
    epoch, owner = table.epoch[partition], _name(table, table.owner[partition])
    history = table.history[partition]
    if not history:
        return f"Partition {partition} never had an owner."
    last = history[-1]
    since = f"since log index {last.at_index} ({last.cause.label})"
    if table.phase[partition] == Phase.FREE:
        before = _name(table, last.member)
        return f"Nobody owns partition {partition} {since}; {before} had it under epoch {epoch}."
    if table.phase[partition] == Phase.OWNED:
        return f"{owner} owns partition {partition} under epoch {epoch} {since}."
    target = table.target[partition]
    goes = f"is to hand it over to {_name(table, target)}" if target else "is to let it go"
    return f"{owner} owns partition {partition} under epoch {epoch} and {goes} {since}."


def _why_nobody(table: Table, coordinator: Coordinator) -> list[str]:
    if not coordinator.leading:
        return ["Ask the leader why: this member does not lead."]
    lines = []
    for member in sorted(table.members):
        judged = coordinator.standing(member)
        if judged is not None and judged[0] is not Standing.RECEIVES:
            lines.append(f"{_name(table, member)} {judged[1]}.")
    return lines


def _name(table: Table, member: MemberId) -> str:
    record = table.members.get(member)
    return record.name if record else f"member {member:#x}"
