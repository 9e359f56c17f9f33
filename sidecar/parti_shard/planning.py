"""From the table and the members' standings to what has to move: the one path for acting and for
the dry run.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from parti_shard.commands import Cause
from parti_shard.ids import NO_MEMBER, MemberId, PartitionId, SessionId
from parti_shard.placement import Problem, place
from parti_shard.standing import Standing, receivers
from parti_shard.table import Phase, Table


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A partition that should go from one member (0: nobody) to another (0: nobody may)."""

    partition: PartitionId
    source: MemberId
    target: MemberId
    cause: Cause


@dataclass(frozen=True, slots=True)
class Plan:
    """What placement wants. `targets` holds every partition that it may decide about."""

    targets: dict[PartitionId, MemberId]
    orphans: list[PlannedMove]
    urgent: list[PlannedMove]  # manual moves and drains: never wait
    improving: list[PlannedMove]  # rebalancing: coalesced, limited


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on besides the table."""

    standings: dict[MemberId, Standing]
    ended: AbstractSet[SessionId] = frozenset()  # about to expire: theirs count as free
    cooling: frozenset[PartitionId] = frozenset()  # moved lately
    load: list[int] | None = None


def make_plan(table: Table, given: Circumstances) -> Plan:
    """Return the moves from what is to what should be."""
    problem = _problem(table, given)
    placed = place(table.policy.strategy, problem)
    targets = dict(zip(problem.partitions, placed, strict=True))
    plan = Plan(targets, [], [], [])
    for partition, target in targets.items():
        _sort_in(table, given, plan, partition, target)
    return plan


def _problem(table: Table, given: Circumstances) -> Problem:
    """Leave out what stays where it is: partitions of members that keep, unless pinned away.

    Of members that keep and yet receive, theirs count, so that what comes to them comes evenly.
    """
    standings = given.standings
    receives = receivers(standings)
    keep = {member for member, standing in standings.items() if standing.keeps}
    pins = {p: member for p, member in table.pins.items() if member in receives}
    partitions, current, last = [], [], []
    for partition in map(PartitionId, range(table.partitions)):
        owner = table.owner[partition]
        if table.session[partition] in given.ended:
            owner = NO_MEMBER
        elif table.phase[partition] == Phase.REVOKING:
            owner = table.target[partition]
        elif owner in keep and owner in receives:
            pins[partition] = owner
        elif owner in keep and partition not in pins:
            continue
        partitions.append(partition)
        current.append(owner if owner in receives else NO_MEMBER)
        last.append(table.last_owner(partition))
    return Problem(
        partitions=partitions,
        current=current,
        last=last,
        capacity={member: table.members[member].capacity for member in sorted(receives)},
        pins=pins,
        load=[given.load[p] for p in partitions] if given.load else None,
        reluctant=given.cooling,
    )


def _sort_in(
    table: Table, given: Circumstances, plan: Plan, partition: PartitionId, target: MemberId
) -> None:
    owner = table.owner[partition]
    if table.phase[partition] == Phase.FREE:
        plan.orphans.append(PlannedMove(partition, NO_MEMBER, target, Cause.ORPHAN))
    elif table.session[partition] in given.ended:
        plan.orphans.append(PlannedMove(partition, owner, target, Cause.EXPIRED))
    elif table.phase[partition] == Phase.OWNED and owner != target:
        cause = _cause(table, given, partition, target)
        move = PlannedMove(partition, owner, target, cause)
        if cause is not Cause.REBALANCE:
            plan.urgent.append(move)
        elif partition not in given.cooling:
            plan.improving.append(move)


def _cause(table: Table, given: Circumstances, partition: PartitionId, target: MemberId) -> Cause:
    if target != NO_MEMBER and table.pins.get(partition) == target:
        return Cause.MANUAL
    if given.standings[table.owner[partition]] is Standing.SHEDS:
        return Cause.DRAIN
    return Cause.REBALANCE
