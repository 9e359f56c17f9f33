"""What the watches have told so far: the objects of every cluster, by cluster.

Watches feed it object by object; a listing of a whole kind corrects it, since a watch that begins
anew says nothing of what vanished meanwhile. Invariants:

- an older version of an object never replaces a newer one, nor does a listing undo what a watch
  told while the listing was on its way;
- every change names the clusters that have to be looked at again, through `changed`;
- objects are kept without what nobody here reads (`_trimmed`): memory is the operator's cost.

A look from here may be old. Whatever cannot be taken back is decided on a live look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from parti_operator.children import entries_of_others
from parti_operator.kube_api import (
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    NODE,
    PARTI_CLUSTER,
    POD,
    POD_MONITOR,
    SERVICE,
    STATEFUL_SET,
    Kind,
    Object,
)
from parti_operator.names import CLUSTER_LABEL

_OF_POD_STATUS = (
    *("phase", "podIP", "startTime", "conditions", "reason", "message"),
    *("initContainerStatuses", "containerStatuses"),
)
_CHILDREN = frozenset(
    {CONFIG_MAP, DISRUPTION_BUDGET, NETWORK_POLICY, POD_MONITOR, SERVICE, STATEFUL_SET}
)


class ClusterKey(NamedTuple):
    """A PartiCluster by its place; an earlier and a later one of the same name share it."""

    namespace: str
    name: str


class _Place(NamedTuple):
    namespace: str
    name: str


class Listing(NamedTuple):
    """A listing that is on its way."""

    kind: Kind
    began: int  # number of changes told before


class Cache:
    """Belongs to one running loop; nothing here waits."""

    def __init__(self, changed: Callable[[ClusterKey], None]) -> None:
        self.told: Counter[str] = Counter()  # changes that watches told, by plural
        self._changed = changed
        self._objects: dict[Kind, dict[_Place, Object]] = {}
        self._children: dict[ClusterKey, dict[Kind, set[_Place]]] = {}
        self._touched: dict[Kind, dict[_Place, int]] = {}  # by watches, while listings are made
        self._listings: set[Listing] = set()
        self._changes = 0

    def cluster(self, key: ClusterKey) -> Object | None:
        """The PartiCluster itself."""
        return self._objects.get(PARTI_CLUSTER, {}).get(_Place(*key))

    def clusters(self) -> Iterator[ClusterKey]:
        for place in self._objects.get(PARTI_CLUSTER, {}):
            yield ClusterKey(*place)

    def of_cluster(self, key: ClusterKey, kind: Kind) -> list[Object]:
        """Objects of a kind that carry the cluster's label, by name."""
        places = self._children.get(key, {}).get(kind, ())
        return [self._objects[kind][place] for place in sorted(places)]

    def nodes(self) -> Iterable[Object]:
        return self._objects.get(NODE, {}).values()

    def count(self, kind: Kind) -> int:
        return len(self._objects.get(kind, {}))

    def put(self, kind: Kind, object_: Object) -> None:
        """A watch tells of an object."""
        if self._put(kind, object_):
            self.told[kind.plural] += 1

    def learn(self, kind: Kind, object_: Object) -> None:
        """Somebody here has just written the object."""
        self._put(kind, object_)

    def remove(self, kind: Kind, object_: Object) -> None:
        """A watch tells that an object is gone; a namesake that came later stays."""
        place = _place_of(object_)
        known = self._objects.get(kind, {}).get(place)
        if known is not None and _uid(known) != _uid(object_):
            return
        self._touch(kind, place)
        if known is not None:
            self.told[kind.plural] += 1
            self._drop(kind, place)

    def begin_listing(self, kind: Kind) -> Listing:
        """Call before the request is sent; every one begun must be ended."""
        listing = Listing(kind, self._changes)
        self._listings.add(listing)
        return listing

    def end_listing(self, listing: Listing, objects: Iterable[Object] | None) -> int:
        """Take over what was listed (None: it failed); gives how much no watch had told."""
        self._listings.discard(listing)
        missed = 0 if objects is None else self._take_over(listing, objects)
        if not self._listings:
            self._touched.clear()
        return missed

    def _take_over(self, listing: Listing, objects: Iterable[Object]) -> int:
        kind = listing.kind
        touched = self._touched.get(kind, {})
        since = {place for place, change in touched.items() if change > listing.began}
        listed = {_place_of(object_): object_ for object_ in objects}
        missed = 0
        for place, object_ in listed.items():
            if place not in since and self._put(kind, object_):
                missed += 1
        for place in list(self._objects.get(kind, {})):
            if place not in listed and place not in since:
                self._drop(kind, place)
                missed += 1
        return missed

    def _put(self, kind: Kind, object_: Object) -> bool:
        """Whether it is news."""
        place = _place_of(object_)
        known = self._objects.get(kind, {}).get(place)
        if known is not None and not _is_newer(object_, known):
            return False
        self._touch(kind, place)
        if known is not None:
            self._unlink(kind, place, known)
        kept = _trimmed(kind, object_)
        self._objects.setdefault(kind, {})[place] = kept
        key = _cluster_of(kind, object_)
        if key is not None and kind != PARTI_CLUSTER:
            self._children.setdefault(key, {}).setdefault(kind, set()).add(place)
        if known is None or not _says_the_same(known, kept):
            self._tell(kind, place.name, key)
        return True

    def _drop(self, kind: Kind, place: _Place) -> None:
        known = self._objects[kind].pop(place)
        self._unlink(kind, place, known)
        self._tell(kind, place.name, _cluster_of(kind, known))

    def _unlink(self, kind: Kind, place: _Place, known: Object) -> None:
        key = _cluster_of(kind, known)
        if key is None or kind == PARTI_CLUSTER:
            return
        kinds = self._children[key]
        kinds[kind].discard(place)
        if not kinds[kind]:
            del kinds[kind]
        if not kinds:
            del self._children[key]

    def _touch(self, kind: Kind, place: _Place) -> None:
        self._changes += 1
        if self._listings:
            self._touched.setdefault(kind, {})[place] = self._changes

    def _tell(self, kind: Kind, name: str, key: ClusterKey | None) -> None:
        if key is not None:
            self._changed(key)
        if kind == NODE:
            for owner in self._clusters_on(name):
                self._changed(owner)

    def _clusters_on(self, node: str) -> set[ClusterKey]:
        pods = self._objects.get(POD, {}).values()
        on_node = (pod for pod in pods if pod["spec"].get("nodeName") == node)
        return {key for pod in on_node if (key := _cluster_of(POD, pod)) is not None}


