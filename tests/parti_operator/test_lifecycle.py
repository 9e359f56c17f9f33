"""The operator's parts know of each other what they must; the process runs in `tests/kube`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from parti_operator.cache import ClusterKey
from parti_operator.config import load_config
from parti_operator.kube_api import SERVICE
from parti_operator.lifecycle import Operator, Outside
from parti_operator.metrics import Metrics
from parti_operator.names import CLUSTER_LABEL
from parti_operator.resync import RETURN_EVERY_MS
from tests.parti_operator.memory_kube import MemoryKube
from tests.parti_operator.virtual_time import run_virtual

NOTHING = cast("Any", None)


def test_after_an_outage_everything_is_compared_closely() -> None:
    """The renewals of the lease notice the outage, for the comparisons."""
    kube = MemoryKube()

    async def main() -> None:
        outside = Outside(kube, NOTHING, Metrics(), NOTHING, NOTHING, NOTHING)
        operator = Operator(load_config([], {"PARTI_OPERATOR_NAMESPACE": "shop"}), outside)
        await operator._resync.first()
        running = asyncio.create_task(operator._resync.run(600_000))
        kube.fail("get", "leases", 500)
        await operator._election.win()
        metadata = {"name": "a", "namespace": "shop", "labels": {CLUSTER_LABEL: "orders"}}
        kube.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}})
        await asyncio.sleep(2 * RETURN_EVERY_MS / 1000)
        assert operator._cache.of_cluster(ClusterKey("shop", "orders"), SERVICE)
        running.cancel()

    run_virtual(main())
