"""(d) A durable Raft group of three processes, commands of 64 bytes proposed at the leader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parti_sidecar.grpc_environment import GRPC_ENVIRONMENT
from tests.bench.stats import Load

Process = subprocess.Popen[str]


@contextmanager
def durable_group() -> Iterator[Process]:
    """Three member processes; gives the leader's."""
    members: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="parti-bench-") as scratch:
        try:
            members = [_start(number, Path(scratch) / f"m{number}") for number in (1, 2, 3)]
            addresses = [_answer(member).strip() for member in members]
            for member in reversed(members):
                _tell(member, " ".join(["start", *addresses]))
            assert _answer(members[0]).strip() == "leading"
            yield members[0]
        finally:
            for member in members:
                assert member.stdin is not None
                member.stdin.close()
            for member in members:
                member.wait(timeout=20)


def measure(leader: Process, writers: int, batch: int, seconds: float) -> Load:
    """One closed-loop run."""
    _tell(leader, f"run {writers} {batch} {seconds}")
    return Load(**json.loads(_answer(leader)))


def _start(number: int, data_dir: Path) -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.group_member", str(number), str(data_dir)],
        env={**os.environ, **GRPC_ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _tell(member: Process, line: str) -> None:
    assert member.stdin is not None
    member.stdin.write(line + "\n")
    member.stdin.flush()


def _answer(member: Process) -> str:
    assert member.stdout is not None
    line = member.stdout.readline()
    assert line, f"a member of the group ended with {member.wait(timeout=10)}"
    return line
