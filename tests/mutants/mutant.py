"""One sabotage: a line of the product, what is put in its place, and the tests that must notice.

A line is named by file, function and text, so that the table survives changes elsewhere in the
file, and is refused as soon as the line itself is another one.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


class StaleMutantError(Exception):
    """The line to change is not there exactly once: the table has to follow the code."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`file` is relative to `sidecar/`, `inside` the qualified name of a function or a class.

    `old` and `new` come without their indentation. `bugs` are numbers of docs/raft-bugs.md; what
    breaks a rule of parti alone has none.
    """

    name: str
    breaks: str
    file: str
    inside: str
    old: str
    new: str
    killers: tuple[str, ...]
    bugs: tuple[int, ...] = ()
    fast: bool = False

    @property
    def path(self) -> Path:
        """The file to change, relative to the root of the tree."""
        return Path("sidecar") / self.file

    def applied(self, source: str) -> str:
        """The source with the line changed. Raises StaleMutantError."""
        lines = source.splitlines(keepends=True)
        first, last = _extent(source, self.inside, self.file)
        found = [at for at in range(first, last) if lines[at].strip() == self.old]
        if len(found) != 1:
            raise StaleMutantError(
                f"{self.name}: {self.file}, {self.inside}: {len(found)} lines are {self.old!r}"
            )
        line = lines[found[0]]
        lines[found[0]] = line.replace(self.old, self.new)
        return "".join(lines)


def _extent(source: str, qualified: str, file: str) -> tuple[int, int]:
    """The lines of a function or a class, counted from 0; nothing: the whole file."""
    node: ast.AST = ast.parse(source)
    if not qualified:
        return 0, len(source.splitlines())
    for name in qualified.split("."):
        node = _child(node, name, file)
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    assert node.end_lineno is not None
    return node.lineno - 1, node.end_lineno


def _child(node: ast.AST, name: str, file: str) -> ast.AST:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for child in ast.iter_child_nodes(node):
        if isinstance(child, kinds) and child.name == name:
            return child
    raise StaleMutantError(f"{file} has no {name}")
