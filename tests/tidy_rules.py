"""The rules of the tree that no linter knows, as pure functions from text to complaints.

Each rule gets text (and what else it needs) and returns one line for each violation; nothing here
reads a file, so that `test_tidy.py` can show every rule a bad sample.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500

# Put together here, so that this file does not break its own rules.
_UNFINISHED = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "NotImplemented" + "Error", "for" + " now")
_BANNED = re.compile(r"\b(" + "|".join(map(re.escape, _UNFINISHED)) + r")\b", re.IGNORECASE)
_MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:work|root|home|tmp|Users)/[\w.-]+")
_URL = re.compile(r"\bhttps?://([\w.-]+\w)")
_INDEX_OPTION = re.compile("(?:extra-)?index" + "-url|--find" + "-links|trusted" + "-host")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*?)\s*(?:[<>=!~;\[].*)?$")
_PIN = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.+!-]+")
_MAKE_TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")
_MAKE_RULE = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)

# Whom a text may point to: this machine, names of examples, and where licences stand.
HOSTS_ALLOWED = frozenset({"127.0.0.1", "localhost", "a", "www.apache.org", "keepachangelog.com"})


def long_functions(source: str) -> list[str]:
    """Functions of more than `FUNCTION_LINES_MAX` lines, decorators not counted."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found.append(f"{node.lineno}: {node.name} has {lines} lines")
    return found


def long_file(source: str) -> list[str]:
    """A file of more than `FILE_LINES_MAX` lines."""
    lines = len(source.splitlines())
    return [f"{lines} lines"] if lines > FILE_LINES_MAX else []


def missing_docstring(source: str) -> list[str]:
    """A module that does not say what it is for."""
    tree = ast.parse(source)
    return [] if not tree.body or ast.get_docstring(tree) else ["no module docstring"]


def unfinished(text: str) -> list[str]:
    """Words that mark work put off."""
    return _matches(_BANNED, text)


def machine_paths(text: str) -> list[str]:
    """Absolute paths of the machine somebody worked on."""
    return _matches(_MACHINE_PATH, text)


def foreign_hosts(text: str) -> list[str]:
    """Addresses of hosts that are not on the list, and options that name package indexes."""
    hosts = [
        f"{_line(text, found)}: {found.group(1)}"
        for found in _URL.finditer(text)
        if found.group(1) not in HOSTS_ALLOWED
    ]
    return hosts + _matches(_INDEX_OPTION, text)


def broken_links(text: str, read: Callable[[str], str | None]) -> list[str]:
    """Links to files that do not exist or lack the heading; `read` gives a target's text."""
    found = []
    prose = _FENCE.sub("", text)
    for target in _LINK.findall(prose):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        content = read(path) if path else text
        if content is None:
            found.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(content):
            found.append(f"{target}: no such heading")
    return found


def anchors(markdown: str) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    headings = _HEADING.findall(_FENCE.sub("", markdown))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unpinned(requirements: str) -> list[str]:
    """Lines of a requirements file that are not `name==version` and nothing else."""
    lines = [line.strip() for line in requirements.splitlines()]
    return [line for line in lines if line and not _PIN.fullmatch(line)]


def unknown_targets(text: str, makefile: str) -> list[str]:
    """Targets that a page tells people to make and that the Makefile does not have."""
    known = set(_MAKE_RULE.findall(makefile))
    code = "\n".join(_FENCE.findall(text) + re.findall(r"`[^`\n]+`", text))
    return sorted(set(_MAKE_TARGET.findall(code)) - known)


def dependencies(pyproject: str) -> set[str]:
    """Every distribution that pyproject.toml names, extras and the build included."""
    document = tomllib.loads(pyproject)
    project = document["project"]
    lines = [*project["dependencies"], *document["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    return {_name_of(line) for line in lines}


def packages(pyproject: str) -> list[str]:
    """The folders of the packages that the wheel holds."""
    document = tomllib.loads(pyproject)
    folders = document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [str(folder) for folder in folders]


def pinned(requirements: str) -> set[str]:
    """The distributions a requirements file holds."""
    return {_normal(line.partition("==")[0]) for line in requirements.splitlines() if line.strip()}


def without_reason(names: Collection[str], architecture: str) -> list[str]:
    """Dependencies that no row of the architecture's tables explains."""
    return sorted(set(names) - set(_explained(architecture)))


def reason_without_use(names: Collection[str], architecture: str) -> list[str]:
    """Rows of the dependency table that explain what is not used any more."""
    return sorted(set(_explained(architecture)) - set(names))


def _explained(architecture: str) -> Iterator[str]:
    _, _, chapter = architecture.partition("\n## Dependencies")
    rows = re.findall(r"^\| *([^|]+?) *\| *[^|]*\w[^|]* *\|$", chapter, re.MULTILINE)
    for cell in rows[1:]:  # the first one is the heading
        for name in cell.split(","):
            if "standard library" not in name:
                yield _normal(name.strip())


def _name_of(requirement: str) -> str:
    match = _REQUIREMENT.match(requirement)
    assert match is not None, requirement
    return _normal(match.group(1))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _matches(pattern: re.Pattern[str], text: str) -> list[str]:
    return [f"{_line(text, found)}: {found.group()}" for found in pattern.finditer(text)]


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1


def told(where: str, complaints: Iterable[str]) -> list[str]:
    """Complaints with the file they are about."""
    return [f"{where}: {complaint}" for complaint in complaints]
