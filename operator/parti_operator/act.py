"""Carries out the actions of a plan, one after the other, up to the first that fails.

Each action is idempotent and names exactly what it is about, so nothing is rolled back: the next
pass looks again. Before every action this process must still hold the lease, and no action may
take longer than the lease is certain to be held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from parti_operator.actions import (
    Action,
    ApplyChild,
    Bootstrap,
    ClearAnnotation,
    DeleteChild,
    DeleteClaim,
    DeletePod,
    DescribeMember,
    EvictPod,
    ForceNewQuorum,
    GrowClaim,
    SetIntent,
    SetPolicy,
    TransferLeader,
)
from parti_operator.children import differs, repaired
from parti_operator.election import LeaseLostError
from parti_operator.failpoints import Failpoints
from parti_operator.kube_api import CLAIM, KINDS, PARTI_CLUSTER, POD, KubeApi, KubeError, Object
from parti_operator.observe import Look
from parti_operator.observed import ChildKey
from parti_operator.sidecars import SidecarAction, SidecarError, Sidecars

ACTION_TIMEOUT_MS = 15_000
EVICTION_AGAIN_MS = 5_000
_BUSY: Final = 429


class ActionFailedError(Exception):
    """An action was not carried out, or it is not known whether it was."""

    def __init__(self, action: Action, cause: Exception, retry_after_ms: int = 0) -> None:
        super().__init__(f"{action.name}: {cause}")
        self.action = action
        self.retry_after_ms = retry_after_ms  # 0: after the usual pause
        self._cause = cause

    @property
    def needs_people(self) -> bool:
        """The API server refused what it will refuse again: rights, quotas, invalid fields."""
        error = self._cause
        if not isinstance(error, KubeError):
            return False
        return not (error.is_transient or error.is_conflict or error.is_missing)


class Permission(Protocol):
    """For how long this process may act."""

    @property
    def remaining_ms(self) -> int: ...


class Actor:
    """Belongs to one running loop. `count` is told each action and how it ended."""

    def __init__(
        self,
        kube: KubeApi,
        sidecars: Sidecars,
        permission: Permission,
        *,
        failpoints: Failpoints,
        count: Callable[[str, str], None],
    ) -> None:
        self._kube = kube
        self._sidecars = sidecars
        self._permission = permission
        self._failpoints = failpoints
        self._count = count
        self._ways: dict[type[Any], Callable[[Look, Any], Awaitable[None]]] = {
            ApplyChild: self._apply_child,
            DeleteChild: self._delete_child,
            EvictPod: self._evict_pod,
            DeletePod: self._delete_pod,
            DeleteClaim: self._delete_claim,
            GrowClaim: self._grow_claim,
            ClearAnnotation: self._clear_annotation,
            Bootstrap: self._tell_pod,
            ForceNewQuorum: self._tell_pod,
            SetIntent: self._tell_leader,
            DescribeMember: self._tell_leader,
            SetPolicy: self._tell_leader,
            TransferLeader: self._tell_leader,
        }

    async def carry_out(self, look: Look, actions: tuple[Action, ...]) -> None:
        """All of them. Raises ActionFailedError at the first that fails, LeaseLostError."""
        for action in actions:
            assert look.observed.live, f"{action.name} rests on a look that may be old"
            self._failpoints.before(action.name)
            await self._carry_out(look, action)
            self._failpoints.after(action.name)

    async def _carry_out(self, look: Look, action: Action) -> None:
        allowed_ms = min(self._permission.remaining_ms, ACTION_TIMEOUT_MS)
        if allowed_ms <= 0:
            raise LeaseLostError("the lease is not certain any more")
        try:
            async with asyncio.timeout(allowed_ms / 1000):
                await self._ways[type(action)](look, action)
        except (KubeError, SidecarError, TimeoutError, _ImpossibleError) as error:
            self._count(action.name, "failed")
            raise ActionFailedError(action, error, _retry_after_ms(action, error)) from error
        self._count(action.name, "done")

    async def _apply_child(self, look: Look, action: ApplyChild) -> None:
        """What exists is ours, see `look`: fields that others set are taken back. What does not
        exist is made without force: it fails if somebody else was faster.

        Server-side apply leaves what others have added; a merge patch takes it away.
        """
        child = dict(action.child)
        key = ChildKey(child["kind"], child["metadata"]["name"])
        live = await self._kube.apply(child, force=key in look.observed.children)
        version = {"resourceVersion": live["metadata"]["resourceVersion"]}
        whole = {**child, "metadata": {**child["metadata"], **version}}
        if differs(whole, live):
            namespace = look.observed.cluster.ref.namespace
            await self._kube.merge(KINDS[key.kind], namespace, key.name, repaired(whole, live))

    async def _delete_child(self, look: Look, action: DeleteChild) -> None:
        namespace = look.observed.cluster.ref.namespace
        await self._kube.delete(KINDS[action.kind], namespace, action.object_name, uid=action.uid)

    async def _evict_pod(self, look: Look, action: EvictPod) -> None:
        await self._kube.evict(look.observed.cluster.ref.namespace, action.pod, uid=action.uid)

    async def _delete_pod(self, look: Look, action: DeletePod) -> None:
        namespace = look.observed.cluster.ref.namespace
        await self._kube.delete(
            POD, namespace, action.pod, uid=action.uid, grace_seconds=0 if action.force else None
        )

    async def _delete_claim(self, look: Look, action: DeleteClaim) -> None:
        namespace = look.observed.cluster.ref.namespace
        await self._kube.delete(CLAIM, namespace, action.claim, uid=action.uid)

    async def _grow_claim(self, look: Look, action: GrowClaim) -> None:
        patch = {
            "metadata": {"uid": action.uid},
            "spec": {"resources": {"requests": {"storage": action.size}}},
        }
        await self._kube.merge(CLAIM, look.observed.cluster.ref.namespace, action.claim, patch)

    async def _clear_annotation(self, look: Look, action: ClearAnnotation) -> None:
        ref = look.observed.cluster.ref
        found = await self._kube.get(PARTI_CLUSTER, ref.namespace, ref.name)
        annotations: Mapping[str, str] = found["metadata"].get("annotations") or {}
        if annotations.get(action.key) != action.value:
            return
        patch: Object = {
            "metadata": {
                "resourceVersion": found["metadata"]["resourceVersion"],
                "annotations": {action.key: None},
            }
        }
        await self._kube.merge(PARTI_CLUSTER, ref.namespace, ref.name, patch)

    async def _tell_pod(self, look: Look, action: Bootstrap | ForceNewQuorum) -> None:
        known = {pod.name: pod.uid for pod in look.observed.pods}
        if known.get(action.pod) != action.pod_uid:
            raise _ImpossibleError(f"pod {action.pod} is not the one that was meant")
        await self._tell(look, action.pod, action)

    async def _tell_leader(
        self, look: Look, action: SetIntent | DescribeMember | SetPolicy | TransferLeader
    ) -> None:
        view, sidecars = look.observed.view, look.observed.sidecars
        if view is None:
            raise _ImpossibleError("no leader is known")
        leading = [pod for pod, said in sidecars.items() if said.member_id == view.leader]
        if not leading:
            raise _ImpossibleError("the leader's pod is not known")
        await self._tell(look, leading[0], action)

    async def _tell(self, look: Look, pod: str, action: SidecarAction) -> None:
        address = look.addresses.get(pod)
        if address is None:
            raise _ImpossibleError(f"pod {pod} has no address")
        await self._sidecars.carry_out(address, action)


class _ImpossibleError(Exception):
    """What the action is about has gone meanwhile."""


def _retry_after_ms(action: Action, error: Exception) -> int:
    if not isinstance(error, KubeError):
        return 0
    if isinstance(action, EvictPod) and error.status == _BUSY:
        return max(error.retry_after_ms, EVICTION_AGAIN_MS)  # the disruption budget is used up
    return error.retry_after_ms
