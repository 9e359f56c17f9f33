"""The operator, installed once per session as the chart has it: with its rights and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kube.clusters import Cluster
from tests.kube.parti_images import Images
from tests.kube.proxy import Reader
from tests.kube.testbed.api import condition
from tests.kube.testbed.commands import wait_for
from tests.kube.testbed.kubectl import Kubectl
from tools.render_manifests import NAMESPACE, is_hook, objects

CRD = "particlusters.parti.dev"
READY_DEADLINE_S = 90.0
_DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/parti-operator"
_CRD_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/parti-operator"
_SELECTOR = "app.kubernetes.io/name=parti-operator"

Document = dict[str, Any]


class Installation:
    """The release of the chart on a cluster."""

    def __init__(self, kubectl: Kubectl, api: Reader, images: Images) -> None:
        self.kubectl = kubectl.within(NAMESPACE)
        self._api = api
        self._documents = _documents(images)

    def install(self) -> None:
        """Apply everything and wait until it is there; a release that is there begins anew."""
        self.kubectl("delete", "deployment", "parti-operator", "--ignore-not-found")
        crds = [one for one in self._documents if one["kind"] == "CustomResourceDefinition"]
        self.kubectl.apply(_namespace(), *crds)
        wait_for(self._crd_is_served, READY_DEADLINE_S, f"the CRD {CRD}")
        self.kubectl.apply(*(one for one in self._documents if one not in crds))
        self.wait_ready()

    def is_there(self) -> bool:
        """Whether the cluster has an operator already."""
        return self._api.find(_DEPLOYMENT) is not None

    def uninstall(self) -> None:
        """Remove all of it, every PartiCluster included."""
        for one in reversed(self._documents):
            kind, name = one["kind"], one["metadata"]["name"]
            self.kubectl("delete", kind, name, "--ignore-not-found")
        self.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")

    # --- looking

    def pods(self) -> list[Document]:
        """The operator's pods, those that are ending left out."""
        found = self._api.items(_PODS, _SELECTOR)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, name: str) -> Document:
        """One of its pods."""
        return self._api.get(f"{_PODS}/{name}")

    def holder(self) -> str:
        """The process that holds the lease, by its pod and its own number; empty for nobody."""
        lease = self._api.find(_LEASE)
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    def leader(self) -> str:
        """The pod that holds the lease."""
        return self.holder().rpartition("_")[0]

    def wait_ready(self) -> None:
        """Until all replicas are ready and one of them leads."""

        def ready() -> bool:
            pods = self.pods()
            names = {pod["metadata"]["name"] for pod in pods}
            whole = len(pods) == 2 and all(condition(pod, "Ready") == "True" for pod in pods)
            return whole and self.leader() in names

        wait_for(ready, READY_DEADLINE_S, "the operator", seen=self.said)

    def said(self) -> str:
        """The state of its pods and the ends of their logs."""
        logs = self.kubectl("logs", f"--selector={_SELECTOR}", "--prefix", "--tail=40")
        return self.kubectl("get", "pods", "-o", "wide") + logs

    def _crd_is_served(self) -> bool:
        return condition(self._api.find(_CRD_PATH) or {}, "Established") == "True"


@contextmanager
def installed(cluster: Cluster, api: Reader, images: Images) -> Iterator[Installation]:
    """The operator for as long as the block lasts.

    It stays where it was before, and on a testbed: that goes as a whole, or is for hand work.
    """
    installation = Installation(cluster.kubectl, api, images)
    stays = installation.is_there() or cluster.testbed is not None
    installation.install()
    try:
        yield installation
    finally:
        if not stays:
            installation.uninstall()


def _documents(images: Images) -> list[Document]:
    values = {
        "image": _image(images.operator),
        "sidecarImage": _image(images.sidecar),
        "watch": {"all": True},
    }
    return [one for one in objects(values) if not is_hook(one)]


def _image(name: str) -> dict[str, str]:
    repository, _, tag = name.rpartition(":")
    return {"repository": repository, "tag": tag}


def _namespace() -> Document:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
