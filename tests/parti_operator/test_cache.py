"""The cache of the watches: versions, listings that race with watches, who has to be looked at."""

from __future__ import annotations

from typing import Any

from parti_operator import names
from parti_operator.cache import Cache, ClusterKey
from parti_operator.kube_api import NODE, PARTI_CLUSTER, POD, SERVICE, Kind, Object

ORDERS = ClusterKey("shop", "orders")


class _Seen:
    """A cache, and the clusters that it said have news."""

    def __init__(self) -> None:
        self.news: list[ClusterKey] = []
        self.cache = Cache(self.news.append)

    def take_news(self) -> list[ClusterKey]:
        news, self.news[:] = list(self.news), []
        return news


def _object(
    kind: Kind, name: str, version: int, *, uid: str = "", cluster: str = "", **rest: Any
) -> Object:
    metadata: Object = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    if kind.namespaced:
        metadata["namespace"] = "shop"
    if cluster:
        metadata["labels"] = {names.CLUSTER_LABEL: cluster}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **rest}


def _service(version: int, name: str = "orders", **fields: Any) -> Object:
    return _object(SERVICE, name, version, cluster="orders", **fields)


def _versions(seen: _Seen) -> list[str]:
    found = seen.cache.of_cluster(ORDERS, SERVICE)
    return [object_["metadata"]["resourceVersion"] for object_ in found]


def test_objects_are_found_by_their_clusters_label() -> None:
    seen = _Seen()
    seen.cache.put(PARTI_CLUSTER, _object(PARTI_CLUSTER, "orders", 1))
    seen.cache.put(SERVICE, _service(2))
    seen.cache.put(SERVICE, _object(SERVICE, "other", 3, cluster="other"))
    seen.cache.put(SERVICE, _object(SERVICE, "stray", 4))
    assert list(seen.cache.clusters()) == [ORDERS]
    assert seen.cache.cluster(ORDERS) is not None
    assert _versions(seen) == ["2"]
    assert seen.take_news() == [ORDERS, ORDERS, ClusterKey("shop", "other")]


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(10))
    seen.take_news()
    seen.cache.put(SERVICE, _service(9))
    seen.cache.put(SERVICE, _service(10))
    assert _versions(seen) == ["10"]
    assert seen.take_news() == []


def test_versions_are_compared_as_numbers() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(9))
    seen.cache.put(SERVICE, _service(10))
    assert _versions(seen) == ["10"]


def test_a_namesake_replaces_whatever_its_version_says() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(10, uid="first"))
    seen.cache.put(SERVICE, _service(9, uid="second"))
    assert _versions(seen) == ["9"]


def test_the_end_of_an_object_does_not_remove_its_namesake() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(10, uid="second"))
    seen.take_news()
    seen.cache.remove(SERVICE, _service(8, uid="first"))
    assert _versions(seen) == ["10"]
    assert seen.take_news() == []


def test_an_object_that_ends_is_news_for_its_cluster() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(10))
    seen.take_news()
    seen.cache.remove(SERVICE, _service(11))
    assert _versions(seen) == []
    assert seen.take_news() == [ORDERS]


def test_an_object_that_loses_its_label_leaves_its_cluster() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(10))
    seen.cache.put(SERVICE, _object(SERVICE, "orders", 11))
    assert _versions(seen) == []


def test_a_listing_corrects_what_watches_missed() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(1, "gone"))
    seen.cache.put(SERVICE, _service(2, "old"))
    seen.cache.put(SERVICE, _service(3, "same"))
    seen.take_news()
    listing = seen.cache.begin_listing(SERVICE)
    listed = [_service(5, "old", spec={}), _service(3, "same"), _service(4, "new")]
    assert seen.cache.end_listing(listing, listed) == 3
    assert _versions(seen) == ["4", "5", "3"]
    assert seen.take_news() == [ORDERS] * 3


def test_a_listing_does_not_undo_what_a_watch_told_meanwhile() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(1, "deleted"))
    listing = seen.cache.begin_listing(SERVICE)
    seen.cache.remove(SERVICE, _service(6, "deleted"))
    seen.cache.put(SERVICE, _service(7, "created"))
    assert seen.cache.end_listing(listing, [_service(1, "deleted")]) == 0
    assert _versions(seen) == ["7"]


