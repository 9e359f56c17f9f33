"""Every metric of the sidecar, in one table.

Where a number is needed of the whole cluster, the help says how to get it from those of the
members (sum, or the leader's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from parti_shard.errors import Reason
from parti_sidecar.metrics import (
    HistogramValue,
    MemberReading,
    MetricDefinition,
    MetricKind,
    Readings,
    Sample,
    Sources,
    Value,
)
from parti_sidecar.rpc_meter import BUCKET_BOUNDS_SECONDS

Read = Callable[[Readings], Iterable[Sample]]


def _member(read: Callable[[MemberReading], Value]) -> Read:
    """One sample of the member's state; none before there is a member."""
    return lambda readings: [] if readings.member is None else [((), read(readings.member))]


def _member_by(read: Callable[[MemberReading], Iterable[Sample]]) -> Read:
    return lambda readings: [] if readings.member is None else read(readings.member)


def _process(read: Callable[[Sources], Value]) -> Read:
    return lambda readings: [((), read(readings.sources))]


def _process_by(read: Callable[[Sources], Iterable[Sample]]) -> Read:
    return lambda readings: read(readings.sources)


def _reasons(counts: Mapping[Reason, int]) -> list[Sample]:
    return [((reason.name.lower(),), count) for reason, count in counts.items()]


def _by_name(counts: Mapping[str, int]) -> list[Sample]:
    return [((name,), count) for name, count in counts.items()]


def _by_pair(counts: Mapping[tuple[str, str], int]) -> list[Sample]:
    return [(pair, count) for pair, count in counts.items()]


def _rpc_seconds(sources: Sources) -> list[Sample]:
    return [
        ((rpc,), HistogramValue(BUCKET_BOUNDS_SECONDS, durations))
        for rpc, durations in sources.rpc.seconds.items()
    ]


def _roles(member: MemberReading) -> list[Sample]:
    return [((member.raft_role,), 1)]


def _handovers(member: MemberReading) -> list[Sample]:
    return [
        ((kind,), HistogramValue(seconds.bounds, seconds))
        for kind, seconds in member.table.handovers.items()
    ]


def _imbalance(member: MemberReading) -> list[Sample]:
    total = sum(member.member_loads)
    if total <= 0:
        return []
    return [((), max(member.member_loads) * len(member.member_loads) / total)]


def _counter(name: str, help_text: str, read: Read, *labels: str) -> MetricDefinition:
    return MetricDefinition(name, MetricKind.COUNTER, help_text, read, labels)


def _gauge(name: str, help_text: str, read: Read, *labels: str) -> MetricDefinition:
    return MetricDefinition(name, MetricKind.GAUGE, help_text, read, labels)


def _histogram(name: str, help_text: str, read: Read, *labels: str) -> MetricDefinition:
    return MetricDefinition(name, MetricKind.HISTOGRAM, help_text, read, labels)


_OWNERSHIP = (
    _histogram(
        "parti_handover_seconds",
        "How long a partition that moved here was without an owner that serves.",
        _member_by(_handovers),
        "kind",
    ),
    _counter(
        "parti_partition_unowned_seconds_total",
        "Seconds without an owner that serves, summed over partitions; as this member's table "
        "says (of the cluster: the leader's).",
        _member(lambda member: member.table.unowned_seconds(member.now_ms)),
    ),
    _counter(
        "parti_moves_total",
        "Partitions granted to this member (of the cluster: the sum).",
        _member_by(lambda member: [((cause.label,), n) for cause, n in member.table.moves.items()]),
        "cause",
    ),
    _gauge("parti_partitions", "Partitions of the cluster.", _member(lambda m: m.partitions)),
    _gauge(
        "parti_partitions_owned",
        "Partitions this member owns.",
        _member(lambda member: member.partitions_owned),
    ),
    _gauge(
        "parti_partitions_free",
        "Partitions nobody owns.",
        _member(lambda member: member.partitions_free),
    ),
    _gauge(
        "parti_partitions_revoking",
        "Partitions their owner is handing over.",
        _member(lambda member: member.partitions_revoking),
    ),
    _gauge("parti_members", "Members of the cluster.", _member(lambda member: member.members)),
    _gauge(
        "parti_load_imbalance_ratio",
        "Largest load of a member over the mean; the leader's.",
        _member_by(_imbalance),
    ),
    _histogram(
        "parti_table_propagation_seconds",
        "From the proposal of a grant to its arrival here, by the wall clocks of both.",
        _member(lambda member: HistogramValue(member.table.lag.bounds, member.table.lag)),
    ),
    _gauge(
        "parti_lease_margin_seconds",
        "Until this member's lease ends; 0 without a lease.",
        _member(lambda member: member.lease_margin_ms / 1000),
    ),
    _counter(
        "parti_commands_rejected_total",
        "Table commands that no longer applied when they were reached; harmless.",
        _member_by(lambda member: _by_name(member.commands_rejected)),
        "reason",
    ),
)

