"""The CRD's schema, and walks over it: what the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CRD = ROOT / "manifests" / "crd.yaml"

Schema = Mapping[str, Any]


@cache
def definition() -> Schema:
    """The CustomResourceDefinition."""
    document: Schema = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    return document


def version() -> Schema:
    """Its only version."""
    [one] = definition()["spec"]["versions"]
    found: Schema = one
    return found


def schema() -> Schema:
    """What a resource must look like."""
    found: Schema = version()["schema"]["openAPIV3Schema"]
    return found


def nodes(node: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every part of a schema with its path, itself first."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}" if path else name)
    for word, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if word in node:
            yield from nodes(node[word], f"{path}{mark}")


def rules(node: Schema) -> list[Mapping[str, str]]:
    """The CEL rules of one part."""
    found: list[Mapping[str, str]] = node.get("x-kubernetes-validations", [])
    return found


def unknown_fields(value: object, node: Schema, path: str = "") -> list[str]:
    """Fields that the API server would drop."""
    if isinstance(value, list):
        items = node.get("items", node)  # what is not described is kept whole
        return [
            field
            for at, item in enumerate(value)
            for field in unknown_fields(item, items, f"{path}[{at}]")
        ]
    if not isinstance(value, dict):
        return []
    found = []
    for name, inner in value.items():
        below = _field(name, node)
        inner_path = f"{path}.{name}" if path else name
        if below is None:
            found.append(inner_path)
        else:
            found += unknown_fields(inner, below, inner_path)
    return found


_ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}


def _field(name: str, node: Schema) -> Schema | None:
    properties: Schema = node.get("properties", {})
    if name in properties:
        found: Schema = properties[name]
        return found
    if "additionalProperties" in node:
        values: Schema = node["additionalProperties"]
        return values
    return _ANYTHING if node.get("x-kubernetes-preserve-unknown-fields") else None
