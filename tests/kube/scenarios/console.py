"""What a page tells readers to paste, and what it says that they will see.

A page's `console` blocks are taken as they stand: a line that begins with "$ " is a command, what
follows is what it prints. Of a command without anything below it nothing is promised but success.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

ANYTHING = "..."  # a line that stands for all that is printed from there on
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIES = (
    (re.compile(r"\b\d+m?\d*s\b"), "<age>"),
    (re.compile(r"\bepoch \d+\b"), "epoch <n>"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True, slots=True)
class Pasted:
    """A command of a page, and the lines that it shall print."""

    command: str
    promised: tuple[str, ...]


def section(page: str, title: str) -> str:
    """What stands below a heading of the second level, up to the next one."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no section {title!r}")
    return found.group(1)


def commands(text: str) -> Iterator[Pasted]:
    """The commands of all console blocks, in their order."""
    for block in _BLOCK.findall(text):
        for part in block.removeprefix("$ ").split("\n$ "):
            command, *promised = part.rstrip("\n").split("\n")
            yield Pasted(command, tuple(promised))


def difference(pasted: Pasted, printed: str) -> str:
    """What is not as promised; empty if all is. Ages, epochs and widths of columns vary."""
    if not pasted.promised:
        return ""
    said = [_constant(line) for line in printed.rstrip("\n").split("\n")]
    promised = [_constant(line) for line in pasted.promised]
    if ANYTHING in promised:
        promised = promised[: promised.index(ANYTHING)]
        said = said[: len(promised)]
    if said == promised:
        return ""
    shown = "\n".join(pasted.promised)
    return f"`{pasted.command}` shall print\n{shown}\nand prints\n{printed}"


def _constant(line: str) -> str:
    for pattern, name in _VARIES:
        line = pattern.sub(name, line)
    return line.rstrip()
