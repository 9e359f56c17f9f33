"""Admin requests as values of the domain; each bad argument has its own clear error."""

from __future__ import annotations

import re
import secrets

from parti_proto import admin_pb2
from parti_shard.commands import Intent
from parti_shard.errors import Reason, refuse
from parti_shard.ids import MemberId
from parti_shard.limits import LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN, PARTITIONS_MAX, LeaseTimes
from parti_shard.policy import STRATEGIES, Policy, Strategy
from parti_shard.table import Table
from parti_sidecar.config_kinds import CAPACITY, LABEL, BadValueError, Kind

_CLUSTER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def known_member(member: int, table: Table) -> MemberId:
    """A member of this cluster."""
    if MemberId(member) not in table.members:
        refuse(Reason.UNKNOWN_MEMBER, f"no member {member:#x} in this cluster")
    return MemberId(member)


def intent_from(value: int) -> Intent:
    """One of the known intents."""
    if value not in list(Intent):
        refuse(Reason.INVALID_ARGUMENT, f"intent {value} is not known")
    return Intent(value)


def facts_from(said: admin_pb2.SetMemberRequest) -> tuple[str, int]:
    """Zone and capacity as the settings of a member allow them; empty and 0: not set."""
    facts: tuple[tuple[str, Kind, object], ...] = (
        ("zone", LABEL, said.zone),
        ("capacity", CAPACITY, said.capacity or CAPACITY.minimum),
    )
    for name, kind, value in facts:
        try:
            kind.parse(value)
        except BadValueError as error:
            refuse(Reason.INVALID_ARGUMENT, f"{name} {error}")
    return said.zone, said.capacity


def cluster_id_from(said: str) -> str:
    """A given cluster id, or a random one."""
    if not said:
        return secrets.token_hex(8)
    if not _CLUSTER_ID.fullmatch(said):
        text = "cluster_id must be 1 to 63 letters, digits, dots, dashes or underscores"
        refuse(Reason.INVALID_ARGUMENT, text)
    return said


def partitions_from(said: int) -> int:
    """A number of partitions a cluster may have."""
    if not 1 <= said <= PARTITIONS_MAX:
        refuse(Reason.INVALID_ARGUMENT, f"partitions is {said}, must be 1..{PARTITIONS_MAX}")
    return said


def lease_ttl_from(said: int) -> int:
    """The lease TTL of a new cluster; 0 means the default."""
    ttl_ms = said or LeaseTimes().ttl_ms
    if not LEASE_TTL_MS_MIN <= ttl_ms <= LEASE_TTL_MS_MAX:
        text = f"lease_ttl_ms is {said}, must be {LEASE_TTL_MS_MIN}..{LEASE_TTL_MS_MAX}"
        refuse(Reason.INVALID_ARGUMENT, text)
    return ttl_ms


def policy_from(said: admin_pb2.Policy) -> Policy:
    """A whole policy; every contradiction is named at once."""
    if said.strategy not in list(STRATEGIES):
        names = ", ".join(STRATEGIES)
        refuse(Reason.INVALID_ARGUMENT, f"strategy {said.strategy!r} is none of {names}")
    policy = Policy(
        strategy=Strategy(said.strategy),
        rebalance=said.rebalance,
        moves_in_flight_max=said.moves_in_flight_max,
        partition_cooldown_ms=said.partition_cooldown_ms,
        coalesce_quiet_ms=said.coalesce_quiet_ms,
        coalesce_max_ms=said.coalesce_max_ms,
        voters_max=said.voters_max,
        voter_replace_after_ms=said.voter_replace_after_ms,
        move_deadline_ms=said.move_deadline_ms,
        load_aware=said.load_aware,
    )
    contradictions = policy.validate()
    if contradictions:
        refuse(Reason.INVALID_ARGUMENT, "; ".join(contradictions))
    return policy


def policy_message(policy: Policy) -> admin_pb2.Policy:
    """Write a policy as a message."""
    return admin_pb2.Policy(
        strategy=policy.strategy.value,
        rebalance=policy.rebalance,
        moves_in_flight_max=policy.moves_in_flight_max,
        partition_cooldown_ms=policy.partition_cooldown_ms,
        coalesce_quiet_ms=policy.coalesce_quiet_ms,
        coalesce_max_ms=policy.coalesce_max_ms,
        voters_max=policy.voters_max,
        voter_replace_after_ms=policy.voter_replace_after_ms,
        move_deadline_ms=policy.move_deadline_ms,
        load_aware=policy.load_aware,
    )
