"""Ordered keys and history, against plain models."""

from __future__ import annotations

import random

import pytest

from parti_kv.errors import HistoryCompactedError
from parti_kv.history import History
from parti_kv.ordered_keys import BUCKET_KEYS_MAX, OrderedKeys
from parti_kv.values import Change, Revision


@pytest.mark.parametrize("seed", range(3))
def test_ordered_keys_are_a_sorted_set(seed: int) -> None:
    chance = random.Random(seed)
    model = {b"%05d" % chance.randrange(10_000) for _ in range(BUCKET_KEYS_MAX * 2)}
    keys = OrderedKeys(model)
    for _ in range(12_000):
        key = b"%05d" % chance.randrange(10_000)
        if key not in model:
            model.add(key)
            keys.add(key)
        elif chance.random() < 0.6:
            model.remove(key)
            keys.remove(key)
    assert list(keys.starting_at(b"")) == sorted(model), f"seed {seed}"
    start = b"05000"
    assert list(keys.starting_at(start)) == sorted(key for key in model if key >= start)
    for key in sorted(model):
        keys.remove(key)
    assert list(keys.starting_at(b"")) == []
    keys.add(b"x")
    assert list(keys.starting_at(b"a")) == [b"x"]


def _change(revision: int, size: int = 0) -> Change:
    return Change(Revision(revision), b"k%d" % revision, b"v" * size)


def test_history_is_bounded_in_number() -> None:
    history = History(events_max=10)
    for revision in range(1, 20_000):
        history.add(*_change(revision))
        assert len(history) <= 10
    assert history.floor == 19_989
    changes, reached = history.after(Revision(19_989), b"", 100)
    assert [change.revision for change in changes] == list(range(19_990, 20_000))
    assert reached == 19_999
    with pytest.raises(HistoryCompactedError):
        history.after(Revision(19_988), b"", 100)
    assert len(history._changes) < 10_000


def test_history_is_bounded_in_bytes() -> None:
    history = History(bytes_max=1_000)
    history.add(*_change(1, 600))
    history.add(*_change(2, 600))
    assert history.floor == 1
    history.add(*_change(3, 2_000))
    assert history.floor == 3
    assert history.size_bytes == 0


def test_what_was_dropped_is_let_go_of() -> None:
    history = History(bytes_max=10_000)
    for revision in range(1, 1_000):
        history.add(*_change(revision, 1_000))
    assert sum(len(value or b"") for _, _, value in history._changes) <= 10_000


def test_some_room_is_made_at_once() -> None:
    history = History(events_max=640)
    for revision in range(1, 642):
        history.add(*_change(revision))
    assert (len(history), history.floor) == (630, 11)
    history.add(*_change(642))
    assert (len(history), history.floor) == (631, 11)


def test_a_revision_is_never_divided() -> None:
    history = History(events_max=3)
    for key in (b"a", b"b", b"c"):
        history.add(Revision(1), key, b"")
    changes, reached = history.after(Revision(0), b"", 1)
    assert len(changes) == 3
    assert reached == 1
    history.add(*_change(2))
    with pytest.raises(HistoryCompactedError):
        history.after(Revision(0), b"", 1)
    assert [change.revision for change in history.after(Revision(1), b"", 9)[0]] == [2]


def test_a_watch_goes_on_past_changes_of_others() -> None:
    history = History()
    for revision in range(1, 10):
        history.add(*_change(revision))
    assert history.after(Revision(2), b"other", 3) == ([], 5)
