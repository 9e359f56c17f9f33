"""What can go wrong at the command line, and the exit code each kind ends with.

0 ok, 1 failed, 2 usage (click's own code), 3 cannot connect. Scripts rely on these numbers.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CannotConnectError", "CliError", "DevClusterError", "ExitCode", "UsageError"]


class ExitCode(IntEnum):
    """How `parti` ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CANNOT_CONNECT = 3


class CliError(Exception):
    """It did not work. `hint` says what to do about it."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(CliError):
    """The command line itself is wrong."""

    exit_code = ExitCode.USAGE


class CannotConnectError(CliError):
    """Nothing that speaks the expected API answers at the address."""

    exit_code = ExitCode.CANNOT_CONNECT


class DevClusterError(CliError):
    """The local development cluster could not do what was asked."""
