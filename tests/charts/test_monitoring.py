"""Alerts and dashboards name metrics that exist, and every alert has its runbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from parti_operator.metrics import Metrics
from parti_shard.errors import Reason
from parti_sidecar.metrics_catalog import CATALOG
from tests.charts import chart, crd
from tests.tidy_rules import anchors
from tools import dashboards
from tools.render_manifests import Object, objects

_RULES = {"monitoring": {"prometheusRule": {"enabled": True}}}
_METRIC = re.compile(r"\bparti_(?!dev_cluster\b)[a-z_]+[a-z]\b")
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")
_CALLED = re.compile(r"\b([a-z_]+) ?\(")
_FUNCTIONS = {
    "absent",
    "and",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "max_over_time",
    "min_over_time",
    "rate",
    "sum",
    "time",
    "vector",
    "by",
    "on",
}


@cache
def _alerts() -> tuple[tuple[str, Object], ...]:
    rule = chart.one(objects(_RULES), "PrometheusRule")
    return tuple(
        (group["name"], alert) for group in rule["spec"]["groups"] for alert in group["rules"]
    )


@cache
def _known_metrics() -> dict[str, set[str]]:
    """Every metric of the sidecar and of the operator, with its own labels."""
    known = {one.name: set(one.labels) for one in CATALOG}
    known |= {one.name: set(one.labels) for one in Metrics().catalog}
    registry = CollectorRegistry()
    ProcessCollector(namespace="parti", registry=registry)
    ProcessCollector(registry=registry)
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        known[name] = set()
    return known


def _expressions() -> Iterator[tuple[str, str]]:
    for _, alert in _alerts():
        yield alert["alert"], alert["expr"]
    for page in (dashboards.cluster(), dashboards.operator()):
        for panel in page["panels"]:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]


@pytest.mark.parametrize(("title", "expression"), list(_expressions()))
def test_expressions_name_metrics_that_exist(title: str, expression: str) -> None:
    named = _METRIC.findall(expression)
    assert named, title
    known = _known_metrics()
    assert [
        name for name in named if name not in known and _SUFFIX.sub("", name) not in known
    ] == []


@pytest.mark.parametrize(("title", "expression"), list(_expressions()))
def test_expressions_are_built_of_functions_that_exist(title: str, expression: str) -> None:
    assert set(_CALLED.findall(expression)) - _FUNCTIONS == set(), title
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing), title


@pytest.mark.parametrize(("title", "expression"), list(_expressions()))
def test_only_counters_are_turned_into_rates(title: str, expression: str) -> None:
    for name in re.findall(r"(?:rate|increase)\((\w+)", expression):
        assert name.endswith(("_total", "_bucket", "_count", "_sum")), title
    for name in re.findall(r"\b(parti_\w+_total)\b(?!\{[^}]*\}\[|\[)", expression):
        assert f"({name}{{" in expression, f"{title}: {name} is read without rate or increase"


def test_reasons_in_expressions_exist() -> None:
    [text] = [alert["expr"] for _, alert in _alerts() if alert["alert"] == "PartiOutcomesUnknown"]
    [reasons] = re.findall(r'reason=~"([^"]+)"', text)
    assert set(reasons.split("|")) <= {reason.name.lower() for reason in Reason}


def test_every_alert_is_whole() -> None:
    assert len(_alerts()) >= 10
    names = [alert["alert"] for _, alert in _alerts()]
    assert len(set(names)) == len(names)
    for _, alert in _alerts():
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"].endswith(".")


def test_every_alert_has_a_section_in_the_runbooks_and_no_section_is_left_over() -> None:
    page = (crd.ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    links = {alert["annotations"]["runbook_url"] for _, alert in _alerts()}
    assert {link.partition("#")[0] for link in links} == {"docs/runbooks.md"}
    sections = {name for name in anchors(page) if name.startswith("parti")}
    assert {link.partition("#")[2] for link in links} == sections


def test_alerts_group_by_labels_that_their_series_have() -> None:
    for group, alert in _alerts():
        of_sidecars = group == "parti-clusters"
        assert ("parti_operator_" in alert["expr"]) != of_sidecars
        text = json.dumps(alert)
        assert ("$labels.cluster" in text) <= (not of_sidecars)
        assert ("parti_dev_cluster" in text) <= of_sidecars


def test_alerts_can_be_left_out_and_linked_elsewhere() -> None:
    options = {"enabled": True, "disabled": ["PartiBug"], "runbooks": "wiki/parti"}
    values = {"monitoring": {"prometheusRule": options}}
    rule = chart.one(objects(values), "PrometheusRule")
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert len(alerts) == len(_alerts()) - 1
    assert "PartiBug" not in {alert["alert"] for alert in alerts}
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"wiki/parti#{alert['alert'].lower()}"


def test_what_operations_say_wants_a_person_has_an_alert() -> None:
    asking = {one.name for one in CATALOG if "Alarm on any" in one.help_text}
    watched = {name for _, alert in _alerts() for name in _METRIC.findall(alert["expr"])}
    assert asking
    assert asking - watched == set()


@pytest.mark.parametrize("page", [dashboards.cluster(), dashboards.operator()])
def test_panels_do_not_cover_each_other_and_say_what_they_show(page: dict[str, Any]) -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in page["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in page["panels"]}) == len(places)
    for panel in page["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= dashboards.GRID_WIDTH
        assert panel["description"].endswith(".")


def test_dashboards_arrive_in_grafana_as_they_are() -> None:
    rendered = objects({"monitoring": {"dashboards": {"enabled": True}}})
    found = {one["metadata"]["name"]: one for one in rendered if "grafana_dashboard" in str(one)}
    assert set(found) == {"parti-dashboard-cluster", "parti-dashboard-operator"}
    cluster = found["parti-dashboard-cluster"]
    assert cluster["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(cluster["data"]["cluster.json"]) == dashboards.cluster()
