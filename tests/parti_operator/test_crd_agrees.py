"""The CRD and the parser know the same fields, the same words and the same bounds.

The schema is what users see and the API server enforces; the parser is what the operator obeys. A
field that only one of them knows is a field that does nothing, or a default nobody can see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest

from parti_operator import names
from parti_operator.spec import InvalidSpecError, parse
from parti_operator.spec.reading import duration_ms
from parti_operator.spec.rules import RESERVED_VARIABLES
from tests.parti_operator.defaults import SIDECAR_IMAGE, crd_schema, particluster
from tests.parti_operator.samples import FULL

# Passed on as they are: what is inside is for Kubernetes.
OPAQUE = {"template", "sidecar.resources", "sidecar.env[]", "service.annotations"}
SPEC: Mapping[str, Any] = crd_schema()["properties"]["spec"]
EVERYTHING = {**FULL, "placement": {**FULL["placement"], "weightLabel": "example.com/weight"}}


def fields(schema: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The path and schema of every field below `schema`, except inside of what is passed on."""
    for name, field in schema.get("properties", {}).items():
        path = f"{at}.{name}" if at else name
        yield path, field
        if path not in OPAQUE:
            yield from fields(field, path)
        if "items" in field and f"{path}[]" not in OPAQUE:
            yield from fields(field["items"], f"{path}[]")


FIELDS = dict(fields(SPEC))


class Recorder(dict[str, Any]):
    """A mapping that notes which keys are asked for, by their paths."""

    def __init__(self, content: Mapping[str, Any], at: str, seen: set[str]) -> None:
        self._at = at
        self._seen = seen
        super().__init__({name: self._wrapped(name, value) for name, value in content.items()})

    def _wrapped(self, name: str, value: Any) -> Any:
        path = self._path(name)
        if isinstance(value, dict) and path not in OPAQUE:
            return Recorder(value, path, self._seen)
        if isinstance(value, list) and f"{path}[]" not in OPAQUE:
            return [
                Recorder(item, f"{path}[]", self._seen) if isinstance(item, dict) else item
                for item in value
            ]
        return value

    def _path(self, name: str) -> str:
        return f"{self._at}.{name}" if self._at else name

    def get(self, name: str, default: Any = None) -> Any:
        self._seen.add(self._path(name))
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self._seen.add(self._path(name))
        return super().__getitem__(name)


def with_field(path: str, value: Any) -> dict[str, Any]:
    """A PartiCluster with one field set."""
    resource = particluster()
    *parents, last = path.replace("[]", "").split(".")
    section = resource["spec"]
    for name in parents:
        section = section.setdefault(name, {})
    section[last] = value
    return resource


def refused(path: str, value: Any) -> bool:
    """Whether the parser refuses the field itself, not what it contradicts."""
    try:
        parse(with_field(path, value), SIDECAR_IMAGE)
    except InvalidSpecError as error:
        return any(problem.path == f"spec.{path}" for problem in error.problems)
    return False


def test_the_parser_reads_every_field_and_no_other() -> None:
    resource = particluster(**EVERYTHING)
    seen: set[str] = set()
    resource["spec"] = Recorder(resource["spec"], "", seen)
    parse(resource, SIDECAR_IMAGE)
    assert seen == set(FIELDS)


def test_a_cluster_of_defaults_is_valid() -> None:
    parse(particluster(), SIDECAR_IMAGE)


def enumerations() -> list[tuple[str, Any]]:
    return [(path, word) for path, field in FIELDS.items() for word in field.get("enum", ())]


@pytest.mark.parametrize(("path", "word"), enumerations())
def test_every_word_of_the_schema_is_understood(path: str, word: Any) -> None:
    assert not refused(path, word)


def bounds() -> list[tuple[str, int]]:
    return [
        (path, field[bound])
        for path, field in FIELDS.items()
        if "[]" not in path
        for bound in ("minimum", "maximum")
        if bound in field
    ]


@pytest.mark.parametrize(("path", "value"), bounds())
def test_bounds_of_the_schema_are_within_those_of_the_parser(path: str, value: int) -> None:
    assert not refused(path, value)


def durations() -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (path, field) for path, field in FIELDS.items() if "ms|s|m|h" in field.get("pattern", "")
    ]


def test_there_are_durations_to_look_at() -> None:
    assert len(durations()) == 9


@pytest.mark.parametrize(
    "text", ["0s", "1ms", "1h30m", "90s", "2s", "", "5", "1.5s", "-1s", "1 s", "s", "1d", "1us"]
)
def test_the_schema_takes_the_durations_that_the_parser_takes(text: str) -> None:
    for path, field in durations():
        taken = re.search(field["pattern"], text) is not None
        assert taken == (duration_ms(text) is not None), path


def duration_bounds() -> list[tuple[str, str]]:
    """The durations named in the CEL rules of each field: its least and its greatest value."""
    return [
        (path, text)
        for path, field in durations()
        for rule in field.get("x-kubernetes-validations", ())
        for text in re.findall(r"duration\('([^']+)'\)", rule["rule"])
    ]


@pytest.mark.parametrize(("path", "text"), duration_bounds())
def test_bounds_of_durations_are_within_those_of_the_parser(path: str, text: str) -> None:
    assert not refused(path, text) or path == "availableFor"  # that needs another mode


def test_reserved_variables_are_the_same() -> None:
    name = SPEC["properties"]["sidecar"]["properties"]["env"]["items"]["properties"]["name"]
    (rule,) = [row["rule"] for row in name["x-kubernetes-validations"] if "PARTI_" in row["rule"]]
    assert set(re.findall(r"'(PARTI_\w+)'", rule)) == RESERVED_VARIABLES


def test_the_length_of_names_is_the_same() -> None:
    rules = [row["rule"] for row in crd_schema()["x-kubernetes-validations"]]
    assert f"self.metadata.name.size() <= {names.NAME_LENGTH_MAX}" in rules


def test_ports_and_names_that_are_taken_are_the_same() -> None:
    pod = SPEC["properties"]["template"]["properties"]["spec"]
    rules = " ".join(row["rule"] for row in pod["x-kubernetes-validations"])
    assert f"containerPort < {min(names.SIDECAR_PORTS)}" in rules
    assert f"containerPort > {max(names.SIDECAR_PORTS)}" in rules
    assert f"!= '{names.SIDECAR_CONTAINER}'" in rules
    assert f"startsWith('{names.VOLUME_PREFIX}')" in rules


def test_every_field_has_a_description() -> None:
    assert [path for path, field in FIELDS.items() if not field.get("description")] == []


def test_filled_in_defaults_are_copies() -> None:
    before = deepcopy(dict(crd_schema()))
    particluster()["spec"]["lease"]["ttl"] = "changed"
    assert crd_schema() == before
