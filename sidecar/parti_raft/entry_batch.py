"""The data of a log entry: a batch of commands.

Little-endian: the number of commands, the length of each, then the commands one after another. The
empty entry that a new leader writes holds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, error

_COUNT = Struct("<I")


class MalformedEntryError(ValueError):
    """A committed entry cannot be read: this program must not go on applying."""


def pack_commands(commands: Sequence[bytes]) -> bytes:
    """Pack commands into an entry's data."""
    count = len(commands)
    lengths = Struct(f"<{count + 1}I").pack(count, *map(len, commands))
    return lengths + b"".join(commands)


def unpack_commands(data: bytes) -> list[bytes]:
    """Read an entry's data; the empty entry of a new leader holds no command."""
    if not data:
        return []
    try:
        (count,) = _COUNT.unpack_from(data)
        lengths = Struct(f"<{count}I").unpack_from(data, _COUNT.size)
    except error as problem:
        raise MalformedEntryError(f"entry header: {problem}") from problem
    commands = []
    position = _COUNT.size * (count + 1)
    for length in lengths:
        commands.append(data[position : position + length])
        position += length
    if position != len(data):
        raise MalformedEntryError(f"commands end at byte {position} of {len(data)}")
    return commands
