"""How a member hands over what others depend on, before its process ends.

`prepare` gives partitions and leadership away and keeps the session: the member goes on as an
origin for its application. It does not end before nothing is left, because a new election may make
the member the leader again. `leave` does the same once and then closes the session; who cannot be
given leadership is found by an election when this member is gone.

Where a whole cluster is stopped, the last members have no quorum any more, and nobody to hand over
to. Without a leader and without a lease nothing is left that this member could serve or give away:
it waits a little longer for the others and ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from parti_shard.errors import PartiError
from parti_shard.ids import NO_MEMBER, MemberId
from parti_shard.member import Member
from parti_sidecar.logs import event
from parti_sidecar.outcomes import Outcomes

HAND_OVER_AGAIN_S = 0.5
STRANDED_MS = 3_000  # beyond the end of the lease: longer than an election takes

_log = logging.getLogger(__name__)


class LeavingHost(Protocol):
    """What it takes of the driver to leave."""

    def now_ms(self) -> int: ...
    def touch(self) -> None: ...
    def leader(self) -> MemberId: ...
    def transfer_leader(self, to: MemberId) -> Awaitable[MemberId]: ...


class Leaving:
    """See the module's docstring. The callers time it."""

    def __init__(self, host: LeavingHost, member: Member, outcomes: Outcomes) -> None:
        self._host = host
        self._member = member
        self._outcomes = outcomes
        self._alone_since_ms: int | None = None

    async def prepare(self) -> None:
        """Hand over partitions and leadership; ends when nothing is left."""
        await self._hand_over_partitions()
        while not self._member.drained and not self._is_stranded():
            if not await self._hand_over_leadership():
                await asyncio.sleep(HAND_OVER_AGAIN_S)
            await self._hand_over_partitions()

    async def leave(self) -> str:
        """Hand over partitions, then leadership, then close the session; gives what is left."""
        member = self._member
        await self._hand_over_partitions()
        if member.leads_others:
            await self._hand_over_leadership()
        member.close_session(self._host.now_ms())
        self._host.touch()
        await self._until(lambda: member.session.is_closed)
        return self.remaining()

    def remaining(self) -> str:
        """What is left to hand over, in words."""
        return remaining(self._member)

    async def _hand_over_partitions(self) -> None:
        member = self._member
        if not member.session.draining:
            member.session.draining = True
            event(_log, "hands over its partitions", owned=member.table.owner.count(member.me))
        self._host.touch()
        await self._until(lambda: not member.owns_anything)

    async def _until(self, condition: Callable[[], bool]) -> None:
        await self._outcomes.until(lambda: condition() or self._is_stranded())

    def _is_stranded(self) -> bool:
        now_ms = self._host.now_ms()
        if self._host.leader() != NO_MEMBER or self._member.lease_remaining_ms(now_ms) > 0:
            self._alone_since_ms = None
            return False
        if self._alone_since_ms is None:
            self._alone_since_ms = now_ms
        return now_ms - self._alone_since_ms >= STRANDED_MS

    async def _hand_over_leadership(self) -> bool:
        try:
            await self._host.transfer_leader(NO_MEMBER)
        except PartiError as error:
            event(_log, "leadership was not handed over", reason=error.failure.message)
            return False
        return True


def remaining(member: Member) -> str:
    """What is left to hand over, in words."""
    left = []
    owned = member.table.owner.count(member.me)
    if owned:
        left.append(f"it owns {owned} partitions")
    if member.leads_others:
        left.append("it leads")
    return " and ".join(left)
