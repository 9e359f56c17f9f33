"""Fields of a child that others have added, and how they are taken away. Pure.

What a child does is the operator's to decide, as a whole: an addition is an edit as much as a
changed value. A look at the values cannot tell an addition from a default, but the API server
records who owns which field (`metadata.managedFields`): defaults have no owner, and what admission
changes while the operator writes is the operator's. So an addition is a field that another manager
owns and the operator does not want. Others are free to write

- the child's own metadata: labels and annotations there change nothing;
- annotations of the pod template: `kubectl rollout restart` writes one, and the pods then roll as
  after any change;
- subresources: the status, and the scale, whose value is compared like all that is wanted.

After a repair only the operator's and subresources' entries are left. So nothing is repaired twice,
also where the API server puts a default in the place of what was taken away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from parti_operator.names import FIELD_MANAGER

_MANAGED = "managedFields"
_FIELDS = "fieldsV1"
_FIELD, _ITEM = "f:", "k:"  # prefixes of keys in a set of fields: of an object, of a list
_ELSEWHERE = frozenset({"f:metadata", "f:status", "f:apiVersion", "f:kind"})
_FREE = frozenset({("spec", "template", "metadata", "annotations")})

Path = tuple[str, ...]


def entries_of_others(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Who else owns fields of what the child does, and which; mostly nobody."""
    found = []
    for entry in metadata.get(_MANAGED) or ():
        if entry.get("manager") == FIELD_MANAGER or entry.get("subresource"):
            continue
        owned = entry.get(_FIELDS) or {}
        fields = {key: inner for key, inner in owned.items() if key not in _ELSEWHERE}
        if fields:
            found.append({"manager": entry.get("manager"), _FIELDS: fields})
    return found


def additions(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch that takes away what others have added; empty if they have not."""
    patch: dict[str, Any] = {}
    for entry in entries_of_others(live.get("metadata") or {}):
        _merge(patch, _strays(entry[_FIELDS], wanted, ()))
    return patch


def repaired(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch that makes of the live object what is wanted: lists are replaced by it."""
    patch: dict[str, Any] = dict(wanted)
    stray = additions(wanted, live)
    if stray:
        _merge(patch, stray)
        own = [entry for entry in live["metadata"][_MANAGED] if _stays(entry)]
        patch["metadata"] = {**wanted["metadata"], _MANAGED: own}
    return patch


def _stays(entry: Mapping[str, Any]) -> bool:
    is_ours = (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, "Apply")
    return is_ours or bool(entry.get("subresource"))


def _strays(fields: Mapping[str, Any], wanted: Mapping[str, Any], at: Path) -> dict[str, Any]:
    """The patch for fields of others below a place."""
    patch: dict[str, Any] = {}
    for key, inner in fields.items():
        name = key.removeprefix(_FIELD)
        place = (*at, name)
        if not key.startswith(_FIELD) or place in _FREE:
            continue
        known = wanted.get(name)
        if known is None:
            patch[name] = None
        elif isinstance(known, Mapping):
            below = _strays(inner, known, place)
            if below:
                patch[name] = below
        elif isinstance(known, list) and _is_touched(inner, known, place):
            patch[name] = known
    return patch


def _is_touched(fields: Mapping[str, Any], wanted: Sequence[Any], at: Path) -> bool:
    """Whether others own anything in a list that is not wanted there; of some, only the whole."""
    if not fields:
        return True
    return any(
        _is_stray_item(json.loads(key.removeprefix(_ITEM)), inner, wanted, at)
        for key, inner in fields.items()
        if key.startswith(_ITEM)
    )


def _is_stray_item(
    keys: Mapping[str, Any], fields: Mapping[str, Any], wanted: Sequence[Any], at: Path
) -> bool:
    """A key that is not written out has its default, which is the one that is asked for."""
    for item in wanted:
        if all(item.get(key, value) == value for key, value in keys.items()):
            return bool(_strays(fields, item, at))
    return True


def _merge(patch: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Add `other` to `patch`, which keeps the objects it was made of as they were."""
    for key, value in other.items():
        known = patch.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            below = dict(known)
            _merge(below, value)
            patch[key] = below
        else:
            patch[key] = value
