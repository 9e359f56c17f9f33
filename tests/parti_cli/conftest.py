"""Runs `parti` inside the test against the fake cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from parti_cli.main import root
from tests.parti_cli.fakes import FakeCluster, served

Run = Callable[..., Result]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def run(cluster: FakeCluster) -> Iterator[Run]:
    """`run("members", "-o", "json")`, with the fake's address in the environment."""
    with served(cluster) as address:

        def invoke(*arguments: str, stdin: str | None = None) -> Result:
            environment = {"PARTI_ADMIN": address, "PARTI_ADDRESS": address}
            return CliRunner().invoke(root, arguments, input=stdin, env=environment)

        yield invoke


@pytest.fixture
def run_json(run: Run) -> Callable[..., Any]:
    """The JSON that a command prints; it must succeed."""

    def invoke(*arguments: str) -> Any:
        result = run(*arguments, "-o", "json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return invoke