_MESSAGES = (
    _counter(
        "parti_messages_accepted_total",
        "Messages from applications.",
        _member(lambda member: member.router.accepted),
    ),
    _counter(
        "parti_messages_succeeded_total",
        "Messages answered with success.",
        _member(lambda member: member.router.succeeded),
    ),
    _counter(
        "parti_messages_failed_total",
        "Messages answered with a failure.",
        _member_by(lambda member: _reasons(member.router.failed)),
        "reason",
    ),
    _counter(
        "parti_messages_abandoned_total",
        "Messages whose application went away before the answer.",
        _member(lambda member: member.router.abandoned),
    ),
    _counter(
        "parti_messages_forwarded_total",
        "Messages sent to another member.",
        _member(lambda member: member.router.forwarded),
    ),
    _counter(
        "parti_messages_local_total",
        "Messages for partitions owned here.",
        _member(lambda member: member.router.sent_locally),
    ),
    _counter(
        "parti_messages_put_back_total",
        "Messages an owner refused or that were not sent, parked again. Over forwarded: the "
        "misrouted ratio.",
        _member(lambda member: member.router.put_back),
    ),
    _counter(
        "parti_messages_sent_again_total",
        "Idempotent messages sent again although they may have run.",
        _member(lambda member: member.router.sent_again),
    ),
    _counter(
        "parti_results_late_total",
        "Results of messages that had been given up.",
        _member(lambda member: member.router.results_late),
    ),
    _counter(
        "parti_messages_parked_total",
        "Messages that had to wait for their partition.",
        _member(lambda member: member.router.parked),
    ),
    _gauge(
        "parti_parking_messages",
        "Messages waiting for their partition now.",
        _member(lambda member: member.router.parked_messages),
    ),
    _gauge(
        "parti_parking_bytes",
        "Bytes waiting for their partition now.",
        _member(lambda member: member.router.parked_bytes),
    ),
    _counter(
        "parti_parking_dropped_total",
        "Messages refused because the parking was full.",
        _member(lambda member: member.router.failed.get(Reason.PARKING_FULL, 0)),
    ),
    _counter(
        "parti_limits_hit_total",
        "Times a limit of the message path was reached.",
        _member_by(lambda member: _by_name(member.router.limits_hit)),
        "limit",
    ),
)

_GATE = (
    _counter(
        "parti_gate_arrived_total",
        "Messages that arrived for partitions of this member.",
        _member(lambda member: member.router.arrived),
    ),
    _counter(
        "parti_gate_admitted_total",
        "Messages given to the worker.",
        _member(lambda member: member.router.admitted),
    ),
    _counter(
        "parti_gate_overtime_admitted_total",
        "Of them after the lease had ended (mode available): one owner is not guaranteed. "
        "Alarm on any.",
        _member(lambda member: member.router.admitted_overtime),
    ),
    _counter(
        "parti_gate_refused_total",
        "Messages refused; reason stale_epoch: the sender's table was old.",
        _member_by(lambda member: _reasons(member.router.refused)),
        "reason",
    ),
    _gauge(
        "parti_intake_messages",
        "Messages waiting at the gate now.",
        _member(lambda member: member.router.intake_messages),
    ),
    _gauge(
        "parti_intake_bytes",
        "Bytes waiting at the gate now.",
        _member(lambda member: member.router.intake_bytes),
    ),
    _counter(
        "parti_workers_attached_total",
        "Application processes that attached.",
        _member(lambda member: member.router.workers_attached),
    ),
    _counter(
        "parti_workers_lost_total",
        "Application processes that went away without saying so.",
        _member(lambda member: member.router.workers_lost),
    ),
    _counter(
        "parti_handovers_cut_off_total",
        "Partitions taken from a worker that did not release them in time.",
        _member(lambda member: member.router.handovers_cut_off),
    ),
)

_STORE = (
    _gauge("parti_kv_keys", "Keys of the store.", _member(lambda m: m.store.keys)),
    _gauge(
        "parti_kv_bytes",
        "What counts against the store's limit: keys, values, locks and sessions.",
        _member(lambda member: member.store.bytes_used),
    ),
    _gauge(
        "parti_kv_bytes_max",
        "How much the store may hold; over it writes are refused.",
        _member(lambda member: member.store.bytes_max),
    ),
    _gauge(
        "parti_kv_revision",
        "Changes of the store since the cluster began, as far as they are applied here.",
        _member(lambda member: member.store.revision),
    ),
    _gauge(
        "parti_kv_sessions", "Client sessions that are open.", _member(lambda m: m.store.sessions)
    ),
    _counter(
        "parti_kv_sessions_expired_total",
        "Client sessions this member, leading, has ended because they were silent (of the "
        "cluster: the sum).",
        _member(lambda member: member.store.sessions_expired),
    ),
    _gauge("parti_kv_locks", "Locks that somebody holds.", _member(lambda m: m.store.locks)),
    _gauge(
        "parti_kv_watchers",
        "Watches of keys and locks at this sidecar, and calls that wait for a lock.",
        _member(lambda member: member.store.watchers),
    ),
    _counter(
        "parti_kv_operations_total",
        "Requests to the store made at this sidecar that have their outcome (of the cluster: the "
        "sum). Outcome refused: nothing was changed; unknown: nobody can tell.",
        _member_by(lambda member: _by_pair(member.store.operations)),
        "kind",
        "outcome",
    ),
    _counter(
        "parti_kv_refused_total",
        "Requests to the store that were refused.",
        _member_by(lambda member: _by_name(member.store.refused)),
        "reason",
    ),
    _counter(
        "parti_kv_batches_handed_over_total",
        "Batches of writes made here and given to a leader elsewhere.",
        _member(lambda member: member.store.batches_handed_over),
    ),
    _counter(
        "parti_kv_batches_repeated_total",
        "Batches of writes proposed again because no answer came in time.",
        _member(lambda member: member.store.batches_repeated),
    ),
)

