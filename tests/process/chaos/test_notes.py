"""Notes survive in any state and are read on from where they were left."""

from __future__ import annotations

import os
from pathlib import Path

from tests.process.chaos.notes import NoteReader, NoteWriter, payload_of, read_payload


def test_stays_are_read_once_with_entry_and_exit(tmp_path: Path) -> None:
    writer, reader = NoteWriter(tmp_path, "m1"), NoteReader(tmp_path)
    with writer.inside(5, 9, 1 << 40):
        (inside,) = reader.read()
        assert inside.exit_ns == 0
    with writer.inside(6, 9, 3):
        pass
    (stay,) = reader.read()
    assert (stay.partition, stay.epoch, stay.message) == (6, 9, 3)
    assert stay.worker == f"m1-{os.getpid()}"
    assert inside.enter_ns < stay.enter_ns <= stay.exit_ns
    assert reader.read() == []


def test_a_note_cut_short_is_none(tmp_path: Path) -> None:
    writer, reader = NoteWriter(tmp_path, "m1"), NoteReader(tmp_path)
    with writer.inside(5, 9, 1):
        pass
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    (stay,) = reader.read()
    assert stay.exit_ns == 0


def test_stays_of_all_workers_come_in_the_order_of_entry(tmp_path: Path) -> None:
    writers = [NoteWriter(tmp_path, name) for name in ("m1", "m2")]
    for number in range(10):
        with writers[number % 2].inside(0, 1, number):
            pass
    assert [stay.message for stay in NoteReader(tmp_path).read()] == list(range(10))


def test_payloads() -> None:
    assert read_payload(payload_of(1 << 40, 20)) == (1 << 40, 20)
