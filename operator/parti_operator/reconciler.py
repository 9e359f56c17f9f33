"""One pass over one PartiCluster: look, plan, act, write the status, tell people.

The first plan is made from the cache. If it wants anything done, everything is read anew and the
plan made again: only that one is carried out. An idle cluster therefore costs no request.

The status is written on every way out, also when an action failed, and only if it differs. It is
written for the version of the PartiCluster that was planned for: if that has changed meanwhile the
write fails, and the next pass knows better. The operator is its only writer.

A pass has a deadline. An exception ends the pass, never the process: other clusters go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from parti_operator.act import ActionFailedError, Actor
from parti_operator.cache import ClusterKey
from parti_operator.election import LeaseLostError
from parti_operator.events import Recorder
from parti_operator.kube_api import PARTI_CLUSTER, KubeApi, KubeError, Object
from parti_operator.metrics import ClusterReading, Metrics
from parti_operator.names import ConditionType, EventReason
from parti_operator.observe import Look, Observer
from parti_operator.observed import Observed
from parti_operator.plan.refused_action import with_refused_action
from parti_operator.plan.values import Occurrence, Plan
from parti_operator.queue import RequeueMs
from parti_operator.spec import InvalidSpecError
from parti_sidecar.logs import event

PASS_TIMEOUT_MS = 120_000
# After a change of the status the next looks come soon: the sidecars tell nobody when partitions
# begin to move, which they do up to `partition_cooldown_ms` later.
WATCHFUL_MS = 20_000
WATCHFUL_LOOK_MS = 2_000

# Nothing is wrong with the operator: a line of log, and another pass later.
_EXPECTED = (ActionFailedError, KubeError, LeaseLostError, TimeoutError)

PlanMaker = Callable[[Observed, int], Plan]
# What is said of a PartiCluster whose spec cannot be carried out.
Refuser = Callable[[Mapping[str, Any], InvalidSpecError, int], Plan]

_log = logging.getLogger(__name__)


class PassFailedError(Exception):
    """The pass did not come to its end; it has been logged and counted."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written last, and what the API server made of it: it drops what it does not know."""

    asked: Mapping[str, Any]
    got: Mapping[str, Any]


