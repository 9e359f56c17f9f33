"""Looks at a cluster: first from the cache, and again live before anything is done.

Both looks give the same value; `live` tells them apart. The sidecars are asked in the first look,
and their answers, fresh as they are, serve the second one too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from parti_operator import facts, names
from parti_operator.cache import Cache, ClusterKey
from parti_operator.kube_api import (
    CLAIM,
    PARTI_CLUSTER,
    POD,
    POD_MONITOR,
    STATEFUL_SET,
    Kind,
    KubeApi,
    KubeError,
    Object,
)
from parti_operator.observed import ChildKey, NodeSeen, Observed
from parti_operator.sidecars import Sidecars, SidecarsSeen
from parti_operator.spec import parse


@dataclass(frozen=True, slots=True)
class Look:
    """What was observed, and where to reach those it is about."""

    resource: Object  # the PartiCluster
    observed: Observed
    addresses: Mapping[str, str]  # of admin APIs, by pod


@dataclass(frozen=True, slots=True)
class _Objects:
    """Everything of one cluster, as objects."""

    resource: Object
    stateful_set: Object | None
    pods: list[Object]
    claims: list[Object]
    children: list[tuple[Kind, Object]]
    live: bool


class Observer:
    """Belongs to one running loop."""

    def __init__(
        self,
        kube: KubeApi,
        cache: Cache,
        sidecars: Sidecars,
        *,
        sidecar_image: str,
        reads_nodes: bool,
        optional_kinds: Callable[[], frozenset[str]],
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._sidecars = sidecars
        self._sidecar_image = sidecar_image
        self._reads_nodes = reads_nodes
        self._optional_kinds = optional_kinds

    async def look(self, key: ClusterKey) -> Look | None:
        """From the cache; None if there is no such PartiCluster. Raises InvalidSpecError."""
        resource = self._cache.cluster(key)
        if resource is None:
            return None
        objects = self._cached(key, resource)
        pods = _own_pods(objects)
        addresses = _addresses(pods)
        return self._look(objects, await self._sidecars.look(addresses))

    async def look_live(self, key: ClusterKey, seen: Look) -> Look | None:
        """Live, with what the sidecars said a moment ago. Raises KubeError, InvalidSpecError."""
        objects = await self._read(key)
        if objects is None:
            return None
        before = seen.observed
        look = self._look(objects, SidecarsSeen(before.sidecars, before.view))
        # A pod that took a name over has not said anything yet.
        asked = {(pod.name, pod.uid) for pod in before.pods}
        same = {pod.name for pod in look.observed.pods if (pod.name, pod.uid) in asked}
        answers = {pod: said for pod, said in before.sidecars.items() if pod in same}
        return replace(look, observed=replace(look.observed, sidecars=answers))

    async def read_resource(self, key: ClusterKey) -> Object | None:
        """The PartiCluster alone, live."""
        return await self._get(PARTI_CLUSTER, key, key.name)

    def learn(self, resource: Object) -> None:
        """A PartiCluster as it was just written: the watch may tell of it only later."""
        self._cache.learn(PARTI_CLUSTER, resource)

    def _cached(self, key: ClusterKey, resource: Object) -> _Objects:
        places = facts.child_places(key.name)
        wanted = set(places)
        children = [
            (kind, object_)
            for kind in dict.fromkeys(kind for kind, _ in places)
            for object_ in self._cache.of_cluster(key, kind)
            if (kind, object_["metadata"]["name"]) in wanted
        ]
        return _Objects(
            resource=resource,
            stateful_set=_only(children, STATEFUL_SET),
            pods=self._cache.of_cluster(key, POD),
            claims=self._cache.of_cluster(key, CLAIM),
            children=children,
            live=False,
        )

    async def _read(self, key: ClusterKey) -> _Objects | None:
        selector = names.selector(key.name)
        resource, pods, claims, children = await asyncio.gather(
            self._get(PARTI_CLUSTER, key, key.name),
            self._kube.list(POD, key.namespace, selector),
            self._kube.list(CLAIM, key.namespace, selector),
            self._read_children(key),
        )
        if resource is None:
            return None
        return _Objects(
            resource=resource,
            stateful_set=_only(children, STATEFUL_SET),
            pods=pods,
            claims=claims,
            children=children,
            live=True,
        )

    async def _read_children(self, key: ClusterKey) -> list[tuple[Kind, Object]]:
        """Each child by its name, so that one of somebody else is found as well.

        Kinds that the API server does not know are left out.
        """
        places = [
            (kind, name)
            for kind, name in facts.child_places(key.name)
            if kind != POD_MONITOR or POD_MONITOR.name in self._optional_kinds()
        ]
        found = await asyncio.gather(*(self._get(kind, key, name) for kind, name in places))
        return [
            (kind, object_)
            for (kind, _), object_ in zip(places, found, strict=True)
            if object_ is not None
        ]

    async def _get(self, kind: Kind, key: ClusterKey, name: str) -> Object | None:
        try:
            return await self._kube.get(kind, key.namespace, name)
        except KubeError as error:
            if error.is_missing:
                return None
            raise

    def _look(self, objects: _Objects, said: SidecarsSeen) -> Look:
        resource = objects.resource
        cluster = parse(resource, self._sidecar_image)
        pods = _own_pods(objects)
        claims = (facts.claim_seen(cluster.ref.name, claim) for claim in objects.claims)
        own, foreign = facts.sort_children(cluster.ref.uid, objects.children)
        stateful_set = own.get(_stateful_set_key(cluster.ref.name))
        observed = Observed(
            cluster=cluster,
            status=resource.get("status") or {},
            annotations=resource["metadata"].get("annotations") or {},
            deleting="deletionTimestamp" in resource["metadata"],
            live=objects.live,
            stateful_set=None if stateful_set is None else facts.stateful_set_seen(stateful_set),
            pods=tuple(facts.pod_seen(pod) for pod in pods),
            claims=tuple(claim for claim in claims if claim is not None),
            children=own,
            foreign=foreign,
            optional_kinds=self._optional_kinds(),
            nodes=self._nodes(),
            sidecars=said.sidecars,
            view=said.view,
        )
        return Look(resource, observed, _addresses(pods))

    def _nodes(self) -> dict[str, NodeSeen] | None:
        if not self._reads_nodes:
            return None
        nodes = map(facts.node_seen, self._cache.nodes())
        return {node.name: node for node in nodes}


def _own_pods(objects: _Objects) -> list[Object]:
    """The pods that the cluster's own StatefulSet controls."""
    stateful_set = objects.stateful_set
    if stateful_set is None:
        return []
    owner, uid = objects.resource["metadata"]["uid"], stateful_set["metadata"]["uid"]
    if not facts.is_controlled_by(stateful_set, owner):
        return []
    return [pod for pod in objects.pods if facts.is_controlled_by(pod, uid)]


def _only(children: list[tuple[Kind, Object]], wanted: Kind) -> Object | None:
    return next((object_ for kind, object_ in children if kind == wanted), None)


def _addresses(pods: list[Object]) -> dict[str, str]:
    """Admin APIs of the pods that may answer."""
    found = {pod["metadata"]["name"]: facts.pod_address(pod, names.ADMIN_PORT) for pod in pods}
    return {pod: address for pod, address in found.items() if address}


def _stateful_set_key(cluster: str) -> ChildKey:
    return ChildKey(STATEFUL_SET.name, names.stateful_set(cluster))
