"""One process of the durable group that `group.py` measures: the real replica, engine, disk and
peer links, with a state machine that only counts.

Standard input gives `start ADDRESS...` with the peers' addresses, then at the leader lines of
`run WRITERS COMMANDS_PER_BATCH SECONDS`; each is answered with one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from parti_proto import peer_pb2
from parti_raft.codec import decode_message, encode_message
from parti_raft.confchange import ConfChange
from parti_raft.replica import Replica
from parti_raft.replica_values import PersistJob, ReplicaLimits, RestoredState
from parti_raft.types import ConfState, HardState, LogIndex, MemberId, Message, Snapshot, Term
from parti_shard.effects import Effects
from parti_shard.errors import Failure
from parti_sidecar.clocks import lease_clock_ms
from parti_sidecar.engine import Engine
from parti_sidecar.handshakes import LocalPeer
from parti_sidecar.host import PeerHandshake
from parti_sidecar.inbound_streams import Members
from parti_sidecar.leader_calls import LeaderCalls
from parti_sidecar.peer_links import PeerLinks
from parti_sidecar.peer_service import PeerService
from parti_sidecar.rpc_guard import RpcGuard
from parti_sidecar.rpc_meter import RpcMeter
from parti_sidecar.runtime import settle_memory
from parti_sidecar.storage.base import WriteBatch
from parti_sidecar.storage.sqlite import SqliteStorage
from parti_sidecar.stream_listener import StreamListener
from parti_sidecar.transport import bind, make_server, split_address
from tests.bench.stats import Load

CLUSTER = "bench"
MEMBERS = tuple(MemberId(n) for n in (1, 2, 3))
COMMAND = b"c" * 64
TICK_MS = 50


class Counter:
    """Counts what it applies: the cost of a state machine is not what is measured here."""

    def __init__(self) -> None:
        self.applied = 0

    def apply(self, index: LogIndex, commands: Sequence[bytes]) -> Sequence[object]:
        start = self.applied
        self.applied += len(commands)
        return range(start, self.applied)

    def configured(self, index: LogIndex, change: ConfChange, conf: ConfState) -> None:
        raise AssertionError("the group's members never change")

    def freeze(self) -> Iterator[bytes]:
        return iter((self.applied.to_bytes(8, "little"),))

    def restore(self, index: LogIndex, data: bytes) -> None:
        self.applied = int.from_bytes(data, "little")


class ReplicaHeart:
    """A replica as the engine drives it."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica

    def tick(self, now_ms: int) -> None:
        self.replica.tick()

    def receive(
        self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes], now_ms: int
    ) -> None:
        self.replica.receive([decode_message(data) for data in raft])

    def receive_snapshot(self, message: Message) -> None:
        self.replica.receive([message])

    def persisted(self, job: PersistJob) -> None:
        self.replica.persisted(job)

    def turn(self, now_ms: int) -> Effects:
        turn = self.replica.turn()
        effects = Effects(jobs=turn.jobs, applied=turn.applied)
        for message in turn.messages:
            effects.frame(message.to).raft.append(encode_message(message))
        assert not turn.dropped, f"commands were dropped: {turn.dropped[:3]}"
        return effects


class GroupHost:
    """The part of a host that frames between members need."""

    def __init__(self, me: MemberId) -> None:
        self.me = me
        self.addresses: dict[MemberId, str] = {}
        self.engine: Engine | None = None
        self.heart: ReplicaHeart | None = None
        self.member = None
        self.router = None

    def check_handshake(self, handshake: PeerHandshake) -> Failure | None:
        return None

    def peer_heard(self, handshake: PeerHandshake) -> None:
        pass

    def peer_frame(self, sender: MemberId, raft: Sequence[bytes], session: Sequence[bytes]) -> None:
        if self.heart is not None and self.engine is not None:
            self.heart.receive(sender, raft, session, lease_clock_ms())
            self.engine.touch()

    def peer_unreachable(self, member: MemberId) -> None:
        if self.heart is not None:
            self.heart.replica.report_unreachable(member)

    def address_of(self, member: MemberId) -> str:
        return self.addresses[member]

    def settle(self) -> None:
        pass

    def now_ms(self) -> int:
        return lease_clock_ms()

    def fail(self, error: BaseException) -> None:
        sys.stderr.write(f"{error!r}\n")
        sys.exit(1)


