"""What a leader has proposed and not yet seen applied, so that nothing is proposed twice.

A partition has at most one command under way. It is settled when the table changes there, when
the command is rejected or dropped, or, as a last resort, after a deadline: proposing again is
harmless, since every command names the epoch that it expects.
"""

from __future__ import annotations

from collections.abc import Iterable

from parti_shard.commands import Command, ExpireSession, Grant, Release, Revoke
from parti_shard.ids import NO_MEMBER, PartitionId, SessionId

PROPOSAL_DEADLINE_MS = 5_000


class Proposals:
    """Commands under way: at most one per partition and one per session."""

    __slots__ = ("_moving", "_partitions", "_sessions", "timeouts")

    def __init__(self) -> None:
        self._partitions: dict[PartitionId, tuple[Command, int]] = {}
        self._sessions: dict[SessionId, int] = {}
        self._moving = 0  # revokes under way that have a target
        self.timeouts = 0

    def clear(self) -> None:
        self._partitions.clear()
        self._sessions.clear()
        self._moving = 0

    @property
    def moving(self) -> int:
        return self._moving

    def add(self, commands: Iterable[Command], now_ms: int) -> None:
        until_ms = now_ms + PROPOSAL_DEADLINE_MS
        for command in commands:
            if isinstance(command, ExpireSession):
                self._sessions[command.session] = until_ms
            elif isinstance(command, Grant | Revoke | Release):
                self.settle(command.partition)
                self._partitions[command.partition] = (command, until_ms)
                self._moving += _is_move(command)

    def settle(self, partition: PartitionId) -> None:
        """Note that the partition changed, or that its command has failed."""
        found = self._partitions.pop(partition, None)
        if found is not None:
            self._moving -= _is_move(found[0])

    def settle_session(self, session: SessionId) -> None:
        self._sessions.pop(session, None)

    def failed(self, command: Command) -> None:
        """Note that a command was rejected by the table, or never reached the log."""
        if isinstance(command, ExpireSession):
            self.settle_session(command.session)
        elif isinstance(command, Grant | Revoke | Release):
            found = self._partitions.get(command.partition)
            if found is not None and found[0] == command:
                self.settle(command.partition)

    def expire(self, now_ms: int) -> None:
        """Give up what was not settled in time."""
        while self._partitions:
            partition, (_, until_ms) = next(iter(self._partitions.items()))
            if now_ms < until_ms:
                break
            self.settle(partition)
            self.timeouts += 1
        for session in [s for s, until_ms in self._sessions.items() if now_ms >= until_ms]:
            self.settle_session(session)
            self.timeouts += 1

    def of(self, partition: PartitionId) -> Command | None:
        found = self._partitions.get(partition)
        return found[0] if found else None

    def has_session(self, session: SessionId) -> bool:
        return session in self._sessions

    def next_wake_ms(self) -> int | None:
        first = next(iter(self._partitions.values()), None)
        ends = list(self._sessions.values())
        if first is not None:
            ends.append(first[1])
        return min(ends, default=None)

    def check_invariants(self) -> None:
        moving = sum(_is_move(command) for command, _ in self._partitions.values())
        assert moving == self._moving, (moving, self._moving)


def _is_move(command: Command) -> bool:
    return isinstance(command, Revoke) and command.target != NO_MEMBER
