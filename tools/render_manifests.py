"""Write the chart's dashboards and table of values, and `manifests/*.yaml` from the chart.

The chart is the one place; the manifests, for people who install without Helm, are rendered from it
by the real Helm, without the labels and annotations that only Helm reads and without its test pods.
`crd.yaml` is the CRD alone, `install.yaml` is everything, in the namespace `parti-system`, for
PartiClusters of all namespaces.

`python -m tools.render_manifests` rewrites the files; `--check` compares and exits 1 on a
difference.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tools import chart_values, dashboards

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "parti"
RELEASE = "parti"
NAMESPACE = "parti-system"
HEADER = "# Rendered from charts/parti by tools.render_manifests; do not edit.\n"
_OF_HELM = frozenset({"helm.sh/chart", "helm.sh/resource-policy", "app.kubernetes.io/managed-by"})
_HOOK = "helm.sh/hook"

Object = dict[str, Any]


def objects(
    values: Mapping[str, Any], *, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """What `helm install` would create with these values, in the order of kinds and names."""
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(dict(values), name=release, namespace=namespace)
    found = [
        document
        for path, text in rendered.items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))


def without_helm(document: Object) -> Object:
    """The same object without the marks that only Helm reads."""
    metadata = dict(document["metadata"])
    for field in ("labels", "annotations"):
        kept = {key: value for key, value in metadata.get(field, {}).items() if key not in _OF_HELM}
        metadata = {key: value for key, value in metadata.items() if key != field}
        if kept:
            metadata[field] = kept
    return document | {"metadata": metadata}


def is_hook(document: Object) -> bool:
    """Whether Helm creates the object at certain moments only, such as `helm test`."""
    return _HOOK in document["metadata"].get("annotations", {})


def crd() -> list[Object]:
    """The CRD of PartiCluster."""
    kind = "CustomResourceDefinition"
    return [without_helm(one) for one in objects({}) if one["kind"] == kind]


def install() -> list[Object]:
    """Everything, its namespace first and the CRD before what it concerns."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    values = {"crds": {"install": False}, "watch": {"all": True}}
    rest = [without_helm(one) for one in objects(values) if not is_hook(one)]
    return [namespace, *crd(), *rest]


class _Dumper(yaml.SafeDumper):
    """Writes everything in full: some readers of manifests know no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the name is PyYAML's
        return True


def dumped(documents: Iterable[Object]) -> str:
    """The text of a manifest."""
    parts = (
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
        for one in documents
    )
    return HEADER + "---\n".join(parts)


def as_json(dashboard: Object) -> str:
    """The text of a dashboard."""
    return json.dumps(dashboard, indent=1) + "\n"


def readme() -> str:
    """The chart's README, with its values as they are."""
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    page = (CHART / "README.md").read_text(encoding="utf-8")
    return chart_values.with_table(page, chart_values.described(values))


# In the order they must be written in: the dashboards are part of what Helm renders.
FILES: dict[str, Callable[[], str]] = {
    "charts/parti/files/dashboards/cluster.json": lambda: as_json(dashboards.cluster()),
    "charts/parti/files/dashboards/operator.json": lambda: as_json(dashboards.operator()),
    "charts/parti/README.md": readme,
    "manifests/crd.yaml": lambda: dumped(crd()),
    "manifests/install.yaml": lambda: dumped(install()),
}


def stale(root: Path) -> list[str]:
    """The files that differ from what they would be, made anew."""
    return [name for name, make in FILES.items() if _text(root / name) != make()]


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main() -> None:
    """Run the tool."""
    names = stale(ROOT)
    if "--check" not in sys.argv[1:]:
        for name in names:
            (ROOT / name).write_text(FILES[name](), encoding="utf-8")
    elif names:
        print(f"out of date: {', '.join(names)}; run: python -m tools.render_manifests")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