class Reconciler:
    """Belongs to one running loop; `reconcile` is the work of the queue."""

    def __init__(
        self,
        kube: KubeApi,
        observer: Observer,
        actor: Actor,
        recorder: Recorder,
        metrics: Metrics,
        *,
        make_plan: PlanMaker,
        refuse: Refuser,
        wall_ms: Callable[[], int],
    ) -> None:
        self._kube = kube
        self._observer = observer
        self._actor = actor
        self._recorder = recorder
        self._metrics = metrics
        self._make_plan = make_plan
        self._refuse = refuse
        self._wall_ms = wall_ms
        self._written: dict[ClusterKey, _Written] = {}
        self._changed_ms: dict[ClusterKey, int] = {}

    async def reconcile(self, key: ClusterKey) -> RequeueMs:
        """One pass. Raises PassFailedError."""
        try:
            with self._metrics.pass_seconds.time():
                async with asyncio.timeout(PASS_TIMEOUT_MS / 1000):
                    requeue_ms = await self._pass(key)
        except Exception as error:
            expected = isinstance(error, _EXPECTED)
            event(
                _log,
                "pass failed",
                level=logging.WARNING if expected else logging.ERROR,
                error=None if expected else error,
                namespace=key.namespace,
                cluster=key.name,
                reason=str(error) or type(error).__name__,
            )
            self._metrics.passes.labels("failed").inc()
            raise PassFailedError from error
        self._metrics.passes.labels("done").inc()
        return requeue_ms

    async def _pass(self, key: ClusterKey) -> RequeueMs:
        try:
            look = await self._observer.look(key)
            if look is None:
                self._forget(key)
                return None
            plan = self._make_plan(look.observed, self._wall_ms())
            if plan.actions or plan.look_closer:
                look = await self._observer.look_live(key, look)
                if look is None:
                    self._forget(key)
                    return None
                plan = self._make_plan(look.observed, self._wall_ms())
        except InvalidSpecError as error:
            return await self._tell_invalid(key, error)
        return await self._carry_out(key, look, plan)

    async def _carry_out(self, key: ClusterKey, look: Look, plan: Plan) -> RequeueMs:
        failure: ActionFailedError | None = None
        try:
            await self._actor.carry_out(look, plan.actions)
        except ActionFailedError as error:
            failure = error
        if failure is not None and failure.needs_people:
            plan = self._tell_refusal(look.resource, plan, str(failure))
        await self._write_status(key, look.resource, plan.status)
        await self._recorder.record(look.resource, plan.events)
        if failure is None:
            self._metrics.clusters[key] = _reading(look.resource, plan.status, self._wall_ms())
            return self._next_look_ms(key, plan)
        if failure.retry_after_ms:
            return failure.retry_after_ms
        raise failure

    def _tell_refusal(self, resource: Object, plan: Plan, text: str) -> Plan:
        before = resource.get("status") or {}
        status = with_refused_action(plan.status, before, text, self._wall_ms())
        told = Occurrence(EventReason.ACTION_FAILED, text, warning=True)
        return replace(plan, status=status, events=(*plan.events, told))

    async def _tell_invalid(self, key: ClusterKey, error: InvalidSpecError) -> RequeueMs:
        resource = await self._observer.read_resource(key)
        if resource is None:
            self._forget(key)
            return None
        plan = self._refuse(resource, error, self._wall_ms())
        await self._write_status(key, resource, plan.status)
        await self._recorder.record(resource, plan.events)
        self._metrics.clusters[key] = _reading(resource, plan.status, self._wall_ms())
        return plan.requeue_after_ms

    def _next_look_ms(self, key: ClusterKey, plan: Plan) -> int:
        changed_ms = self._changed_ms.get(key)
        if changed_ms is None or self._wall_ms() - changed_ms >= WATCHFUL_MS:
            return plan.requeue_after_ms
        return min(plan.requeue_after_ms, WATCHFUL_LOOK_MS)

    def _forget(self, key: ClusterKey) -> None:
        """There is no such PartiCluster any more."""
        self._changed_ms.pop(key, None)
        self._metrics.clusters.pop(key, None)
        self._written.pop(key, None)

    async def _write_status(
        self, key: ClusterKey, resource: Object, status: Mapping[str, Any]
    ) -> None:
        found = resource.get("status") or {}
        if status == found or self._written.get(key) == _Written(status, found):
            return
        self._changed_ms[key] = self._wall_ms()
        metadata = resource["metadata"]
        precondition = {key: metadata[key] for key in ("uid", "resourceVersion")}
        answer = await self._kube.merge(
            PARTI_CLUSTER,
            key.namespace,
            key.name,
            {"metadata": precondition, "status": _merge_patch(found, status)},
            subresource="status",
        )
        self._written[key] = _Written(status, answer.get("status") or {})
        self._observer.learn(answer)


def _merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What makes `after` of `before`, by RFC 7386."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        known = before.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            inner = _merge_patch(known, value)
            if inner:
                patch[key] = inner
        elif key not in before or value != known:
            patch[key] = value
    return patch


def _reading(resource: Object, status: Mapping[str, Any], now_ms: int) -> ClusterReading:
    conditions = {row["type"]: row["status"] == "True" for row in status.get("conditions") or ()}
    partitions = status.get("partitions") or {}
    return ClusterReading(
        phase=status.get("phase", ""),
        ready=conditions.get(ConditionType.READY, False),
        degraded=conditions.get(ConditionType.DEGRADED, False),
        quorum_healthy=conditions.get(ConditionType.QUORUM_HEALTHY, False),
        replicas=resource["spec"].get("replicas", 0),
        ready_replicas=status.get("readyReplicas", 0),
        partitions_unowned=partitions.get("unowned", 0),
        partitions_moving=partitions.get("moving", 0),
        last_success_s=now_ms / 1000,
    )
