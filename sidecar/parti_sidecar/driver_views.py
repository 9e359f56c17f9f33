"""What pages, probes and metrics read of a running driver; nothing here changes anything."""

from __future__ import annotations

from parti_shard.commands import Intent, MemberRecord
from parti_shard.ids import MemberId
from parti_shard.member import Member
from parti_shard.standing import Standing
from parti_shard.table import Phase
from parti_sidecar.http_pages import ClusterPage, MemberRow
from parti_sidecar.meters import TableMeter
from parti_sidecar.metrics import MemberReading, StoreReading


def raft_role(member: Member) -> str:
    """The role in words; a member without a vote is a learner whatever it does."""
    conf = member.replica.conf_state
    if member.me not in (*conf.voters, *conf.voters_outgoing):
        return "learner"
    return member.replica.raw.role.name.lower().replace("_", "-")


def member_state(member: Member) -> str:
    """Where a member stands, in one word."""
    record = member.table.members.get(member.me)
    if record is None or not member.session.session:  # what an earlier run opened is not its own
        return "joining"
    return "draining" if member.draining or record.intent >= Intent.DRAIN else "ready"


def ready_missing(member: Member | None, now_ms: int) -> tuple[str, ...]:
    """Why traffic should not come, if it should not."""
    if member is None:
        return ("in no cluster yet: bootstrap this member or let it join one",)
    missing = []
    if not member.table.partitions:
        missing.append("the table has not arrived yet")
    if not member.session.session:
        missing.append("no session is open")
    elif not member.session.holder.is_live(now_ms):
        missing.append("the lease is not live: no leader has confirmed it lately")
    if member.draining:
        missing.append("draining")
    return tuple(missing)


def cluster_page(member: Member | None, name: str, state: str) -> ClusterPage:
    """Everything on the page for browsers."""
    if member is None:
        return ClusterPage("", name, state, 0, 0, 0, 0, 0, ())
    table = member.table
    return ClusterPage(
        cluster_id=table.cluster_id,
        name=name,
        state=state,
        term=member.replica.raw.term,
        table_index=table.applied_index,
        partitions=table.partitions,
        partitions_free=table.phase.count(Phase.FREE),
        partitions_revoking=table.phase.count(Phase.REVOKING),
        members=tuple(_row(member, each, record) for each, record in table.members.items()),
    )


def _row(member: Member, each: MemberId, record: MemberRecord) -> MemberRow:
    conf = member.replica.conf_state
    heard = member.heard(each)
    state = "no session" if not record.session else "ready"
    if record.intent:
        state = record.intent.name.lower()
    elif heard is not None and not heard.worker_ready:
        state = "no worker"
    return MemberRow(
        name=record.name,
        member_id=f"{each:016x}",
        address=record.address,
        role="voter" if each in (*conf.voters, *conf.voters_outgoing) else "learner",
        is_leader=each == member.replica.leader,
        state=state,
        partitions_owned=member.table.owner.count(each),
    )


def reading(member: Member, table_meter: TableMeter, watchers: int, now_ms: int) -> MemberReading:
    """The member's state for one scrape."""
    table, raw = member.table, member.replica.raw
    lease_until_ms = member.session.holder.live_until_ms
    return MemberReading(
        router=member.router.stats,
        table=table_meter,
        store=_store_reading(member, watchers),
        now_ms=now_ms,
        raft_role=raft_role(member),
        term=raw.term,
        is_leader=member.is_leader,
        leader_changes=member.leader_changes,
        commit_index=raw.commit_index,
        applied_index=table.applied_index,
        last_index=raw.last_index,
        lease_margin_ms=max(0, lease_until_ms - now_ms),
        partitions=table.partitions,
        partitions_owned=table.owner.count(member.me),
        partitions_free=table.phase.count(Phase.FREE),
        partitions_revoking=table.phase.count(Phase.REVOKING),
        members=len(table.members),
        member_loads=_loads(member),
        commands_rejected={
            reason.name.lower(): count for reason, count in table.rejections.items() if count
        },
    )


def _store_reading(member: Member, watchers: int) -> StoreReading:
    store, stats = member.store, member.kv.stats
    return StoreReading(
        keys=len(store),
        bytes_used=store.bytes_used,
        bytes_max=store.bytes_max,
        revision=store.revision,
        sessions=len(store.sessions.open),
        sessions_expired=member.kv.keeper.expired,
        locks=len(store.locks.queues),
        watchers=watchers,
        operations=stats.by_outcome(),
        refused=stats.refused_by_reason(),
        batches_repeated=stats.repeated,
        batches_handed_over=stats.handed_over,
    )


def _loads(member: Member) -> tuple[float, ...]:
    """Partitions per member that may own some, as the leader sees it."""
    if not member.is_leader:
        return ()
    judged = {each: member.coordinator.standing(each) for each in member.table.members}
    return tuple(
        float(member.table.owner.count(each))
        for each, found in judged.items()
        if found is not None and found[0] is Standing.RECEIVES
    )
