"""Sabotages. What a member keeps, and how it comes into a cluster."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_CORRUPTION: Final = "tests/parti_sidecar/storage/test_corruption.py::test_"
_STEPS: Final = "tests/parti_sidecar/storage/test_steps.py::test_"
_WRITER: Final = "tests/parti_sidecar/storage/test_writer.py::test_"
_ADDRESS_BOOK: Final = "tests/parti_sidecar/test_address_book.py::test_"
_BEGINNINGS: Final = "tests/parti_sidecar/test_beginnings.py::test_"
_SNAPSHOT_TRANSFER: Final = "tests/parti_sidecar/test_snapshot_transfer.py::test_"

DISKS: Final = (
    Mutant(
        "commit-overwritten-on-disk",
        "the disk replaces a committed entry",
        "parti_sidecar/storage/steps.py",
        "_check_entries",
        "if first_index <= state.hard_state.commit:",
        "if first_index < 0:",
        (_STEPS + "a_batch_that_would_do_harm_is_refused",),
        bugs=(19,),
    ),
    Mutant(
        "second-vote-on-disk",
        "the disk takes a second vote in a term",
        "parti_sidecar/storage/steps.py",
        "_check_hard_state",
        "if new.term == old.term and old.vote and new.vote != old.vote:",
        "if new.term == old.term and old.vote and new.vote == NO_INDEX:",
        (_STEPS + "a_batch_that_would_do_harm_is_refused",),
        bugs=(3,),
    ),
    Mutant(
        "row-checksum-ignored",
        "a damaged row is taken",
        "parti_sidecar/storage/rows.py",
        "decode_row",
        "if google_crc32c.value(row.body[_CHAIN.size :]) != row.chain:",
        "if not row.body:",
        (_CORRUPTION + "flipped_contents_of_a_row",),
        bugs=(35,),
    ),
    Mutant(
        "row-chain-ignored",
        "rows that do not follow each other are taken",
        "parti_sidecar/storage/recovery.py",
        "_check_link",
        "elif row.first_index != previous.last_index + 1 or row.prev_chain != previous.chain:",
        "elif row.first_index != previous.last_index + 1:",
        (_CORRUPTION + "a_row_of_another_history",),
        bugs=(34, 35),
    ),
    Mutant(
        "lost-tail-taken",
        "a log that ends before what was durable is taken",
        "parti_sidecar/storage/recovery.py",
        "_check_claim",
        "if state.step < witnessed.step:",
        "if state.step < 0:",
        (_CORRUPTION + "a_lost_last_step_that_was_witnessed",),
        bugs=(34, 35),
    ),
    Mutant(
        "write-after-failure",
        "after a failed write the next one is tried",
        "parti_sidecar/storage/writer.py",
        "StorageWriter._fail",
        "self._failed = True",
        "self._failed = False",
        (_WRITER + "nothing_is_written_after_a_failure",),
        bugs=(36,),
    ),
    Mutant(
        "older-snapshot-on-disk",
        "an older snapshot replaces a newer one on disk",
        "parti_sidecar/storage/steps.py",
        "_plan_snapshot",
        "if snapshot.index <= state.snapshot.index:",
        "if snapshot.index < 0:",
        (_STEPS + "a_batch_that_would_do_harm_is_refused",),
        bugs=(37,),
    ),
    Mutant(
        "compaction-past-the-snapshot",
        "entries go that no snapshot holds",
        "parti_sidecar/storage/steps.py",
        "_new_floor",
        "if index > state.snapshot.index:",
        "if index < 0:",
        (_STEPS + "a_batch_that_would_do_harm_is_refused",),
        bugs=(37,),
    ),
    Mutant(
        "chunk-anywhere",
        "chunks of a snapshot are put together in any order",
        "parti_sidecar/snapshot_transfer.py",
        "SnapshotReceiver.add",
        "if partial is None or chunk.offset != len(partial.data):",
        "if partial is None:",
        (_SNAPSHOT_TRANSFER + "the_receiver_refuses_what_does_not_fit",),
        bugs=(21,),
    ),
    Mutant(
        "chunks-mixed",
        "chunks of two snapshots are mixed",
        "parti_sidecar/snapshot_transfer.py",
        "SnapshotReceiver.offset",
        "if partial is None or partial.key != key:",
        "if partial is None:",
        (_SNAPSHOT_TRANSFER + "the_receiver_keeps_one_snapshot_per_sender",),
        bugs=(21,),
    ),
    Mutant(
        "snapshot-unchecked",
        "a snapshot that arrived damaged is installed",
        "parti_sidecar/snapshot_transfer.py",
        "SnapshotReceiver.finish",
        "if partial.crc32c != partial.key.crc32c:",
        "if not partial.key.size_bytes:",
        (_SNAPSHOT_TRANSFER + "a_damaged_beginning_is_noticed_and_sent_again",),
        bugs=(21,),
    ),
    Mutant(
        "address-as-identity",
        "where a member was seen once holds against its newer record",
        "parti_sidecar/address_book.py",
        "AddressBook.address_of",
        'return seen[0] if seen is not None and recorded in ("", seen[1]) else recorded',
        "return seen[0] if seen is not None else recorded",
        (_ADDRESS_BOOK + "a_record_that_changes_later_is_newer_than_what_was_seen",),
        bugs=(51,),
    ),
    Mutant(
        "half-founded-joins",
        "a member that began to found a cluster joins another with its table",
        "parti_sidecar/beginnings.py",
        "joined",
        "if stored.snapshot is not None or stored.hard_state != HardState():",
        "if stored.snapshot is None and stored.hard_state != HardState():",
        (_BEGINNINGS + "the_table_of_a_founding_is_enough_to_join_no_other",),
        bugs=(50,),
    ),
)
