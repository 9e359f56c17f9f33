"""Typed reading of one object of a spec, with the path of each field at hand. Pure.

The CRD's schema has checked types and filled in defaults before the operator sees anything, so a
missing or misshapen field means that the CRD in the API is not the one of this operator. It is
told as such a problem and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from parti_operator.spec.problems import InvalidSpecError, Problem

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_STEP = re.compile(r"(\d{1,9})(ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_STEP.pattern})+")

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")


def duration_ms(text: str) -> int | None:
    """The milliseconds of a duration such as `500ms`, `2s` or `1h30m`; None if it is none."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(int(count) * _UNIT_MS[unit] for count, unit in _STEP.findall(text))


class Section:
    """One object of the resource and where it stands."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise _refusal(path, "must be an object")
        self.value: Mapping[str, Any] = value
        self.path = path

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def section(self, name: str) -> Section:
        return Section(self._given(name), self._path(name))

    def text(self, name: str) -> str:
        return self._typed(name, str, "a string")

    def flag(self, name: str) -> bool:
        return self._typed(name, bool, "true or false")

    def number(self, name: str, low: int, high: int) -> int:
        value = self._typed(name, int, "a whole number")
        if isinstance(value, bool) or not low <= value <= high:
            raise self.refusal(name, f"must be a whole number from {low} to {high}, not {value}")
        return value

    def choice(self, name: str, options: type[Choice]) -> Choice:
        try:
            return options(self.text(name))
        except ValueError:
            allowed = ", ".join(options)
            raise self.refusal(name, f"must be one of {allowed}") from None

    def duration_ms(self, name: str, low_ms: int, high_ms: int) -> int:
        text = self.text(name)
        value = duration_ms(text)
        if value is None:
            raise self.refusal(name, f"must be a duration such as 500ms, 2s or 5m, not {text!r}")
        if not low_ms <= value <= high_ms:
            raise self.refusal(name, f"must be {low_ms} ms to {high_ms} ms, not {text}")
        return value

    def objects(self, name: str) -> list[Section]:
        """The objects of a list; a list that is not there is empty."""
        if not self.has(name):
            return []
        items = self._typed(name, list, "a list")
        return [Section(item, f"{self._path(name)}[{at}]") for at, item in enumerate(items)]

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object that is passed on; one that is not there is empty."""
        return self.section(name).value if self.has(name) else {}

    def refusal(self, name: str, text: str) -> InvalidSpecError:
        return _refusal(self._path(name), text)

    def _given(self, name: str) -> object:
        if not self.has(name):
            raise self.refusal(name, "is missing")
        return self.value[name]

    def _typed(self, name: str, kind: type[Value], words: str) -> Value:
        value = self._given(name)
        if not isinstance(value, kind):
            raise self.refusal(name, f"must be {words}, not {value!r}")
        return value

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def _refusal(path: str, text: str) -> InvalidSpecError:
    return InvalidSpecError([Problem(path, text)])
