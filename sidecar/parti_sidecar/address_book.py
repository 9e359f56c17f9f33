"""Where the other members listen.

A member is seen at an address (it connects and says where it listens, or a peer tells) often before
the table knows, and the table knows of moves that this member has not seen. The newest news counts:
what was seen holds until the member's record in the table changes. A member that was taken out has
no record any more, and must still be told: where it was seen holds on. An address is never an
identity.
"""

from __future__ import annotations

from collections.abc import Callable

from parti_shard.ids import MemberId


class AddressBook:
    """`recorded` gives the address in the table, or nothing."""

    def __init__(self, recorded: Callable[[MemberId], str]) -> None:
        self._recorded = recorded
        self._seen: dict[MemberId, tuple[str, str]] = {}  # where; what the table said then

    def see(self, member: MemberId, address: str) -> None:
        """Remember where a member was seen."""
        self._seen[member] = address, self._recorded(member)

    def address_of(self, member: MemberId) -> str:
        """Where to try; empty if nothing is known."""
        recorded = self._recorded(member)
        seen = self._seen.get(member)
        return seen[0] if seen is not None and recorded in ("", seen[1]) else recorded

    def forget(self, member: MemberId) -> None:
        """The member has left."""
        self._seen.pop(member, None)
