"""The Kubernetes API in memory: versions, uids, conflicts, server-side apply, watches, faults.

As far as the operator can tell it behaves as the real one, which `tests/kube/test_operator_api.py`
holds it to. Server-side apply is a subset: per manager the last configuration is remembered, what
is missing in the next one is taken away; lists belong to their manager as a whole.

Faults are rules: a rule sees every call before it is carried out and may raise, and again after it,
when its effect is there and only the answer is lost. Watchers are told at once, or only when the
test says so (`hold`), which makes caches stale.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from parti_operator.cache import Cache
from parti_operator.kube_api import (
    CLAIM,
    EVENT,
    KINDS,
    LEASE,
    POD,
    Kind,
    KubeError,
    Object,
)

Place = tuple[str, str, str]  # plural, namespace, name
# What the API server sets, whoever writes.
_SYSTEM = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as rules and tests see it."""

    verb: str
    kind: Kind
    namespace: str
    name: str
    moment: str  # before, after
    subresource: str = ""


Rule = Callable[[Call], None]


class MemoryKube:
    """The API server."""

    def __init__(self, latency_ms: int = 0) -> None:
        self._objects: dict[str, dict[Place, Object]] = defaultdict(dict)  # by plural
        self.calls: Counter[tuple[str, str]] = Counter()  # verb, plural
        self.rules: list[Rule] = []
        self.unknown_kinds: set[str] = {"podmonitors"}
        self.on_write: list[Callable[[Kind, Object, str], None]] = []  # event type
        self.evictions_allowed = True
        self._latency_ms = latency_ms
        self._version = itertools.count(1)
        self._uid = itertools.count(1)
        self._applied: dict[Place, Object] = {}
        self._caches: list[Cache] = []
        self._held: list[Callable[[], None]] | None = None

    # --- the API

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        async with self._call("get", kind, namespace, name):
            return deepcopy(self._found(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str | None, labels: str = "") -> list[Object]:
        async with self._call("list", kind, namespace or "", ""):
            self._check_kind(kind)
            every = self._objects[kind.plural].items()
            here = [each for place, each in every if namespace in (None, place[1])]
            return [deepcopy(each) for each in here if _matches(each, labels)]

    async def apply(self, object_: Object, *, force: bool = True) -> Object:
        kind, namespace, name = _address(object_)
        async with self._call("apply", kind, namespace, name):
            self._check_kind(kind)
            return self._apply(kind, object_, force=force)

    async def merge(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Object:
        async with self._call("merge", kind, namespace, name, subresource):
            found = self._found(kind, namespace, name)
            self._check_identity(found, patch.get("metadata") or {})
            merged = _merged({"status": {}, **found}, patch)
            if subresource:
                merged = {**found, subresource: merged[subresource]}
            return deepcopy(self._store(kind, merged, found))

    async def create(self, object_: Object) -> Object:
        kind, namespace, name = _address(object_)
        async with self._call("create", kind, namespace, name):
            return deepcopy(self.put(object_))

    async def replace(self, object_: Object) -> Object:
        kind, namespace, name = _address(object_)
        async with self._call("replace", kind, namespace, name):
            found = self._found(kind, namespace, name)
            self._check_identity(found, object_["metadata"])
            return self._store(kind, deepcopy(object_), found)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str,
        grace_seconds: int | None = None,
    ) -> None:
        async with self._call("delete", kind, namespace, name):
            found = self.find(kind, namespace, name)
            if found is not None and found["metadata"]["uid"] == uid:
                self.begin_removal(kind, namespace, name, force=grace_seconds == 0)

    async def evict(self, namespace: str, pod: str, *, uid: str) -> None:
        async with self._call("evict", POD, namespace, pod):
            found = self.find(POD, namespace, pod)
            if found is None or found["metadata"]["uid"] != uid:
                return
            if not self.evictions_allowed:
                raise KubeError(429, "TooManyRequests", "the disruption budget is used up")
            self.begin_removal(POD, namespace, pod, force=False)

    # --- what tests do behind the operator's back

    def put(self, object_: Object) -> Object:
        """Create; fails if it exists."""
        kind, namespace, name = _address(object_)
        self._check_kind(kind)
        if self.find(kind, namespace, name) is not None:
            raise KubeError(409, "AlreadyExists", f"{kind.plural} {name} exists")
        created = deepcopy(object_)
        metadata = created["metadata"]
        metadata["uid"] = f"{kind.plural}-{next(self._uid)}"
        metadata["generation"] = 1
        metadata["resourceVersion"] = "0"
        return self._write(kind, created, "ADDED")

    def edit(self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]) -> Object:
        """A merge patch by somebody else, who owns from then on what it sets."""
        found = self._found(kind, namespace, name)
        edited = _merged(found, patch)
        entry = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": _fields(patch)}
        edited["metadata"]["managedFields"] = [*found["metadata"].get("managedFields", ()), entry]
        return self._store(kind, edited, found)

    def begin_removal(self, kind: Kind, namespace: str, name: str, *, force: bool) -> None:
        """Pods and claims go when the world lets them (`MemoryWorld`), all others at once."""
        if kind not in (POD, CLAIM) or force:
            self.remove(kind, namespace, name)
            return
        found = self._found(kind, namespace, name)
        if "deletionTimestamp" not in found["metadata"]:
            marked = deepcopy(found)
            marked["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self._write(kind, marked, "MODIFIED")

    def set_status(self, kind: Kind, namespace: str, name: str, status: Object) -> None:
        """The whole status, by a controller or a kubelet."""
        found = self._found(kind, namespace, name)
        if found.get("status") != status:
            self._store(kind, {**found, "status": status}, found)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete at once; whatever it owns goes too."""
        place = (kind.plural, namespace, name)
        gone = self._objects[kind.plural].pop(place)
        self._applied.pop(place, None)
        self._tell(kind, gone, "DELETED")
        for other in [each for kind in self._objects.values() for each in kind.values()]:
            owners = other["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == gone["metadata"]["uid"] for owner in owners):
                other_kind, other_namespace, other_name = _address(other)
                self.remove(other_kind, other_namespace, other_name)

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._objects[kind.plural].get((kind.plural, namespace, name))

    def all(self, kind: Kind, namespace: str | None = None) -> Iterator[Object]:
        """By name; what is removed meanwhile is left out."""
        objects = self._objects[kind.plural]
        for place in sorted(objects):
            if namespace in (None, place[1]) and place in objects:
                yield objects[place]

    def feed(self, cache: Cache) -> None:
        """Let the cache watch from now on."""
        self._caches.append(cache)

    def unfeed(self, cache: Cache) -> None:
        self._caches.remove(cache)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Watches tell nothing inside, and all of it afterwards."""
        assert self._held is None
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for tell in held:
                tell()

    def fail(
        self, verb: str, plural: str, status: int, *, times: int = 1, moment: str = "before"
    ) -> None:
        """The next calls of this sort fail; with `after` they have their effect nevertheless."""
        left = itertools.count(times, -1)

        def rule(call: Call) -> None:
            is_meant = (call.verb, call.kind.plural, call.moment) == (verb, plural, moment)
            if is_meant and next(left) > 0:
                raise KubeError(status, "Injected", f"{verb} {plural}")

        self.rules.append(rule)

    def requests(self) -> int:
        """All so far, leases aside."""
        return sum(number for (_, plural), number in self.calls.items() if plural != LEASE.plural)

    # --- inside

    def _call(
        self, verb: str, kind: Kind, namespace: str, name: str, subresource: str = ""
    ) -> _Passage:
        self.calls[verb, kind.plural] += 1
        call = Call(verb, kind, namespace, name, "before", subresource)
        return _Passage(self.rules, call, self._latency_ms)

    def _found(self, kind: Kind, namespace: str, name: str) -> Object:
        self._check_kind(kind)
        found = self.find(kind, namespace, name)
        if found is None:
            raise KubeError(404, "NotFound", f"{kind.plural} {namespace}/{name}")
        return found

    def _check_kind(self, kind: Kind) -> None:
        if kind.plural in self.unknown_kinds:
            raise KubeError(404, "NotFound", "the server could not find the requested resource")

    def _check_identity(self, found: Object, metadata: Mapping[str, Any]) -> None:
        for key in ("uid", "resourceVersion"):
            if metadata.get(key) and metadata[key] != found["metadata"][key]:
                raise KubeError(409, "Conflict", f"{key} is {found['metadata'][key]}")

    def _apply(self, kind: Kind, object_: Object, *, force: bool) -> Object:
        _, namespace, name = _address(object_)
        place = (kind.plural, namespace, name)
        wanted = {key: value for key, value in object_.items() if key != "status"}
        found = self.find(kind, namespace, name)
        if found is None:
            if object_["metadata"].get("uid"):
                raise KubeError(409, "Conflict", "uid mismatch: no existing object was found")
            stored = self.put(wanted)
        else:
            self._check_identity(found, object_["metadata"])
            before = self._applied.get(place)
            if before is None and not force and _clash(found, wanted):
                raise KubeError(409, "Conflict", f"{name} is managed by others")
            merged = _without(deepcopy(found), _dropped(before or {}, wanted))
            stored = self._store(kind, _overlaid(merged, wanted), found)
        self._applied[place] = _own(wanted)
        return deepcopy(stored)

    def _store(self, kind: Kind, object_: Object, found: Object) -> Object:
        """Write over `found`; a write that changes nothing is none."""
        stored = deepcopy(object_)
        for key in _SYSTEM:
            stored["metadata"].pop(key, None)
            if key in found["metadata"]:
                stored["metadata"][key] = found["metadata"][key]
        if stored == found:
            return found
        if stored.get("spec") != found.get("spec"):
            stored["metadata"]["generation"] = found["metadata"]["generation"] + 1
        return self._write(kind, stored, "MODIFIED")

    def _write(self, kind: Kind, object_: Object, event: str) -> Object:
        object_["metadata"]["resourceVersion"] = str(next(self._version))
        _, namespace, name = _address(object_)
        self._objects[kind.plural][kind.plural, namespace, name] = object_
        self._tell(kind, object_, event)
        return object_

    def _tell(self, kind: Kind, object_: Object, event: str) -> None:
        for listener in self.on_write:
            listener(kind, object_, event)
        if kind in (LEASE, EVENT):
            return
        copy = deepcopy(object_)

        def tell() -> None:
            for cache in self._caches:
                (cache.remove if event == "DELETED" else cache.put)(kind, copy)

        if self._held is None:
            tell()
        else:
            self._held.append(tell)


class _Passage:
    """The way of a request to the server and of its answer back."""

    def __init__(self, rules: list[Rule], call: Call, latency_ms: int) -> None:
        self._rules = rules
        self._call = call
        self._latency_ms = latency_ms

    async def __aenter__(self) -> None:
        await asyncio.sleep(self._latency_ms / 1000)
        for rule in list(self._rules):
            rule(self._call)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        after = replace(self._call, moment="after")
        for rule in list(self._rules):
            rule(after)


def _address(object_: Mapping[str, Any]) -> tuple[Kind, str, str]:
    kind = KINDS[object_["kind"]]
    metadata = object_["metadata"]
    return kind, metadata.get("namespace", "") if kind.namespaced else "", metadata["name"]


def _matches(object_: Object, labels: str) -> bool:
    if not labels:
        return True
    key, equals, value = labels.partition("=")
    own = object_["metadata"].get("labels") or {}
    return key in own and (not equals or own[key] == value)


def _own(wanted: Object) -> Object:
    """What a manager can own of an object."""
    metadata = wanted["metadata"]
    kept = {key: metadata[key] for key in ("labels", "annotations") if key in metadata}
    body = {k: v for k, v in wanted.items() if k not in ("metadata", "apiVersion", "kind")}
    return deepcopy({"metadata": kept, **body})


def _merged(found: Object, patch: Mapping[str, Any]) -> Object:
    """RFC 7386."""
    merged = deepcopy(found)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = deepcopy(value)
    return merged


def _fields(patch: Mapping[str, Any]) -> Object:
    """The fields that a patch sets; lists as a whole."""
    return {
        f"f:{key}": _fields(value) if isinstance(value, Mapping) else {}
        for key, value in patch.items()
        if value is not None
    }


def _overlaid(found: Object, wanted: Mapping[str, Any]) -> Object:
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(found.get(key), dict):
            _overlaid(found[key], value)
        else:
            found[key] = deepcopy(value)
    return found


def _dropped(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> Object:
    """The part of `before` that is not wanted any more."""
    dropped: Object = {}
    for key, value in before.items():
        if key not in wanted:
            dropped[key] = None
        elif isinstance(value, Mapping) and isinstance(wanted[key], Mapping):
            inner = _dropped(value, wanted[key])
            if inner:
                dropped[key] = inner
    return dropped


def _without(found: Object, dropped: Mapping[str, Any]) -> Object:
    for key, inner in dropped.items():
        if inner is None:
            found.pop(key, None)
        elif isinstance(found.get(key), dict):
            _without(found[key], inner)
    return found


def _clash(found: Object, wanted: Object) -> bool:
    """Whether others have set a wanted field to something else."""
    return bool(_differing(found, _own(wanted)))


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    differing = []
    for key, value in wanted.items():
        if key not in found:
            continue
        if isinstance(value, Mapping) and isinstance(found[key], Mapping):
            differing += _differing(found[key], value)
        elif found[key] != value:
            differing.append(key)
    return differing
