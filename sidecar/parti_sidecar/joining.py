"""A member without state asks to be taken into a cluster, until somebody lets it in.

All members of a set are given the same list of names: of members that do not exist yet, of the
asking member itself, of many members at once. Each round resolves the names anew and asks every
address behind them but the own ones. Whoever has no cluster says so at once.

An answer that cannot get better by waiting (another cluster, another protocol) ends the process
with the reason, but only when nobody else answered who may let the member in later. Everything
else is tried again for ever, since a cluster may take its time to come up.

A member that joins may be told to found the cluster instead (`stand_back`). It then asks around
once more and refuses if anybody who answers has a cluster, or may have taken it in: founding
beside a cluster that exists would make two of one name.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

import grpc
import grpc.aio

from parti_proto import peer_pb2
from parti_shard.errors import Executed, Failure, PartiError, Reason, refuse
from parti_shard.ids import MemberId
from parti_shard.limits import PROTOCOL_VERSION
from parti_sidecar.config import SidecarConfig
from parti_sidecar.host import Admission
from parti_sidecar.logs import event
from parti_sidecar.peer_service import JOIN_METHOD
from parti_sidecar.resolving import Resolver
from parti_sidecar.status import failure_of
from parti_sidecar.transport import Purpose, open_channel

CONNECT_TIMEOUT_S = 1.0
ASK_TIMEOUT_S = 5.0
ROUND_AGAIN_FIRST_MS = 100  # then twice as long each time
ROUND_AGAIN_LAST_MS = 1_500
_HOPELESS = frozenset({Reason.WRONG_CLUSTER, Reason.PROTOCOL_VERSION, Reason.INVALID_ARGUMENT})
# Who answers with one of these is in no cluster that this member could be of.
_NO_CLUSTER_THERE = frozenset({Reason.NOT_READY, Reason.WRONG_CLUSTER})

_log = logging.getLogger(__name__)

Refusals = dict[str, Failure]  # by address


class CannotJoinError(Exception):
    """The cluster that answered will never take this member in."""

    def __init__(self, address: str, failure: Failure) -> None:
        super().__init__(f"refused by {address}: {failure.reason.name}: {failure.message}")


class Joiner:
    """Asks for one member, in rounds, one at a time."""

    def __init__(
        self, names: Sequence[str], request: peer_pb2.JoinRequest, resolver: Resolver | None = None
    ) -> None:
        self._names = tuple(names)
        self._request = request
        self._resolver = resolver if resolver is not None else Resolver()
        self._round = asyncio.Lock()
        self._admission: Admission | None = None
        self._stood_back = False
        self._told: dict[str, str] = {}  # what the log says of each address

    async def admission(self) -> Admission | None:
        """Ask until one says yes; None after `stand_back`. Raises CannotJoinError."""
        wait_ms = ROUND_AGAIN_FIRST_MS
        try:
            while True:
                async with self._round:
                    if self._stood_back:
                        return None
                    refusals = await self._ask_everybody()
                    if self._admission is not None:
                        return self._admission
                _unless_hopeless(refusals)
                await asyncio.sleep(wait_ms * random.uniform(0.8, 1.2) / 1000)  # noqa: S311 - no secret
                wait_ms = min(2 * wait_ms, ROUND_AGAIN_LAST_MS)
        finally:
            await self._resolver.close()

    async def stand_back(self) -> None:
        """Ask no more, for the member is to found its cluster. Raises PartiError: there is one."""
        async with self._round:
            if self._stood_back:
                return
            refusals = await self._ask_everybody()
            if self._admission is not None:
                text = f"this member was taken into cluster {self._admission.cluster_id}"
                refuse(Reason.CONFLICT, text)
            for address, failure in refusals.items():
                if not _proves_no_cluster(failure):
                    text = f"{address} may be of a cluster already: {failure.message}"
                    refuse(Reason.CONFLICT, text)
            self._stood_back = True

    async def _ask_everybody(self) -> Refusals:
        """One round; it ends with the first yes, which is kept."""
        refusals: Refusals = {}
        if self._admission is not None:
            return refusals
        for address in await self._addresses():
            try:
                self._admission = await ask(address, self._request)
            except PartiError as error:
                refusals[address] = error.failure
                self._report(address, error.failure)
            else:
                break
        return refusals

    async def _addresses(self) -> list[str]:
        """Whom to ask now: everybody behind the names, each once, but not this member."""
        mine = self._request.address
        found = await self._resolver.resolve([mine, *self._names])
        own = {mine, *found[mine]}
        everybody = (address for name in self._names for address in found[name])
        return [address for address in dict.fromkeys(everybody) if address not in own]

    def _report(self, address: str, failure: Failure) -> None:
        """Say what keeps this member out, once for each reason."""
        if self._told.get(address) == failure.message:
            return
        self._told[address] = failure.message
        event(
            _log,
            "cannot join yet, trying again",
            address=address,
            reason=failure.reason.name,
            message=failure.message,
        )


def join_request(
    member: MemberId, *, name: str, address: str, zone: str, cluster_id: str
) -> peer_pb2.JoinRequest:
    """What an applicant says of itself."""
    return peer_pb2.JoinRequest(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=cluster_id,
        member_id=member,
        name=name,
        address=address,
        zone=zone,
    )


def joiner_of(config: SidecarConfig, me: MemberId, advertised: str) -> Joiner:
    """Who asks for the member that these settings describe."""
    request = join_request(
        me,
        name=config.name,
        address=advertised,
        zone=config.zone,
        cluster_id=config.cluster_id,
    )
    return Joiner(config.join, request)


async def ask(address: str, request: peer_pb2.JoinRequest) -> Admission:
    """Ask one member. Raises PartiError; executed NO where the request was never sent."""
    async with open_channel(address, Purpose.CALLS) as channel:
        await _connect(channel, address)
        call = channel.unary_unary(
            JOIN_METHOD,
            request_serializer=peer_pb2.JoinRequest.SerializeToString,
            response_deserializer=peer_pb2.JoinReply.FromString,
        )
        try:
            reply = await call(request, timeout=ASK_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise PartiError(failure_of(error)) from error
    peers = {MemberId(peer.member_id): peer.address for peer in reply.peers}
    return Admission(reply.cluster_id, peers, reply.incarnation)


async def _connect(channel: grpc.aio.Channel, address: str) -> None:
    """Wait for the connection, so that nobody there is told apart from an answer that is lost."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    break
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
            else:
                return
    except TimeoutError:
        pass
    text = f"nobody answers at {address}"
    refuse(Reason.CONNECTION_LOST, text)


def _unless_hopeless(refusals: Refusals) -> None:
    """Raises CannotJoinError if everybody who is there will never let this member in."""
    answers = {a: f for a, f in refusals.items() if f.reason is not Reason.CONNECTION_LOST}
    if answers and all(failure.reason in _HOPELESS for failure in answers.values()):
        raise CannotJoinError(*next(iter(answers.items())))


def _proves_no_cluster(failure: Failure) -> bool:
    unreachable = failure.reason is Reason.CONNECTION_LOST and failure.executed is Executed.NO
    return unreachable or failure.reason in _NO_CLUSTER_THERE
