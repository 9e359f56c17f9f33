"""Bounds-checked reading of compact binary values, and columns of them.

All numbers are little-endian. A column of bytes is the lengths of its elements and, elsewhere, the
elements one behind the other: reading and writing a column costs little per element.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from struct import Struct, calcsize, pack, unpack_from

from parti_kv.errors import MalformedKvError

U64_MAX = (1 << 64) - 1
BLOB_LENGTH = Struct("<I")


def pack_column(code: str, values: Sequence[int]) -> bytes:
    """Pack numbers of one struct code."""
    return pack(f"<{len(values)}{code}", *values)


def pack_blob(data: bytes) -> bytes:
    """Pack bytes with their length in front."""
    return BLOB_LENGTH.pack(len(data)) + data


class Reader:
    """Reads one value after the other; `end` refuses what is left over."""

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._offset = offset

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self._offset == len(self._data)

    def fields(self, shape: Struct) -> tuple[int, ...]:
        """Read the numbers of a struct."""
        return shape.unpack_from(self._data, self._advance(shape.size))

    def column(self, code: str, count: int) -> tuple[int, ...]:
        """Read `count` numbers of one struct code; refuses before it reserves memory."""
        start = self._advance(calcsize("<" + code) * count)
        return unpack_from(f"<{count}{code}", self._data, start)

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        start = self._advance(size)
        return self._data[start : start + size]

    def blob(self, bytes_max: int) -> bytes:
        """Read bytes with their length in front."""
        (length,) = self.fields(BLOB_LENGTH)
        if length > bytes_max:
            raise MalformedKvError(f"{length} bytes where at most {bytes_max} are allowed")
        return self.take(length)

    def slices(self, lengths: Sequence[int]) -> list[bytes]:
        """Read the elements of a column of bytes."""
        start = self._offset
        self._advance(sum(lengths))
        data = self._data
        return [data[a:b] for a, b in pairwise(accumulate(lengths, initial=start))]

    def end(self) -> None:
        """Refuse what is left over."""
        if not self.at_end:
            raise MalformedKvError(f"{len(self._data) - self._offset} bytes left over")

    def _advance(self, size: int) -> int:
        start = self._offset
        if start + size > len(self._data):
            raise MalformedKvError(f"ends after {len(self._data)} bytes, {start + size} needed")
        self._offset = start + size
        return start
