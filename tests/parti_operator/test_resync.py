"""Comparisons with the API server: what they correct, and how they notice a dead watch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from parti_operator import names
from parti_operator.cache import Cache, ClusterKey
from parti_operator.kube_api import (
    NODE,
    PARTI_CLUSTER,
    POD_MONITOR,
    SERVICE,
    KubeError,
    Object,
)
from parti_operator.resync import (
    FIRST_RETRY_MS,
    RETURN_EVERY_MS,
    RETURN_MS,
    Resync,
    SilentWatchError,
)
from tests.parti_operator.defaults import particluster
from tests.parti_operator.memory_kube import Call, MemoryKube
from tests.parti_operator.virtual_time import now_ms, run_virtual

ORDERS = ClusterKey("shop", "orders")


class _Desk:
    """An API server and a cache that no watch feeds, unless the test does."""

    def __init__(self, *namespaces: str) -> None:
        self.kube = MemoryKube()
        self.news: list[ClusterKey] = []
        self.cache = Cache(self.news.append)
        self.missed: Counter[str] = Counter()
        self.resync = Resync(
            self.kube,
            self.cache,
            kinds=(PARTI_CLUSTER, SERVICE, NODE),
            optional=(POD_MONITOR,),
            namespaces=namespaces,
            missed=self._count,
        )

    def _count(self, plural: str, number: int) -> None:
        self.missed[plural] += number

    def services(self) -> list[str]:
        found = self.cache.of_cluster(ORDERS, SERVICE)
        return [service["metadata"]["name"] for service in found]


def _service(name: str, namespace: str = "shop", **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels or {names.CLUSTER_LABEL: "orders"},
        },
        "spec": {},
    }


def _play(desk: _Desk, script: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await script()

    run_virtual(main())


def test_the_first_one_fills_the_cache() -> None:
    desk = _Desk()
    desk.kube.put(particluster())
    desk.kube.put(_service("a"))
    desk.kube.put(_service("foreign", app="x"))

    async def script() -> None:
        assert desk.resync.last_s is None
        await desk.resync.first()
        assert list(desk.cache.clusters()) == [ORDERS]
        assert desk.services() == ["a"]
        assert desk.resync.last_s is not None

    _play(desk, script)


def test_the_first_one_waits_for_the_api() -> None:
    desk = _Desk()
    desk.kube.unknown_kinds.add(PARTI_CLUSTER.plural)  # the CRD is not there yet

    async def script() -> None:
        first = asyncio.create_task(desk.resync.first())
        await asyncio.sleep(60)
        assert not first.done()
        assert desk.kube.calls["list", PARTI_CLUSTER.plural] <= 60_000 // FIRST_RETRY_MS + 1
        desk.kube.unknown_kinds.clear()
        await asyncio.wait_for(first, FIRST_RETRY_MS / 1000)

    _play(desk, script)


def test_later_ones_tell_what_vanished_and_count_it() -> None:
    desk = _Desk()
    for name in ("a", "b"):
        desk.kube.put(_service(name))

    async def script() -> None:
        await desk.resync.once()
        desk.news.clear()
        assert desk.missed == {}
        desk.kube.remove(SERVICE, "shop", "a")
        await desk.resync.once()
        assert desk.services() == ["b"]
        assert desk.news == [ORDERS]
        assert desk.missed == {"services": 1}

    _play(desk, script)


def test_only_the_namespaces_it_looks_after_are_listed() -> None:
    desk = _Desk("shop", "bank")
    for namespace in ("shop", "bank", "zoo"):
        desk.kube.put(_service("a", namespace))

    async def script() -> None:
        await desk.resync.once()
        assert desk.cache.count(SERVICE) == 2
        desk.kube.remove(SERVICE, "bank", "a")
        await desk.resync.once()
        assert desk.services() == ["a"]
        assert desk.cache.count(SERVICE) == 1

    _play(desk, script)


def test_an_optional_kind_may_be_missing_and_may_come() -> None:
    desk = _Desk()

    async def script() -> None:
        await desk.resync.once()
        assert desk.resync.known_optional == frozenset()
        desk.kube.unknown_kinds.clear()
        await desk.resync.once()
        assert desk.resync.known_optional == {"PodMonitor"}

    _play(desk, script)


def test_a_failed_comparison_is_tried_again_at_its_time() -> None:
    desk = _Desk()
    failing = True

    def fail(call: Call) -> None:
        if failing and call.kind == SERVICE:
            raise KubeError(500, "Injected", "x")

    async def script() -> None:
        nonlocal failing
        desk.kube.rules.append(fail)
        running = asyncio.create_task(desk.resync.run(600_000))
        await asyncio.sleep(700)
        assert desk.resync.last_s is None
        failing = False
        await asyncio.sleep(600)
        assert desk.resync.last_s is not None
        running.cancel()

    _play(desk, script)


def test_a_watch_that_tells_nothing_while_its_kind_changes_is_dead() -> None:
    desk = _Desk()

    async def script() -> None:
        await desk.resync.once()
        desk.kube.put(_service("a"))
        await desk.resync.once()  # once may be bad luck: the watch was about to tell
        desk.kube.put(_service("b"))
        with pytest.raises(SilentWatchError, match="services"):
            await desk.resync.once()

    _play(desk, script)


def test_after_an_outage_changes_are_found_although_watches_are_silent() -> None:
    """For as long as kopf bears a watch that is open and silent; they are not judged for it."""
    desk = _Desk()

    async def script() -> None:
        await desk.resync.first()
        running = asyncio.create_task(desk.resync.run(600_000))
        await asyncio.sleep(100)
        desk.kube.put(_service("unnoticed"))
        desk.resync.api_returned()
        await asyncio.sleep(0.1)
        assert desk.services() == ["unnoticed"]
        for number in range(RETURN_MS // RETURN_EVERY_MS):
            name = f"s{number}"
            desk.kube.put(_service(name))
            await asyncio.sleep(RETURN_EVERY_MS / 1000)
            assert name in desk.services()
        asked = desk.kube.requests()
        await asyncio.sleep(500)
        assert desk.kube.requests() - asked <= 4  # one more at most: 4 listings
        running.cancel()

    _play(desk, script)


def test_a_watch_that_tells_something_is_alive() -> None:
    desk = _Desk()

    async def script() -> None:
        await desk.resync.once()
        for number in range(6):
            found = desk.kube.put(_service(f"a{number}"))
            if number % 2:
                desk.cache.put(SERVICE, found)
            desk.kube.put(_service(f"b{number}"))
            await desk.resync.once()

    _play(desk, script)


def test_comparisons_cost_the_same_for_any_number_of_clusters() -> None:
    desk = _Desk()
    for number in range(50):
        desk.kube.put(particluster(name=f"c{number}", uid=f"u{number}"))

    async def script() -> None:
        began_ms = now_ms()
        running = asyncio.create_task(desk.resync.run(600_000))
        await asyncio.sleep(3_601)
        running.cancel()
        assert now_ms() - began_ms > 3_600_000
        assert desk.kube.requests() == 6 * 4

    _play(desk, script)
