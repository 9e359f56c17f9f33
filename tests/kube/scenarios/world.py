"""One PartiCluster under load: what is done to it, what is seen of it, and the judgement.

A scenario is a block: what is done inside is timed until the cluster is whole again, and every
message that was sent meanwhile is judged. The load never stops between scenarios.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kube.clusters import Cluster
from tests.kube.parti_images import Images
from tests.kube.proxy import Reader
from tests.kube.scenarios.notes import Notes, Part
from tests.kube.scenarios.objects import NAME, SIDECAR, notes_claim, parti_cluster
from tests.kube.scenarios.table import Row, Table
from tests.kube.testbed.api import condition
from tests.kube.testbed.commands import TestbedError, wait_for
from tests.kube.testbed.kubectl import Kubectl
from tests.kube.testbed.testbed import Node
from tests.process.history import Freeze
from tests.process.recorder import boottime_ns

WHOLE_DEADLINE_S = 120.0
SETTLED_DEADLINE_S = 45.0  # a message has 30 s
POLL_S = 0.2
COPY_EVERY_S = 0.5
PODS_SELECTOR = f"parti.dev/cluster={NAME}"

Document = dict[str, Any]


class World:
    """A PartiCluster in a namespace of its own."""

    def __init__(
        self,
        cluster: Cluster,
        kubectl: Kubectl,
        api: Reader,
        images: Images,
        table: Table,
        folder: Path,
    ) -> None:
        self.cluster = cluster
        self.kubectl = kubectl
        self.images = images
        self.notes = Notes(folder)
        self._api = api
        self._table = table
        self._ended_at_once: set[str] = set()

    # --- doing

    def apply(self, image: str = "", **spec: Any) -> None:
        """Apply the PartiCluster, with this added to its spec, beside the folder of notes."""
        cluster = parti_cluster(image or self.images.app, spec)
        self.kubectl.apply(notes_claim(), cluster)

    def scale(self, replicas: int) -> None:
        """As people do it: through the scale subresource."""
        self.kubectl("scale", f"particluster/{NAME}", f"--replicas={replicas}")

    def evict(self, pod: str) -> None:
        """As node drains do it: refused while the budget is used up."""
        self.kubectl(*self._eviction(pod), given=_eviction(pod))

    def eviction_refused(self, pod: str) -> str:
        """Why a pod may not be evicted now."""
        return self.kubectl.refused(*self._eviction(pod), given=_eviction(pod))

    def _eviction(self, pod: str) -> tuple[str, ...]:
        path = f"{self._path('api/v1', 'pods', pod)}/eviction"
        return ("create", "--raw", path, "--filename=-")

    def kill_container(self, pod: Document, container: str) -> None:
        """Kill -9 the first process of a container, from outside, as its node would."""
        ident = _container(pod, container)["containerID"].rpartition("//")[2]
        kill = ("ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", ident)
        self.cluster.nodes().exec(pod["spec"]["nodeName"], *kill)

    @contextmanager
    def frozen(self, node: Node) -> Iterator[None]:
        """A node stands still for the block, and its workers with it."""
        self._copy()
        workers = [
            self.notes.worker(pod) for pod in self._running() if self.node_of(pod) == node.name
        ]
        since_ns = boottime_ns()
        node.freeze()
        try:
            yield
        finally:
            node.thaw()
        self.notes.freezes += [Freeze(worker, since_ns, boottime_ns()) for worker in workers]

    # --- seeing

    def resource(self) -> Document:
        """The PartiCluster."""
        return self._api.get(self._path("apis/parti.dev/v1alpha1", "particlusters", NAME))

    def status(self) -> Document:
        """Its status."""
        found: Document = self.resource().get("status", {})
        return found

    def child(self, api: str, plural: str, name: str) -> Document | None:
        """An object of the namespace."""
        return self._api.find(self._path(api, plural, name))

    def pods(self) -> list[Document]:
        """Its pods, by name."""
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/pods"
        found = self._api.items(path, PODS_SELECTOR)
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def pod(self, name: str) -> Document:
        """One pod."""
        return self._api.get(self._path("api/v1", "pods", name))

    def uid(self, pod: str) -> str:
        """Tells a pod from its successor of the same name."""
        return str(self.pod(pod)["metadata"]["uid"])

    def claims(self) -> list[str]:
        """The names of its claims."""
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/persistentvolumeclaims"
        return [str(claim["metadata"]["name"]) for claim in self._api.items(path)]

    def restarts(self, pod: str, container: str) -> int:
        """How often a container was started again."""
        return int(_container(self.pod(pod), container)["restartCount"])

    def processes(self) -> set[str]:
        """The ids of all containers that run: none is given twice."""
        return {
            str(container.get("containerID", ""))
            for pod in self.pods()
            for container in _containers(pod)
        }

    def node_of(self, pod: str) -> str:
        """Where a pod runs."""
        return str(self.pod(pod)["spec"]["nodeName"])

    def owners(self, pod: str) -> set[str]:
        """The members that own partitions, by a pod's table; empty names if some are free."""
        command = ("parti", "partitions", "--output=json")
        said = json.loads(self.kubectl.exec(pod, *command, container=SIDECAR))
        return {str(row["owner_name"] or "") for row in said["partitions"]}

    def leader(self) -> str:
        """The pod of the leader."""
        return str(self.status().get("leader", ""))

    def _path(self, api: str, plural: str, name: str) -> str:
        return f"/{api}/namespaces/{self.kubectl.namespace}/{plural}/{name}"

    # --- waiting

    def wait_whole(self, deadline_s: float = WHOLE_DEADLINE_S) -> None:
        """Until all that the spec asks for is there and nothing moves."""
        wait_for(lambda: not self._lacks(), deadline_s, "the cluster to be whole", seen=self.said)

    def wait(self, what: str, condition: Callable[[], Any], deadline_s: float = 60.0) -> None:
        """Until a condition holds."""
        wait_for(condition, deadline_s, what, poll_s=POLL_S, seen=self.said)

    def wait_replaced(self, pod: str, before: str) -> None:
        """Until a pod has a successor of its name."""
        path = self._path("api/v1", "pods", pod)

        def replaced() -> bool:
            found = self._api.find(path)
            return found is not None and found["metadata"]["uid"] != before

        self.wait(f"a successor of {pod}", replaced)

    def wait_owned_without(self, node: str) -> None:
        """Until members on other nodes own all partitions."""
        others = {pod for pod in self._running() if self.node_of(pod) != node}
        asked = min(others)
        self.wait(f"others than {node} to own all", lambda: self.owners(asked) <= others)

    def _lacks(self) -> str:
        """What is missing, in a word; empty if the cluster is whole."""
        try:
            resource, pods = self.resource(), self.pods()
        except TestbedError as error:
            return str(error)
        return _lacks(resource, pods)

    def said(self) -> str:
        """What one sees of it now."""
        try:
            resource = self.resource()
            shown = {key: resource.get("status", {}).get(key) for key in _SHOWN}
            conditions = [
                f"{row['type']}={row['status']} {row['reason']} {row['message']}"
                for row in resource.get("status", {}).get("conditions", [])
            ]
            lines = [f"lacks: {self._lacks()}", str(shown), *conditions]
            return "\n".join([*lines, self.kubectl("get", "pods", "-o", "wide")])
        except TestbedError as error:
            return str(error)

    # --- judging

    @contextmanager
    def scenario(self, title: str, *, graceful: bool) -> Iterator[None]:
        """A block that leaves the cluster whole; then its messages are judged.

        No message may have two owners, and where it is graceful none may fail.
        """
        begun_ns, begun_s = boottime_ns(), time.monotonic()
        yield
        self.wait_whole()
        self._wait_served()
        seconds = time.monotonic() - begun_s
        part = self._judged(begun_ns)
        unsettled = self._new_unsettled()
        self._table.add(
            Row(
                scenario=title,
                seconds=round(seconds, 1),
                sent=part.sent,
                failed=dict(part.failed),
                longest_pause_ms=part.pause_ms,
                executions=part.executions,
                double_owners=part.doubles,
            )
        )
        assert not part.faults, "\n".join(part.faults)
        assert part.sent > 0, "nothing was sent"
        if graceful:
            assert not part.failed, f"{part.failed} of {part.sent} failed"
            assert not unsettled, f"ended before all they had sent was settled: {unsettled}"

    def _wait_served(self) -> None:
        """Until every load has sent from now on with success: a status may be of the past."""
        since_ns = boottime_ns()

        def unserved() -> list[str]:
            self._copy()
            pods = self._running()
            return [
                pod for pod in pods if not self.notes.is_served(self.notes.sender(pod), since_ns)
            ]

        wait_for(
            lambda: not unserved(),
            SETTLED_DEADLINE_S,
            "every load to be served",
            poll_s=COPY_EVERY_S,
            seen=self.said,
        )

    def _judged(self, begun_ns: int) -> Part:
        ended_ns = boottime_ns()
        self._copy_settled(ended_ns)
        return self.notes.part(begun_ns, ended_ns)

    def _new_unsettled(self) -> set[str]:
        """Senders of pods that are gone, whose last messages nobody knows the outcome of."""
        ended = self.notes.ended_at_once(map(self.notes.sender, self._running()))
        new = ended - self._ended_at_once
        self._ended_at_once |= new
        return new

    def _running(self) -> list[str]:
        return [str(pod["metadata"]["name"]) for pod in self.pods()]

    def _copy(self) -> None:
        """Through any pod: all see one folder, and a pod may be on a node that just came back."""
        failure = TestbedError("there is no pod to read the notes through")
        for pod in self._running():
            try:
                return self.notes.fetch(self.kubectl, pod)
            except TestbedError as error:
                failure = error
        raise failure

    def _copy_settled(self, until_ns: int) -> None:
        """Copy until every load that runs has noted what became of all it sent until then."""
        pods = self._running()

        def unsettled() -> list[str]:
            self._copy()
            senders = {pod: self.notes.sender(pod) for pod in pods}
            return [
                f"{pod}: {sender}"
                for pod, sender in senders.items()
                if not self.notes.is_settled(sender, until_ns)
            ]

        wait_for(
            lambda: not unsettled(),
            SETTLED_DEADLINE_S,
            "every message's outcome",
            poll_s=COPY_EVERY_S,
            seen=lambda: str(unsettled()),
        )


