"""The console script: what it refuses, in one line and with its exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parti_operator.main import start

ROOT = Path(__file__).parents[2]
_VARIABLES = {"PYTHONPATH": "operator:sidecar:proto", "PATH": "/usr/bin"}


@pytest.mark.parametrize(
    ("argv", "environ", "words"),
    [
        (["--nonsense"], {}, "unrecognized arguments"),
        (["--log-level", "loud"], {}, "log_level: must be one of"),
        ([], {"PARTI_OPERATOR_FAILPOINT": "sometimes"}, "PARTI_OPERATOR_FAILPOINT"),
    ],
)
def test_settings_that_cannot_be_used(
    argv: list[str], environ: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(argv, environ) == 2
    said = capsys.readouterr().err
    assert said.startswith("parti-operator: ")
    assert words in said
    assert said.count("\n") == 1


def _run(*flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-m", "parti_operator"],
        cwd=ROOT,
        env={**_VARIABLES, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_access_to_kubernetes_it_cannot_start() -> None:
    ended = _run()
    assert ended.returncode == 2
    assert ended.stderr.startswith("parti-operator: no access to Kubernetes by")
    assert ended.stderr.count("\n") == 1


def test_optimised_python_is_refused() -> None:
    ended = _run("-O")
    assert ended.returncode == 2
    assert "-O" in ended.stderr


def test_help_comes_without_kubernetes() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "parti_operator", "--help"],
        cwd=ROOT,
        env=_VARIABLES,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "PARTI_OPERATOR_NAMESPACES" in ended.stdout
    assert "KUBECONFIG" in ended.stdout
