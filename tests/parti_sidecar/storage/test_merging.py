"""Merging never changes what results; that is shown against the model in `test_model`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parti_raft.types import LogIndex
from parti_sidecar.storage.base import WriteBatch
from parti_sidecar.storage.merging import mergeable, merged
from tests.parti_sidecar.storage.helpers import append, entries, hard, snapshot


def test_one_batch_stays_itself() -> None:
    batch = append(1, 2)
    assert merged([batch]) is batch


def test_appends_follow_each_other() -> None:
    batch = merged([append(1, 2), hard(1, 2), append(3, 3), WriteBatch(compact_to=LogIndex(1))])
    assert list(batch.entries) == entries(1, 3)
    assert batch.hard_state == hard(1, 2).hard_state
    assert batch.compact_to == 1


@pytest.mark.parametrize("first", [1, 3, 4, 5])
def test_a_later_batch_replaces_the_tail_of_an_earlier_one(first: int) -> None:
    batch = merged([append(3, 4), append(first, 6, term=2)])
    kept = entries(3, first - 1) if first > 3 else []
    assert list(batch.entries) == kept + entries(first, 6, term=2)


@pytest.mark.parametrize(
    ("group", "later"),
    [
        ([append(1, 1)], WriteBatch(snapshot=snapshot(1))),
        ([WriteBatch(snapshot=snapshot(1))], append(2, 2)),
        ([hard(2, 3)], hard(2, 4)),
        ([hard(2, 3), append(1, 1)], hard(2, 4)),
        ([hard(2)], hard(1)),
        ([append(1, 4), hard(1, commit=4)], hard(1, commit=3)),
        ([append(1, 4), hard(1, commit=4)], append(4, 4, term=2)),
    ],
)
def test_what_the_storage_has_to_see_is_not_merged(
    group: list[WriteBatch], later: WriteBatch
) -> None:
    assert not mergeable(group, later)


@pytest.mark.parametrize(
    "later",
    [append(5, 5), hard(2, 9, commit=4), hard(3, 4, commit=4), WriteBatch()],
)
def test_what_keeps_the_promises_is_merged(later: WriteBatch) -> None:
    assert mergeable([append(1, 4), hard(2, 0, commit=3)], later)
    voted = replace(later, hard_state=hard(2, 9, commit=4).hard_state)
    assert mergeable([append(1, 4), hard(2, 9, commit=3)], voted)
