"""The kinds of values a setting can have: how text or YAML becomes a value and goes back.

A kind takes what a source gives: text from an environment variable or a flag, any scalar or list
from YAML. It returns the value or raises `BadValueError` with words that follow "<setting> ".
`show` is the inverse: what it returns can be written as YAML and parsed again to the same value.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

PORT_MAX = 65_535  # gRPC wraps a larger port silently
SOCKET_PATH_BYTES_MAX = 99  # 107 of sockaddr_un, less ".streams" of the socket beside it
ADDRESS_BYTES_MAX = 255  # as the log bounds it
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class BadValueError(ValueError):
    """The words say what is wrong; whoever knows the setting puts its name before them."""


class Kind(Protocol):
    """How one kind of value is read, shown and named in help."""

    @property
    def label(self) -> str:
        """What stands for the value in help."""
        ...

    def parse(self, raw: object) -> object: ...

    def show(self, value: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Number:
    """An integer within bounds."""

    minimum: int
    maximum: int
    label: str = "N"

    def parse(self, raw: object) -> object:
        value = raw
        if isinstance(raw, str):
            try:
                value = int(raw)
            except ValueError:
                value = None
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadValueError(f"must be a whole number, not {raw!r}")
        if not self.minimum <= value <= self.maximum:
            raise BadValueError(f"must be {self.minimum} to {self.maximum}, not {value}")
        return value

    def show(self, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed list of words."""

    options: type[StrEnum]

    @property
    def label(self) -> str:
        return "|".join(self.options)

    def parse(self, raw: object) -> object:
        try:
            return self.options(str(raw))
        except ValueError:
            raise BadValueError(f"must be {' or '.join(self.options)}, not {raw!r}") from None

    def show(self, value: object) -> object:
        return str(value)


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    label: str = ""

    def parse(self, raw: object) -> object:
        if isinstance(raw, bool):
            return raw
        word = raw.strip().lower() if isinstance(raw, str) else ""
        if word not in _TRUE | _FALSE:
            raise BadValueError(f"must be true or false, not {raw!r}")
        return word in _TRUE

    def show(self, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A label: printable, without spaces, bounded in bytes, as the log and the wire bound it."""

    bytes_max: int
    label: str = "TEXT"

    def parse(self, raw: object) -> object:
        # YAML reads an unquoted 7 as a number; as a name it is meant as it is written.
        text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
        if not isinstance(text, str):
            raise BadValueError(f"must be text, not {raw!r}")
        size_bytes = len(text.encode(errors="replace"))
        if size_bytes > self.bytes_max:
            raise BadValueError(f"must have at most {self.bytes_max} bytes, not {size_bytes}")
        if not text.isprintable() or " " in text:
            raise BadValueError(f"must be printable without spaces, not {text!r}")
        return text

    def show(self, value: object) -> object:
        return value


LABEL = Text(253)  # names and zones
CAPACITY = Number(1, 1000)


@dataclass(frozen=True, slots=True)
class Directory:
    """A path of the file system."""

    label: str = "DIR"

    def parse(self, raw: object) -> object:
        if not isinstance(raw, str) or not raw or "\0" in raw:
            raise BadValueError(f"must be a path, not {raw!r}")
        return Path(raw)

    def show(self, value: object) -> object:
        return str(value)


@dataclass(frozen=True, slots=True)
class SocketPath:
    """Where a unix socket is made; empty for none."""

    label: str = "PATH"

    def parse(self, raw: object) -> object:
        if not isinstance(raw, str) or "\0" in raw:
            raise BadValueError(f"must be a path, not {raw!r}")
        size_bytes = len(raw.encode())
        if size_bytes > SOCKET_PATH_BYTES_MAX:
            raise BadValueError(
                f"must have at most {SOCKET_PATH_BYTES_MAX} bytes (limit of unix sockets), "
                f"not {size_bytes}"
            )
        return raw

    def show(self, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Where a server listens: a literal IP address and a port, 0 for any free one.

    Names are refused: one that resolves to several addresses is bound in part without an error.
    """

    label: str = "IP:PORT"

    def parse(self, raw: object) -> object:
        host, port = split_address(raw)
        try:
            return join_address(str(ipaddress.ip_address(host)), port)
        except ValueError:
            raise BadValueError(f"must be a literal IP address and a port, not {raw!r}") from None

    def show(self, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class DialAddress:
    """Where another process listens: a name or an IP address, and a port; may be empty."""

    label: str = "HOST:PORT"

    def parse(self, raw: object) -> object:
        address = "" if raw == "" else join_address(*split_address(raw))
        size_bytes = len(address.encode(errors="replace"))
        if size_bytes > ADDRESS_BYTES_MAX:
            raise BadValueError(f"must have at most {ADDRESS_BYTES_MAX} bytes, not {size_bytes}")
        return address

    def show(self, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class DialAddresses:
    """A list of addresses: a YAML list, or text with commas."""

    label: str = "HOST:PORT,..."

    def parse(self, raw: object) -> object:
        items = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(items, list | tuple):
            raise BadValueError(f"must be a list of addresses, not {raw!r}")
        stripped = [item.strip() if isinstance(item, str) else item for item in items]
        return tuple(join_address(*split_address(item)) for item in stripped if item != "")

    def show(self, value: object) -> object:
        assert isinstance(value, tuple)
        return list(value)


def split_address(raw: object) -> tuple[str, int]:
    """Take `host:port` apart; an IPv6 literal stands in brackets."""
    if not isinstance(raw, str):
        raise BadValueError(f"must be host:port, not {raw!r}")
    host, colon, port_text = raw.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or not host.isprintable() or set(host) & set("[]/@ "):
        raise BadValueError(f"must be host:port, not {raw!r}")
    if bracketed != (":" in host):
        raise BadValueError(f"must be host:port with IPv6 in brackets, not {raw!r}")
    if not (port_text.isascii() and port_text.isdigit()) or int(port_text) > PORT_MAX:
        raise BadValueError(f"must have a port of 0 to {PORT_MAX}, not {raw!r}")
    return host, int(port_text)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
