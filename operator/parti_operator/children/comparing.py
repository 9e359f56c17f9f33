"""Whether a live object is as wanted, without asking the API server. Pure.

The live object holds more than the wanted one: defaults, a status. So everything wanted must be
found in it, and what is not mentioned is looked at only if others own it (`ownership`), with these
exceptions:

- lists have the wanted length, and selectors hold nothing but the wanted keys: an addition there
  changes what the wanted part means;
- the API server drops fields that say nothing (`env: []`, `hostNetwork: false`, `value: ""`); for
  them absent is as wanted. Only fields whose zero says something are kept by it, see `_POINTERS`;
- quantities are equal by value: `1000m` comes back as `1`.

A field that is not wanted any more shows by the annotation with the hash of the whole, see
`common`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from parti_operator.children.ownership import additions
from parti_operator.children.quantities import amount

# Their absence means something else than their zero value, so the API server keeps the zero.
_POINTERS = frozenset(
    {
        "allowPrivilegeEscalation",
        "automountServiceAccountToken",
        "blockOwnerDeletion",
        "controller",
        "defaultMode",
        "enableServiceLinks",
        "expirationSeconds",
        "fsGroup",
        "hostUsers",
        "maxUnavailable",
        "mode",
        "optional",
        "priority",
        "privileged",
        "readOnlyRootFilesystem",
        "replicas",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "storageClassName",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
# Objects of free keys; an empty one is dropped. Other empty objects (`emptyDir: {}`) are kept.
_MAPS = frozenset(
    {"annotations", "data", "labels", "limits", "matchLabels", "nodeSelector", "requests"}
)
# Objects in which an additional key changes the meaning.
_EXACT = frozenset(
    {
        "labelSelector",
        "matchLabels",
        "namespaceSelector",
        "nodeSelector",
        "podSelector",
        "selector",
    }
)
_QUANTITY_MAPS = frozenset({"limits", "overhead", "requests"})
_QUANTITIES = frozenset({"divisor", "sizeLimit"})
# The API server puts a default in the place of a zero.
_NEVER_ZERO = frozenset({"failureThreshold", "periodSeconds", "successThreshold", "timeoutSeconds"})


def differs(desired: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether `live` must be written to become as `desired`."""
    if not _is_within(desired, live, is_quantity=False, is_exact=False):
        return True
    return bool(additions(desired, live))


def _is_within(
    desired: Mapping[str, Any], live: Mapping[str, Any], *, is_quantity: bool, is_exact: bool
) -> bool:
    if is_exact and not live.keys() <= desired.keys():
        return False
    return all(
        _field_matches(key, wanted, live, is_quantity=is_quantity or key in _QUANTITIES)
        for key, wanted in desired.items()
    )


def _field_matches(key: str, wanted: object, live: Mapping[str, Any], *, is_quantity: bool) -> bool:
    found = live.get(key)
    if found is None:
        return _says_nothing(key, wanted)
    if key in _NEVER_ZERO and wanted == 0:
        return True
    return _matches(key, wanted, found, is_quantity=is_quantity)


def _matches(key: str, wanted: object, found: object, *, is_quantity: bool) -> bool:
    if wanted is None:
        return True  # nothing is asked for
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and _is_within(
            wanted, found, is_quantity=key in _QUANTITY_MAPS, is_exact=key in _EXACT
        )
    if _is_list(wanted):
        return _is_list(found) and _lists_match(key, wanted, found)
    if is_quantity and (value := amount(wanted)) is not None:
        return value == amount(found)
    return type(wanted) is type(found) and wanted == found


def _lists_match(key: str, wanted: Sequence[object], found: Sequence[object]) -> bool:
    return len(wanted) == len(found) and all(
        _matches(key, one, other, is_quantity=False)
        for one, other in zip(wanted, found, strict=True)
    )


def _says_nothing(key: str, wanted: object) -> bool:
    """Whether the API server drops the field if it has this value."""
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return not wanted and key in _MAPS
    if _is_list(wanted):
        return not wanted
    return not wanted and key not in _POINTERS


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)
