"""Names of tests as they stand in the tree, read without running anything."""

from __future__ import annotations

import ast
from pathlib import Path


def unknown_tests(root: Path, tests: list[str]) -> list[str]:
    """Those of the node ids whose file or function is not there; parameters are not looked at."""
    known: dict[str, set[str]] = {}
    unknown = []
    for test in tests:
        file, _, name = test.partition("::")
        if file not in known:
            known[file] = _names(root / file)
        if name.partition("[")[0] not in known[file]:
            unknown.append(test)
    return unknown


def _names(file: Path) -> set[str]:
    """Functions of a file as pytest names them, and hypothesis' machines (`TestX = Y.TestCase`)."""
    if not file.is_file():
        return set()
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names
