"""The process's life: order of events, signals, failures, what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parti_sidecar import lifecycle
from parti_sidecar.addresses import ADDRESSES_NAME, BoundAddresses
from parti_sidecar.config import SidecarConfig
from parti_sidecar.lifecycle import live
from parti_sidecar.runtime import Supervisor, TaskFailedError

DEADLINE_S = 10.0
BOUND = BoundAddresses(app="127.0.0.1:1", peer="127.0.0.1:2", admin="[::1]:3", http="127.0.0.1:4")


class Recorder:
    """A process that tells what was asked of it; `hooks` run inside the steps."""

    def __init__(self, **hooks: Callable[[], object]) -> None:
        self.steps: list[str] = []
        self.hooks = hooks
        self.supervisor: Supervisor | None = None
        self.hanging: set[str] = set()
        self.left = ""  # when it has drained

    def make(self, supervisor: Supervisor) -> Recorder:
        self.supervisor = supervisor
        return self

    async def start(self) -> BoundAddresses:
        await self._step("start")
        return BOUND

    async def drain(self) -> str:
        await self._step("drain")
        return self.left

    async def stop(self) -> None:
        await self._step("stop")

    async def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.hooks:
            self.hooks[name]()
        if name in self.hanging:
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    """Life freezes the garbage collector; tests after it must not notice."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def soon(action: Callable[[], object]) -> Callable[[], object]:
    return lambda: asyncio.get_running_loop().call_later(0.01, action)


def broken() -> None:
    raise OSError("no such luck")


async def lived(data_dir: Path, process: Recorder, drain_ms: int = 20_000) -> None:
    config = SidecarConfig(data_dir=data_dir, drain_ms=drain_ms)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await live(config, process.make)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_then_stops(tmp_path: Path, number: signal.Signals) -> None:
    process = Recorder(start=soon(lambda: os.kill(os.getpid(), number)))
    await lived(tmp_path, process)
    assert process.steps == ["start", "drain", "stop"]


async def test_addresses_are_there_exactly_while_it_serves(tmp_path: Path) -> None:
    path = tmp_path / ADDRESSES_NAME
    path.write_text("of an earlier run")
    found: list[object] = []

    def look_then_leave() -> None:
        found.append(json.loads(path.read_text()))
        terminate()

    def starting() -> None:
        found.append(path.exists())
        asyncio.get_running_loop().call_later(0.05, look_then_leave)

    await lived(tmp_path, Recorder(start=starting))
    assert found == [
        False,
        {"app": "127.0.0.1:1", "peer": "127.0.0.1:2", "admin": "[::1]:3", "http": "127.0.0.1:4"},
    ]
    assert names_in(tmp_path) == set()


async def test_a_signal_during_the_start_stops_without_drain(tmp_path: Path) -> None:
    process = Recorder(start=terminate)
    process.hanging = {"start"}
    await lived(tmp_path, process)
    assert process.steps == ["start", "stop"]


async def test_a_start_that_fails_is_stopped_and_told(tmp_path: Path) -> None:
    process = Recorder(start=broken)
    with pytest.raises(OSError, match="no such luck"):
        await lived(tmp_path, process)
    assert process.steps == ["start", "stop"]


async def test_a_failing_task_ends_the_process(tmp_path: Path) -> None:
    process = Recorder(start=lambda: fail_task(process))
    with pytest.raises(TaskFailedError, match="'apply' failed: OSError: no such luck"):
        await lived(tmp_path, process)
    assert process.steps == ["start", "stop"]


def fail_task(process: Recorder) -> None:
    async def work() -> None:
        await asyncio.sleep(0.01)
        broken()

    assert process.supervisor is not None
    process.supervisor.spawn(work(), "apply")


async def test_a_failure_during_the_drain_is_told(tmp_path: Path) -> None:
    process = Recorder(start=soon(terminate), drain=lambda: fail_task(process))
    process.hanging = {"drain"}
    with pytest.raises(TaskFailedError, match="no such luck"):
        await lived(tmp_path, process)
    assert process.steps == ["start", "drain", "stop"]


async def test_a_drain_that_cannot_end_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = Recorder(start=soon(terminate))
    process.hanging = {"drain"}
    await lived(tmp_path, process, drain_ms=20)
    assert process.steps == ["start", "drain", "stop"]
    assert "drain ran out of time" in caplog.text


async def test_a_drain_that_nobody_took_over_from_says_what_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = Recorder(start=soon(terminate))
    process.left = "it owns 3 partitions"
    with caplog.at_level(logging.INFO):
        await lived(tmp_path, process)
    [told] = [r for r in caplog.records if r.getMessage() == "not everything was handed over"]
    assert told.levelno == logging.WARNING
    assert "drained" not in caplog.messages


async def test_a_stop_that_hangs_does_not_keep_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "STOP_TIMEOUT_S", 0.02)
    process = Recorder(start=soon(terminate))
    process.hanging = {"stop"}
    await lived(tmp_path, process)
    assert "stop ran out of time" in caplog.text


HANGS_IN_DRAIN = """
import asyncio, sys
from pathlib import Path
from parti_sidecar.addresses import BoundAddresses
from parti_sidecar.config import SidecarConfig
from parti_sidecar.lifecycle import live
from parti_sidecar.runtime import run

class Process:
    async def start(self):
        return BoundAddresses("a:1", "b:2", "c:3", "d:4")
    async def drain(self):
        print("draining", flush=True)
        await asyncio.Event().wait()
    async def stop(self):
        print("stopped", flush=True)

run(live(SidecarConfig(data_dir=Path(sys.argv[1])), lambda supervisor: Process()))
"""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_leaves_at_once(tmp_path: Path, second: signal.Signals) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS_IN_DRAIN, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    )
    try:
        wait_for((tmp_path / ADDRESSES_NAME).exists)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "draining\n"
        process.send_signal(second)
        assert process.wait(DEADLINE_S) == 128 + second
        assert process.stdout.read() == ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=DEADLINE_S)


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
