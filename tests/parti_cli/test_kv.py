"""`parti kv` and `parti lock` against a sidecar with the real store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

import parti
from parti_cli import tether
from parti_cli.main import root
from parti_cli.tether import CANNOT_RUN
from tests.parti.kv_world import Sidecar, sidecar

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0
T = TypeVar("T")


class Served:
    """A sidecar that runs on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()
        self.sidecar: Sidecar | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._thread.start()
        self.sidecar = self.run(self._stack.enter_async_context(sidecar(monkeypatch)))

    def stop(self) -> None:
        self.run(self._stack.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()

    @property
    def world(self) -> Sidecar:
        assert self.sidecar is not None
        return self.sidecar

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT / "sidecar"), str(ROOT / "proto"), str(ROOT)])
        return os.environ | {"PARTI_ADDRESS": self.world.address, "PYTHONPATH": path}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    made = Served()
    made.start(monkeypatch)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def run(served: Served) -> Callable[..., Result]:
    def invoke(*arguments: str, stdin: bytes | None = None) -> Result:
        environment = {"PARTI_ADDRESS": served.world.address}
        return CliRunner().invoke(root, ("kv", *arguments), input=stdin, env=environment)

    return invoke


def test_put_get_delete(run: Callable[..., Result]) -> None:
    assert run("put", "k", "v").output == "revision 1\n"
    assert run("get", "k").stdout_bytes == b"v"
    assert run("get", "k", "--stale").stdout_bytes == b"v"
    document = json.loads(run("get", "k", "-o", "json").stdout)
    assert document == {"key": "k", "value": "v", "revision": 1, "created": 1}
    assert json.loads(run("delete", "k", "-o", "json").stdout) == {"revision": 2}
    for command in ("get", "delete"):
        missing = run(command, "k")
        assert missing.exit_code == 1
        assert "there is no key k" in missing.stderr


def test_values_may_be_any_bytes(run: Callable[..., Result]) -> None:
    run("put", "k", "-", stdin=b"\xff\0")
    assert run("get", "k").stdout_bytes == b"\xff\0"
    assert json.loads(run("get", "k", "-o", "json").stdout)["value_base64"] == "/wA="
    assert run("list").stdout.splitlines()[1].split() == ["k", "1", r"\xff\x00"]


def test_compare_and_set(run: Callable[..., Result]) -> None:
    assert run("cas", "k", "v", "--expect", "0").exit_code == 0
    refused = run("cas", "k", "v", "--expect", "0")
    assert refused.exit_code == 1
    assert "k is at revision 1" in refused.stderr
    assert run("delete", "k", "--expect", "2").exit_code == 1
    assert run("delete", "k", "--expect", "1").exit_code == 0
    assert "there is no key k" in run("cas", "k", "v", "--expect", "5").stderr


def test_list_goes_through_all_pages(run: Callable[..., Result], served: Served) -> None:
    async def fill() -> None:
        async with parti.Client(served.world.address) as client:
            await asyncio.gather(*(client.kv.put(f"a/{n:04}", "v") for n in range(1_100)))
            await client.kv.put("b", "w")

    served.run(fill())
    lines = run("list", "a/", "--keys-only", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["key"] for line in lines] == [f"a/{n:04}" for n in range(1_100)]
    assert run("list", "b").stdout.splitlines() == ["KEY  REVISION  VALUE", "b    1101      w"]


def test_watch_tells_changes(served: Served, run: Callable[..., Result]) -> None:
    run("put", "a", "1")
    run("put", "b", "1")
    run("delete", "a")
    command = [sys.executable, "-m", "parti_cli.main", "kv", "watch", "--after", "0"]
    for more, expected in (
        ((), ["1: a = 1", "2: b = 1", "3: a deleted"]),
        (
            ("a", "-o", "json"),
            [
                '{"revision": 1, "key": "a", "value": "1"}',
                '{"revision": 3, "key": "a", "deleted": true}',
            ],
        ),
    ):
        process = subprocess.Popen(
            [*command, *more], stdout=subprocess.PIPE, env=served.environment, text=True
        )
        with process:
            assert process.stdout is not None
            assert [process.stdout.readline().rstrip() for _ in expected] == expected
            process.terminate()


# --- parti lock -------------------------------------------------------------------------------


def start_lock(served: Served, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "parti_cli.main", "lock", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=served.environment,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "in time"
        time.sleep(0.01)


def test_lock_runs_a_command_and_ends_with_its_code(served: Served) -> None:
    script = "echo $PARTI_LOCK_NAME $PARTI_LOCK_TOKEN; exit 7"
    code, out, _ = finish(start_lock(served, "l", "--", "sh", "-c", script))
    assert code == 7
    assert out.split() == ["l", "1"]
    wait_for(lambda: not served.world.store.locks.queues)


def test_lock_waits_or_does_not(served: Served) -> None:
    first = start_lock(served, "l", "--", "sleep", "60")
    wait_for(lambda: served.world.store.lock(b"l").session)
    code, _, err = finish(start_lock(served, "l", "--no-wait", "--", "true"))
    assert code == 1
    assert "somebody else holds the lock l" in err
    code, _, err = finish(start_lock(served, "l", "--wait", "0.2", "--", "true"))
    assert code == 1
    second = start_lock(served, "l", "--", "true")
    wait_for(lambda: served.world.store.lock(b"l").waiting)
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 128 + signal.SIGTERM
    assert finish(second)[0] == 0


def test_a_command_whose_lock_is_lost_is_ended(served: Served) -> None:
    script = "trap '' TERM; echo begun; while :; do sleep 0.1; done"
    process = start_lock(served, "l", "--ttl", "1", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    served.run(served.world.close())
    code, _, err = finish(process)
    assert code == 1
    assert "the lock l was lost" in err
    served.run(served.world.open())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_command_dies_with_the_killed_keeper_of_its_lock(served: Served) -> None:
    script = "trap '' TERM INT HUP; echo $$; while :; do sleep 0.1; done"
    process = start_lock(served, "l", "--ttl", "1", "--", "sh", "-c", script)
    assert process.stdout is not None
    command = Path("/proc") / process.stdout.readline().strip() / "cmdline"
    assert b"sleep" in command.read_bytes()
    process.kill()
    wait_for(lambda: not command.exists() or not command.read_bytes())
    finish(process)
    wait_for(lambda: not served.world.store.locks.queues)


def test_what_cannot_be_executed_is_told(served: Served, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF that is none")
    program.chmod(0o755)
    code, _, err = finish(start_lock(served, "l", "--", str(program)))
    assert code == CANNOT_RUN
    assert f"cannot run {program}: Exec format error" in err
    wait_for(lambda: not served.world.store.locks.queues)


def test_a_command_without_its_keeper_never_begins(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid() + 1)]
    ended = subprocess.run([*tethered, "touch", str(begun)], check=False, timeout=WAIT_S)
    assert ended.returncode == -signal.SIGKILL
    assert not begun.exists()


def test_a_command_that_does_not_exist(served: Served) -> None:
    code, _, err = finish(start_lock(served, "l", "--", "/no/such/program"))
    assert code == 1
    assert "cannot run /no/such/program" in err
    wait_for(lambda: not served.world.store.locks.queues)


def test_without_a_sidecar(served: Served) -> None:
    code, _, err = finish(
        start_lock(served, "l", "--app-addr", "127.0.0.1:1", "--timeout", "0.5", "--", "true")
    )
    assert code == 3
    assert "cannot connect" in err