def deliver(effects: Effects) -> None:
    """Resolve the futures of applied commands."""
    for future, value in effects.applied:
        assert isinstance(future, asyncio.Future)
        future.set_result(value)


def begin(host: GroupHost, data_dir: Path, address: str) -> Engine:
    """A fresh disk, three voters, the real engine."""
    storage = SqliteStorage(data_dir, host.me)
    storage.load()
    start = Snapshot(LogIndex(1), Term(1), ConfState(voters=MEMBERS), bytes(8))
    state = HardState(Term(1), MemberId(0), LogIndex(1))
    storage.write(WriteBatch(hard_state=state, snapshot=start))
    replica = Replica(
        host.me,
        Counter(),
        ReplicaLimits(),
        RestoredState(state, start, start.index, start.term),
        random.Random(host.me).randint,
    )
    host.heart = ReplicaHeart(replica)
    router: Any = None  # frames only: nothing is forwarded in this group
    links = PeerLinks(host, router, LocalPeer(CLUSTER, host.me, address))  # type: ignore[arg-type]
    engine = Engine(
        host.heart,
        storage,
        links,
        clock=lease_clock_ms,
        tick_ms=TICK_MS,
        deliver=deliver,
        fail=host.fail,
        on_commit=lambda _stats: None,
    )
    host.engine = engine
    engine.start()
    return engine


async def run(host: GroupHost, writers: int, batch: int, seconds: float) -> Load:
    """Closed-loop writers in the leader's process; a batch is so many commands in one go."""
    assert host.heart is not None
    assert host.engine is not None
    replica, engine = host.heart.replica, host.engine
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    begun = time.perf_counter()
    end = begun + seconds

    async def writer() -> None:
        now = time.perf_counter()
        while now < end:
            futures: list[asyncio.Future[object]] = []
            for _ in range(batch):
                future = loop.create_future()
                replica.propose(future, COMMAND)
                futures.append(future)
            engine.touch()
            for future in futures:
                await future
            after = time.perf_counter()
            latencies.append(after - now)
            now = after

    await asyncio.gather(*(writer() for _ in range(writers)))
    return Load.of(time.perf_counter() - begun, latencies, per_item=batch)


async def serve(me: MemberId, data_dir: Path) -> None:
    """Listen, wait for the peers' addresses, then do what standard input says."""
    host = GroupHost(me)
    meter = RpcMeter()
    server = make_server()
    streams = StreamListener(Members(host, meter), meter)  # type: ignore[arg-type]
    _, port = split_address(await streams.start("127.0.0.1:0"))
    service = PeerService(host, meter, LeaderCalls(host), port)  # type: ignore[arg-type]
    descriptor = peer_pb2.DESCRIPTOR.services_by_name["Peer"]
    server.add_generic_rpc_handlers((RpcGuard(meter).service(descriptor, service),))
    address = bind(server, "127.0.0.1:0")
    await server.start()
    print(address, flush=True)
    loop = asyncio.get_running_loop()
    engine: Engine | None = None
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        if line[0] == "start":
            host.addresses = dict(zip(MEMBERS, line[1:], strict=True))
            engine = begin(host, data_dir, address)
            settle_memory()
            if me == MEMBERS[0]:
                await lead(host, engine)
                print("leading", flush=True)
        else:
            load = await run(host, int(line[1]), int(line[2]), float(line[3]))
            print(json.dumps(asdict(load)), flush=True)
    if engine is not None:
        engine.stop()
    await streams.stop()
    await server.stop(None)


async def lead(host: GroupHost, engine: Engine) -> None:
    """Campaign until this member leads."""
    assert host.heart is not None
    replica = host.heart.replica
    for _ in range(100):
        if replica.leads_with_own_entry:
            return
        if not replica.is_leader:
            replica.raw.campaign()
            engine.touch()
        await asyncio.sleep(0.1)
    raise AssertionError("no leader within 10 s")


if __name__ == "__main__":
    uvloop.run(serve(MemberId(int(sys.argv[1])), Path(sys.argv[2])))
