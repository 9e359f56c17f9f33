"""Plain calls to the apiserver with the administrator's certificate, as little as needed here."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from tests.kube.testbed.certificates import DNS_USER
from tests.kube.testbed.commands import TestbedError
from tests.kube.testbed.layout import PREFIX

CALL_DEADLINE_S = 10.0
_MADE = frozenset({200, 201, 202})
_EXISTS = 409
STORAGE_SHARED, STORAGE_LOCAL = "standard", "node-local"


class Api:
    """The apiserver, on this side of a port of 127.0.0.1."""

    def __init__(self, certificates: Path, port: int) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
        self._context.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request; the status and the answer, decoded if it is an object."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._context, timeout=CALL_DEADLINE_S
        )
        with contextlib.closing(connection):
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text[:1] == b"{" else text.decode()

    def ready(self) -> bool:
        """Whether it serves, all its parts included."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.call("GET", "/readyz")[0] == 200
        return False

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects below a path."""
        status, answer = self.call("GET", path)
        if status != 200:
            raise TestbedError(f"listing {path}: {answer}")
        found: list[dict[str, Any]] = answer["items"]
        return found

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Make an object unless it is there."""
        status, answer = self.call("POST", path, body)
        if status not in _MADE and status != _EXISTS:
            raise TestbedError(f"making {body['kind']} {body['metadata']['name']}: {answer}")

    def node_ready(self, name: str) -> bool:
        """Whether the control plane counts a node as ready."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = self.call("GET", f"/api/v1/nodes/{name}")
            return status == 200 and condition(answer, "Ready") == "True"
        return False


def condition(document: dict[str, Any], kind: str) -> str:
    """The status of one condition of an object: True, False, Unknown, or nothing."""
    conditions = document.get("status", {}).get("conditions") or []
    return next((str(c["status"]) for c in conditions if c["type"] == kind), "")


def first_objects() -> list[tuple[str, dict[str, Any]]]:
    """What a bare apiserver lacks: rights for DNS, and storage classes."""
    group = "rbac.authorization.k8s.io"
    verbs = ["list", "watch"]
    role = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": DNS_USER},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": verbs},
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": verbs,
            },
        ],
    }
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": DNS_USER},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": DNS_USER},
        "subjects": [{"kind": "User", "name": DNS_USER}],
    }
    return [
        (f"/apis/{group}/v1/clusterroles", role),
        (f"/apis/{group}/v1/clusterrolebindings", binding),
        *(
            ("/apis/storage.k8s.io/v1/storageclasses", _storage_class(name, default=default))
            for name, default in ((STORAGE_SHARED, True), (STORAGE_LOCAL, False))
        ),
    ]


def _storage_class(name: str, *, default: bool) -> dict[str, Any]:
    """A volume that any node may mount exists before its pods: whoever waits for the first of
    them is put on that one's node, as are all who share the volume.
    """
    note = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": note},
        "provisioner": f"{PREFIX}/{name}",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer" if name == STORAGE_LOCAL else "Immediate",
        "allowVolumeExpansion": True,
    }
