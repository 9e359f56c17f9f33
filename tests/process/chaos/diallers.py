"""Who is at the other end of a connection on this machine: asked from the kernel (Linux).

The network has to know which member dials, and neither gRPC nor a frame says it before bytes flow.
The kernel lists each connection with its inode, and each process with the inodes it has open.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

SUPPORTED = sys.platform == "linux"
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _REMOTE, _INODE = 1, 2, 9
_IPV4_DIGITS = 8  # at the end of an address, also of one of IPv6 that stands for it

Address = tuple[str, int]


def dialler(peer: Address, own: Address, candidates: Iterable[int]) -> int | None:
    """The process among `candidates` whose socket is bound to `peer` and connected to `own`."""
    inode = _inode(_digits(peer), _digits(own))
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    return next((pid for pid in candidates if wanted in _open_files(pid)), None)


def _digits(address: Address) -> str:
    """An address as the kernel's table shows it."""
    host, port = address
    return f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"


def _inode(local: str, remote: str) -> str | None:
    for table in _TABLES:
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if (_short(fields[_LOCAL]), _short(fields[_REMOTE])) == (local, remote):
                return fields[_INODE]
    return None


def _short(address: str) -> str:
    host, _, port = address.partition(":")
    return f"{host[-_IPV4_DIGITS:]}:{port}"


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.add(str(link.readlink()))
    except OSError:  # the process has ended
        return set()
    return found
