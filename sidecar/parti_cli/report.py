"""A report about the cluster of a PartiCluster: one zip file of texts, for somebody far away."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToJson

from parti_cli.connection import AdminConnection
from parti_cli.errors import CliError
from parti_cli.kubectl import CALL_TIMEOUT_S, PARTI_CLUSTERS, Kubectl
from parti_proto import admin_pb2

__all__ = ["write_report"]

_LOG_LINES = 5_000
_KINDS = "statefulsets,services,poddisruptionbudgets,configmaps,persistentvolumeclaims,pods"


def write_report(kubectl: Kubectl, cluster: str, target: Path) -> list[str]:
    """Write what can be had; gives the names of what could not. Raises CliError if nothing can."""
    pods = kubectl.pods_of(cluster)
    missing: list[str] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, make: Callable[[], str]) -> None:
            try:
                archive.writestr(name, make())
            except CliError as error:
                archive.writestr(f"{name}.failed", str(error))
                missing.append(name)

        selector = kubectl.get(PARTI_CLUSTERS, cluster)["status"]["selector"]
        add(
            "particluster.yaml",
            lambda: kubectl.text("get", PARTI_CLUSTERS, cluster, "-o", "yaml"),
        )
        add("objects.yaml", lambda: kubectl.text("get", _KINDS, "-l", selector, "-o", "yaml"))
        add("events.txt", lambda: kubectl.text("get", "events", "--sort-by=.lastTimestamp"))
        add("admin.json", lambda: _asked(kubectl, cluster))
        for pod in pods:
            _add_logs(kubectl, pod, add)
    return missing


def _add_logs(kubectl: Kubectl, pod: Any, add: Callable[[str, Callable[[], str]], None]) -> None:
    name = pod["metadata"]["name"]
    statuses = pod.get("status", {})
    for each in statuses.get("initContainerStatuses", []) + statuses.get("containerStatuses", []):
        container = each["name"]
        command = ["logs", name, "-c", container, f"--tail={_LOG_LINES}"]
        add(f"logs/{name}/{container}.log", partial(kubectl.text, *command))
        if each.get("restartCount"):
            before = partial(kubectl.text, *command, "--previous")
            add(f"logs/{name}/{container}.before.log", before)


def _asked(kubectl: Kubectl, cluster: str) -> str:
    """What one member says of itself, of all members and of all partitions."""
    with (
        kubectl.admin_address(cluster) as address,
        AdminConnection(address, CALL_TIMEOUT_S) as admin,
    ):
        answers = {
            "status": admin.call(admin.stub.GetStatus, admin_pb2.GetStatusRequest()),
            "members": admin.call(admin.stub.ListMembers, admin_pb2.ListMembersRequest()),
            "partitions": admin.call(admin.stub.ListPartitions, admin_pb2.ListPartitionsRequest()),
            "plan": admin.call(admin.stub.Plan, admin_pb2.PlanRequest()),
        }
    return json.dumps(
        {name: json.loads(MessageToJson(answer)) for name, answer in answers.items()}, indent=2
    )
