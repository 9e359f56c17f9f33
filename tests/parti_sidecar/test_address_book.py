"""The newest news of a member's address counts."""

from __future__ import annotations

from parti_shard.ids import MemberId
from parti_sidecar.address_book import AddressBook

PEER = MemberId(7)


def make_book() -> tuple[AddressBook, dict[MemberId, str]]:
    table: dict[MemberId, str] = {}
    return AddressBook(lambda member: table.get(member, "")), table


def test_nothing_is_known_of_a_stranger() -> None:
    book, _ = make_book()
    assert book.address_of(PEER) == ""


def test_the_table_is_asked_about_members_never_seen() -> None:
    book, table = make_book()
    table[PEER] = "old:1"
    assert book.address_of(PEER) == "old:1"


def test_what_was_seen_counts_before_the_table_knows() -> None:
    book, table = make_book()
    table[PEER] = "old:1"
    book.see(PEER, "new:1")
    assert book.address_of(PEER) == "new:1"


def test_a_record_that_changes_later_is_newer_than_what_was_seen() -> None:
    """Two members that both move would otherwise call each other's old address for ever."""
    book, table = make_book()
    table[PEER] = "old:1"
    book.see(PEER, "old:1")
    table[PEER] = "new:1"
    assert book.address_of(PEER) == "new:1"


def test_a_member_that_was_taken_out_can_still_be_told() -> None:
    book, table = make_book()
    table[PEER] = "old:1"
    book.see(PEER, "old:1")
    del table[PEER]
    assert book.address_of(PEER) == "old:1"


def test_a_member_that_left_is_forgotten() -> None:
    book, _ = make_book()
    book.see(PEER, "new:1")
    book.forget(PEER)
    assert book.address_of(PEER) == ""
