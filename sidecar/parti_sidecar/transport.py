"""Makes every channel, server and socket of the sidecar, with every option that matters pinned.

This is the one place that names gRPC and TCP options, binds addresses and will take TLS settings.
gRPC accepts misspelt options silently, shares ports between processes and replaces live sockets by
default; the settings here turn that off, and the tests prove their effect.

Invariants: a bound address is a literal IP address or a unix socket that nobody else holds; each
purpose has its own connection, so that bulk never stands in front of heartbeats. All of it belongs
to the running loop: make it inside.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import grpc
import grpc.aio

from parti_sidecar.listening import listening_socket

MESSAGE_BYTES_MAX = 16 << 20  # the largest whole table fits; frames stay far below
KEEPALIVE_EVERY_MS = 5_000
# Also given as ping timeout: the only setting that notices a frozen process.
KEEPALIVE_TIMEOUT_MS = 2_000
KEEPALIVE_ACCEPTED_MS = 1_000  # well below KEEPALIVE_EVERY_MS: pings may leave early
CONCURRENT_STREAMS_MAX = 1_024
RECONNECT_FIRST_MS = 100
RECONNECT_ATTEMPT_MS = 500
RECONNECT_LAST_MS = 2_000
RESOLVE_AGAIN_AFTER_MS = 500
ACCEPT_BACKLOG = 128
STREAMS_SUFFIX = ".streams"  # of the unix socket beside that of the app API
SOCKET_PATH_BYTES_MAX = 107 - len(STREAMS_SUFFIX)
SOCKET_UMASK = 0o117  # owner and group of the pod's shared folder, nobody else

_UNIX = "unix:"

Options = list[tuple[str, int]]


class BindError(Exception):
    """An address cannot be listened on; the text names the address and the reason."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address!r}: {reason}")
        self.address = address


class Purpose(StrEnum):
    """What a channel is for. Each has a connection of its own."""

    SNAPSHOT = "snapshot"
    CALLS = "calls"  # unary calls


_COMMON: Options = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", KEEPALIVE_EVERY_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

_SERVER: Options = [
    *_COMMON,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_ACCEPTED_MS),
    ("grpc.max_concurrent_streams", CONCURRENT_STREAMS_MAX),
]

_CHANNEL: Options = [
    *_COMMON,
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
    ("grpc.min_reconnect_backoff_ms", RECONNECT_ATTEMPT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_LAST_MS),
    ("grpc.dns_min_time_between_resolutions_ms", RESOLVE_AGAIN_AFTER_MS),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


def open_channel(address: str, purpose: Purpose) -> grpc.aio.Channel:
    """Give a channel of its own to `address`; it connects when it is first used."""
    options = [*_CHANNEL, ("parti.purpose", purpose.value)]
    return grpc.aio.insecure_channel(address, options=options)


def make_server() -> grpc.aio.Server:
    """Give a server without addresses. Keep the reference: a forgotten server shuts down."""
    return grpc.aio.server(options=_SERVER)


def bind(server: grpc.aio.Server, address: str) -> str:
    """Listen on `ip:port`, `[ip]:port`; gives the address with the port that was bound."""
    host, port = split_address(address)
    try:
        bound = server.add_insecure_port(join_address(host, port))
    except RuntimeError as error:
        raise BindError(address, "it is in use, or not an address of this machine") from error
    if bound == 0:
        raise BindError(address, "gRPC refused it without a reason")
    return join_address(host, bound)


async def listen_for_streams(
    address: str, make: Callable[[], asyncio.Protocol]
) -> tuple[asyncio.Server, str]:
    """Listen on an address as `bind` does; gives the server and the address that was bound."""
    host, port = split_address(address)
    try:
        listening = listening_socket(host, port)
    except OSError as error:
        raise BindError(address, error.strerror or str(error)) from error
    bound = join_address(host, listening.getsockname()[1])
    server = await asyncio.get_running_loop().create_server(
        make, sock=listening, backlog=ACCEPT_BACKLOG
    )
    return server, bound


def split_address(address: str) -> tuple[str, int]:
    """Take a literal address apart. Names are refused: they may bind only in part."""
    host, separator, port_text = address.rpartition(":")
    if not separator or not port_text.isascii() or not port_text.isdigit():
        raise BindError(address, "write it as ip:port")
    port = int(port_text)
    if port > 65_535:
        raise BindError(address, "the port is above 65535")  # gRPC would wrap it round
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        parsed = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError as error:
        raise BindError(address, "the host must be a literal IP address") from error
    if bracketed != (parsed.version == 6):
        raise BindError(address, "IPv6 addresses, and only they, stand in brackets")
    return str(parsed), port


def join_address(host: str, port: int) -> str:
    """Write host and port as one address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class UnixSocket:
    """A unix socket that this process holds alone, and one beside it for streams of frames.

    gRPC replaces a live socket of another process silently, so a lock on a sibling file decides.
    The lock file stays behind: removing it would let two processes lock different files.
    """

    def __init__(self, path: str) -> None:
        self.address = _UNIX + path
        self.streams_name = Path(path).name + STREAMS_SUFFIX
        self._path = path
        self._streams_path = Path(path + STREAMS_SUFFIX)
        self._lock_descriptor = -1

    def bind(self, server: grpc.aio.Server) -> str:
        """Take the lock, then listen; gives the address."""
        if len(os.fsencode(self._path)) > SOCKET_PATH_BYTES_MAX:
            raise BindError(self.address, f"the path is over {SOCKET_PATH_BYTES_MAX} bytes")
        self._lock()
        try:
            with _umask(SOCKET_UMASK):
                server.add_insecure_port(self.address)
        except RuntimeError as error:
            self.release()
            raise BindError(self.address, "the path is not free for a socket") from error
        return self.address

    async def listen_for_streams(self, make: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        """Listen beside it, after `bind`."""
        assert self._lock_descriptor >= 0
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if self._streams_path.is_socket():  # of a process that was killed
                self._streams_path.unlink()
            with _umask(SOCKET_UMASK):
                listening.bind(str(self._streams_path))
        except OSError as error:
            listening.close()
            raise BindError(_UNIX + str(self._streams_path), error.strerror or "") from error
        return await asyncio.get_running_loop().create_unix_server(
            make, sock=listening, backlog=ACCEPT_BACKLOG
        )

    def release(self) -> None:
        """Let others bind the path; harmless when repeated."""
        if self._lock_descriptor >= 0:
            self._streams_path.unlink(missing_ok=True)
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    def _lock(self) -> None:
        lock_path = Path(self._path + ".lock")
        try:
            descriptor = os.open(lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BindError(self.address, f"no lock file: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise BindError(self.address, "another process holds it") from error
        self._lock_descriptor = descriptor


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
