"""How `parti` ends: real processes, every code, and words that say what to do."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import grpc
import pytest
from click.testing import Result

from parti_cli.launching import import_path_environment
from parti_proto import errors_pb2
from tests.parti_cli.fakes import FakeCluster, served

Run = Callable[..., Result]


def parti(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "parti_cli.main", *arguments],
        env=import_path_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def deaf_port() -> Iterator[str]:
    """Accepts connections and never says a word, as a frozen process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_ok_is_0(cluster: FakeCluster) -> None:
    with served(cluster) as address:
        ended = parti("members", "--addr", address)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_refusal_is_1_and_gives_reason_and_advice(cluster: FakeCluster) -> None:
    detail = errors_pb2.ErrorDetail(reason=errors_pb2.REASON_NO_LEADER, message="nobody leads")
    cluster.refusal = (grpc.StatusCode.UNAVAILABLE, detail)
    with served(cluster) as address:
        ended = parti("members", "--addr", address)
    assert ended.returncode == 1
    assert ended.stderr.startswith("parti: NO_LEADER: nobody leads\n")
    assert "voters" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("ping",), ("ping", "-1"), ("members", "-o", "xml"), ("drain", "m1", "--x")],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    ended = parti(*arguments)
    assert ended.returncode == 2
    assert "Usage:" in ended.stderr


@pytest.mark.parametrize("command", [("stats",), ("watch",), ("send", "--key", "k", "x")])
def test_nobody_there_is_3(command: tuple[str, ...], closed_port: str) -> None:
    flag = "--addr" if command == ("stats",) else "--app-addr"
    ended = parti(*command, flag, closed_port, "--timeout", "5")
    assert ended.returncode == 3
    assert f"at {closed_port}" in ended.stderr
    assert flag in ended.stderr
    assert "Traceback" not in ended.stderr


def test_another_api_is_3() -> None:
    server = grpc.server(None, options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ended = parti("stats", "--addr", f"127.0.0.1:{port}")
    server.stop(0).wait()
    assert ended.returncode == 3
    assert "another API answers there" in ended.stderr


def test_no_answer_in_time_is_1(run: Run, deaf_port: str) -> None:
    result = run("stats", "--addr", deaf_port, "--timeout", "0.3")
    assert result.exit_code == 1
    assert "did not answer within 0.3 s" in result.stderr


def test_a_watch_that_does_not_begin_is_1(run: Run, deaf_port: str) -> None:
    result = run("watch", "--app-addr", deaf_port, "--timeout", "0.3")
    assert result.exit_code == 1
    assert "did not answer within 0.3 s" in result.stderr


def test_help_imports_neither_grpc_nor_rich() -> None:
    command = "import sys; from parti_cli.main import root; root(['--help'], standalone_mode=False)"
    check = "; print({'grpc', 'rich', 'google', 'yaml'} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", command + check],
        env=import_path_environment() | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "transfer-leader" in ended.stdout
    assert ended.stdout.endswith("set()\n")


def test_every_command_has_help() -> None:
    listing = parti("--help").stdout.partition("Commands:")[2]
    names = [
        line.split()[0] for line in listing.splitlines() if line.startswith("  ") and line[2] != " "
    ]
    assert len(names) == 22
    for name in names:
        ended = parti(name, "--help")
        assert ended.returncode == 0, name
