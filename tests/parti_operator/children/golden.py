"""The children of the two samples as YAML, checked in: what a change of the code does to clusters.

`python -m tests.parti_operator.children.golden` writes them anew; the difference is for reviewers.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from parti_operator.children import children
from parti_operator.spec import ClusterSpec
from tests.parti_operator import samples

FOLDER = Path(__file__).parent / "golden"
SAMPLES = {"minimal": samples.minimal, "full": samples.full, "ephemeral": samples.ephemeral}


def rendered(cluster: ClusterSpec) -> str:
    """All children as one YAML file."""
    wanted = children(cluster, replicas=cluster.replicas, optional_kinds={"PodMonitor"})
    return yaml.safe_dump_all(wanted, sort_keys=False, width=100)


def path(sample: str) -> Path:
    return FOLDER / f"{sample}.yaml"


def main() -> None:
    for sample, cluster in SAMPLES.items():
        path(sample).write_text(rendered(cluster()), encoding="utf-8")


if __name__ == "__main__":
    main()
