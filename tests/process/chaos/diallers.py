"""Who is at the other end of a connection on this machine: asked from the kernel (Linux).

The network has to know which member dials, and neither gRPC nor a frame says it before bytes flow.
The kernel finds the inode of a connection by its two addresses (`sock_diag`, one hash lookup, while
its text tables take a tenth of a second to write), and lists what each process has open.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

SUPPORTED = sys.platform == "linux"
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_ALL_STATES: Final = 0xFFFFFFFF
_NO_COOKIE: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_QUESTION: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_PORTS: Final = struct.Struct("!HH")  # of the socket that is asked for, and its peer's
_SOCKET: Final = struct.Struct("=4s12x4s12xIII")  # both addresses, interface, cookie
_ANSWER: Final = struct.Struct("=4x48x16xI")  # behind the header: the inode stands last

Address = tuple[str, int]


def dialler(peer: Address, own: Address, candidates: Iterable[int]) -> int | None:
    """The process among `candidates` whose socket is bound to `peer` and connected to `own`."""
    inode = _inode(peer, own)
    if not inode:
        return None
    wanted = f"socket:[{inode}]"
    return next((pid for pid in candidates if _has_open(pid, wanted)), None)


def _inode(local: Address, remote: Address) -> int:
    """The inode of the socket with these addresses; 0 if there is none any more."""
    asked = (
        _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES)
        + _PORTS.pack(local[1], remote[1])
        + _SOCKET.pack(
            socket.inet_aton(local[0]), socket.inet_aton(remote[0]), 0, _NO_COOKIE, _NO_COOKIE
        )
    )
    length = _HEADER.size + len(asked)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + asked)
        answer = kernel.recv(4096)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:  # an error: it has gone
        return 0
    (inode,) = _ANSWER.unpack_from(answer, _HEADER.size)
    assert isinstance(inode, int)
    return inode


def _has_open(pid: int, wanted: str) -> bool:
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if str(link.readlink()) == wanted:
                    return True
    except OSError:  # the process has ended
        return False
    return False
