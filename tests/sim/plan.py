"""What a seed stands for: the shape of the cluster, its limits, and which troubles may come.

Each seed draws a subset of all troubles (swarm testing): few at a time go deeper than all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from parti_raft.replica_values import ReplicaLimits
from parti_shard.limits import RouterLimits
from parti_shard.policy import STRATEGIES, Policy, Strategy
from tests.sim.clocks import RATE_ERROR_PPM
from tests.sim.timeline import MS, S

FAULTS: Final = (
    "kill",
    "power cut",
    "pause",
    "long pause",
    "split",
    "one-way cut",
    "isolate leader",
    "slow path",
    "reset streams",
    "lossy frames",
    "slow disk",
    "failed sync",
    "failed write",
    "bit rot",
    "lost disk",
    "worker crash",
    "worker replaced",
    "worker pause",
    "slow worker",
    "hanging messages",
    "release withheld",
    "client crash",
    "clock drift",
    "new address",
)
OPERATIONS: Final = (
    "pin",
    "intent",
    "policy",
    "transfer",
    "join",
    "remove",
    "describe",
    "graceful restart",
    "prepared restart",
    "full restart",
)
DISTURBING: Final = (*FAULTS, "full restart")
AVAILABLE_SHARE: Final = 0.1  # of the seeds run in mode available, which gives up G1 for a time
QUIET_SHARE: Final = 0.08  # of the seeds: operations only, and then nothing may fail
# Most seeds are short, for many short ones meet more than few long ones; some things take long.
TROUBLE_FOR_US: Final = (1 * S, 2 * S, 2 * S, 3 * S, 3 * S, 5 * S, 8 * S, 15 * S)
PACES_US: Final = ((50 * MS, 500 * MS), (200 * MS, 2 * S), (1 * S, 4 * S))  # trouble to trouble


@dataclass(frozen=True)
class Plan:
    """See the module's docstring."""

    seed: int
    members: int
    voters: int
    machines_max: int
    partitions: int
    lease_ttl_ms: int
    router: RouterLimits
    replica: ReplicaLimits
    policy: Policy
    troubles: tuple[str, ...]
    trouble_every_us: tuple[int, int]
    trouble_for_us: int
    send_every_us: tuple[int, int]
    timeouts_ms: tuple[int, ...]
    clock_error_ppm: int = RATE_ERROR_PPM
    workers_check_lease: bool = False
    available_for_ms: int = 0  # 0: mode strict
    store_users: int = 0  # so many of the first machines have one
    store_every_us: tuple[int, int] = (20 * MS, 300 * MS)

    @property
    def quiet(self) -> bool:
        """Nothing but operations that promise to fail no request (G7)."""
        return not set(self.troubles) & set(DISTURBING)


def make_plan(seed: int) -> Plan:
    rng = Random(f"plan {seed}")
    members = rng.choice((3, 3, 3, 4, 5))
    troubles = _troubles(rng)
    quiet = not set(troubles) & set(DISTURBING)
    trouble_for_us = rng.choice(TROUBLE_FOR_US)
    return Plan(
        seed=seed,
        members=members,
        voters=5 if members == 5 and rng.random() < 0.5 else 3,
        machines_max=7,
        partitions=rng.choice((4, 8, 16)),
        lease_ttl_ms=rng.choice((2_000, 1_000, 600)),
        router=RouterLimits() if quiet else _router_limits(rng),
        replica=_replica_limits(rng),
        policy=draw_policy(rng),
        troubles=troubles,
        trouble_every_us=rng.choice([pace for pace in PACES_US if pace[1] <= trouble_for_us // 2]),
        trouble_for_us=trouble_for_us,
        send_every_us=rng.choice(((10 * MS, 150 * MS), (50 * MS, 500 * MS))),
        timeouts_ms=rng.choice(((5_000,), (300, 2_000), (30, 300, 5_000, 20_000))),
        workers_check_lease=rng.random() < 0.5,
        available_for_ms=1_500 if rng.random() < AVAILABLE_SHARE else 0,
        store_users=rng.choice((0, 0, 0, 2, 3)),
    )


def _troubles(rng: Random) -> tuple[str, ...]:
    operations = rng.sample(OPERATIONS, rng.randint(0, len(OPERATIONS)))
    if rng.random() < QUIET_SHARE:
        return tuple(name for name in operations if name != "full restart")
    faults = rng.sample(FAULTS, rng.choice((1, 2, 4, 8, len(FAULTS))))
    return (*faults, *operations[: rng.choice((0, 2, len(OPERATIONS)))])


def draw_policy(rng: Random) -> Policy:
    strategy = rng.choice((Strategy.BALANCED, Strategy.BALANCED, *STRATEGIES))
    return Policy(
        strategy=strategy,
        rebalance=rng.random() < 0.9,
        moves_in_flight_max=rng.choice((1, 4, 16)),
        partition_cooldown_ms=rng.choice((0, 500, 5_000)),
        coalesce_quiet_ms=rng.choice((0, 200)),
        coalesce_max_ms=rng.choice((200, 2_000)),
        voters_max=rng.choice((3, 5)),
        voter_replace_after_ms=rng.choice((2_000, 30_000)),
        move_deadline_ms=rng.choice((1_500, 5_000)),
        load_aware=strategy is Strategy.BALANCED and rng.random() < 0.3,
    )


def _router_limits(rng: Random) -> RouterLimits:
    return RouterLimits(
        frame_items_max=rng.choice((4, 1_024)),
        frame_bytes_target=rng.choice((64, 64 << 10)),
        default_timeout_ms=5_000,
        parked_messages_per_partition=rng.choice((20, 4_096)),
        parked_age_ms_max=rng.choice((1_500, 30_000)),
        client_in_flight_max=rng.choice((50, 4_096)),
        partition_window=rng.choice((1, 6, 256)),
        intake_messages_per_partition=rng.choice((8, 4_096)),
        refusal_retry_ms=rng.choice((20, 100)),
        worker_grace_ms=rng.choice((200, 1_000, 3_000)),
        handover_ms=rng.choice((500, 2_000)),
    )


def _replica_limits(rng: Random) -> ReplicaLimits:
    return ReplicaLimits(
        entries_in_flight_max=rng.choice((1, 4)),
        messages_in_flight_max=rng.choice((2, 256)),
        message_bytes_max=rng.choice((200, 1 << 20)),
        snapshot_every_entries=rng.choice((8, 40, 10_000)),
        keep_entries=rng.choice((0, 5, 2_000)),
    )
