"""What the fields of a spec must fulfil together, and what is allowed but unwise. Pure.

The CRD refuses most contradictions already (CEL); here they are refused again, since a cluster may
have been stored before a rule was added. Every contradiction is named, not only the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from parti_operator import names
from parti_operator.spec.problems import Problem
from parti_operator.spec.values import VOTERS_ALLOWED, ClusterSpec, Mode, Strategy

# The operator sets these for every member; another value breaks the cluster or founds a second one.
RESERVED_VARIABLES = frozenset(
    {
        "PARTI_ADMIN_ADDRESS",
        "PARTI_ADVERTISE_ADDRESS",
        "PARTI_APP_ADDRESS",
        "PARTI_APP_SOCKET",
        "PARTI_AVAILABLE_FOR_MS",
        "PARTI_BOOTSTRAP",
        "PARTI_CAPACITY",
        "PARTI_CLUSTER_ID",
        "PARTI_CONFIG",
        "PARTI_DATA_DIR",
        "PARTI_DRAIN_MS",
        "PARTI_HANDOVER_MS",
        "PARTI_HTTP_ADDRESS",
        "PARTI_JOIN",
        "PARTI_LEASE_TTL_MS",
        "PARTI_LOG_LEVEL",
        "PARTI_MODE",
        "PARTI_NAME",
        "PARTI_PARTITIONS",
        "PARTI_PEER_ADDRESS",
        "PARTI_PEER_STREAM_ADDRESS",
        "PARTI_REJOIN_AFTER_REMOVAL",
        "PARTI_REMOVAL_GRACE_MS",
        "PARTI_ROLE",
        "PARTI_TERMINATION_GRACE_MS",
        "PARTI_VOTERS_MAX",
        "PARTI_WORKER_GRACE_MS",
        "PARTI_ZONE",
    }
)
# A pod's time to end is this and a margin; the sidecar takes an hour at most.
STOP_MS_MAX = 3_540_000
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SIZE = re.compile(r"[1-9]\d*(\.\d+)?(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)?")

Rule = Callable[[ClusterSpec], list[Problem]]


def contradictions(cluster: ClusterSpec) -> list[Problem]:
    """Everything in the spec that cannot be."""
    return [problem for rule in _RULES for problem in rule(cluster)]


def warnings(cluster: ClusterSpec) -> tuple[str, ...]:
    """What is carried out as asked but will probably disappoint."""
    return tuple(text for check in _WARNINGS if (text := check(cluster)))


def _name_fits(cluster: ClusterSpec) -> list[Problem]:
    name = cluster.ref.name
    if _NAME.fullmatch(name) and len(name) <= names.NAME_LENGTH_MAX:
        return []
    text = (
        f"must be at most {names.NAME_LENGTH_MAX} lower case letters, digits and dashes, "
        "beginning with a letter: Services and pods are named after it"
    )
    return [Problem("metadata.name", text)]


def _voters_are_odd(cluster: ClusterSpec) -> list[Problem]:
    if cluster.voters in VOTERS_ALLOWED:
        return []
    return [Problem("spec.voters", f"must be 1, 3, 5 or 7, not {cluster.voters}")]


def _overtime_has_mode(cluster: ClusterSpec) -> list[Problem]:
    if cluster.mode is Mode.STRICT and cluster.available_for_ms:
        return [Problem("spec.availableFor", "needs mode Available")]
    if cluster.mode is Mode.AVAILABLE and not cluster.available_for_ms:
        return [Problem("spec.availableFor", "must be set in mode Available")]
    return []


def _times_fit(cluster: ClusterSpec) -> list[Problem]:
    times, placement = cluster.timeouts, cluster.placement
    found = []
    if times.handover_ms >= times.drain_ms:
        text = f"({times.handover_ms} ms) must be below drain ({times.drain_ms} ms)"
        found.append(Problem("spec.timeouts.handover", text))
    if times.drain_ms + times.handover_ms > STOP_MS_MAX:
        text = f"({times.drain_ms} ms) and handover together must not exceed {STOP_MS_MAX} ms"
        found.append(Problem("spec.timeouts.drain", text))
    if times.failure_ms <= cluster.lease_ttl_ms:
        text = f"({times.failure_ms} ms) must exceed lease.ttl ({cluster.lease_ttl_ms} ms)"
        found.append(Problem("spec.timeouts.failure", text))
    if placement.coalesce_quiet_ms > placement.coalesce_max_ms:
        text = f"({placement.coalesce_quiet_ms} ms) exceeds max ({placement.coalesce_max_ms} ms)"
        found.append(Problem("spec.placement.coalescing.quiet", text))
    return found


def _load_needs_balanced(cluster: ClusterSpec) -> list[Problem]:
    placement = cluster.placement
    if not placement.load_aware or placement.strategy is Strategy.BALANCED:
        return []
    text = f"needs the strategy balanced, not {placement.strategy.value}"
    return [Problem("spec.placement.loadAware", text)]


def _weights_are_apart(cluster: ClusterSpec) -> list[Problem]:
    rows = sorted(cluster.placement.weights, key=lambda row: row.first)
    return [
        Problem("spec.placement.weights", f"give ordinal {after.first} more than one weight")
        for before, after in pairwise(rows)
        if after.first <= before.last
    ]


def _size_is_a_quantity(cluster: ClusterSpec) -> list[Problem]:
    size = cluster.storage.size
    if _SIZE.fullmatch(size):
        return []
    return [Problem("spec.storage.size", f"must be a size such as 1Gi, not {size!r}")]


def _variables_are_free(cluster: ClusterSpec) -> list[Problem]:
    return [
        Problem(f"spec.sidecar.env[{at}].name", f"{row.get('name')} is set by the operator")
        for at, row in enumerate(cluster.sidecar.env)
        if row.get("name") in RESERVED_VARIABLES
    ]


def _variables_are_distinct(cluster: ClusterSpec) -> list[Problem]:
    seen: set[object] = set()
    found = []
    for at, row in enumerate(cluster.sidecar.env):
        name = row.get("name")
        if name in seen:
            found.append(Problem(f"spec.sidecar.env[{at}].name", f"{name} stands there twice"))
        seen.add(name)
    return found


_RULES: tuple[Rule, ...] = (
    _name_fits,
    _voters_are_odd,
    _overtime_has_mode,
    _times_fit,
    _load_needs_balanced,
    _weights_are_apart,
    _size_is_a_quantity,
    _variables_are_free,
    _variables_are_distinct,
)


def _pod(cluster: ClusterSpec) -> Mapping[str, Any]:
    return cluster.template.get("spec") or {}


def _host_network(cluster: ClusterSpec) -> str:
    if not _pod(cluster).get("hostNetwork") or cluster.replicas == 1:
        return ""
    return (
        "hostNetwork: two members cannot run on one node, since their ports clash, and processes "
        "of the node reach the application's API of the sidecar"
    )


def _cluster_dns(cluster: ClusterSpec) -> str:
    policy = _pod(cluster).get("dnsPolicy") or "ClusterFirst"
    if policy in {"ClusterFirst", "ClusterFirstWithHostNet"}:
        return ""
    return f"dnsPolicy {policy}: members find each other by the cluster's DNS"


def _ephemeral_state(cluster: ClusterSpec) -> str:
    if not cluster.storage.ephemeral:
        return ""
    return (
        "storage.ephemeral: a pod that is deleted comes back as a new member, and the quorum is "
        "lost when a majority of the voters goes at once"
    )


def _budget_and_quorum(cluster: ClusterSpec) -> str:
    voters = cluster.voters_for(cluster.replicas)
    tolerated = (voters - 1) // 2
    if cluster.max_unavailable <= max(1, tolerated):
        return ""
    return (
        f"disruption.maxUnavailable {cluster.max_unavailable}: evictions may take the quorum, "
        f"since {voters} voters bear the loss of {tolerated}"
    )


_WARNINGS = (_host_network, _cluster_dns, _ephemeral_state, _budget_and_quorum)
