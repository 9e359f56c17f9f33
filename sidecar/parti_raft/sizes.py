"""Sizes of entries as the byte limits count them.

Two measures: the *payload* is the data alone (uncommitted and in-flight limits; an entry without
data is free), the *encoded size* is what the entry takes on the wire as the protocol buffer
message {type=1, term=2, index=3, data=4} whose unset fields are left out (message and apply
limits). Counting encoded sizes costs a loop, so callers skip it where no limit is set.
"""

from __future__ import annotations

from collections.abc import Sequence

from parti_raft.types import Entry

NO_LIMIT = (1 << 64) - 1


def _varint_size(value: int) -> int:
    return (value.bit_length() + 6) // 7 or 1


def encoded_size(entry: Entry) -> int:
    """Bytes of one entry on the wire; term and index are always present."""
    size = 2 + _varint_size(entry.term) + _varint_size(entry.index)
    if entry.type:
        size += 2
    length = len(entry.data)
    if length:
        size += 1 + _varint_size(length) + length
    return size


def entries_encoded_size(entries: Sequence[Entry]) -> int:
    """Bytes of several entries on the wire."""
    return sum([encoded_size(entry) for entry in entries])


def payloads_size(entries: Sequence[Entry]) -> int:
    """Bytes of data of several entries."""
    return sum([len(entry.data) for entry in entries])


def fitting_count(entries: Sequence[Entry], max_bytes: int) -> int:
    """How many leading entries fit into `max_bytes`; at least one, or nothing would ever move."""
    if max_bytes >= NO_LIMIT or len(entries) <= 1:
        return len(entries)
    size = 0
    for count, entry in enumerate(entries):
        size += encoded_size(entry)
        if size > max_bytes and count:
            return count
    return len(entries)
