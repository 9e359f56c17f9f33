"""Carries a unary call to the leader, once.

Every member answers for the cluster: what only the leader can do goes to the leader's peer API,
marked so that it is never carried a second time. Each call has a channel of its own; calls are
rare, and a fresh channel means a freshly resolved address.
"""

from __future__ import annotations

from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from parti_shard.errors import Executed, Failure, PartiError, Reason
from parti_shard.ids import NO_MEMBER
from parti_sidecar.host import Host
from parti_sidecar.status import failure_of
from parti_sidecar.transport import Purpose, open_channel

HOP_KEY = "parti-hop"
CALL_TIMEOUT_MS = 10_000  # for callers without a deadline
DEADLINE_MARGIN_MS = 50  # the answer still has to come back
RETRY_AFTER_MS = 200  # an election takes some times as long

Reply = TypeVar("Reply", bound=Message)


class LeaderCalls:
    """The way from any member to the leader."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def leads_here(self) -> bool:
        """Whether this member leads and its state is complete."""
        member = self._host.member
        return member is not None and member.is_leader

    async def carry(
        self,
        method: str,
        request: Message,
        reply: type[Reply],
        context: grpc.aio.ServicerContext,
    ) -> Reply:
        """Let the leader answer. Raises PartiError: NO_LEADER, or what the leader says."""
        address = self._leader_address(context)
        async with open_channel(address, Purpose.CALLS) as channel:
            call = channel.unary_unary(
                method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=reply.FromString,
            )
            try:
                answer: Reply = await call(
                    request,
                    timeout=_timeout_s(context.time_remaining()),
                    metadata=((HOP_KEY, "1"),),
                )
            except grpc.aio.AioRpcError as error:
                raise PartiError(failure_of(error)) from error
        return answer

    def _leader_address(self, context: grpc.aio.ServicerContext) -> str:
        if any(key == HOP_KEY for key, _ in context.invocation_metadata() or ()):
            _no_leader("this member was asked as the leader, and is not")
        leader = self._host.leader()
        if leader == NO_MEMBER:
            _no_leader("no leader is known here")
        member = self._host.member
        if member is not None and member.me == leader:
            _no_leader("this member leads, but has not caught up with its predecessors yet")
        address = self._host.address_of(leader)
        if not address:
            _no_leader("the leader's address is not known here")
        return address


def _timeout_s(remaining_s: float | None) -> float:
    if remaining_s is None:
        return CALL_TIMEOUT_MS / 1000
    return max(remaining_s - DEADLINE_MARGIN_MS / 1000, 0.001)


def _no_leader(text: str) -> None:
    failure = Failure(Reason.NO_LEADER, Executed.NO, text, retry_after_ms=RETRY_AFTER_MS)
    raise PartiError(failure)
