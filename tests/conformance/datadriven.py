"""Parser of data-driven scripts: steps of a command, optional input, and the expected output."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_ARGUMENT = re.compile(
    r"(?P<list_key>[^\s=()]+)=\((?P<list>[^)]*)\)"
    r"|(?P<key>[^\s=()]+)=(?P<value>\S*)"
    r"|(?P<word>\S+)"
)
_LOG_WORDS = frozenset({"DEBUG", "INFO", "WARN", "ERROR", "FATAL"})
_SEPARATOR = "----"


class ScriptError(Exception):
    """A script does not have the documented form."""


@dataclass(frozen=True, slots=True)
class Argument:
    """`key`, `key=value` or `key=(value,value)` of a command line."""

    key: str
    values: tuple[str, ...] = ()


@dataclass(slots=True)
class Step:
    """One step of a script."""

    line: int
    command: str
    arguments: list[Argument] = field(default_factory=list)
    input: str = ""
    expected: str = ""

    @property
    def words(self) -> list[str]:
        """Arguments without values, in order."""
        return [argument.key for argument in self.arguments if not argument.values]

    @property
    def numbers(self) -> list[int]:
        """Arguments without values as numbers."""
        return [int(word) for word in self.words]

    def values(self, key: str) -> tuple[str, ...]:
        """Values of an argument, none if it is not there."""
        for argument in self.arguments:
            if argument.key == key:
                return argument.values
        return ()

    def value(self, key: str, default: str = "") -> str:
        """The first value of an argument."""
        return next(iter(self.values(key)), default)

    def has(self, key: str) -> bool:
        """The argument is given, with or without values."""
        return any(argument.key == key for argument in self.arguments)


def _arguments(text: str) -> list[Argument]:
    found = []
    for match in _ARGUMENT.finditer(text):
        if match["list_key"]:
            values = tuple(re.split(r"[\s,]+", match["list"].strip())) if match["list"] else ()
            found.append(Argument(match["list_key"], values))
        elif match["key"]:
            found.append(Argument(match["key"], (match["value"],)))
        else:
            found.append(Argument(match["word"]))
    return found


def parse(text: str) -> list[Step]:
    """Read a script."""
    lines = text.splitlines()
    steps = []
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("#"):
            at += 1
            continue
        step, at = _parse_step(lines, at)
        steps.append(step)
    return steps


def _parse_step(lines: list[str], at: int) -> tuple[Step, int]:
    start = at
    while at < len(lines) and lines[at] != _SEPARATOR:
        at += 1
    if at == len(lines):
        raise ScriptError(f"line {start + 1}: no {_SEPARATOR} follows")
    command, _, rest = lines[start].strip().partition(" ")
    end = at + 1
    while end < len(lines) and lines[end]:
        end += 1
    step = Step(
        line=start + 1,
        command=command,
        arguments=_arguments(rest),
        input="\n".join(lines[start + 1 : at]),
        expected="\n".join(lines[at + 1 : end]),
    )
    return step, end


def parse_file(path: Path) -> list[Step]:
    """Read a script file."""
    return parse(path.read_text(encoding="utf-8"))


def comparable(output: str) -> list[str]:
    """The lines that must agree: without log text; nothing and `ok` are the same."""
    lines = [
        line for line in output.splitlines() if line.strip().partition(" ")[0] not in _LOG_WORDS
    ]
    return [] if lines == ["ok"] else lines
