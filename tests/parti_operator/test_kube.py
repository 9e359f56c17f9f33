"""The adapter to the Kubernetes API, against a small HTTP server on loopback.

What the real API server makes of these requests is tested in `tests/kube/test_operator_api.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from parti_operator import kube as kube_module
from parti_operator.kube import Kube, KubeConfigError, connect
from parti_operator.kube_api import CLAIM, LEASE, NODE, PARTI_CLUSTER, POD, KubeError

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Server:
    """An API server that notes requests and answers as the test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.types: list[str] = []
        self.answers: list[tuple[int, Any]] = []
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.counted: Counter[tuple[str, str, int]] = Counter()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text() or "null")
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.types.append(request.headers.get("Content-Type", ""))
        await asyncio.sleep(self.delay_s)
        status, answer = self.answers.pop(0) if self.answers else (200, {"metadata": {}})
        if isinstance(answer, str):
            return web.Response(status=status, text=answer, headers=self.headers)
        return web.json_response(answer, status=status, headers=self.headers)

    def count(self, verb: str, plural: str, status: int) -> None:
        self.counted[verb, plural, status] += 1


@asynccontextmanager
async def _connected(tmp_path: Path) -> AsyncIterator[tuple[_Server, Kube]]:
    server = _Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    kube = await connect(server.count, {"KUBECONFIG": _kubeconfig(tmp_path, port)})
    try:
        yield server, kube
    finally:
        await kube.close()
        await runner.cleanup()


