"""Linearizable reads waiting for proof that this leader still leads.

Reads queue in order of arrival; a heartbeat carries the position of the newest one, and a
follower's answer to it confirms that read and all earlier ones at once. So one round of
heartbeats confirms any number of reads, and a retried read (same context) is a new one at a new
position that an answer to an older heartbeat cannot confirm.
"""

from __future__ import annotations

from dataclasses import dataclass

from parti_raft.quorum import committed_index
from parti_raft.tracker import Configuration
from parti_raft.types import MemberId, Message

_POSITION_BYTES = 8


@dataclass(frozen=True, slots=True)
class UnconfirmedRead:
    """A read request and the commit index when it arrived."""

    request: Message
    index: int


class ReadOnly:
    """Unconfirmed reads of one term of leadership."""

    __slots__ = ("_acks", "_confirmed", "_unconfirmed")

    def __init__(self) -> None:
        """Start without reads; positions count from 1."""
        self._acks: dict[MemberId, int] = {}
        self._unconfirmed: list[UnconfirmedRead] = []
        self._confirmed = 0

    def __len__(self) -> int:
        return len(self._unconfirmed)

    def add(self, request: Message, commit_index: int) -> None:
        """Queue a read."""
        self._unconfirmed.append(UnconfirmedRead(request, commit_index))

    def heartbeat_context(self) -> bytes:
        """What a heartbeat carries to confirm all reads queued so far."""
        if not self._unconfirmed:
            return b""
        return (self._confirmed + len(self._unconfirmed)).to_bytes(_POSITION_BYTES, "big")

    def receive_ack(self, member: MemberId, context: bytes) -> None:
        """A member has answered the heartbeat that carried `context`."""
        if len(context) == _POSITION_BYTES:
            position = int.from_bytes(context, "big")
            self._acks[member] = max(self._acks.get(member, 0), position)

    def take_confirmed(self, configuration: Configuration) -> list[UnconfirmedRead]:
        """Remove and return the reads that a quorum has confirmed."""
        if not self._unconfirmed:
            return []
        position = committed_index(
            configuration.voters, configuration.voters_outgoing, self._acks.get
        )
        count = position - self._confirmed
        if count <= 0:
            return []
        confirmed = self._unconfirmed[:count]
        del self._unconfirmed[:count]
        self._confirmed += len(confirmed)
        return confirmed
