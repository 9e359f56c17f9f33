"""What the demo is judged by: its input, the expected counts, the workers' notes, the moves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from examples.demo.events import EVENTS_FILE, Usage, expected_usage, parse, read_lines, write
from examples.demo.generate import EVENTS, generate
from examples.demo.moves import TableWatcher
from examples.demo.recorder import Recorder, Stay, faults, read_stays
from parti import Location, Phase


def test_the_file_is_what_the_generator_writes() -> None:
    lines = read_lines(EVENTS_FILE)
    assert lines == [write(event) for event in generate()]
    assert len({parse(line).event_id for line in lines}) == EVENTS


def test_a_line_survives_reading_and_writing() -> None:
    line = "000017 2026-01-01T08:00:00.123Z user-017 GET /items/42 404 1234"
    assert write(parse(line)) == line


def test_expected_usage_counts_requests_bytes_and_errors() -> None:
    lines = [
        "000001 2026-01-01T08:00:00.000Z a GET / 200 10",
        "000002 2026-01-01T08:00:00.001Z b GET / 404 20",
        "000003 2026-01-01T08:00:00.002Z a GET / 399 30",
    ]
    assert expected_usage(lines) == {"a": Usage(2, 40, 0), "b": Usage(1, 20, 1)}


def stay(worker: str, epoch: int, enter_ns: int, exit_ns: int, partition: int = 1) -> Stay:
    return Stay(worker, partition, epoch, enter_ns, exit_ns)


def test_one_after_the_other_with_rising_epochs_is_fine() -> None:
    assert faults([stay("a", 1, 0, 5), stay("a", 1, 5, 9), stay("b", 2, 9, 12)]) == []


def test_two_at_once_in_different_partitions_are_fine() -> None:
    assert faults([stay("a", 1, 0, 5), stay("b", 1, 1, 4, partition=2)]) == []


@pytest.mark.parametrize(
    ("stays", "words"),
    [
        ([stay("a", 1, 0, 5), stay("b", 2, 4, 8)], "entered before a"),
        ([stay("a", 1, 0, 5), stay("a", 1, 4, 8)], "entered before a"),
        ([stay("a", 1, 0, 5), stay("b", 1, 6, 8)], "not above epoch 1"),
        ([stay("a", 2, 0, 5), stay("b", 1, 6, 8)], "not above epoch 2"),
        ([stay("a", 2, 0, 5), stay("a", 1, 6, 8)], "went back"),
    ],
)
def test_overlap_and_epochs_that_do_not_rise_are_faults(stays: list[Stay], words: str) -> None:
    (fault,) = faults(stays)
    assert words in fault


def test_a_long_stay_is_held_against_all_that_enter_before_it_ends() -> None:
    stays = [stay("a", 1, 0, 100), stay("b", 2, 10, 20), stay("b", 2, 30, 40)]
    assert len(faults(stays)) == 2


def test_notes_are_read_back(tmp_path: Path) -> None:
    with closing(Recorder(tmp_path / "m1.notes")) as recorder, recorder.inside(3, 7):
        pass
    (read,) = read_stays(tmp_path, {})
    assert (read.worker, read.partition, read.epoch) == ("m1", 3, 7)
    assert read.enter_ns <= read.exit_ns


def test_what_a_killed_worker_had_begun_lasted_until_its_death(tmp_path: Path) -> None:
    (tmp_path / "m3.notes").write_text(
        "enter 1 3 7 100\nexit 1 3 7 110\nenter 2 3 7 120\nenter 3 4"
    )
    assert [item.exit_ns for item in read_stays(tmp_path, {"m3": 500})] == [110, 500]
    with pytest.raises(ValueError, match="m3 was not killed"):
        read_stays(tmp_path, {})


def location(owner: int, epoch: int, phase: Phase = Phase.OWNED, partition: int = 0) -> Location:
    return Location(partition, owner, f"m{owner}", epoch, phase, 0, 1)


def test_the_watcher_times_graceful_moves_and_not_takeovers() -> None:
    watcher = TableWatcher()
    watcher.note([location(1, 1), location(1, 1, partition=1)], {1: "m1", 2: "m2"})
    watcher.take_moves()
    watcher.note([location(1, 1, Phase.REVOKING)], {})
    assert not watcher.is_balanced({"m1"}), "a move is going on"
    watcher.note([location(2, 2), location(2, 2, partition=1)], {})
    graceful, takeover = watcher.take_moves()
    assert (graceful.source, graceful.target, graceful.epoch) == ("m1", "m2", 2)
    assert graceful.pause_ms is not None
    assert takeover.pause_ms is None
    assert watcher.take_moves() == []


def test_balanced_means_everything_owned_by_exactly_these_in_equal_shares() -> None:
    watcher = TableWatcher()
    names = {1: "m1", 2: "m2"}
    watcher.note([location(1, 1), location(2, 1, partition=1), location(1, 1, partition=2)], names)
    watcher.partitions = 3
    assert watcher.is_balanced({"m1", "m2"})
    assert not watcher.is_balanced({"m1"})
    assert not watcher.is_balanced({"m1", "m2", "m3"})
    watcher.note([location(0, 1, Phase.FREE, partition=2)], {})
    assert not watcher.is_balanced({"m1", "m2"})
