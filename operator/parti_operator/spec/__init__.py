"""The spec of a PartiCluster: `parse` gives a `ClusterSpec` or says what is wrong. Pure."""

from parti_operator.spec.parsing import parse, read_ref
from parti_operator.spec.problems import InvalidSpecError, Problem
from parti_operator.spec.rules import warnings
from parti_operator.spec.values import (
    CAPACITY_DEFAULT,
    VOTERS_ALLOWED,
    ClusterRef,
    ClusterSpec,
    Mode,
    OrdinalWeight,
    Placement,
    Policy,
    Rebalance,
    RebalanceMode,
    Retention,
    Sidecar,
    Storage,
    Strategy,
    Timeouts,
    TopologySpread,
)

__all__ = [
    "CAPACITY_DEFAULT",
    "VOTERS_ALLOWED",
    "ClusterRef",
    "ClusterSpec",
    "InvalidSpecError",
    "Mode",
    "OrdinalWeight",
    "Placement",
    "Policy",
    "Problem",
    "Rebalance",
    "RebalanceMode",
    "Retention",
    "Sidecar",
    "Storage",
    "Strategy",
    "Timeouts",
    "TopologySpread",
    "parse",
    "read_ref",
    "warnings",
]
