"""What the operator asks of the Kubernetes API: kinds, errors and the protocol of eight calls.

Objects are plain dicts as the API gives them. The adapter is `kube`; tests have a twin in memory.
Everybody who writes goes through this protocol, so the rules stand here:

- children are written by server-side apply only; nothing is read, changed and written back;
- a status is written by merge patch: server-side apply refuses what the CRD does not know, and an
  operator that is newer than its CRD must still be able to record what it does;
- a delete names the uid of what it means: a namesake that came later survives;
- a call either gives its result, or raises `KubeError`; after an error without an answer (`status`
  0 or 5xx) it is unknown whether a write happened, so the next look decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from parti_operator.names import API_VERSION, KIND, PLURAL

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, as far as its address needs it."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]


PARTI_CLUSTER: Final = Kind(API_VERSION, KIND, PLURAL)
STATEFUL_SET: Final = Kind("apps/v1", "StatefulSet", "statefulsets")
POD: Final = Kind("v1", "Pod", "pods")
SERVICE: Final = Kind("v1", "Service", "services")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
CLAIM: Final = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENT: Final = Kind("v1", "Event", "events")
NODE: Final = Kind("v1", "Node", "nodes", namespaced=False)
DISRUPTION_BUDGET: Final = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
POD_MONITOR: Final = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")

KINDS: Final = {
    kind.name: kind
    for kind in (
        PARTI_CLUSTER,
        STATEFUL_SET,
        POD,
        SERVICE,
        CONFIG_MAP,
        CLAIM,
        EVENT,
        NODE,
        DISRUPTION_BUDGET,
        NETWORK_POLICY,
        POD_MONITOR,
        LEASE,
    )
}


class KubeError(Exception):
    """The API refused, failed or did not answer. `status` is HTTP's, 0 without an answer."""

    def __init__(self, status: int, reason: str, message: str, retry_after_ms: int = 0) -> None:
        super().__init__(f"{reason or 'no reason'} ({status}): {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_ms = retry_after_ms

    @property
    def is_missing(self) -> bool:
        """The object, its namespace or its kind does not exist."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Another version, another uid, another owner of a field, or it exists already."""
        return self.status == 409

    @property
    def is_no_answer(self) -> bool:
        """Nobody answered, or only something in between or behind the API server that failed."""
        return self.status == 0 or self.status >= 500

    @property
    def is_transient(self) -> bool:
        """Nothing is wrong with the request: the API is away, busy or asks for patience."""
        return self.is_no_answer or self.status in (408, 410, 429)


class KubeApi(Protocol):
    """The calls. Every one has a deadline of its own."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object: ...

    async def list(self, kind: Kind, namespace: str | None, labels: str = "") -> list[Object]:
        """All objects of a kind, in one namespace or everywhere."""
        ...

    async def apply(self, object_: Object, *, force: bool = True) -> Object:
        """Server-side apply; `metadata.uid` and `resourceVersion` are preconditions if given."""
        ...

    async def merge(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Object:
        """JSON merge patch; `metadata.resourceVersion` is a precondition if given."""
        ...

    async def create(self, object_: Object) -> Object: ...

    async def replace(self, object_: Object) -> Object:
        """Write the whole object; its `resourceVersion` is a precondition."""
        ...

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str,
        grace_seconds: int | None = None,
    ) -> None:
        """Begin the deletion of exactly this object. Missing, or another uid: nothing to do."""
        ...

    async def evict(self, namespace: str, pod: str, *, uid: str) -> None:
        """Evict exactly this pod; status 429 while its disruption budget does not allow it."""
        ...