def is_ending(pod: Document) -> bool:
    """Whether somebody has deleted it."""
    return "deletionTimestamp" in pod["metadata"]


def _container(pod: Document, name: str) -> Document:
    """The state of a container."""
    [found] = [each for each in _containers(pod) if each["name"] == name]
    return found


def _containers(pod: Document) -> list[Document]:
    """The states of its containers; the sidecar is an init container."""
    status = pod["status"]
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _eviction(pod: str) -> str:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    return json.dumps(body)


_SHOWN = ("phase", "ready", "leader", "members", "partitions", "scaling", "roll")


def _lacks(resource: Mapping[str, Any], pods: list[Document]) -> str:
    want, generation = resource["spec"]["replicas"], resource["metadata"]["generation"]
    status = resource.get("status", {})
    partitions = status.get("partitions", {})
    owned = [member["partitions"] for member in status.get("members", [])]
    well = [pod for pod in pods if condition(pod, "Ready") == "True"]
    checks = {
        "a look at the spec": status.get("observedGeneration") == generation,
        f"phase Ready: {status.get('phase')}": status.get("phase") == "Ready",
        "condition Ready": condition(dict(resource), "Ready") == "True",
        "rest": condition(dict(resource), "Progressing") == "False",
        f"{want} pods: {len(pods)}": len(pods) == want == status.get("replicas"),
        f"{want} ready pods": len(well) == want == status.get("readyReplicas"),
        "no ending pod": not any(map(is_ending, pods)),
        f"{want} members": len(status.get("members", [])) == want,
        "a leader": bool(status.get("leader")),
        "owners": partitions.get("owned") == resource["spec"]["partitions"],
        "no moves": partitions.get("moving") == 0,
        f"balance: {owned}": max(owned, default=0) - min(owned, default=0) <= 1,
    }
    return next((what for what, holds in checks.items() if not holds), "")
