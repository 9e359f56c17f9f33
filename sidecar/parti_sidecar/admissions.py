"""The leader takes new members in, one after the other: the log takes one change at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from parti_shard.commands import Command, Intent, NewMember, SetIntent
from parti_shard.errors import Reason, refuse
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_shard.member import Member
from parti_sidecar.host import Admission, Applicant
from parti_sidecar.logs import event

_log = logging.getLogger(__name__)


class AdmittingHost(Protocol):
    """What it takes of the driver to let somebody in."""

    advertised: str

    @property
    def me(self) -> MemberId: ...
    @property
    def cluster_id(self) -> str: ...
    @property
    def incarnation(self) -> int: ...
    def leading_member(self) -> Member: ...
    def hint(self, member: MemberId, address: str) -> None: ...
    def address_of(self, member: MemberId) -> str: ...
    def ask(self, ask: Callable[[asyncio.Future[object]], None]) -> Awaitable[object]: ...
    def propose(self, command: Command) -> Awaitable[int]: ...


class Admissions:
    """See the module's docstring."""

    def __init__(self, host: AdmittingHost) -> None:
        self._host = host
        self._one_at_a_time = asyncio.Lock()

    async def admit(self, applicant: Applicant) -> Admission:
        """Take a new member in as a learner; the same again is fine."""
        host = self._host
        member = host.leading_member()
        if applicant.protocol_version != PROTOCOL_VERSION:
            refuse(Reason.PROTOCOL_VERSION, f"this cluster speaks protocol {PROTOCOL_VERSION}")
        if applicant.cluster_id not in ("", host.cluster_id):
            refuse(Reason.WRONG_CLUSTER, f"this is cluster {host.cluster_id}")
        async with self._one_at_a_time:
            if applicant.member not in member.table.members:
                await self._take_in(member, applicant)
        host.hint(applicant.member, applicant.address)
        peers = {each: host.address_of(each) for each in member.table.members}
        peers[host.me] = host.advertised
        return Admission(host.cluster_id, peers, host.incarnation)

    async def _take_in(self, member: Member, applicant: Applicant) -> None:
        await self._replace_namesake(member, applicant)
        new = NewMember(applicant.member, applicant.name, applicant.address, applicant.zone)
        await self._host.ask(lambda tag: member.admit(tag, new))
        event(_log, "member taken in", member=applicant.name, id=f"{applicant.member:016x}")

    async def _replace_namesake(self, member: Member, applicant: Applicant) -> None:
        """A member that lost its disk comes back as a new one: the old one can never return."""
        for old, record in list(member.table.members.items()):
            if record.name != applicant.name or record.intent is Intent.REMOVE:
                continue
            if record.session:
                text = f"a member named {record.name} is alive, or was a moment ago"
                refuse(Reason.CONFLICT, text)
            event(_log, "member lost its disk", member=record.name, id=f"{old:016x}")
            await self._host.propose(SetIntent(old, Intent.REMOVE))
