"""Fixtures of the tests that need a real Kubernetes: `cluster`, `kubectl`, `namespace`, `images`.

They run as an invocation of their own, `pytest -m kube`, never beside others: they measure time,
and there is one cluster. Where none can be had they are skipped with one line that says why.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.kube.clusters import Cluster, cannot, cluster_for_tests, images_for
from tests.kube.parti_images import Images
from tests.kube.scratch import contents, scratch_namespace
from tests.kube.testbed.kubectl import Kubectl

TEST_SECONDS = 180.0
_HERE = Path(__file__).parent
_failed = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and keep fixtures out of the tests' time limits.

    The first test's fixtures may build the programs and images, each step with its own deadline.
    """
    for item in items:
        if not item.path.is_relative_to(_HERE):
            continue
        item.add_marker(pytest.mark.kube)
        given = item.get_closest_marker("timeout")
        seconds = float(given.args[0]) if given is not None and given.args else TEST_SECONDS
        item.add_marker(pytest.mark.timeout(seconds, func_only=True), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember failures, for fixtures that show the cluster's state; say once what is missing."""
    report = yield
    if report.when == "setup" and report.skipped and isinstance(report.longrepr, tuple):
        # Skips of one place and reason are shown as one line, whatever the number of tests.
        report.longrepr = (__file__, 1, report.longrepr[2])
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A Kubernetes of three nodes, or the one that was given."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        cannot("tests of Kubernetes run alone: pytest -m kube, without xdist")
    logs = tmp_path_factory.mktemp("kube-logs")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    opened = cluster_for_tests(logs)
    # The first time takes minutes: let people see how far it is.
    with capture.global_and_fixture_disabled():
        found = opened.__enter__()
    try:
        yield found
    finally:
        opened.__exit__(None, None, None)
        if request.session.testsfailed:
            with capture.global_and_fixture_disabled():
                print(f"\nlogs of the cluster's daemons: {logs}")  # noqa: T201


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    """kubectl for objects that have no namespace."""
    return cluster.kubectl


@pytest.fixture(scope="session")
def images(cluster: Cluster, request: pytest.FixtureRequest) -> Images:
    """parti's images, on every node."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return images_for(cluster)


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl for a namespace of the test's own, which holds pods to the restricted profile."""
    with scratch_namespace(kubectl) as scoped:
        yield scoped
        if request.node.stash.get(_failed, default=False):
            print(contents(scoped))  # noqa: T201
