"""The Grafana dashboards of the chart, as tables of panels. Pure: values in, JSON values out.

A panel is one line here and thirty in Grafana's JSON, so the JSON is made from the tables by
`tools.render_manifests`. Panels are laid out from left to right, three in a row, in the order of
the table; their ids are their places in it, so that a changed panel is a small difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

GRID_WIDTH: Final = 24
PANEL_WIDTH: Final = 8
PANEL_HEIGHT: Final = 7
_DATA_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_ACTION: Final = "action, outcome"
_REQUEST: Final = "verb, resource"
_CALL: Final = "method, status"
_CALL_LEGEND: Final = "{{method}} {{status}}"
# One PartiCluster: the one chosen at the top of the page.
_OF: Final = '{namespace="$namespace", parti_dev_cluster="$cluster"}'


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: expressions with the legends of their series."""

    title: str
    about: str
    unit: str  # Grafana's id of the unit
    series: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the page, filled by a query."""

    name: str
    query: str


def cluster() -> dict[str, Any]:
    """One PartiCluster: ownership, messages, consensus, processes."""
    choices = (
        Variable("namespace", "label_values(parti_members, namespace)"),
        Variable(
            "cluster", 'label_values(parti_members{namespace="$namespace"}, parti_dev_cluster)'
        ),
    )
    panels = (*_OWNERSHIP, *_MESSAGES, *_CONSENSUS, *_PROCESSES)
    return _dashboard("parti-cluster", "parti: a cluster", choices, panels)


def operator() -> dict[str, Any]:
    """The operator and all clusters that it looks after."""
    return _dashboard("parti-operator", "parti: the operator", (), _OPERATOR)


def _rate(metric: str, by: str = "pod", of: str = _OF) -> str:
    return f"sum by ({by}) (rate({metric}{of}[$__rate_interval]))"


def _slowest(metric: str, by: str = "pod", of: str = _OF) -> str:
    """The 99th percentile."""
    return f"histogram_quantile(0.99, {_rate(f'{metric}_bucket', f'{by}, le', of)})"


_OWNERSHIP: Final = (
    Panel(
        "Partitions by owner",
        "How many partitions each pod owns.",
        "short",
        ((f"parti_partitions_owned{_OF}", "{{pod}}"),),
    ),
    Panel(
        "Partitions without an owner, or on their way",
        "As the leader sees it; both should come back to 0.",
        "short",
        (
            (f"max(parti_partitions_free{_OF})", "free"),
            (f"max(parti_partitions_revoking{_OF})", "being handed over"),
        ),
    ),
    Panel(
        "Moves",
        "Partitions granted, by cause.",
        "ops",
        ((_rate("parti_moves_total", "cause"), "{{cause}}"),),
    ),
    Panel(
        "Handover time, 99th percentile",
        "How long a partition that moved was without an owner that serves.",
        "s",
        ((_slowest("parti_handover_seconds", "kind"), "{{kind}}"),),
    ),
    Panel(
        "Lease left",
        "At 0 a pod serves nothing.",
        "s",
        ((f"parti_lease_margin_seconds{_OF}", "{{pod}}"),),
    ),
    Panel(
        "Largest load over the mean",
        "1 is perfectly even.",
        "short",
        ((f"max(parti_load_imbalance_ratio{_OF})", "imbalance"),),
    ),
)

_MESSAGES: Final = (
    Panel(
        "Messages",
        "Accepted from applications, by the pod they entered at.",
        "reqps",
        ((_rate("parti_messages_accepted_total"), "{{pod}}"),),
    ),
    Panel(
        "Failed messages",
        "By reason. What may have run is told as lost owner, worker or connection.",
        "reqps",
        ((_rate("parti_messages_failed_total", "reason"), "{{reason}}"),),
    ),
    Panel(
        "Here or forwarded",
        "Messages for partitions of the same pod, and those that took the one hop.",
        "reqps",
        (
            (_rate("parti_messages_local_total", "namespace"), "here"),
            (_rate("parti_messages_forwarded_total", "namespace"), "forwarded"),
            (_rate("parti_messages_put_back_total", "namespace"), "put back"),
        ),
    ),
    Panel(
        "Waiting messages",
        "Parked at their origin until their partition has an owner.",
        "short",
        ((f"parti_parking_messages{_OF}", "{{pod}}"),),
    ),
    Panel(
        "Refused at the gate",
        "By reason; a few with stale_epoch are normal while partitions move.",
        "reqps",
        ((_rate("parti_gate_refused_total", "reason"), "{{reason}}"),),
    ),
    Panel(
        "Workers",
        "Application processes that attached, and those that went away without a word.",
        "short",
        (
            (f"sum(increase(parti_workers_attached_total{_OF}[$__rate_interval]))", "attached"),
            (f"sum(increase(parti_workers_lost_total{_OF}[$__rate_interval]))", "lost"),
        ),
    ),
)

_CONSENSUS: Final = (
    Panel(
        "Leader",
        "1 for the pod that leads.",
        "short",
        ((f"parti_raft_leader{_OF}", "{{pod}}"),),
    ),
    Panel(
        "Term",
        "It rises with every election.",
        "short",
        ((f"max(parti_raft_term{_OF})", "term"),),
    ),
    Panel(
        "Entries not applied",
        "Committed, but not yet in the table of the pod.",
        "short",
        ((f"parti_raft_apply_lag_entries{_OF}", "{{pod}}"),),
    ),
)

_PROCESSES: Final = (
    Panel(
        "Time of a sync, 99th percentile",
        "Everything durable waits for it.",
        "s",
        ((_slowest("parti_storage_commit_seconds"), "{{pod}}"),),
    ),
    Panel(
        "Worst delay of the event loop",
        "High when the sidecar does not get enough processor time.",
        "s",
        ((f"parti_loop_lag_worst_seconds{_OF}", "{{pod}}"),),
    ),
    Panel(
        "Memory of the sidecars",
        "Resident.",
        "bytes",
        ((f"parti_process_resident_memory_bytes{_OF}", "{{pod}}"),),
    ),
)

_OPERATOR: Final = (
    Panel(
        "Acting replica",
        "1 for the replica that holds the lease.",
        "short",
        (("parti_operator_leader", "{{pod}}"),),
    ),
    Panel(
        "Clusters by phase",
        "All that the operator looks after.",
        "short",
        (("sum by (phase) (parti_operator_cluster_phase)", "{{phase}}"),),
    ),
    Panel(
        "Clusters in trouble",
        "Degraded, without a healthy quorum, not ready.",
        "short",
        (
            ("sum(parti_operator_cluster_degraded)", "degraded"),
            ("count(parti_operator_cluster_quorum_healthy == 0) or vector(0)", "quorum"),
            ("count(parti_operator_cluster_ready == 0) or vector(0)", "not ready"),
        ),
    ),
    Panel(
        "Pods that are missing",
        "Wanted and not ready, by cluster.",
        "short",
        (
            (
                "parti_operator_cluster_replicas - parti_operator_cluster_ready_replicas > 0",
                "{{namespace}}/{{cluster}}",
            ),
        ),
    ),
    Panel(
        "Partitions without an owner",
        "By cluster.",
        "short",
        (("parti_operator_cluster_unowned_partitions > 0", "{{namespace}}/{{cluster}}"),),
    ),
    Panel(
        "Moving partitions",
        "By cluster.",
        "short",
        (("parti_operator_cluster_moving_partitions > 0", "{{namespace}}/{{cluster}}"),),
    ),
    Panel(
        "Passes",
        "Looks at a cluster, by how they ended.",
        "ops",
        ((_rate("parti_operator_reconciles_total", "outcome", of=""), "{{outcome}}"),),
    ),
    Panel(
        "Time of a pass, 99th percentile",
        "Of all clusters.",
        "s",
        ((_slowest("parti_operator_reconcile_duration_seconds", of=""), "{{pod}}"),),
    ),
    Panel(
        "Waiting clusters",
        "Due for a pass and waiting for room, and the age of the longest pass.",
        "short",
        (
            ("max(parti_operator_queue_depth_keys)", "waiting"),
            ("max(parti_operator_longest_running_reconcile_seconds)", "longest pass, seconds"),
        ),
    ),
    Panel(
        "Actions",
        "What the operator does, by kind.",
        "ops",
        ((_rate("parti_operator_actions_total", _ACTION, of=""), "{{action}} {{outcome}}"),),
    ),
    Panel(
        "Requests to the Kubernetes API",
        "By verb and resource, watches aside.",
        "reqps",
        ((_rate("parti_operator_api_requests_total", _REQUEST, of=""), "{{verb}} {{resource}}"),),
    ),
    Panel(
        "Failed calls of sidecars",
        "By method and status.",
        "reqps",
        ((_rate("parti_operator_sidecar_calls_failed_total", _CALL, of=""), _CALL_LEGEND),),
    ),
)


def _dashboard(
    uid: str, title: str, choices: Sequence[Variable], panels: Sequence[Panel]
) -> dict[str, Any]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus"}
    return {
        "uid": uid,
        "title": title,
        "tags": ["parti"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *map(_variable, choices)]},
        "panels": [_panel(place, panel) for place, panel in enumerate(panels)],
    }


def _variable(choice: Variable) -> dict[str, Any]:
    return {
        "name": choice.name,
        "type": "query",
        "datasource": _DATA_SOURCE,
        "query": {"query": choice.query, "refId": choice.name},
        "definition": choice.query,
        "refresh": 2,
        "sort": 1,
    }


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    in_row = GRID_WIDTH // PANEL_WIDTH
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATA_SOURCE,
        "gridPos": {
            "x": place % in_row * PANEL_WIDTH,
            "y": place // in_row * PANEL_HEIGHT,
            "w": PANEL_WIDTH,
            "h": PANEL_HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _DATA_SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for at, (expression, legend) in enumerate(panel.series)
        ],
    }
