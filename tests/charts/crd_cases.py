"""What the API server must take and what it must refuse, with the words of the refusal.

One table for two tests: here bounds and types are checked against the schema as JSON, and the rest
only for having a case at all; on a real API server (tests/kube) every line is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

# The spec's fields by path, such as "storage.size"; None takes the field away.
Changes = Mapping[str, Any]

_CONTAINER: Mapping[str, Any] = {"name": "app", "image": "example/orders:1"}
_TAKEN_PORTS = "ports 5100 to 5104 of the pod belong to the sidecar"
_WEIGHTLESS = "strategy balanced or weighted-consistent-hash, because the others know no weights"


@dataclass(frozen=True, slots=True)
class Creation:
    """A resource that is created; `refusal` is a part of the answer, empty if it is taken."""

    title: str
    changes: Changes
    refusal: str = ""
    by_rule: bool = False  # a CEL rule refuses it, not the schema
    name: str = "orders"


@dataclass(frozen=True, slots=True)
class Update:
    """A change of a resource that was taken; only rules see both the old and the new one."""

    title: str
    changes: Changes
    refusal: str = ""
    before: Changes = field(default_factory=dict)


def resource(changes: Changes, name: str = "orders") -> dict[str, Any]:
    """The smallest PartiCluster, with changes."""
    spec: dict[str, Any] = {"template": {"spec": {"containers": [dict(_CONTAINER)]}}}
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            del place[last]
        else:
            place[last] = deepcopy(value)
    return {
        "apiVersion": "parti.dev/v1alpha1",
        "kind": "PartiCluster",
        "metadata": {"name": name},
        "spec": spec,
    }


def _with_port(port: Mapping[str, Any]) -> list[Any]:
    return [{**_CONTAINER, "ports": [port]}]


TAKEN = (
    Creation("the smallest one", {}),
    Creation("all bounds, low", {"replicas": 1, "partitions": 1, "voters": 1}),
    Creation("all bounds, high", {"replicas": 200, "partitions": 65_536, "voters": 7}),
    Creation("more voters than replicas", {"replicas": 2, "voters": 5}),
    Creation("a composed duration", {"timeouts.failure": "1h30m"}),
    Creation("available for a while", {"mode": "Available", "availableFor": "1h"}),
    Creation("the longest name", {}, name="a" * 52),
    Creation("one weight", {"placement.weights": [{"ordinals": "0-1", "weight": 200}]}),
    Creation("a label for weights", {"placement.weightLabel": "example/size"}),
    Creation(
        "weights on a ring",
        {
            "placement.strategy": "weighted-consistent-hash",
            "placement.weights": [{"ordinals": "7", "weight": 1}],
        },
    ),
    Creation("load counts", {"placement.loadAware": True}),
    Creation("no volumes", {"storage.ephemeral": True}),
    Creation("no class", {"storage.className": ""}),
    Creation("a decimal size", {"storage.size": "1.5Gi"}),
    Creation("no evictions", {"disruption.maxUnavailable": 0}),
    Creation(
        "a setting of the sidecar",
        {"sidecar.env": [{"name": "PARTI_SNAPSHOT_EVERY_ENTRIES", "value": "5000"}]},
    ),
    Creation("numbers as quantities", {"sidecar.resources.limits": {"cpu": 2, "memory": "1Gi"}}),
    Creation(
        "a port of another protocol",
        {"template.spec.containers": _with_port({"containerPort": 5100, "protocol": "UDP"})},
    ),
    Creation("a field of pods", {"template.spec.hostAliases": [{"ip": "10.0.0.1"}]}),
)

REFUSED_BY_SCHEMA = (
    Creation("no template", {"template": None}, "spec.template: Required value"),
    Creation("no containers", {"template.spec.containers": None}, "containers: Required value"),
    Creation("an empty list", {"template.spec.containers": []}, "should have at least 1 items"),
    Creation("a nameless container", {"template.spec.containers": [{}]}, "name: Required value"),
    Creation("no replicas", {"replicas": 0}, "greater than or equal to 1"),
    Creation("too many replicas", {"replicas": 201}, "less than or equal to 200"),
    Creation("replicas as text", {"replicas": "3"}, "must be of type integer"),
    Creation("no partitions", {"partitions": 0}, "greater than or equal to 1"),
    Creation("too many partitions", {"partitions": 65_537}, "less than or equal to 65536"),
    Creation("an even number of voters", {"voters": 2}, "supported values"),
    Creation("too many voters", {"voters": 9}, "supported values"),
    Creation("an unknown mode", {"mode": "Relaxed"}, "supported values"),
    Creation("no unit", {"timeouts.drain": "20"}, "should match"),
    Creation("an unknown unit", {"lease.ttl": "2d"}, "should match"),
    Creation("an unknown strategy", {"placement.strategy": "random"}, "supported values"),
    Creation(
        "ordinals in words",
        {"placement.weights": [{"ordinals": "all", "weight": 1}]},
        "should match",
    ),
    Creation(
        "no weight at all",
        {"placement.weights": [{"ordinals": "0", "weight": 0}]},
        "greater than or equal to 1",
    ),
    Creation("a label with a space", {"placement.weightLabel": "my size"}, "should match"),
    Creation("no moves", {"rebalance.maxConcurrentMoves": 0}, "greater than or equal to 1"),
    Creation("an unknown level", {"sidecar.logLevel": "loud"}, "supported values"),
    Creation("an empty image", {"sidecar.image": ""}, "at least 1 chars"),
    Creation("a negative budget", {"disruption.maxUnavailable": -1}, "equal to 0"),
    Creation("retention in doubt", {"storage.retention.whenScaled": "Keep"}, "supported values"),
    Creation("pods that end", {"template.spec.restartPolicy": "Never"}, "supported values"),
    Creation("an unknown spread", {"topologySpread": "wide"}, "supported values"),
)

REFUSED_BY_RULES = (
    Creation("a long name", {}, "must have at most 52 characters", by_rule=True, name="a" * 53),
    Creation("a name with a digit first", {}, "must begin with a letter", by_rule=True, name="1a"),
    Creation("a name with a dot", {}, "must begin with a letter", by_rule=True, name="a.b"),
    Creation("available, but how long", {"mode": "Available"}, "needs availableFor", by_rule=True),
    Creation("strict, but for a while", {"availableFor": "30s"}, "needs mode", by_rule=True),
    Creation(
        "available for nothing",
        {"mode": "Available", "availableFor": "0s"},
        "availableFor must lie between 1ms and 1h",
        by_rule=True,
    ),
    Creation(
        "a failure within a lease",
        {"lease.ttl": "20s", "timeouts.failure": "20s"},
        "timeouts.failure must be longer than lease.ttl",
        by_rule=True,
    ),
    Creation(
        "a handover as long as the drain",
        {"timeouts.handover": "20s"},
        "timeouts.handover must be shorter than timeouts.drain",
        by_rule=True,
    ),
    Creation(
        "load on a ring",
        {"placement.loadAware": True, "placement.strategy": "consistent-hash"},
        "placement.loadAware needs strategy balanced",
        by_rule=True,
    ),
    Creation(
        "weights for turns",
        {
            "placement.strategy": "round-robin",
            "placement.weights": [{"ordinals": "0", "weight": 1}],
        },
        f"placement.weights needs {_WEIGHTLESS}",
        by_rule=True,
    ),
    Creation(
        "a label of weights for turns",
        {"placement.strategy": "round-robin", "placement.weightLabel": "size"},
        f"placement.weightLabel needs {_WEIGHTLESS}",
        by_rule=True,
    ),
    Creation(
        "weights twice",
        {
            "placement.weightLabel": "size",
            "placement.weights": [{"ordinals": "0", "weight": 1}],
        },
        "placement.weights and placement.weightLabel exclude each other",
        by_rule=True,
    ),
    Creation(
        "ordinals backwards",
        {"placement.weights": [{"ordinals": "3-1", "weight": 200}]},
        "the first ordinal of a range must not exceed the last one",
        by_rule=True,
    ),
    Creation(
        "quiet for longer than the longest",
        {"placement.coalescing.quiet": "3s"},
        "placement.coalescing.quiet must not exceed placement.coalescing.max",
        by_rule=True,
    ),
    Creation(
        "a wait of two days",
        {"placement.coalescing.max": "48h"},
        "placement.coalescing.max must be at most 24h",
        by_rule=True,
    ),
    Creation(
        "a cooldown of two days",
        {"placement.cooldown": "48h"},
        "placement.cooldown must be at most 24h",
        by_rule=True,
    ),
    Creation("a short lease", {"lease.ttl": "100ms"}, "lie between 200ms and 1h", by_rule=True),
    Creation("a long drain", {"timeouts.drain": "31m"}, "between 1s and 30m", by_rule=True),
    Creation("no handover", {"timeouts.handover": "0s"}, "be at least 100ms", by_rule=True),
    Creation(
        "no grace",
        {"timeouts.workerGrace": "0s"},
        "timeouts.workerGrace must lie between 1ms and 1h",
        by_rule=True,
    ),
    Creation("hasty failure", {"timeouts.failure": "9s"}, "between 10s and 24h", by_rule=True),
    Creation(
        "a variable of the operator",
        {"sidecar.env": [{"name": "PARTI_BOOTSTRAP", "value": "true"}]},
        "this variable is set by the operator",
        by_rule=True,
    ),
    Creation(
        "a class for no volume",
        {"storage.ephemeral": True, "storage.className": "fast"},
        "storage.className has no meaning with storage.ephemeral",
        by_rule=True,
    ),
    Creation("a tiny volume", {"storage.size": "1Mi"}, "of at least 16Mi", by_rule=True),
    Creation("a size in words", {"storage.size": "large"}, "must be a quantity", by_rule=True),
    Creation(
        "a second sidecar",
        {"template.spec.containers": [{"name": "parti-sidecar"}]},
        "the container name parti-sidecar belongs to the operator",
        by_rule=True,
    ),
    Creation(
        "a second sidecar that begins first",
        {"template.spec.initContainers": [{"name": "parti-sidecar"}]},
        "the init container name parti-sidecar belongs to the operator",
        by_rule=True,
    ),
    Creation(
        "a port of the sidecar",
        {"template.spec.containers": _with_port({"containerPort": 5104})},
        _TAKEN_PORTS,
        by_rule=True,
    ),
    Creation(
        "a port of the sidecar in an init container",
        {"template.spec.initContainers": _with_port({"containerPort": 5100, "protocol": "TCP"})},
        _TAKEN_PORTS,
        by_rule=True,
    ),
    Creation(
        "a volume of the sidecar",
        {"template.spec.volumes": [{"name": "parti-data", "emptyDir": {}}]},
        "names of volumes that begin with parti- belong to the operator",
        by_rule=True,
    ),
)

CREATIONS = (*TAKEN, *REFUSED_BY_SCHEMA, *REFUSED_BY_RULES)

UPDATES = (
    Update("more pods", {"replicas": 5}),
    Update("another image", {"sidecar.image": "example/parti-sidecar:2"}),
    Update("a larger volume", {"storage.size": "2Gi"}),
    Update("the same lease in other words", {"lease.ttl": "2000ms"}),
    Update("other partitions", {"partitions": 32}, "partitions is immutable"),
    Update("another lease", {"lease.ttl": "3s"}, "lease.ttl is immutable"),
    Update("a smaller volume", {"storage.size": "512Mi"}, "storage.size may only grow"),
    Update("no volume", {"storage.ephemeral": True}, "storage.ephemeral is immutable"),
    Update("a class", {"storage.className": "fast"}, "storage.className is immutable"),
    Update(
        "another class",
        {"storage.className": "slow"},
        "storage.className is immutable",
        before={"storage.className": "fast"},
    ),
    Update("no class any more", {}, "className is immutable", before={"storage.className": "x"}),
)
