from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.charts import crd

SAMPLES = sorted((crd.ROOT / "manifests" / "samples").glob("*.yaml"))
# Fields of the spec that a full sample cannot show together with the others.
_NOT_TOGETHER = {"placement.weights"}


def test_there_is_a_sample_of_each_kind() -> None:
    assert [path.stem for path in SAMPLES] == [
        "available-mode",
        "demo",
        "ephemeral",
        "full",
        "minimal",
        "weights",
    ]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_fit_the_schema_and_lose_nothing(path: Path) -> None:
    sample = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert sample["metadata"]["name"] == path.stem
    jsonschema.Draft202012Validator(crd.schema()).validate(sample)
    assert crd.unknown_fields(sample["spec"], crd.schema()["properties"]["spec"], "spec") == []


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_say_what_they_are_for(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_smallest_sample_is_small() -> None:
    text = (crd.ROOT / "manifests" / "samples" / "minimal.yaml").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 10


def test_the_full_sample_has_every_field() -> None:
    text = (crd.ROOT / "manifests" / "samples" / "full.yaml").read_text(encoding="utf-8")
    spec = yaml.safe_load(text)["spec"]
    missing = []
    for path, _ in crd.nodes(crd.schema()["properties"]["spec"]):
        if "[]" in path or not path or path.endswith(".*") or path in _NOT_TOGETHER:
            continue
        place = spec
        for name in path.split("."):
            if not isinstance(place, dict) or name not in place:
                missing.append(path)
                break
            place = place[name]
    assert missing == []


def test_a_field_that_would_be_dropped_is_noticed() -> None:
    spec = crd.schema()["properties"]["spec"]
    given = {
        "replica": 3,
        "storage": {"sise": "1Gi"},
        "template": {"metadata": {"name": "x"}, "spec": {"containers": [{"new": {"a": 1}}]}},
        "placement": {"weights": [{"ordinals": "0", "weigth": 3}]},
        "service": {"annotations": {"any": "thing"}},
    }
    assert crd.unknown_fields(given, spec, "spec") == [
        "spec.replica",
        "spec.storage.sise",
        "spec.template.metadata.name",
        "spec.placement.weights[0].weigth",
    ]
