"""The peer of part (h): a three-member etcd (Debian's etcd-server), driven by etcd's own tool.

The tool (`tools/benchmark` of etcd's source) is looked for as `etcd-benchmark` on the path, or
where PARTI_ETCD_BENCHMARK says; it is a Go program, so that the load takes little of the machine.
Without etcd or the tool parti is measured alone.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.stats import Load

MEMBERS = 3
START_S = 20.0
RUN_S = 120.0
TRIAL_CALLS = 500  # of fewer it says nothing
KEYS, KEY_BYTES, VALUE_BYTES = 10_000, 12, 64
_FIGURES = {
    "per_second": re.compile(r"Requests/sec:\s*([\d.]+)"),
    "p50": re.compile(r"50% in ([\d.]+) secs"),
    "p99": re.compile(r"99% in ([\d.]+) secs"),
}


def tool() -> str | None:
    """etcd's benchmark, if there is one."""
    return os.environ.get("PARTI_ETCD_BENCHMARK") or shutil.which("etcd-benchmark")


def is_there() -> bool:
    """Whether etcd can be measured."""
    return shutil.which("etcd") is not None and tool() is not None


@contextmanager
def etcd_cluster() -> Iterator[str]:
    """Three durable members on loopback; gives their client addresses."""
    ports = free_ports(2 * MEMBERS)
    clients, peers = ports[:MEMBERS], ports[MEMBERS:]
    group = ",".join(f"m{n}=http://127.0.0.1:{port}" for n, port in enumerate(peers))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parti-bench-")))
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            process = _start(f"m{number}", client, peer, group, scratch)
            stack.callback(process.wait)
            stack.callback(process.kill)
        endpoints = ",".join(f"127.0.0.1:{port}" for port in clients)
        _await_leader(endpoints)
        yield endpoints


def _start(name: str, client: int, peer: int, group: str, scratch: Path) -> subprocess.Popen[bytes]:
    client_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    arguments = {
        "name": name,
        "data-dir": str(scratch / name),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": group,
        "log-level": "error",
    }
    command = ["etcd", *(f"--{flag}={value}" for flag, value in arguments.items())]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _await_leader(endpoints: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            _run(endpoints, 1, "put", TRIAL_CALLS)
        except (subprocess.SubprocessError, AssertionError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"etcd has no leader within {START_S:.0f} s")


def measure(endpoints: str, kind: str, callers: int, seconds: float) -> Load:
    """`put` or `get` by so many clients, each with its connection, for about so long."""
    few = max(TRIAL_CALLS, 20 * callers)
    trial = _run(endpoints, callers, kind, few)
    return _run(endpoints, callers, kind, max(few, int(trial.per_second * seconds)))


def _run(endpoints: str, callers: int, kind: str, total: int) -> Load:
    what = (
        ["put", f"--key-size={KEY_BYTES}", f"--val-size={VALUE_BYTES}", f"--key-space-size={KEYS}"]
        if kind == "put"
        else ["range", "key", "--consistency=l"]
    )
    command = [
        str(tool()),
        f"--endpoints={endpoints}",
        "--target-leader",
        f"--conns={callers}",
        f"--clients={callers}",
        *what,
        f"--total={total}",
    ]
    output = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=True)
    text = output.stdout + output.stderr
    found = {name: pattern.search(text) for name, pattern in _FIGURES.items()}
    assert all(found.values()), f"etcd's benchmark said: {text[-500:]}"
    per_second, p50_s, p99_s = (float(match[1]) for match in found.values() if match)
    return Load(per_second, p50_s * 1000, p99_s * 1000)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
