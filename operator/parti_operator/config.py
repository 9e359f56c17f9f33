"""The operator's settings: flags over `PARTI_OPERATOR_*` variables over defaults.

Everything about a cluster stands in its PartiCluster; this is only what the process itself needs.
A variable that is present but empty counts as not given.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, TypeVar

from parti_sidecar.logs import LogFormat, LogLevel
from parti_sidecar.version import VERSION

Word = TypeVar("Word", bound=StrEnum)

PREFIX: Final = "PARTI_OPERATOR_"
_SECOND_MS = 1_000
_HOUR_MS = 3_600 * _SECOND_MS
_PORT_MAX = 65_535
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})


class ConfigError(Exception):
    """The settings cannot be used; the text names the setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """One process of the operator."""

    namespaces: tuple[str, ...]  # none: all
    namespace: str  # its own: where the lease is
    pod_name: str  # its own: who holds the lease
    lease_name: str
    sidecar_image: str
    http_host: str
    http_port: int
    concurrency: int
    resync_ms: int
    log_format: LogFormat
    log_level: LogLevel


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    default: str
    text: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


_SETTINGS: Final = (
    _Setting("namespaces", "", "namespaces to look after, with commas; empty: its own"),
    _Setting("all_namespaces", "false", "look after every namespace instead"),
    _Setting("namespace", "default", "its own namespace, where its lease is"),
    _Setting("pod_name", "parti-operator", "its own name, by which it holds the lease"),
    _Setting("lease_name", "parti-operator", "name of the lease by which one replica is elected"),
    _Setting(
        "sidecar_image",
        f"ghcr.io/parti-dev/parti-sidecar:{VERSION}",
        "image of the sidecars of clusters that name none",
    ),
    _Setting("http_address", "127.0.0.1:8080", "where /healthz, /readyz and /metrics are served"),
    _Setting("concurrency", "16", "clusters that are worked on at the same time"),
    _Setting("resync_seconds", "600", "how often everything is compared with the API server"),
    _Setting("log_format", LogFormat.JSON.value, "json or human"),
    _Setting("log_level", LogLevel.INFO.value, "debug, info, warning or error"),
)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing usage and leaving: an error is one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def load_config(argv: Sequence[str], environ: Mapping[str, str]) -> OperatorConfig:
    """Read the settings; `--help` and `--version` print and leave. Raises `ConfigError`."""
    parser = _Parser(
        prog="parti-operator",
        description="Keeps the pods of every PartiCluster as its spec says.",
        epilog="Access to Kubernetes: KUBECONFIG if it is set, otherwise the pod's service "
        "account. Exit codes: 0 ended as asked, 1 failed or lost its lease, 2 cannot start like "
        "this.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"parti-operator {VERSION}")
    for setting in _SETTINGS:
        parser.add_argument(
            setting.flag,
            default=environ.get(setting.variable) or setting.default,
            metavar="VALUE",
            help=f"{setting.text} [{setting.default or 'empty'}] ({setting.variable})",
        )
    return _config({key: str(value) for key, value in vars(parser.parse_args(argv)).items()})


def _config(given: Mapping[str, str]) -> OperatorConfig:
    host, port = _address(given["http_address"])
    return OperatorConfig(
        namespaces=_namespaces(given),
        namespace=_name(given, "namespace"),
        pod_name=given["pod_name"],
        lease_name=_name(given, "lease_name"),
        sidecar_image=given["sidecar_image"],
        http_host=host,
        http_port=port,
        concurrency=_number(given, "concurrency", 1, 256),
        resync_ms=_number(given, "resync_seconds", 10, _HOUR_MS // _SECOND_MS) * _SECOND_MS,
        log_format=_choice(given, "log_format", LogFormat),
        log_level=_choice(given, "log_level", LogLevel),
    )


def _namespaces(given: Mapping[str, str]) -> tuple[str, ...]:
    listed = tuple(part.strip() for part in given["namespaces"].split(",") if part.strip())
    for name in listed:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"namespaces: {name!r} cannot be the name of a namespace")
    if not _flag(given, "all_namespaces"):
        return tuple(dict.fromkeys(listed)) or (_name(given, "namespace"),)
    if listed:
        raise ConfigError("namespaces: cannot be listed when all-namespaces is true")
    return ()


def _flag(given: Mapping[str, str], name: str) -> bool:
    word = given[name].lower()
    if word not in _TRUE | _FALSE:
        raise ConfigError(f"{name}: must be true or false, not {given[name]!r}")
    return word in _TRUE


def _name(given: Mapping[str, str], name: str) -> str:
    if not _NAME.fullmatch(given[name]):
        raise ConfigError(f"{name}: {given[name]!r} cannot be a name in Kubernetes")
    return given[name]


def _number(given: Mapping[str, str], name: str, low: int, high: int) -> int:
    text = given[name]
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ConfigError(f"{name}: must be a number from {low} to {high}, not {text!r}")
    return int(text)


def _choice(given: Mapping[str, str], name: str, options: type[Word]) -> Word:
    try:
        return options(given[name])
    except ValueError:
        raise ConfigError(f"{name}: must be one of {', '.join(options)}") from None


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if address is None or not port.isdigit() or int(port) > _PORT_MAX:
        raise ConfigError(f"http_address: must be ip:port or [ip]:port, not {text!r}")
    return str(address), int(port)
