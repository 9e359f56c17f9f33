"""A cluster's life with an operator that has the chart's rights, and every status in the CRD.

The API in memory refuses what no role of the chart allows, and looks at each status as the API
server would: a field that the CRD does not know would be dropped without a word, and with it what
the operator wanted to remember.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema

from parti_operator.kube_api import (
    NETWORK_POLICY,
    NODE,
    PARTI_CLUSTER,
    POD,
    STATEFUL_SET,
    Kind,
    KubeError,
    Object,
)
from tests.charts import crd
from tests.charts.rights import Right, operator_rights
from tests.parti_operator.memory_kube import Call
from tests.parti_operator.rig import Rig

_VERBS = {"merge": "patch", "replace": "update"}
_WATCHED = {"get", "list", "watch"}  # a look at one object, at all of them, and from then on
# Rights that this life does not show, and what they are for.
_NOT_SHOWN: set[Right] = {
    ("parti.dev", "particlusters/finalizers", "update"),  # checked by some API servers
    ("", "persistentvolumeclaims", "delete"),  # a member that was lost with its node
    ("", "pods", "delete"),
    ("parti.dev", "particlusters", "patch"),  # an order that was carried out is taken off
}


class _Guard:
    """Refuses as RBAC does, and remembers which rights were used."""

    def __init__(self, rig: Rig, rights: set[Right]) -> None:
        self.used: set[Right] = set()
        self.statuses: list[Object] = []
        self._rig = rig
        self._rights = rights
        rig.kube.rules.append(self._check)
        rig.kube.on_write.append(self._look)

    def _check(self, call: Call) -> None:
        if call.moment == "before":
            for right in self._asked(call):
                self.used.add(right)
                if right not in self._rights:
                    raise KubeError(403, "Forbidden", str(right))

    def _asked(self, call: Call) -> list[Right]:
        group, resource = call.kind.group, call.kind.plural
        if call.verb == "evict":
            return [(group, f"{resource}/eviction", "create")]
        if call.verb != "apply":
            what = f"{resource}/{call.subresource}" if call.subresource else resource
            return [(group, what, _VERBS.get(call.verb, call.verb))]
        missing = self._rig.kube.find(call.kind, call.namespace, call.name) is None
        return [(group, resource, verb) for verb in ("patch", *(["create"] if missing else []))]

    def _look(self, kind: Kind, object_: Object, _: str) -> None:
        if kind is PARTI_CLUSTER and "status" in object_:
            self.statuses.append(object_["status"])


async def _life(rig: Rig) -> None:
    rig.create(networkPolicy={"enabled": True})
    await rig.until(lambda: rig.is_settled(3), "ready")
    rig.change(replicas=5, networkPolicy={"enabled": False})
    await rig.until(lambda: rig.is_settled(5), "scaled up")
    rig.change(replicas=2)
    await rig.until(lambda: rig.is_settled(2), "scaled down")
    rig.change(replicas=3)
    await rig.until(lambda: rig.is_settled(3), "scaled up again")
    before = {pod["metadata"]["uid"] for pod in rig.kube.all(POD)}
    rig.change(template={"spec": {"containers": [{"name": "app", "image": "app:2"}]}})
    await rig.until(lambda: _all_new(rig, before) and rig.is_settled(3), "rolled")
    storage = rig.cluster()["spec"]["storage"]
    rig.change(storage={**storage, "size": "5Gi"})
    await rig.until(lambda: rig.is_settled(3), "grown")
    node = rig.kube.find(POD, "shop", "orders-2")
    assert node is not None
    rig.world.kill_node(node["spec"]["nodeName"])
    await rig.until(lambda: "lostSince" in str(rig.status()), "found lost", within_s=900)
    rig.change(paused=True)
    await rig.until(lambda: rig.status()["phase"] == "Paused", "paused")


def _all_new(rig: Rig, before: set[str]) -> bool:
    return not before & {pod["metadata"]["uid"] for pod in rig.kube.all(POD)}


def _played(script: Callable[[Rig], Awaitable[None]], rights: set[Right]) -> _Guard:
    """The script, beside an operator with these rights."""
    rig = Rig()
    rig.kube.unknown_kinds.clear()
    guard = _Guard(rig, rights)

    async def main() -> None:
        run = await rig.operator()
        try:
            await script(rig)
        finally:
            await run.end()

    rig.play(main)
    return guard


def test_the_operator_lives_within_its_rights_and_its_status_within_the_crd() -> None:
    rights = operator_rights({"watch": {"all": True}})
    guard = _played(_life, rights)
    assert guard.used - rights == set()
    _assert_statuses_are_known(guard.statuses)
    unused = {
        (group, resource, verb)
        for group, resource, verb in rights - guard.used
        if verb not in _WATCHED and resource not in {"leases", "podmonitors"}
    }
    assert unused == _NOT_SHOWN


def _assert_statuses_are_known(statuses: list[Object]) -> None:
    schema: Any = crd.schema()["properties"]["status"]
    checker = jsonschema.Draft202012Validator(schema)
    fields = {field for status in statuses for field in status}
    assert fields >= {"conditions", "members", "scaling", "roll", "intents", "bootstrap"}
    for status in statuses:
        assert crd.unknown_fields(status, schema, "status") == []
        assert [error.message for error in checker.iter_errors(status)] == []


def test_a_missing_right_is_noticed() -> None:
    missing = ("apps", "statefulsets", "create")
    played: list[Rig] = []

    async def first_minute(rig: Rig) -> None:
        played.append(rig)
        rig.create()
        await asyncio.sleep(60)

    guard = _played(first_minute, operator_rights({"watch": {"all": True}}) - {missing})
    assert missing in guard.used
    assert played[0].kube.find(STATEFUL_SET, "shop", "orders") is None


def test_kinds_that_are_always_there_are_never_deleted() -> None:
    rights = operator_rights({"watch": {"all": True}})
    deleted = {resource for _, resource, verb in rights if verb == "delete"}
    assert deleted == {
        "networkpolicies",
        "persistentvolumeclaims",
        "podmonitors",
        "pods",
    }
    assert NETWORK_POLICY.plural in deleted
    assert NODE.plural not in deleted