def _kubeconfig(folder: Path, port: int) -> str:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {"token": "secret"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


async def test_addresses_of_all_sorts(tmp_path: Path) -> None:
    async with _connected(tmp_path) as (server, kube):
        await kube.get(POD, "shop", "orders-0")
        await kube.get(PARTI_CLUSTER, "shop", "orders")
        await kube.get(NODE, "", "node-1")
        await kube.list(POD, None, "a=b")
        await kube.list(POD, "shop")
    assert [(method, path) for method, path, _, _ in server.requests] == [
        ("GET", "/api/v1/namespaces/shop/pods/orders-0"),
        ("GET", "/apis/parti.dev/v1alpha1/namespaces/shop/particlusters/orders"),
        ("GET", "/api/v1/nodes/node-1"),
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/namespaces/shop/pods"),
    ]
    assert server.requests[3][2] == {"limit": "500", "labelSelector": "a=b"}
    assert server.counted["get", "pods", 200] == 1


async def test_a_list_is_read_page_by_page_and_its_items_get_their_type(tmp_path: Path) -> None:
    pages = [
        (200, {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"metadata": {}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    async with _connected(tmp_path) as (server, kube):
        server.answers = list(pages)
        found = await kube.list(CLAIM, "shop")
    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert {(item["apiVersion"], item["kind"]) for item in found} == {
        ("v1", "PersistentVolumeClaim")
    }
    assert server.requests[1][2]["continue"] == "next"


def _pod(**metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "orders-0", "namespace": "shop", **metadata},
    }


async def test_server_side_apply_by_name_with_or_without_force(tmp_path: Path) -> None:
    async with _connected(tmp_path) as (server, kube):
        await kube.apply(_pod())
        await kube.apply(_pod(), force=False)
    path = "/api/v1/namespaces/shop/pods/orders-0"
    manager = {"fieldManager": "parti-operator"}
    assert server.requests == [
        ("PATCH", path, {**manager, "force": "true"}, _pod()),
        ("PATCH", path, {**manager, "force": "false"}, _pod()),
    ]
    assert server.types == ["application/apply-patch+yaml"] * 2


async def test_merge_create_and_replace(tmp_path: Path) -> None:
    lease = {
        "apiVersion": LEASE.api_version,
        "kind": "Lease",
        "metadata": {"name": "l", "namespace": "shop"},
    }
    async with _connected(tmp_path) as (server, kube):
        await kube.merge(POD, "shop", "orders-0", {"metadata": {"annotations": {"a": None}}})
        await kube.merge(POD, "shop", "orders-0", {"status": {}}, subresource="status")
        await kube.create(lease)
        await kube.replace(lease)
    leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    [merge, status, create, replace] = server.requests
    assert status[:2] == ("PATCH", "/api/v1/namespaces/shop/pods/orders-0/status")
    assert (merge[0], merge[3]) == ("PATCH", {"metadata": {"annotations": {"a": None}}})
    assert server.types[0] == "application/merge-patch+json"
    assert create[:2] == ("POST", leases)
    assert replace[:2] == ("PUT", f"{leases}/l")


async def test_deletes_and_evictions_name_the_uid(tmp_path: Path) -> None:
    async with _connected(tmp_path) as (server, kube):
        await kube.delete(POD, "shop", "orders-0", uid="u1", grace_seconds=0)
        await kube.delete(CLAIM, "shop", "c", uid="u2")
        await kube.evict("shop", "orders-0", uid="u1")
    [force, plain, evict] = server.requests
    assert force[3]["preconditions"] == {"uid": "u1"}
    assert force[3]["gracePeriodSeconds"] == 0
    assert "gracePeriodSeconds" not in plain[3]
    assert evict[:2] == ("POST", "/api/v1/namespaces/shop/pods/orders-0/eviction")
    assert evict[3]["deleteOptions"]["preconditions"] == {"uid": "u1"}


@pytest.mark.parametrize("status", [404, 409])
async def test_what_is_gone_need_not_be_deleted(tmp_path: Path, status: int) -> None:
    async with _connected(tmp_path) as (server, kube):
        server.answers = [(status, {"reason": "x"})] * 2
        await kube.delete(POD, "shop", "orders-0", uid="u1")
        await kube.evict("shop", "orders-0", uid="u1")
    assert server.counted["delete", "pods", status] == 1


@pytest.mark.parametrize(
    ("status", "missing", "conflict", "transient"),
    [
        (403, False, False, False),
        (404, True, False, False),
        (409, False, True, False),
        (410, False, False, True),
        (422, False, False, False),
        (429, False, False, True),
        (500, False, False, True),
        (503, False, False, True),
    ],
)
async def test_refusals_as_the_api_words_them(
    tmp_path: Path, status: int, *, missing: bool, conflict: bool, transient: bool
) -> None:
    words = {"kind": "Status", "reason": "SomeReason", "message": "pods are out"}
    async with _connected(tmp_path) as (server, kube):
        server.answers = [(status, words)]
        server.headers = {"Retry-After": "3"}
        with pytest.raises(KubeError, match="pods are out") as failure:
            await kube.get(POD, "shop", "orders-0")
    error = failure.value
    assert (error.status, error.reason, error.retry_after_ms) == (status, "SomeReason", 3_000)
    assert (error.is_missing, error.is_conflict, error.is_transient) == (
        missing,
        conflict,
        transient,
    )
    assert len(server.requests) == 1  # the queue tries again, not the library
    assert server.counted["get", "pods", status] == 1


async def test_another_uid_is_a_conflict_however_it_is_worded(tmp_path: Path) -> None:
    message = 'ConfigMap "c" is invalid: metadata.uid: Invalid value: "x": field is immutable'
    async with _connected(tmp_path) as (server, kube):
        server.answers = [(422, {"reason": "Invalid", "message": message})]
        with pytest.raises(KubeError) as failure:
            await kube.apply(_pod(uid="x"))
    assert failure.value.is_conflict


async def test_a_proxys_page_is_an_error_too(tmp_path: Path) -> None:
    async with _connected(tmp_path) as (server, kube):
        server.answers = [(502, "<html>bad gateway</html>" * 100), (200, "<html>")]
        with pytest.raises(KubeError, match="bad gateway") as failure:
            await kube.get(POD, "shop", "orders-0")
        assert len(failure.value.message) <= 200
        with pytest.raises(KubeError) as strange:
            await kube.get(POD, "shop", "orders-0")
    assert strange.value.is_transient


async def test_every_call_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_module, "REQUEST_TIMEOUT_MS", 50)
    monkeypatch.setattr(kube_module, "LIST_TIMEOUT_MS", 50)
    async with _connected(tmp_path) as (server, kube):
        server.delay_s = 1.0
        for call in (kube.get(POD, "shop", "orders-0"), kube.list(POD, "shop")):
            with pytest.raises(KubeError, match="no answer within") as failure:
                await call
            assert failure.value.status == 0
            assert failure.value.is_transient
    assert server.counted["get", "pods", 0] == 1


async def test_nobody_listens(tmp_path: Path) -> None:
    kube = await connect(lambda *_: None, {"KUBECONFIG": _kubeconfig(tmp_path, 1)})
    try:
        with pytest.raises(KubeError) as failure:
            await kube.get(POD, "shop", "orders-0")
        assert failure.value.status == 0
    finally:
        await kube.close()


@pytest.mark.parametrize("environ", [{}, {"KUBECONFIG": "nowhere"}])
async def test_without_access_it_says_what_was_tried(environ: dict[str, str]) -> None:
    with pytest.raises(KubeConfigError, match="no access to Kubernetes by"):
        await connect(lambda *_: None, environ)
