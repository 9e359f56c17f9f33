"""`parti-sidecar` as a real process: what it says and how it exits when it cannot start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from parti_raft.types import MemberId
from parti_sidecar.main import EXIT_CANNOT_START, EXIT_DAMAGED, start
from parti_sidecar.storage.base import Identity
from parti_sidecar.storage.database import DATABASE_NAME
from parti_sidecar.storage.lock import DataDirLock
from parti_sidecar.storage.sqlite import SqliteStorage
from parti_sidecar.version import VERSION

DEADLINE_S = 20.0
MEMBER = MemberId(0xABC)


def run_sidecar(*argv: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    kept = {name: each for name, each in os.environ.items() if not name.startswith("PARTI_")}
    return subprocess.run(
        [sys.executable, *options, "-m", "parti_sidecar.main", *argv],
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def refused(code: int, *argv: str) -> list[str]:
    """The lines on standard error; nothing else may be there."""
    done = run_sidecar(*argv)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("parti-sidecar: ") for line in lines), lines
    return [line.removeprefix("parti-sidecar: ") for line in lines]


def make_member(data_dir: Path, cluster_id: str) -> None:
    storage = SqliteStorage(data_dir, MEMBER)
    storage.load()
    storage.set_identity(Identity(cluster_id, MEMBER))
    storage.close()


def test_every_contradiction_has_its_line(tmp_path: Path) -> None:
    lines = refused(
        EXIT_CANNOT_START,
        *("--data-dir", str(tmp_path / "d"), "--bootstrap", "--join", "a:1"),
        *("--drain-ms", "40000", "--peer-address", "127.0.0.1:5100"),
    )
    assert lines == [
        "app_address (127.0.0.1:5100) and peer_address (127.0.0.1:5100) would take the same port",
        "bootstrap and join exclude each other: a cluster is begun or joined",
        "drain_ms (40000) must be below termination_grace_ms (30000)",
    ]
    assert not (tmp_path / "d").exists()


def test_an_unknown_flag_is_one_line() -> None:
    assert refused(EXIT_CANNOT_START, "--fast") == ["unrecognized arguments: --fast"]


def test_the_effective_settings_are_printed(tmp_path: Path) -> None:
    done = run_sidecar("--data-dir", str(tmp_path), "--zone", "z1", "--print-config")
    assert (done.returncode, done.stderr) == (0, "")
    printed = yaml.safe_load(done.stdout)
    assert (printed["zone"], printed["data_dir"]) == ("z1", str(tmp_path))


def test_version_and_help() -> None:
    done = run_sidecar("--version")
    assert (done.returncode, done.stdout) == (0, f"parti-sidecar {VERSION}\n")
    packaging = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(packaging.read_text())["project"]["version"] == VERSION
    assert "--data-dir DIR" in run_sidecar("--help").stdout


@pytest.mark.parametrize("options", [("-O",), ("-OO",)])
def test_optimised_python_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run_sidecar("--data-dir", str(tmp_path), options=options)
    assert done.returncode == EXIT_CANNOT_START
    assert re.fullmatch("parti-sidecar: Python's -O removes the checks .*\n", done.stderr)


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    try:
        assert refused(EXIT_CANNOT_START, "--data-dir", str(tmp_path)) == [
            f"data directory {tmp_path} is in use by process {os.getpid()}"
        ]
    finally:
        lock.close()


def test_a_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    make_member(tmp_path, "blue")
    (line,) = refused(EXIT_CANNOT_START, "--data-dir", str(tmp_path), "--cluster-id", "green")
    assert "data belongs to cluster 'blue'" in line
    assert "refusing cluster 'green'" in line


def test_damaged_state_is_refused_with_its_own_code(tmp_path: Path) -> None:
    make_member(tmp_path, "blue")
    (tmp_path / DATABASE_NAME).write_bytes(b"not a database" * 1000)
    (line,) = refused(EXIT_DAMAGED, "--data-dir", str(tmp_path))
    assert "durable state is damaged" in line


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    (line,) = refused(EXIT_CANNOT_START, "--data-dir", str(path / "below"))
    assert str(path) in line


def test_settings_may_come_from_variables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(["--print-config"], {"PARTI_DATA_DIR": str(tmp_path), "PARTI_ZONE": "z"}) == 0
    assert yaml.safe_load(capsys.readouterr().out)["zone"] == "z"


@pytest.mark.parametrize(
    "imported", ["parti_sidecar.main, parti_sidecar.opening", "parti_operator.main"]
)
def test_nothing_loads_grpc_before_its_variables_are_set(imported: str) -> None:
    code = f"import sys, {imported}; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
