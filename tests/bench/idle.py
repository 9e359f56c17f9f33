"""(f) placement of a large cluster, (g) memory of an idle sidecar."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from parti_cli.devcluster import DevCluster
from parti_shard.ids import NO_MEMBER, MemberId, PartitionId
from parti_shard.placement import Problem, place
from parti_shard.policy import Strategy

MEMBERS = 100
PARTITIONS = 10_000
_SETTLE_S = 5.0


def placement_ms() -> dict[str, float]:
    """Milliseconds to place everything anew, and after one member is lost or has joined."""
    partitions = [PartitionId(p) for p in range(PARTITIONS)]
    members = {MemberId(m): 100 for m in range(1, MEMBERS + 1)}
    nobody = [NO_MEMBER] * PARTITIONS
    cold = Problem(partitions, nobody, nobody, members)
    cold_ms, owners = _timed(cold)
    lost = {m: c for m, c in members.items() if m != 1}
    current = [owner if owner in lost else NO_MEMBER for owner in owners]
    lost_ms, _ = _timed(Problem(partitions, current, owners, lost))
    joined = {**members, MemberId(MEMBERS + 1): 100}
    joined_ms, _ = _timed(Problem(partitions, owners, owners, joined))
    return {"cold": cold_ms, "one lost": lost_ms, "one joined": joined_ms}


def _timed(problem: Problem) -> tuple[float, list[MemberId]]:
    begun = time.perf_counter()
    owners = place(Strategy.BALANCED, problem)
    return (time.perf_counter() - begun) * 1000, owners


def idle_memory_mb(partitions: int) -> float:
    """Resident memory of the leading sidecar of an idle cluster of three."""
    with (
        tempfile.TemporaryDirectory(prefix="parti-bench-") as scratch,
        DevCluster(Path(scratch)) as cluster,
    ):
        cluster.up(3, partitions=partitions)
        time.sleep(_SETTLE_S)
        process = cluster.members()[0].sidecar
        assert process is not None
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(resident.split()[1]) / 1024
