"""Kubernetes Events for people: each thing once, and never in the way of the work.

The same sentence about the same cluster is written once in `REPEAT_MS`; a cluster has at most
`EVENTS_MAX` in that time. What is left out is counted. An Event that the API refuses is lost: the
status, which is written until it is true, is what counts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from parti_operator.kube_api import EVENT, KubeApi, KubeError, Object
from parti_operator.names import OPERATOR
from parti_operator.plan.values import Occurrence

REPEAT_MS = 600_000
EVENTS_MAX = 30
_MESSAGE_CHARS_MAX = 1_000  # of the 1024 bytes that the API server allows
_CLUSTERS_MAX = 10_000  # remembered at a time; the longest silent is forgotten


class Recorder:
    """Belongs to one running loop. `dropped` counts what is not written, by why."""

    def __init__(
        self,
        kube: KubeApi,
        *,
        instance: str,
        clock_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        dropped: Callable[[str], None],
    ) -> None:
        self._kube = kube
        self._instance = instance
        self._clock_ms = clock_ms
        self._wall_ms = wall_ms
        self._dropped = dropped
        self._written: dict[str, dict[tuple[str, str], int]] = {}  # by uid: what, when

    async def record(self, resource: Object, occurrences: Iterable[Occurrence]) -> None:
        """Write what was not written lately."""
        for occurrence in occurrences:
            if not self._is_due(resource["metadata"]["uid"], occurrence):
                continue
            try:
                await self._kube.create(self._event(resource, occurrence))
            except KubeError:
                self._dropped("refused")

    def _is_due(self, uid: str, occurrence: Occurrence) -> bool:
        now_ms = self._clock_ms()
        past = self._written.pop(uid, {})
        written = {what: at for what, at in past.items() if now_ms - at < REPEAT_MS}
        self._written[uid] = written  # the last one in the order: heard of most recently
        if len(self._written) > _CLUSTERS_MAX:
            del self._written[next(iter(self._written))]
        what = (occurrence.reason.value, occurrence.message)
        if what in written:
            self._dropped("repeated")
            return False
        if len(written) >= EVENTS_MAX:
            self._dropped("too many")
            return False
        written[what] = now_ms
        return True

    def _event(self, resource: Object, occurrence: Occurrence) -> Object:
        metadata = resource["metadata"]
        moment = datetime.fromtimestamp(self._wall_ms() / 1000, UTC)
        now = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {
                "name": f"{metadata['name']}.{secrets.token_hex(8)}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": resource["apiVersion"],
                "kind": resource["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": "Warning" if occurrence.warning else "Normal",
            "reason": occurrence.reason.value,
            "message": occurrence.message[:_MESSAGE_CHARS_MAX],
            "source": {"component": OPERATOR},
            "reportingComponent": OPERATOR,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
