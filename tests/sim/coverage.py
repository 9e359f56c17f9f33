"""What a run has reached, counted: faults, causes, phases, refusals, rejections."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parti_shard.member import Member
    from tests.sim.world import World


def gather(world: World) -> Counter[str]:
    """All counters of a run under one name each."""
    counts = Counter(world.counts)
    for member in world.ownership_checks.live.values():
        counts.update(of_member(member))
    table = world.raft_checks.canon.table
    for rejection, count in table.rejections.items():
        counts[f"table refuses: {rejection.name}"] += count
    for text, count in world.message_checks.outcomes.items():
        counts[f"outcome: {text}"] += count
    counts["entries"] += world.raft_checks.canon.last
    counts["leaders"] += len(world.raft_checks.leaders)
    counts["messages"] += len(world.message_checks.sent)
    return counts


def of_member(member: Member) -> Counter[str]:
    """Counters of one process, taken when it ends."""
    counts: Counter[str] = Counter()
    stats = member.router.stats
    for name in ("failed", "refused"):
        for reason, count in getattr(stats, name).items():
            counts[f"router {name}: {reason.name}"] += count
    for limit, count in stats.limits_hit.items():
        counts[f"limit hit: {limit}"] += count
    for name in (
        "parked",
        "put_back",
        "sent_again",
        "results_late",
        "answers_dropped",
        "frames_superseded",
        "worker_results_late",
        "worker_frames_stale",
        "handovers_cut_off",
        "abandoned",
        "admitted_overtime",
    ):
        counts[f"router {name}"] += getattr(stats, name)
    for label, values in (
        ("keeper", member.leadership.keeper.stats),
        ("leader", member.coordinator.stats),
    ):
        for each in fields(values):
            counts[f"{label} {each.name}"] += getattr(values, each.name)
    return counts
