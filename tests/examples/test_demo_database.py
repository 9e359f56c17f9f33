"""The demo's database: fenced by the epoch, idempotent by the message, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo.database import Database, FencedError
from examples.demo.events import Usage, parse

_EVENT = parse("000001 2026-01-01T08:00:00.000Z user-1 GET / 200 10")
_FAILED_EVENT = parse("000002 2026-01-01T08:00:01.000Z user-1 GET / 500 5")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "usage.db")
    yield opened
    opened.close()


def test_events_are_counted_per_user(database: Database) -> None:
    database.count_event(3, 1, _EVENT)
    database.count_event(3, 1, _FAILED_EVENT)
    assert database.usage() == {"user-1": Usage(2, 15, 1)}


def test_a_message_that_comes_again_counts_once(database: Database) -> None:
    database.count_event(3, 1, _EVENT)
    database.count_event(3, 2, _EVENT)
    database.count_heartbeat(3, 2, 1)
    database.count_heartbeat(3, 2, 1)
    assert database.usage() == {"user-1": Usage(1, 10, 0)}
    assert database.heartbeats() == 1


def test_a_lower_epoch_is_refused_and_changes_nothing(database: Database) -> None:
    database.count_event(3, 5, _EVENT)
    with pytest.raises(FencedError, match="epoch 4 is over"):
        database.count_event(3, 4, _FAILED_EVENT)
    assert database.usage() == {"user-1": Usage(1, 10, 0)}
    database.count_event(3, 5, _FAILED_EVENT)  # it was not remembered as seen
    assert database.usage() == {"user-1": Usage(2, 15, 1)}


def test_each_partition_has_its_own_fence(database: Database) -> None:
    database.count_heartbeat(1, 9, 1)
    database.count_heartbeat(2, 1, 1)
    assert database.heartbeats() == 2


def test_the_fence_holds_between_connections(database: Database, tmp_path: Path) -> None:
    database.count_heartbeat(1, 9, 1)
    other = Database(tmp_path / "usage.db")
    with pytest.raises(FencedError):
        other.count_heartbeat(1, 8, 2)
    other.close()


def test_the_fence_rises_before_the_first_message_is_seen(database: Database) -> None:
    """A duplicate under a new epoch shuts the former owner out as well."""
    database.count_heartbeat(1, 1, 1)
    database.count_heartbeat(1, 2, 1)
    with pytest.raises(FencedError):
        database.count_heartbeat(1, 1, 2)


def test_a_failure_inside_leaves_nothing_behind(database: Database) -> None:
    broken = parse("000003 2026-01-01T08:00:00.000Z user-1 GET / 200 10")
    object.__setattr__(broken, "size_bytes", None)
    with pytest.raises(sqlite3.IntegrityError):
        database.count_event(3, 7, broken)
    database.count_event(3, 1, _EVENT)  # neither the fence of epoch 7 nor the event was kept
    assert database.usage() == {"user-1": Usage(1, 10, 0)}
