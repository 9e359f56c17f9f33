"""A cluster that exists only as answers: what the CLI asks is noted, what it gets is set."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.status_pb2 import Status as RpcStatus

from parti_proto import admin_pb2, admin_pb2_grpc, app_pb2, app_pb2_grpc, errors_pb2

M1, M2, M3 = 0x1111AAAA00000001, 0x2222BBBB00000002, 0x2222CCCC00000003
NAMES = {M1: "m1", M2: "m2", M3: "m3"}


def refuse(context: Any, code: grpc.StatusCode, detail: errors_pb2.ErrorDetail) -> None:
    """As sidecars do: a status with our detail in the trailing metadata."""
    packed = Packed()
    packed.Pack(detail)
    status = RpcStatus(code=code.value[0], message=detail.message, details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, detail.message)


class FakeCluster(admin_pb2_grpc.AdminServicer, app_pb2_grpc.RouterServicer):
    """Three members; answers can be replaced, `refusal` makes every call fail."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.refusal: tuple[grpc.StatusCode, errors_pb2.ErrorDetail] | None = None
        self.status = admin_pb2.Status(
            cluster_id="c1",
            member_id=M1,
            name="m1",
            version="0.1.0",
            state="ready",
            raft_role="leader",
            term=3,
            leader=M1,
            partitions=8,
            mode="strict",
            partitions_free=1,
            policy=admin_pb2.Policy(strategy="balanced", rebalance=True, moves_in_flight_max=16),
        )
        self.members = [
            admin_pb2.Member(
                member_id=member,
                name=name,
                role="voter",
                leader=member == M1,
                session=1,
                ready=True,
                partitions_owned=3 if member != M3 else 1,
                last_heard_ms=-1 if member == M3 else 5,
            )
            for member, name in NAMES.items()
        ]
        self.config_index = 17
        self.prepare_time_s = 0.0
        self.drained_after = 2  # ListMembers calls until an intended member owns nothing
        self.ends_without = 0  # the sidecar asked ends when this member is gone
        self.events: list[app_pb2.TableEvent] = []

    def _answer(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        if self.refusal is not None:
            refuse(context, *self.refusal)

    def GetStatus(self, request: Any, context: Any) -> admin_pb2.Status:  # noqa: N802
        self._answer(request, context)
        return self.status

    def ListMembers(self, request: Any, context: Any) -> admin_pb2.ListMembersReply:  # noqa: N802
        self._answer(request, context)
        self._progress()
        if self.ends_without and self.ends_without not in [item.member_id for item in self.members]:
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection refused")
        return admin_pb2.ListMembersReply(members=self.members, config_index=self.config_index)

    def _progress(self) -> None:
        """Drains and removals go on with every look."""
        for member in list(self.members):
            if member.intent in {admin_pb2.INTENT_DRAIN, admin_pb2.INTENT_REMOVE}:
                self.drained_after -= 1
                if self.drained_after <= 0:
                    member.partitions_owned = 0
                    if member.intent == admin_pb2.INTENT_REMOVE:
                        self.members.remove(member)

    def SetMember(self, request: Any, context: Any) -> admin_pb2.SetMemberReply:  # noqa: N802
        self._answer(request, context)
        for item in self.members:
            if item.member_id == request.member_id:
                item.set_zone = request.zone
                item.zone = request.zone or "said"
                item.set_capacity = request.capacity
                item.capacity = request.capacity or 100
        return admin_pb2.SetMemberReply()

    def PrepareToStop(self, request: Any, context: Any) -> admin_pb2.PrepareToStopReply:  # noqa: N802
        self._answer(request, context)
        self.prepare_time_s = context.time_remaining()
        return admin_pb2.PrepareToStopReply()

    def ListPartitions(self, request: Any, context: Any) -> admin_pb2.ListPartitionsReply:  # noqa: N802
        self._answer(request, context)
        return admin_pb2.ListPartitionsReply(
            partitions=[
                state(0, M1, 4),
                state(1, M2, 2, app_pb2.PHASE_REVOKING, M3),
                state(2, 0, 1),
            ],
            member_names=NAMES,
            table_index=42,
        )

    def ExplainPartition(self, request: Any, context: Any) -> admin_pb2.ExplainPartitionReply:  # noqa: N802
        self._answer(request, context)
        change = admin_pb2.PartitionChange(
            index=40, at_unix_ms=1_000, change="granted", member=M2, epoch=2, cause="orphan"
        )
        return admin_pb2.ExplainPartitionReply(
            state=state(request.partition, M2, 2),
            owner_name="m2",
            since_unix_ms=1_000,
            explanation="because",
            changes=[change],
        )

    def Plan(self, request: Any, context: Any) -> admin_pb2.PlanReply:  # noqa: N802
        self._answer(request, context)
        move = admin_pb2.PlannedMove(partition=7, from_member=M1, to_member=M3, cause="rebalance")
        return admin_pb2.PlanReply(moves=[move], member_names=NAMES, explanation="one move")

    def Ping(self, request: Any, context: Any) -> admin_pb2.PingReply:  # noqa: N802
        self._answer(request, context)
        return admin_pb2.PingReply(owner=M2, owner_name="m2", epoch=2, hops=1, microseconds=1_500)

    def SetIntent(self, request: Any, context: Any) -> admin_pb2.SetIntentReply:  # noqa: N802
        self._answer(request, context)
        for member in self.members:
            if member.member_id == request.member_id:
                member.intent = request.intent
        return admin_pb2.SetIntentReply()

    def Move(self, request: Any, context: Any) -> admin_pb2.MoveReply:  # noqa: N802
        self._answer(request, context)
        return admin_pb2.MoveReply()

    def TransferLeader(self, request: Any, context: Any) -> admin_pb2.TransferLeaderReply:  # noqa: N802
        self._answer(request, context)
        return admin_pb2.TransferLeaderReply(leader=request.to_member or M2)

    def SetPolicy(self, request: Any, context: Any) -> admin_pb2.SetPolicyReply:  # noqa: N802
        self._answer(request, context)
        self.status.policy.CopyFrom(request.policy)
        return admin_pb2.SetPolicyReply()

    def Bootstrap(self, request: Any, context: Any) -> admin_pb2.BootstrapReply:  # noqa: N802
        self._answer(request, context)
        return admin_pb2.BootstrapReply(cluster_id=request.cluster_id or "random")

    def Send(self, request: Any, context: Any) -> app_pb2.SendReply:  # noqa: N802
        self._answer(request, context)
        if request.payload == b"bad":
            detail = errors_pb2.ErrorDetail(
                reason=errors_pb2.REASON_OWNER_LOST,
                executed=errors_pb2.EXECUTED_UNKNOWN,
                message="the owner died",
            )
            refuse(context, grpc.StatusCode.UNKNOWN, detail)
        return app_pb2.SendReply(payload=request.payload[::-1], partition=5, epoch=9)

    def Locate(self, request: Any, context: Any) -> app_pb2.LocateReply:  # noqa: N802
        self._answer(request, context)
        return app_pb2.LocateReply(partition=state(5, M1, 9), owner_name="m1", table_index=42)

    def WatchTable(self, request: Any, context: Any) -> Iterator[app_pb2.TableEvent]:  # noqa: N802
        self._answer(request, context)
        yield from self.events


def state(
    partition: int,
    owner: int,
    epoch: int,
    phase: app_pb2.Phase | None = None,
    target: int = 0,
) -> app_pb2.PartitionState:
    """A row of the table; without a phase: owned if somebody owns it."""
    default = app_pb2.PHASE_OWNED if owner else app_pb2.PHASE_FREE
    return app_pb2.PartitionState(
        partition=partition,
        owner=owner,
        epoch=epoch,
        phase=default if phase is None else phase,
        target=target,
    )


@contextmanager
def served(cluster: FakeCluster) -> Iterator[str]:
    """Serve both APIs on a free port; gives the address."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    admin_pb2_grpc.add_AdminServicer_to_server(cluster, server)  # type: ignore[no-untyped-call]
    app_pb2_grpc.add_RouterServicer_to_server(cluster, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
