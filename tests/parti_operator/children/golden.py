"""The children of the samples as YAML, checked in: what a change of the code does to clusters.

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


class _Dumper(yaml.SafeDumper):
    """For readers: no references between objects, and texts of several lines as they are."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rendered(cluster: ClusterSpec) -> str:
    """All children as one YAML file."""
    wanted = children(cluster, replicas=cluster.replicas, optional_kinds={"PodMonitor"})
    return yaml.dump_all(wanted, Dumper=_Dumper, sort_keys=False, width=100)


def path(sample: str) -> Path:
    return FOLDER / f"{sample}.yaml"


def main() -> None:
    for sample, cluster in SAMPLES.items():
        path(sample).write_text(rendered(cluster()), encoding="utf-8")


if __name__ == "__main__":
    main()
