"""Fixtures of the scenarios: one operator for all, one PartiCluster under load for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kube.clusters import Cluster
from tests.kube.parti_images import Images
from tests.kube.proxy import Reader, reader
from tests.kube.scenarios.installation import Installation, installed
from tests.kube.scenarios.table import Table, as_text
from tests.kube.scenarios.world import World
from tests.kube.scratch import contents, scratch_namespace

_table = pytest.StashKey[Table]()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """The rows of the session."""
    return request.config.stash.setdefault(_table, Table(tmp_path_factory.mktemp("scenarios")))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the table at the end."""
    found = config.stash.get(_table, None)
    if found is not None and found.rows:
        terminalreporter.section("scenarios on Kubernetes")
        terminalreporter.write_line(as_text(found.rows))
        terminalreporter.write_line(f"as JSON: {found.path}")


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[Reader]:
    """Reads of the apiserver."""
    with reader(cluster.kubectl) as found:
        yield found


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster, api: Reader, images: Images, table: Table
) -> Iterator[Installation]:
    """The operator, installed by the chart."""
    nodes = api.items("/api/v1/nodes")
    if len({node["status"]["nodeInfo"]["bootID"] for node in nodes}) > 1:
        pytest.skip("the nodes share no clock: notes of several machines cannot be compared")
    with installed(cluster, api, images) as found:
        yield found


@pytest.fixture(scope="module")
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    cluster: Cluster,
    api: Reader,
    images: Images,
    installation: Installation,
    table: Table,
) -> Iterator[World]:
    """A PartiCluster of this file's own; its first test applies it."""
    failed = request.session.testsfailed
    with scratch_namespace(cluster.kubectl) as kubectl:
        found = World(cluster, kubectl, api, images, table, tmp_path_factory.mktemp("notes"))
        yield found
        if request.session.testsfailed > failed:
            print(found.said(), contents(kubectl), installation.said(), sep="\n")  # noqa: T201
