"""Processes are recognised again, and nobody else's is ever touched."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from parti_cli.processes import (
    Process,
    identify,
    is_paused,
    is_running,
    send_signal,
    spawn,
    wait_ended,
)

_SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = spawn(_SLEEPER, log=tmp_path / "log", environment=os.environ)
    yield process
    send_signal(process, signal.SIGKILL)
    assert wait_ended(process, 10)


def test_a_process_is_found_again_by_its_pid(sleeper: Process) -> None:
    assert identify(sleeper.pid) == sleeper
    assert is_running(sleeper)


def test_a_pid_that_was_given_to_somebody_else_is_not_ours(sleeper: Process) -> None:
    stranger = replace(sleeper, started="another boot:1")
    assert not is_running(stranger)
    assert not send_signal(stranger, signal.SIGKILL)
    assert is_running(sleeper)


def test_pause_and_resume_are_seen(sleeper: Process) -> None:
    send_signal(sleeper, signal.SIGSTOP)
    wait_for(lambda: is_paused(sleeper))
    assert is_running(sleeper)
    send_signal(sleeper, signal.SIGCONT)
    wait_for(lambda: not is_paused(sleeper))


def test_waiting_for_the_end_has_a_limit(sleeper: Process) -> None:
    assert not wait_ended(sleeper, 0.02)
    send_signal(sleeper, signal.SIGKILL)
    assert wait_ended(sleeper, 10)
    assert not is_running(sleeper)
    assert not send_signal(sleeper, signal.SIGKILL)


def test_a_signal_reaches_what_the_process_has_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"{sys.executable} -c 'import signal; signal.pause()' & echo $!; wait"
    process = spawn(("sh", "-c", script), log=log, environment=os.environ)
    wait_for(lambda: log.read_text().endswith("\n"))
    grandchild = identify(int(log.read_text()))
    assert grandchild is not None
    send_signal(process, signal.SIGKILL)
    assert wait_ended(process, 10)
    assert wait_ended(grandchild, 10)


def test_output_is_appended_to_the_log(tmp_path: Path) -> None:
    for word in ("one", "two"):
        process = spawn(("echo", word), log=tmp_path / "log", environment=os.environ)
        assert wait_ended(process, 10)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
