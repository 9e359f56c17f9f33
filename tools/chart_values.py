"""The table of a chart's values for its README, from the comments in `values.yaml`. Pure.

A comment that begins with `# -- ` describes the value below it. A value is described as a whole,
with everything in it, or each value inside it has a comment of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

BEGIN = "<!-- values -->\n"
END = "<!-- end -->\n"
_COMMENT = re.compile(r"\s*# -- (.+)")


@dataclass(frozen=True, slots=True)
class Value:
    """One value that people may set."""

    path: str  # image.tag
    default: Any
    about: str  # empty: nobody has described it


def described(text: str) -> list[Value]:
    """All values of a `values.yaml`, in its order."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_below("", root, yaml.safe_load(text), text.splitlines()))


def with_table(readme: str, values: list[Value]) -> str:
    """A README whose table of values is made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = "".join(
        f"| `{one.path}` | `{json.dumps(one.default)}` | {one.about} |\n" for one in values
    )
    table = f"\n| Value | Default | Meaning |\n| --- | --- | --- |\n{rows}\n"
    return f"{before}{BEGIN}{table}{END}{after}"


def _below(
    path: str, node: yaml.MappingNode, given: dict[str, Any], lines: list[str]
) -> Iterator[Value]:
    for key, value in node.value:
        inner = f"{path}.{key.value}" if path else key.value
        comment = _COMMENT.fullmatch(lines[key.start_mark.line - 1])
        if comment is None and isinstance(value, yaml.MappingNode):
            yield from _below(inner, value, given[key.value], lines)
        else:
            yield Value(inner, given[key.value], comment[1] if comment else "")
