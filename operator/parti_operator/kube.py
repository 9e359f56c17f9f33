"""The Kubernetes API over `kubernetes.aio`: the only module that imports that library.

Only the request half of its dynamic client is used: the kinds are a closed table (`kube_api`), so
discovery, which costs requests and writes a cache file, is left out. Objects stay plain dicts.
Every call has one deadline over everything, connecting included, and is counted.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.dynamic import DynamicClient

from parti_operator.kube_api import KINDS, POD, Kind, KubeError, Object
from parti_operator.names import FIELD_MANAGER

REQUEST_TIMEOUT_MS = 5_000
LIST_TIMEOUT_MS = 30_000
LIST_PAGE = 500
IN_CLUSTER_VARIABLE: Final = "KUBERNETES_SERVICE_HOST"
KUBECONFIG_VARIABLE: Final = "KUBECONFIG"

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_CONFLICT: Final = 409
_INVALID: Final = 422
_ANOTHER_UID: Final = "metadata.uid: Invalid value"

# verb, plural, HTTP status (0: no answer)
RequestMeter = Callable[[str, str, int], None]


class KubeConfigError(Exception):
    """There is no usable way to an API server; the text says what was tried."""


class Kube:
    """The adapter; belongs to one running loop."""

    def __init__(self, configuration: Configuration, meter: RequestMeter) -> None:
        self._client = ApiClient(configuration)
        self._dynamic = DynamicClient(self._client)
        self._meter = meter

    async def close(self) -> None:
        await self._client.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return await self._request("get", kind, _path(kind, namespace, name))

    async def list(self, kind: Kind, namespace: str | None, labels: str = "") -> list[Object]:
        """Page by page. A page that expires midway (410) makes the whole list fail: begin anew."""
        items: list[Object] = []
        query: dict[str, Any] = {"limit": LIST_PAGE}
        if labels:
            query["label_selector"] = labels
        async with _deadline(LIST_TIMEOUT_MS):
            while True:
                page = await self._request("list", kind, _path(kind, namespace), **query)
                items += [_with_type(kind, item) for item in page.get("items") or ()]
                following = page["metadata"].get("continue")
                if not following:
                    return items
                query["_continue"] = following

    async def apply(self, object_: Object, *, force: bool = True) -> Object:
        kind, path = _address(object_)
        return await self._request(
            "apply",
            kind,
            path,
            body=object_,
            content_type=_APPLY,
            field_manager=FIELD_MANAGER,
            force_conflicts=force,
        )

    async def merge(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Object:
        path = _path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return await self._request(
            "merge", kind, path, body=patch, content_type=_MERGE, field_manager=FIELD_MANAGER
        )

    async def create(self, object_: Object) -> Object:
        kind = KINDS[object_["kind"]]
        path = _path(kind, object_["metadata"]["namespace"])
        return await self._request("create", kind, path, body=object_, field_manager=FIELD_MANAGER)

    async def replace(self, object_: Object) -> Object:
        kind, path = _address(object_)
        return await self._request("replace", kind, path, body=object_)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str,
        grace_seconds: int | None = None,
    ) -> None:
        options = _delete_options(uid)
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._request("delete", kind, _path(kind, namespace, name), body=options)
        except KubeError as error:
            if not (error.is_missing or error.is_conflict):
                raise

    async def evict(self, namespace: str, pod: str, *, uid: str) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": _delete_options(uid),
        }
        try:
            await self._request("evict", POD, _path(POD, namespace, pod) + "/eviction", body=body)
        except KubeError as error:
            if not (error.is_missing or error.is_conflict):
                raise

    async def _request(self, verb: str, kind: Kind, path: str, **params: Any) -> Object:
        try:
            answer = await self._send(_METHODS[verb], path, params)
        except KubeError as error:
            self._meter(verb, kind.plural, error.status)
            raise
        self._meter(verb, kind.plural, 200)
        return answer

    async def _send(self, method: str, path: str, params: dict[str, Any]) -> Object:
        try:
            async with _deadline(REQUEST_TIMEOUT_MS):
                response = await self._dynamic.request(
                    method, path, serialize=False, _request_timeout=_NO_OTHER_TIMEOUT, **params
                )
                answer: Object = await response.json()
        except ApiException as error:
            raise _refusal(error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise KubeError(0, type(error).__name__, str(error) or "no answer") from error
        return answer


_METHODS: Final = {
    "get": "get",
    "list": "get",
    "apply": "patch",
    "merge": "patch",
    "create": "post",
    "evict": "post",
    "replace": "put",
    "delete": "delete",
}
# The deadline around the call is the one that counts.
_NO_OTHER_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)


async def connect(meter: RequestMeter, environ: Mapping[str, str] = os.environ) -> Kube:
    """By `KUBECONFIG` if it is set, otherwise as the pod's service account."""
    configuration = Configuration()
    configuration.client_side_validation = False
    path = environ.get(KUBECONFIG_VARIABLE, "")
    try:
        if path:
            await load_kube_config(
                config_file=path, client_configuration=configuration, persist_config=False
            )
        else:
            load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        tried = f"{KUBECONFIG_VARIABLE}={path}" if path else "the pod's service account"
        raise KubeConfigError(f"no access to Kubernetes by {tried}: {error}") from error
    return Kube(configuration, meter)


@asynccontextmanager
async def _deadline(timeout_ms: int) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            yield
    except TimeoutError as error:
        raise KubeError(0, "Timeout", f"no answer within {timeout_ms} ms") from error


def _address(object_: Object) -> tuple[Kind, str]:
    kind = KINDS[object_["kind"]]
    metadata = object_["metadata"]
    return kind, _path(kind, metadata.get("namespace"), metadata["name"])


def _path(kind: Kind, namespace: str | None, name: str = "") -> str:
    parts = ["apis" if kind.group else "api", kind.api_version]
    if kind.namespaced and namespace is not None:
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    if name:
        parts.append(name)
    return "/" + "/".join(parts)


def _with_type(kind: Kind, item: Object) -> Object:
    """The items of a list lack what every object alone has."""
    return {"apiVersion": kind.api_version, "kind": kind.name, **item}


def _delete_options(uid: str) -> Object:
    return {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}


def _refusal(error: ApiException) -> KubeError:
    reason, message = str(error.reason or ""), str(error.body or "")
    try:
        told = json.loads(message)
        reason = told.get("reason") or reason
        message = told.get("message") or message
    except (ValueError, AttributeError):
        message = message[:200]  # not the API server's words: a proxy in between
    status = int(error.status or 0)
    if status == _INVALID and _ANOTHER_UID in message:
        status, reason = _CONFLICT, "Conflict"  # as it is answered for a uid that is gone
    wait_s = str((error.headers or {}).get("Retry-After", ""))
    return KubeError(status, reason, message, int(wait_s) * 1000 if wait_s.isdigit() else 0)