def _place_of(object_: Object) -> _Place:
    metadata = object_["metadata"]
    return _Place(metadata.get("namespace", ""), metadata["name"])


def _uid(object_: Object) -> str:
    uid: str = object_["metadata"]["uid"]
    return uid


def _is_newer(object_: Object, known: Object) -> bool:
    """Versions of one object are numbers that grow; another uid is another object."""
    if _uid(object_) != _uid(known):
        return True
    return _version(object_) > _version(known)


def _says_the_same(known: Object, kept: Object) -> bool:
    """Whether nothing but the version differs: a node's heartbeat, a write without effect."""
    metadata = {**kept["metadata"], "resourceVersion": known["metadata"]["resourceVersion"]}
    return known == {**kept, "metadata": metadata}


def _version(object_: Object) -> int:
    return int(object_["metadata"]["resourceVersion"])


def _cluster_of(kind: Kind, object_: Object) -> ClusterKey | None:
    place = _place_of(object_)
    if kind == PARTI_CLUSTER:
        return ClusterKey(*place)
    if kind == NODE:
        return None
    name = (object_["metadata"].get("labels") or {}).get(CLUSTER_LABEL)
    return None if name is None else ClusterKey(place.namespace, name)


def _trimmed(kind: Kind, object_: Object) -> Object:
    metadata = {key: value for key, value in object_["metadata"].items() if key != "managedFields"}
    if kind in _CHILDREN and (others := entries_of_others(object_["metadata"])):
        metadata["managedFields"] = others
    if kind == POD:
        return _part_of_pod(object_, metadata)
    if kind == NODE:
        return _part_of_node(object_, metadata)
    return {**object_, "metadata": metadata}


def _part_of_pod(pod: Object, metadata: dict[str, Any]) -> Object:
    status = pod.get("status") or {}
    return {
        "metadata": metadata,
        "spec": {"nodeName": (pod.get("spec") or {}).get("nodeName", "")},
        "status": {key: status[key] for key in _OF_POD_STATUS if key in status},
    }


def _part_of_node(node: Object, metadata: dict[str, Any]) -> Object:
    """Without its heartbeat, which would look like news every few seconds."""
    conditions = [
        {"type": row["type"], "status": row["status"]}
        for row in (node.get("status") or {}).get("conditions") or ()
    ]
    return {
        "metadata": metadata,
        "spec": {"taints": (node.get("spec") or {}).get("taints") or []},
        "status": {"conditions": conditions},
    }
