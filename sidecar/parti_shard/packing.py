"""Bounds-checked reading of compact binary values, shared by every codec of this package.

All numbers are little-endian and of fixed width; texts carry their length in one byte. Whatever
does not follow the format (too short, too long, not UTF-8, out of range) is refused with
`MalformedFrameError`: bytes of others never crash us and are never half understood.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TypeVar

from parti_shard.errors import MalformedFrameError

U64_MAX = (1 << 64) - 1
U32_MAX = (1 << 32) - 1
TEXT_BYTES_MAX = 255

_BYTE = Struct("<B")
_INT32 = Struct("<I")
_INT64 = Struct("<Q")

EnumT = TypeVar("EnumT", bound=IntEnum)


def pack_text(text: str) -> bytes:
    """Return the text with its length in front; longer ones are refused."""
    data = text.encode()
    if len(data) > TEXT_BYTES_MAX:
        raise MalformedFrameError(f"text of {len(data)} bytes, the limit is {TEXT_BYTES_MAX}")
    return _BYTE.pack(len(data)) + data


class Reader:
    """Reads one value after the other; `end` refuses what is left over."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def fields(self, shape: Struct) -> tuple[int, ...]:
        start = self._advance(shape.size)
        return shape.unpack_from(self.data, start)

    def column(self, code: str, count: int) -> list[int]:
        """Read `count` numbers of one struct code; refuses before it reserves memory."""
        width = Struct("<" + code).size
        start = self._advance(width * count)
        return list(Struct(f"<{count}{code}").unpack_from(self.data, start))

    def byte(self) -> int:
        return self.fields(_BYTE)[0]

    def int32(self) -> int:
        return self.fields(_INT32)[0]

    def int64(self) -> int:
        return self.fields(_INT64)[0]

    def flag(self) -> bool:
        return read_flag(self.byte())

    def text(self) -> str:
        length = self.byte()
        start = self._advance(length)
        try:
            return self.data[start : start + length].decode()
        except UnicodeDecodeError as error:
            raise MalformedFrameError("a text is not UTF-8") from error

    def blob(self, bytes_max: int) -> bytes:
        length = self.int32()
        if length > bytes_max:
            raise MalformedFrameError(f"{length} bytes where at most {bytes_max} are allowed")
        start = self._advance(length)
        return self.data[start : start + length]

    def end(self) -> None:
        left = len(self.data) - self.offset
        if left:
            raise MalformedFrameError(f"{left} bytes left over")

    def _advance(self, size: int) -> int:
        start = self.offset
        if start + size > len(self.data):
            raise MalformedFrameError(f"ends after {len(self.data)} bytes, {start + size} needed")
        self.offset = start + size
        return start


def read_flag(value: int) -> bool:
    if value > 1:
        raise MalformedFrameError(f"a flag holds {value}")
    return value == 1


def read_enum(kind: type[EnumT], value: int) -> EnumT:
    try:
        return kind(value)
    except ValueError as error:
        raise MalformedFrameError(f"{value} is no {kind.__name__}") from error
