"""Settings: flags over variables over defaults, and every refusal in one line."""

from __future__ import annotations

import pytest

from parti_operator.config import ConfigError, load_config
from parti_sidecar.logs import LogFormat, LogLevel


def test_without_anything_it_looks_after_its_own_namespace() -> None:
    config = load_config([], {"PARTI_OPERATOR_NAMESPACE": "parti-system"})
    assert config.namespaces == ("parti-system",)
    assert (config.http_host, config.http_port) == ("127.0.0.1", 8080)
    assert config.resync_ms == 600_000
    assert config.sidecar_image.startswith("ghcr.io/parti-dev/parti-sidecar:")


def test_all_namespaces() -> None:
    config = load_config([], {"PARTI_OPERATOR_ALL_NAMESPACES": "true"})
    assert config.namespaces == ()


def test_flags_win_over_variables_and_empty_variables_count_as_not_given() -> None:
    environ = {
        "PARTI_OPERATOR_NAMESPACES": "a, b,a",
        "PARTI_OPERATOR_LOG_LEVEL": "",
        "PARTI_OPERATOR_LOG_FORMAT": "human",
        "PARTI_OPERATOR_CONCURRENCY": "4",
    }
    config = load_config(["--concurrency", "8", "--http-address", "[::]:9000"], environ)
    assert config.namespaces == ("a", "b")
    assert config.concurrency == 8
    assert (config.http_host, config.http_port) == ("::", 9000)
    assert (config.log_format, config.log_level) == (LogFormat.HUMAN, LogLevel.INFO)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--namespaces", "UPPER"], "namespaces: 'UPPER'"),
        (["--namespaces", "a", "--all-namespaces", "true"], "cannot be listed"),
        (["--all-namespaces", "perhaps"], "all_namespaces: must be true or false"),
        (["--concurrency", "0"], "concurrency: must be a number from 1 to 256"),
        (["--resync-seconds", "many"], "resync_seconds: must be a number"),
        (["--http-address", "8080"], "http_address: must be ip:port"),
        (["--http-address", "localhost:8080"], "http_address: must be ip:port"),
        (["--http-address", "[::]:99999"], "http_address: must be ip:port"),
        (["--log-level", "loud"], "log_level: must be one of debug, info, warning, error"),
        (["--lease-name", "Not a name"], "lease_name"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_what_is_refused_is_named(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(argv, {})


def test_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        load_config(["--help"], {})
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for name in ("NAMESPACES", "ALL_NAMESPACES", "LEASE_NAME", "SIDECAR_IMAGE", "RESYNC_SECONDS"):
        assert f"PARTI_OPERATOR_{name}" in shown
