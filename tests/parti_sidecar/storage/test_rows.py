from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parti_raft.types import Entry, EntryType, LogIndex, Term
from parti_sidecar.storage.base import CorruptState
from parti_sidecar.storage.limits import ROW_BYTES_MAX
from parti_sidecar.storage.rows import Row, decode_row, encode_rows
from tests.parti_sidecar.storage.helpers import entries, entry

U64_MAX = (1 << 64) - 1


@given(
    first=st.integers(1, 1 << 62),
    contents=st.lists(
        st.tuples(st.integers(0, U64_MAX), st.sampled_from(EntryType), st.binary(max_size=20)),
        min_size=1,
        max_size=8,
    ),
    prev_chain=st.integers(0, (1 << 32) - 1),
)
def test_a_row_returns_the_entries_it_was_made_of(
    first: int, contents: list[tuple[int, EntryType, bytes]], prev_chain: int
) -> None:
    log = [
        Entry(Term(term), LogIndex(first + at), kind, data)
        for at, (term, kind, data) in enumerate(contents)
    ]
    (row,) = encode_rows(log, prev_chain)
    assert decode_row(row) == log
    assert (row.first_index, row.last_index) == (log[0].index, log[-1].index)
    assert row.prev_chain == prev_chain


def test_large_runs_are_split_into_chained_rows() -> None:
    log = [entry(index, data=bytes(ROW_BYTES_MAX // 2)) for index in range(1, 6)]
    log.append(entry(6, data=bytes(2 * ROW_BYTES_MAX)))
    rows = encode_rows(log, 7)
    assert [(row.first_index, row.last_index) for row in rows] == [(1, 2), (3, 4), (5, 5), (6, 6)]
    assert [row.prev_chain for row in rows] == [7, *[row.chain for row in rows[:-1]]]
    assert [found for row in rows for found in decode_row(row)] == log


def test_every_flipped_bit_of_a_row_is_noticed() -> None:
    (row,) = encode_rows(entries(4, 6), 99)
    for bit in range(8 * len(row.body)):
        damaged = bytearray(row.body)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptState):
            decode_row(replace(row, body=bytes(damaged)))


def test_every_shortened_row_is_noticed() -> None:
    (row,) = encode_rows(entries(1, 2), 0)
    for size in range(len(row.body)):
        with pytest.raises(CorruptState):
            decode_row(replace(row, body=row.body[:size]))


@pytest.mark.parametrize(("first", "last"), [(5, 7), (4, 7), (3, 6), (4, 5)])
def test_a_row_in_the_place_of_another_is_noticed(first: int, last: int) -> None:
    (row,) = encode_rows(entries(4, 6), 0)
    with pytest.raises(CorruptState, match="it holds 3 entries from 4"):
        decode_row(Row(LogIndex(first), LogIndex(last), row.body))


def test_the_chain_depends_on_all_rows_before() -> None:
    (one,) = encode_rows(entries(1, 1), 0)
    (other,) = encode_rows(entries(1, 1, term=2), 0)
    after_one = encode_rows(entries(2, 3), one.chain)[0]
    after_other = encode_rows(entries(2, 3), other.chain)[0]
    assert after_one.chain != after_other.chain