_RAFT = (
    _gauge("parti_raft_term", "Raft's term.", _member(lambda member: member.term)),
    _gauge("parti_raft_role", "1 for the role this member has.", _member_by(_roles), "role"),
    _gauge(
        "parti_raft_leader",
        "1 if this member leads (of the cluster: the sum is 1).",
        _member(lambda member: int(member.is_leader)),
    ),
    _counter(
        "parti_raft_leader_changes_total",
        "Changes of leader this member has seen.",
        _member(lambda member: member.leader_changes),
    ),
    _gauge(
        "parti_raft_last_index",
        "Last entry of the log here.",
        _member(lambda member: member.last_index),
    ),
    _gauge(
        "parti_raft_commit_index",
        "Last entry known to be committed.",
        _member(lambda member: member.commit_index),
    ),
    _gauge(
        "parti_raft_applied_index",
        "Last entry applied to the table.",
        _member(lambda member: member.applied_index),
    ),
    _gauge(
        "parti_raft_commit_lag_entries",
        "Entries of the log that are not committed yet.",
        _member(lambda member: member.last_index - member.commit_index),
    ),
    _gauge(
        "parti_raft_apply_lag_entries",
        "Committed entries that are not applied yet.",
        _member(lambda member: member.commit_index - member.applied_index),
    ),
)

_PROCESS = (
    _histogram(
        "parti_storage_commit_seconds",
        "Time of a durable step: one transaction with its sync.",
        _process(lambda sources: HistogramValue(sources.disk.seconds.bounds, sources.disk.seconds)),
    ),
    _counter(
        "parti_storage_batches_total",
        "Steps written; over commits: the group size.",
        _process(lambda sources: sources.disk.batches),
    ),
    _counter(
        "parti_storage_entries_total",
        "Log entries written.",
        _process(lambda sources: sources.disk.entries),
    ),
    _counter(
        "parti_storage_bytes_total",
        "Bytes of steps written.",
        _process(lambda sources: sources.disk.size_bytes),
    ),
    _counter(
        "parti_rpc_requests_total",
        "Calls begun; a stream is one call.",
        _process_by(lambda sources: _by_name(sources.rpc.requests)),
        "rpc",
    ),
    _counter(
        "parti_rpc_errors_total",
        "Calls that ended with an error.",
        _process_by(lambda sources: _by_pair(sources.rpc.errors)),
        "rpc",
        "reason",
    ),
    _histogram("parti_rpc_seconds", "Length of calls.", _process_by(_rpc_seconds), "rpc"),
    _counter(
        "parti_rpc_frames_total",
        "Frames of streams.",
        _process_by(lambda sources: _by_pair(sources.rpc.frames)),
        "rpc",
        "direction",
    ),
    _counter(
        "parti_rpc_messages_total",
        "Messages inside these frames.",
        _process_by(lambda sources: _by_pair(sources.rpc.messages)),
        "rpc",
        "direction",
    ),
    _counter(
        "parti_rpc_bugs_total",
        "Calls that ended with an exception nobody expected. Alarm on any.",
        _process(lambda sources: sources.rpc.bugs),
    ),
    _counter(
        "parti_http_answers_total",
        "Answers of the HTTP port.",
        _process_by(
            lambda sources: [
                ((route, str(status)), n) for (route, status), n in sources.http.answers.items()
            ]
        ),
        "route",
        "status",
    ),
    _counter(
        "parti_http_connections_refused_total",
        "Connections to the HTTP port closed because there were too many.",
        _process(lambda sources: sources.http.connections_refused),
    ),
    _gauge(
        "parti_loop_lag_worst_seconds",
        "Worst delay of the event loop of the last ten seconds.",
        _process(lambda sources: sources.loop.worst_recent_ms / 1000),
    ),
    _counter(
        "parti_loop_lag_seconds_total",
        "Sum of the probed delays; over probes: the mean.",
        _process(lambda sources: sources.loop.lag_ms_total / 1000),
    ),
    _counter(
        "parti_loop_probes_total",
        "Probes of the event loop.",
        _process(lambda sources: sources.loop.probes),
    ),
)

CATALOG: tuple[MetricDefinition, ...] = (
    *_OWNERSHIP,
    *_MESSAGES,
    *_GATE,
    *_STORE,
    *_RAFT,
    *_PROCESS,
)
