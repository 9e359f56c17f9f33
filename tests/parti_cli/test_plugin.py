"""`kubectl parti` against a kubectl that answers from files and forwards to the fake cluster."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from parti_cli.kubectl import PARTI_CLUSTERS
from parti_cli.plugin import plugin
from tests.parti_cli.fakes import FakeCluster, served

SELECTOR = "parti.dev/cluster=orders"
CLUSTER: dict[str, Any] = {
    "metadata": {"name": "orders", "namespace": "shop"},
    "status": {
        "phase": "Ready",
        "ready": "1/2",
        "leader": "orders-0",
        "selector": SELECTOR,
        "partitions": {"total": 64, "owned": 60, "moving": 3, "unowned": 1},
        "warnings": ["voters 5 of 2 replicas"],
        "conditions": [{"type": "Ready", "status": "False", "reason": "Why", "message": "so"}],
        "members": [
            {"name": "orders-0", "role": "Voter", "ready": True, "partitions": 60, "lag": 0},
            {"name": "orders-1", "role": "Learner", "ready": False, "partitions": 0, "lag": 7},
        ],
    },
}
FAKE = """#!{python}
import json, sys, time
from pathlib import Path

here = Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
arguments = [each for each in sys.argv[1:] if not each.startswith("--")]
if arguments[0] == "port-forward":
    pod = arguments[1] if arguments[1].startswith("pod/") else arguments[2]
    if (here / "unreachable").exists() and (here / "unreachable").read_text() in pod:
        sys.exit("error: the pod is not there")
    print("Forwarding from 127.0.0.1:" + (here / "port").read_text() + " -> 5102", flush=True)
    time.sleep(60)
elif arguments[0] == "logs":
    print("log of", arguments[1])
else:
    name = arguments[1] + (".yaml" if "yaml" in arguments else ".json")
    answer = here / name
    if not answer.exists():
        sys.exit("Error from server (NotFound): " + arguments[1])
    print(answer.read_text())
"""


def pod(name: str, *, ready: bool) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    statuses = [{"name": "app", "restartCount": 1}]
    return {
        "metadata": {"name": name},
        "status": {"conditions": conditions, "containerStatuses": statuses},
    }


class Kubectl:
    """The folder of the fake program."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        program = folder / "kubectl"
        program.write_text(FAKE.format(python=sys.executable))
        program.chmod(0o755)
        (folder / "port").write_text(address.rpartition(":")[2])
        self.answer(PARTI_CLUSTERS, CLUSTER)
        self.answer("pods", {"items": [pod("orders-0", ready=False), pod("orders-1", ready=True)]})

    def answer(self, name: str, document: object) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(document))

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def kubectl(
    tmp_path: Path, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kubectl]:
    with served(cluster) as address:
        monkeypatch.setenv("PATH", str(tmp_path))
        yield Kubectl(tmp_path, address)


@pytest.fixture
def run(kubectl: Kubectl) -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(plugin, arguments)


Run = Callable[..., Result]


def test_status_shows_conditions_and_members(run: Run) -> None:
    result = run("status", "orders")
    assert result.exit_code == 0, result.output
    assert "shop/orders" in result.stdout
    assert "64: 60 owned, 3 moving, 1 unowned" in result.stdout
    assert "leader" in next(line for line in result.stdout.splitlines() if "orders-0  " in line)
    assert "learner" in result.stdout
    assert "warning: voters 5 of 2 replicas" in result.stdout


def test_a_command_of_parti_runs_through_a_forwarded_port(run: Run, kubectl: Kubectl) -> None:
    result = run("members", "orders", "-n", "shop", "-o", "json")
    assert result.exit_code == 0, result.output
    assert [each["name"] for each in json.loads(result.stdout)] == ["m1", "m2", "m3"]
    assert all("--namespace=shop" in call for call in kubectl.calls)


def test_arguments_after_the_name_go_to_the_command(run: Run) -> None:
    result = run("explain", "orders", "7")
    assert result.exit_code == 0, result.output
    assert "partition" in result.stdout


def test_the_help_of_a_command_needs_no_cluster(run: Run, kubectl: Kubectl) -> None:
    result = run("drain", "orders", "--help")
    assert result.exit_code == 0
    assert "--wait-timeout" in result.stdout
    assert not (kubectl.folder / "calls").exists()


def test_a_ready_pod_is_asked_first(run: Run, kubectl: Kubectl) -> None:
    assert run("members", "orders").exit_code == 0
    forwards = [call for call in kubectl.calls if "port-forward" in call]
    assert ["pod/orders-1" in call for call in forwards] == [True]


def test_the_next_pod_is_asked_when_one_cannot_be_reached(run: Run, kubectl: Kubectl) -> None:
    (kubectl.folder / "unreachable").write_text("orders-1")
    assert run("members", "orders").exit_code == 0
    forwards = [call for call in kubectl.calls if "port-forward" in call]
    assert len(forwards) == 2


def test_no_reachable_pod_is_exit_code_3_with_the_words_of_kubectl(
    run: Run, kubectl: Kubectl
) -> None:
    (kubectl.folder / "unreachable").write_text("orders")
    result = run("members", "orders")
    assert result.exit_code == 3
    assert "the pod is not there" in result.stderr


def test_a_refusal_of_kubectl_is_exit_code_1(run: Run, kubectl: Kubectl) -> None:
    (kubectl.folder / f"{PARTI_CLUSTERS}.json").unlink()
    result = run("status", "orders")
    assert result.exit_code == 1
    assert "NotFound" in result.stderr


def test_a_cluster_that_nobody_looked_at_is_said(run: Run, kubectl: Kubectl) -> None:
    kubectl.answer(PARTI_CLUSTERS, {"metadata": CLUSTER["metadata"]})
    result = run("members", "orders")
    assert result.exit_code == 1
    assert "operator" in result.stderr


def test_without_kubectl_the_error_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    result = run("status", "orders")
    assert result.exit_code == 2
    assert "kubectl is not on the PATH" in result.stderr


def test_wrong_arguments_of_the_command_are_exit_code_2(run: Run) -> None:
    result = run("explain", "orders", "seven")
    assert result.exit_code == 2
    assert "seven" in result.stderr


def test_a_report_holds_what_can_be_had_and_names_the_rest(
    run: Run, kubectl: Kubectl, tmp_path: Path
) -> None:
    (kubectl.folder / f"{PARTI_CLUSTERS}.yaml").write_text("kind: PartiCluster")
    (kubectl.folder / "events.yaml").write_text("")
    target = tmp_path / "report.zip"
    result = run("report", "orders", "--file", str(target))
    assert result.exit_code == 0, result.output
    assert "objects.yaml" in result.stderr
    with zipfile.ZipFile(target) as archive:
        names = set(archive.namelist())
        admin = json.loads(archive.read("admin.json"))
        assert archive.read("particluster.yaml").decode().strip() == "kind: PartiCluster"
    assert {"logs/orders-0/app.log", "logs/orders-0/app.before.log", "events.txt.failed"} <= names
    assert len(admin["members"]["members"]) == 3
