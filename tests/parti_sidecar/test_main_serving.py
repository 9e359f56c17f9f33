"""`parti-sidecar` as a real process that serves: addresses, probes, signals, occupied ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from parti_sidecar.addresses import ADDRESSES_NAME, forget_addresses
from parti_sidecar.config_kinds import split_address
from parti_sidecar.main import EXIT_CANNOT_START, EXIT_FAILED

pytestmark = pytest.mark.process

DEADLINE_S = 20.0
APIS = ("app", "peer", "admin", "http")
COMMAND = (sys.executable, "-m", "parti_sidecar.main")
IDLE_RSS_BYTES_MAX = 72 << 20


class Sidecar:
    """A process with a directory of its own; every port is chosen by the system."""

    def __init__(
        self, data_dir: Path, argv: Sequence[str], host: str, command: Sequence[str]
    ) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        free = [each for api in APIS for each in (f"--{api}-address", f"{host}:0")]
        kept = {name: each for name, each in os.environ.items() if not name.startswith("PARTI_")}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(data_dir), *free, *argv],
                env={**kept, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def addresses(self) -> dict[str, str]:
        path = self.data_dir / ADDRESSES_NAME
        self.until(path.exists)
        found: dict[str, str] = json.loads(path.read_text())
        return found

    def get(self, path: str) -> tuple[int, str]:
        url = f"http://{self.addresses()['http']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def exit_code(self) -> int:
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running: {self.log}")


@contextmanager
def sidecar(
    data_dir: Path, *argv: str, host: str = "127.0.0.1", command: Sequence[str] = COMMAND
) -> Iterator[Sidecar]:
    running = Sidecar(data_dir, argv, host, command)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.process.kill()
        running.process.wait(DEADLINE_S)


def test_a_founding_member_serves_and_drains(tmp_path: Path) -> None:
    with sidecar(tmp_path / "m", "--bootstrap", "--log-format", "human") as running:
        addresses = running.addresses()
        assert set(addresses) == set(APIS)
        assert all(split_address(address)[1] for address in addresses.values())
        running.until(lambda: running.get("/readyz")[0] == 200)
        assert running.get("/healthz") == (200, '{"ok": true, "reasons": []}\n')
        assert "64 partitions" in running.get("/")[1]
        assert f"app={addresses['app']} peer={addresses['peer']}" in running.log
        families = {f.name: f for f in text_string_to_metric_families(running.get("/metrics")[1])}
        assert families["parti_partitions"].samples[0].value == 64
        memory = families["parti_process_resident_memory_bytes"].samples[0].value
        assert memory < IDLE_RSS_BYTES_MAX
        running.process.send_signal(signal.SIGTERM)
        assert running.exit_code() == 0
        assert "drained" in running.log
        assert not (running.data_dir / ADDRESSES_NAME).exists()


def test_a_member_without_a_cluster_waits_and_is_not_ready(tmp_path: Path) -> None:
    with sidecar(tmp_path / "m") as running:
        assert running.get("/startupz")[0] == 200
        status, body = running.get("/readyz")
        assert status == 503
        assert json.loads(body)["reasons"]
        running.process.send_signal(signal.SIGINT)
        assert running.exit_code() == 0


def test_ipv6_serves_on_every_api(tmp_path: Path) -> None:
    with sidecar(tmp_path / "m", "--bootstrap", host="[::1]") as running:
        addresses = running.addresses()
        assert all(address.startswith("[::1]:") for address in addresses.values())
        for address in addresses.values():
            with socket.create_connection(split_address(address), DEADLINE_S):
                pass
        assert running.get("/healthz")[0] == 200


@pytest.mark.parametrize("api", APIS)
def test_an_occupied_port_is_named(tmp_path: Path, api: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with sidecar(tmp_path / "m", f"--{api}-address", address) as running:
            assert running.exit_code() == EXIT_CANNOT_START
            (line,) = running.log.splitlines()
            assert line.startswith(f"parti-sidecar: {api}_address: cannot listen on")
            assert address in line


def test_a_second_process_on_the_directory_is_refused(tmp_path: Path) -> None:
    with sidecar(tmp_path / "m", "--bootstrap") as first:
        addresses = first.addresses()
        with sidecar(tmp_path / "m") as second:
            second.log_path = first.log_path
            assert second.exit_code() == EXIT_CANNOT_START
            assert f"in use by process {first.process.pid}" in second.log
        assert first.addresses() == addresses
        assert first.get("/healthz")[0] == 200


FAILS_SOON = """
import asyncio, os, sys
from parti_sidecar import main, runtime

async def fail(probe):
    await asyncio.sleep(0)
    raise OSError("no such luck")

runtime.LoopLagProbe.run = fail
sys.exit(main.start(sys.argv[1:], os.environ))
"""


def test_a_dying_task_ends_the_process_with_its_reason(tmp_path: Path) -> None:
    command = (sys.executable, "-c", FAILS_SOON)
    with sidecar(tmp_path / "m", "--bootstrap", command=command) as running:
        assert running.exit_code() == EXIT_FAILED
        *_, logged, said = running.log.splitlines()
        assert said == (
            "parti-sidecar: TaskFailedError: task 'event-loop probe' failed: OSError: no such luck"
        )
        line = json.loads(logged)
        assert line["event"] == "process failed"
        assert "OSError: no such luck" in line["traceback"]


def test_a_socket_in_use_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with sidecar(tmp_path / "one", "--app-socket", path) as first:
        first.addresses()
        with sidecar(tmp_path / "two", "--app-socket", path) as second:
            assert second.exit_code() == EXIT_CANNOT_START
            assert path in second.log
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_S)
            client.connect(path)


def test_a_member_knows_its_cluster_again(tmp_path: Path) -> None:
    with sidecar(tmp_path / "m", "--bootstrap", "--cluster-id", "blue") as running:
        running.until(lambda: running.get("/readyz")[0] == 200)
        running.process.kill()
        running.exit_code()
    forget_addresses(tmp_path / "m")
    with sidecar(tmp_path / "m", "--cluster-id", "blue") as running:
        running.until(lambda: running.get("/readyz")[0] == 200)
        assert "Cluster blue" in running.get("/")[1]
        running.process.kill()
        running.exit_code()
    with sidecar(tmp_path / "m", "--cluster-id", "green") as running:
        assert running.exit_code() == EXIT_CANNOT_START
        assert "refusing cluster 'green'" in running.log