def test_after_a_listing_the_next_one_counts_again() -> None:
    seen = _Seen()
    listing = seen.cache.begin_listing(SERVICE)
    seen.cache.put(SERVICE, _service(7))
    seen.cache.end_listing(listing, [])
    listing = seen.cache.begin_listing(SERVICE)
    assert seen.cache.end_listing(listing, []) == 1
    assert _versions(seen) == []


def test_a_failed_listing_changes_nothing() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(1))
    assert seen.cache.end_listing(seen.cache.begin_listing(SERVICE), None) == 0
    assert _versions(seen) == ["1"]


def test_what_watches_tell_is_counted_by_kind() -> None:
    seen = _Seen()
    seen.cache.put(SERVICE, _service(1))
    seen.cache.put(SERVICE, _service(1))
    seen.cache.remove(SERVICE, _service(2))
    seen.cache.learn(PARTI_CLUSTER, _object(PARTI_CLUSTER, "orders", 3))
    assert seen.cache.told == {SERVICE.plural: 2}


def _pod(version: int, node: str) -> Object:
    big = {"containers": [{"name": "app", "env": [{"name": "A", "value": "x" * 1_000}]}]}
    return _object(
        POD,
        "orders-0",
        version,
        cluster="orders",
        spec={"nodeName": node, **big},
        status={"phase": "Running", "podIP": "10.0.0.1", "qosClass": "Burstable"},
    )


def _node(version: int, ready: str, beat: str) -> Object:
    row = {"type": "Ready", "status": ready, "lastHeartbeatTime": beat}
    return _object(NODE, "node-1", version, spec={}, status={"conditions": [row]})


def test_a_node_that_changes_is_news_for_the_clusters_on_it() -> None:
    seen = _Seen()
    seen.cache.put(POD, _pod(1, "node-1"))
    seen.take_news()
    seen.cache.put(NODE, _node(2, "True", "12:00"))
    assert seen.take_news() == [ORDERS]
    seen.cache.put(NODE, _node(3, "Unknown", "12:00"))
    assert seen.take_news() == [ORDERS]


def test_a_nodes_heartbeat_is_no_news() -> None:
    seen = _Seen()
    seen.cache.put(POD, _pod(1, "node-1"))
    seen.cache.put(NODE, _node(2, "True", "12:00"))
    seen.take_news()
    seen.cache.put(NODE, _node(3, "True", "12:05"))
    assert seen.take_news() == []


def test_of_a_childs_managers_only_others_are_kept_and_their_edit_is_news() -> None:
    seen = _Seen()
    ours = {"manager": "parti-operator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:a": {}}}}
    child = _service(1, spec={"a": "1", "b": ""})
    child["metadata"]["managedFields"] = [ours]
    seen.cache.put(SERVICE, child)
    [kept] = seen.cache.of_cluster(ORDERS, SERVICE)
    assert "managedFields" not in kept["metadata"]
    seen.take_news()
    theirs = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:b": {}}}}
    metadata = {**child["metadata"], "resourceVersion": "2", "managedFields": [ours, theirs]}
    seen.cache.put(SERVICE, {**child, "metadata": metadata})
    assert seen.take_news() == [ORDERS]
    [kept] = seen.cache.of_cluster(ORDERS, SERVICE)
    [entry] = kept["metadata"]["managedFields"]
    assert (entry["manager"], entry["fieldsV1"]) == ("kubectl", {"f:spec": {"f:b": {}}})


def test_only_what_is_read_is_kept() -> None:
    seen = _Seen()
    pod = _pod(1, "node-1")
    pod["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    seen.cache.put(POD, pod)
    [kept] = seen.cache.of_cluster(ORDERS, POD)
    assert kept["spec"] == {"nodeName": "node-1"}
    assert kept["status"] == {"phase": "Running", "podIP": "10.0.0.1"}
    assert "managedFields" not in kept["metadata"]
    assert "managedFields" in pod["metadata"]  # the watch's own object is left alone
