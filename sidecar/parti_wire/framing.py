"""How frames stand on a plain stream of bytes: length, kind, body. `stream.proto` says it in words.

A length is believed only up to a limit, so that a stranger's bytes are neither waited for nor kept.
Frames that arrive in one piece, which is nearly all of them, are cut out of it and nothing is
collected; pieces of a longer one are looked at again only when it is whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from parti_wire.errors import BadFrameError, FrameTooLargeError

_HEADER = struct.Struct(">IB")
HEADER_BYTES = _HEADER.size


class FrameKind(IntEnum):
    """What the body of a frame is."""

    HELLO = 1
    ACCEPTED = 2
    DATA = 3
    END = 4
    PING = 5
    PONG = 6
    DONE = 7


_KINDS = {int(kind): kind for kind in FrameKind}


def framed(kind: FrameKind, body: bytes = b"") -> bytes:
    """Write one frame."""
    return _HEADER.pack(len(body), kind) + body


class FrameSplitter:
    """Cuts a stream of bytes into frames. `bytes_max` bounds a body and may be changed."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._rest = bytearray()
        self._wanted_bytes = 0  # the rest is not looked at before it is so long

    def feed(self, data: bytes) -> Iterator[tuple[FrameKind, bytes]]:
        """Give the frames that are whole with these bytes; run it to its end, or feed no more.

        Raises FrameTooLargeError and BadFrameError.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted_bytes:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, end = 0, len(data)
        self._wanted_bytes = HEADER_BYTES
        while end - at >= HEADER_BYTES:
            size_bytes, kind = self._header(data, at)
            body_at = at + HEADER_BYTES
            if end - body_at < size_bytes:
                self._wanted_bytes = HEADER_BYTES + size_bytes
                break
            at = body_at + size_bytes
            yield kind, data[body_at:at]
        if at < end:
            self._rest += memoryview(data)[at:]

    def _header(self, data: bytes, at: int) -> tuple[int, FrameKind]:
        size_bytes, number = _HEADER.unpack_from(data, at)
        if size_bytes > self.bytes_max:
            raise FrameTooLargeError(size_bytes, self.bytes_max)
        kind = _KINDS.get(number)
        if kind is None:
            raise BadFrameError(f"there is no kind {number} of frames")
        return size_bytes, kind
