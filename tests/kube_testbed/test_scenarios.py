"""The pure parts of the scenarios' harness: what is copied, when it is settled, what is told."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tests.kube.app.gains import gains, pack, unpack
from tests.kube.scenarios.notes import Notes
from tests.kube.scenarios.table import FILE, Row, Table, as_text
from tests.process.history import Outcome, Sent

SENDER = "orders-0.100"


def sent(number: int, outcome: Outcome = Outcome.ACKNOWLEDGED, sender: str = SENDER) -> Sent:
    name = f"{sender}:{number}"
    begun_ns = number * 1_000_000_000
    reason = "OK" if outcome is Outcome.ACKNOWLEDGED else "OWNER_LOST"
    ended_ns = begun_ns + 5_000_000
    return Sent(name, sender, number, outcome, reason, 1, begun_ns=begun_ns, ended_ns=ended_ns)


def note_sent(folder: Path, *messages: Sent) -> None:
    for message in messages:
        with (folder / f"{message.sender}.sent").open("a", encoding="ascii") as file:
            file.write(json.dumps(asdict(message)) + "\n")


def note_executed(folder: Path, worker: str, *messages: Sent) -> None:
    with (folder / f"{worker}.notes").open("a", encoding="ascii") as file:
        for number, message in enumerate(messages, start=1):
            enter_ns = message.begun_ns + 1_000_000
            file.write(f"enter {number} {enter_ns} 0 {message.epoch} {message.message}\n")
            file.write(f"exit {number} {enter_ns + 1_000_000}\n")


def test_only_what_is_new_is_handed_out_but_beats_always(tmp_path: Path) -> None:
    (tmp_path / "a.sent").write_bytes(b"one\ntwo\n")
    (tmp_path / "a.beat").write_bytes(b"\x00\xff" * 4)
    (tmp_path / "a.done").touch()
    assert gains(tmp_path, {"a.sent": 4, "a.beat": 8}) == {
        "a.sent": b"two\n",
        "a.beat": b"\x00\xff" * 4,
        "a.done": b"",
    }
    assert gains(tmp_path, {"a.sent": 8, "a.beat": 8, "a.done": 0}).keys() == {"a.beat"}


def test_what_is_packed_is_unpacked_byte_for_byte() -> None:
    found = {"a.beat": bytes(range(256)), "a.done": b""}
    assert unpack(pack(found)) == found


def test_a_sender_is_settled_when_nothing_is_missing_before_a_later_message(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    until_ns = 3_500_000_000
    note_sent(tmp_path, sent(1), sent(3))
    assert not notes.is_settled(SENDER, until_ns)  # it may not have noted yet what it sent then
    note_sent(tmp_path, sent(4))
    assert not notes.is_settled(SENDER, until_ns)  # the second is on its way
    note_sent(tmp_path, sent(2))
    assert notes.is_settled(SENDER, until_ns)


def test_a_sender_that_ended_in_order_is_settled(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    assert not notes.is_settled(SENDER, 0)
    (tmp_path / f"{SENDER}.done").touch()
    assert notes.is_settled(SENDER, 0)


def test_the_newest_container_of_a_pod_counts(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    for name in ("orders-1.99", "orders-1.100", "orders-10.500"):
        note_sent(tmp_path, sent(1, sender=name))
    assert notes.sender("orders-1") == "orders-1.100"
    assert notes.sender("orders-2") == ""
    (tmp_path / "orders-1.99.done").touch()
    assert notes.ended_at_once(["orders-1.100"]) == {"orders-10.500"}


def test_a_part_counts_its_own_messages_and_tells_each_fault_once(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    first, second, lost = sent(1), sent(2), sent(3, Outcome.UNKNOWN)
    note_sent(tmp_path, first, second, lost)
    note_executed(tmp_path, "orders-0.100-1", first, second)
    part = notes.part(second.begun_ns, lost.begun_ns + 1)
    assert (part.sent, part.failed, part.executions) == (2, {"OWNER_LOST": 1}, 1)
    assert part.pause_ms == 5
    assert not part.faults
    note_executed(tmp_path, "orders-1.100-1", lost)  # another worker, not another epoch
    part = notes.part(0, 1)
    assert part.doubles == len(part.faults) == 1
    assert notes.part(0, 1).doubles == 0


def test_the_table_is_written_after_every_row(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.add(Row("apply", 9.96, sent=3))
    table.add(Row("kill", 2.0, sent=4, failed={"OWNER_LOST": 1, "CONNECTION_LOST": 2}))
    rows = json.loads((tmp_path / FILE).read_text())
    assert [row["scenario"] for row in rows] == ["apply", "kill"]
    assert as_text(table.rows).splitlines()[2:] == [
        "| apply | 10.0 | 3 | 0 | 0 | 0 | 0 |",
        "| kill | 2.0 | 4 | 3 (CONNECTION_LOST 2, OWNER_LOST 1) | 0 | 0 | 0 |",
    ]
