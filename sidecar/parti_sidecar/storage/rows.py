"""Rows of the stored log: how a run of entries becomes one checksummed, chained piece of bytes.

A row's checksum (`chain`) covers its position, its entries and the checksum of the row before
it. So a damaged row is noticed by itself, and a lost, repeated or foreign row by its neighbours.
The previous row's checksum is kept in the row, which lets the beginning of the log be deleted
without touching the rest.

Layout, little endian: chain u32 | prev_chain u32, count u32, first_index u64 | terms u64[count] |
data sizes u32[count] | types u8[count] | data of all entries. `chain` covers all that follows it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

from parti_raft.types import Entry, EntryType, LogIndex, Term
from parti_sidecar.storage.base import CorruptState
from parti_sidecar.storage.limits import ROW_BYTES_MAX

_CHAIN = struct.Struct("<I")
_HEAD = struct.Struct("<IIQ")
_HEAD_END = _CHAIN.size + _HEAD.size
_ENTRY_META_BYTES = 8 + 4 + 1


@dataclass(frozen=True, slots=True)
class Row:
    """One stored row; the entries first_index..last_index."""

    first_index: LogIndex
    last_index: LogIndex
    body: bytes

    @property
    def chain(self) -> int:
        chain: int = _CHAIN.unpack_from(self.body)[0]
        return chain

    @property
    def prev_chain(self) -> int:
        chain: int = _CHAIN.unpack_from(self.body, _CHAIN.size)[0]
        return chain


def encode_rows(entries: Sequence[Entry], prev_chain: int) -> list[Row]:
    """Pack contiguous entries into as few rows as the size limit allows."""
    rows = []
    for run in _runs(entries):
        row = _encode_row(run, prev_chain)
        rows.append(row)
        prev_chain = row.chain
    return rows


def _runs(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    if sum(len(entry.data) for entry in entries) <= ROW_BYTES_MAX:
        return [entries] if entries else []
    runs: list[Sequence[Entry]] = []
    start = size_bytes = 0
    for position, entry in enumerate(entries):
        if position > start and size_bytes + len(entry.data) > ROW_BYTES_MAX:
            runs.append(entries[start:position])
            start, size_bytes = position, 0
        size_bytes += len(entry.data)
    runs.append(entries[start:])
    return runs


def _encode_row(entries: Sequence[Entry], prev_chain: int) -> Row:
    count = len(entries)
    datas = [entry.data for entry in entries]
    meta = struct.pack(
        f"<IIQ{count}Q{count}I{count}B",
        prev_chain,
        count,
        entries[0].index,
        *[entry.term for entry in entries],
        *map(len, datas),
        *[entry.type for entry in entries],
    )
    chain = google_crc32c.value(meta)
    for data in datas:
        chain = google_crc32c.extend(chain, data)
    body = b"".join((_CHAIN.pack(chain), meta, *datas))
    return Row(entries[0].index, entries[-1].index, body)


def decode_row(row: Row) -> list[Entry]:
    """The entries of a row; `CorruptState` if it is not what was written."""
    where = f"log row {row.first_index}..{row.last_index}"
    if len(row.body) < _HEAD_END:
        raise CorruptState(f"{where}: too short")
    if google_crc32c.value(row.body[_CHAIN.size :]) != row.chain:
        raise CorruptState(f"{where}: checksum mismatch")
    _prev, count, first_index = _HEAD.unpack_from(row.body, _CHAIN.size)
    if first_index != row.first_index or first_index + count - 1 != row.last_index:
        raise CorruptState(f"{where}: it holds {count} entries from {first_index} on")
    return _decode_entries(row.body, LogIndex(first_index), count)


def _decode_entries(body: bytes, first_index: LogIndex, count: int) -> list[Entry]:
    fields = struct.unpack_from(f"<{count}Q{count}I{count}B", body, _HEAD_END)
    start = _HEAD_END + count * _ENTRY_META_BYTES
    entries = []
    for position in range(count):
        end = start + fields[count + position]
        entries.append(
            Entry(
                term=Term(fields[position]),
                index=LogIndex(first_index + position),
                type=EntryType(fields[2 * count + position]),
                data=body[start:end],
            )
        )
        start = end
    return entries
