"""The options many commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from parti_cli.connection import AdminConnection, AppConnection

__all__ = ["Settings", "admin_options", "app_options"]

DEFAULT_ADMIN_ADDRESS = "127.0.0.1:5102"
DEFAULT_APP_ADDRESS = "127.0.0.1:5100"
DEFAULT_TIMEOUT_S = 10.0

_Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the shared options say."""

    as_json: bool
    address: str
    timeout_s: float

    def admin(self) -> AdminConnection:
        """A connection to the admin API."""
        return AdminConnection(self.address, self.timeout_s)

    def app(self) -> AppConnection:
        """A connection to the app API."""
        return AppConnection(self.address, self.timeout_s)


def admin_options(command: _Command) -> _Command:
    """Add -o, --addr and --timeout; the command gets them as its first argument `settings`."""
    address = click.option(
        "--addr",
        "address",
        envvar="PARTI_ADMIN",
        default=DEFAULT_ADMIN_ADDRESS,
        metavar="HOST:PORT",
        show_default=True,
        help="Admin API of any member; or PARTI_ADMIN.",
    )
    return _shared(address)(command)


def app_options(command: _Command) -> _Command:
    """The same with --app-addr."""
    address = click.option(
        "--app-addr",
        "address",
        envvar="PARTI_ADDRESS",
        default=DEFAULT_APP_ADDRESS,
        metavar="HOST:PORT",
        show_default=True,
        help="App API of a sidecar; or PARTI_ADDRESS.",
    )
    return _shared(address)(command)


def _shared(address_option: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    output_option = click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="For people or for programs.",
    )
    timeout_option = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        show_default=True,
        help="For each call.",
    )

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(*, output: str, address: str, timeout_s: float, **others: Any) -> None:
            command(Settings(output == "json", address, timeout_s), **others)

        return output_option(address_option(timeout_option(run)))

    return decorate
