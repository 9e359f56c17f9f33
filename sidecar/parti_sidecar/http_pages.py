"""The sidecar's pages: probes for Kubernetes, metrics for Prometheus, a table for browsers.

- `/startupz`: the process has started and listens; gates the other two.
- `/healthz`: the event loop turns and nothing has failed; restarting helps if it does not answer.
- `/readyz`: traffic may come: the member is in a cluster, its table is current, it does not drain.

A probe answers 200 or 503 with JSON; `reasons` says what is missing. Everything is read from one
view that the driver gives; no page changes anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Protocol

from parti_sidecar.http import Handler, HttpRequest, HttpResponse, Routes

_HTML_HEADERS = (
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("x-content-type-options", "nosniff"),
)
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:72rem}"
    "table{border-collapse:collapse}th,td{text-align:left;padding:.3rem 1rem .3rem 0;"
    "border-bottom:1px solid #ccc}td.n{text-align:right}@media(prefers-color-scheme:dark)"
    "{body{background:#111;color:#eee}a{color:#8cf}}"
)


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member as people see it."""

    name: str
    member_id: str
    address: str
    role: str  # voter, learner
    is_leader: bool
    state: str  # ready, no worker, draining, no session, ...
    partitions_owned: int


@dataclass(frozen=True, slots=True)
class ClusterPage:
    """What this member knows of its cluster at this moment."""

    cluster_id: str  # empty: not in a cluster yet
    name: str
    state: str
    term: int
    table_index: int
    partitions: int
    partitions_free: int
    partitions_revoking: int
    members: tuple[MemberRow, ...]


class SidecarView(Protocol):
    """What the pages read of the running sidecar. Empty tuples mean: nothing is missing."""

    def start_missing(self) -> tuple[str, ...]: ...

    def health_missing(self) -> tuple[str, ...]: ...

    def ready_missing(self) -> tuple[str, ...]: ...

    def cluster_page(self) -> ClusterPage: ...


def sidecar_routes(view: SidecarView, exposition: Handler) -> Routes:
    """All pages; `exposition` gives the metrics."""
    return {
        "/": {"GET": _page(view)},
        "/startupz": {"GET": _probe(view.start_missing)},
        "/healthz": {"GET": _probe(view.health_missing)},
        "/readyz": {"GET": _probe(view.ready_missing)},
        "/metrics": {"GET": exposition},
    }


def _probe(missing: Callable[[], tuple[str, ...]]) -> Handler:
    async def answer(_request: HttpRequest) -> HttpResponse:
        reasons = missing()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        body = json.dumps({"ok": not reasons, "reasons": reasons}) + "\n"
        return HttpResponse(status, body.encode(), "application/json")

    return answer


def _page(view: SidecarView) -> Handler:
    async def answer(_request: HttpRequest) -> HttpResponse:
        html = _document(view.cluster_page())
        return HttpResponse(HTTPStatus.OK, html.encode(), "text/html; charset=utf-8", _HTML_HEADERS)

    return answer


def _document(page: ClusterPage) -> str:
    title = f"parti: {escape(page.name)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{_summary(page)}{_members(page)}"
        '<p><a href="/metrics">metrics</a> <a href="/readyz">readiness</a></p></body></html>\n'
    )


def _summary(page: ClusterPage) -> str:
    if not page.cluster_id:
        return f"<p>State: {escape(page.state)}. This member is not in a cluster yet.</p>"
    return (
        f"<p>Cluster {escape(page.cluster_id)}, state: {escape(page.state)}, term {page.term}, "
        f"table index {page.table_index}.</p><p>{page.partitions} partitions, "
        f"{page.partitions_free} free, {page.partitions_revoking} on the move.</p>"
    )


def _members(page: ClusterPage) -> str:
    rows = "".join(_row(member) for member in page.members)
    return (
        "<table><thead><tr><th>Member</th><th>Id</th><th>Address</th><th>Role</th><th>State</th>"
        f"<th>Partitions</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(member: MemberRow) -> str:
    role = "leader" if member.is_leader else member.role
    words = (member.name, member.member_id, member.address, role, member.state)
    cells = "".join(f"<td>{escape(word)}</td>" for word in words)
    return f'<tr>{cells}<td class="n">{member.partitions_owned}</td></tr>'
