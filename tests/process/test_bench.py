"""`make bench` runs: each load is driven, and every figure of the table is one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = "path,group,placement,kv"
DEADLINE_S = 80.0
END_S = 20.0

pytestmark = pytest.mark.process


def run(command: list[str]) -> str:
    """What it prints. Interrupted, it ends its processes, as for a person at a terminal."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            printed, said = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=END_S)
            raise
    assert process.returncode == 0, said
    return printed


def test_a_short_round_has_all_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", PARTS]
    printed = run([*command, "--out", str(tmp_path)])
    [path] = tmp_path.glob("*.json")
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    parts = {name[:3] for name in (*written["loads"], *written)}
    assert {"(a)", "(b)", "(c)", "(d)", "(f)", "(h)"} <= parts
    assert written["ratios"]
    for name, load in written["loads"].items():
        assert load["per_second"]["median"] > 0, name
        assert 0 < load["p50_ms"]["median"] <= load["p99_ms"]["median"], name
        assert name in printed, "the table lacks it"
