"""The tree is kept tidy: the rules of `tidy_rules`, over every file that is checked in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from tests import tidy_rules as rules

ROOT = Path(__file__).parents[1]
_GENERATED = "proto/parti_proto/"
_LICENCE = "LICENSE"

Rule = Callable[[str], list[str]]


def _tracked() -> list[str]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of the project's files")
    # What is deleted and not committed yet is still listed.
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _texts(*suffixes: str) -> dict[str, str]:
    """Files written by people, with these suffixes or all."""
    return {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in _tracked()
        if not name.startswith(_GENERATED) and name != _LICENCE
        if not suffixes or PurePosixPath(name).suffix in suffixes
    }


def _broken(rule: Rule, texts: dict[str, str]) -> list[str]:
    assert texts, "nothing was looked at"
    return [line for name, text in texts.items() for line in rules.told(name, rule(text))]


@pytest.mark.parametrize(
    ("rule", "suffixes"),
    [
        (rules.long_functions, (".py",)),
        (rules.long_file, (".py", ".proto")),
        (rules.unfinished, ()),
        (rules.machine_paths, ()),
        (rules.foreign_hosts, ()),
    ],
)
def test_rule_holds_everywhere(rule: Rule, suffixes: tuple[str, ...]) -> None:
    assert _broken(rule, _texts(*suffixes)) == []


def test_every_module_says_what_it_is_for() -> None:
    code = {name: text for name, text in _texts(".py").items() if not name.startswith("tests/")}
    assert _broken(rules.missing_docstring, code) == []


def test_the_operator_folder_is_no_package() -> None:
    # It would hide the standard library's module of the same name.
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_every_package_is_typed() -> None:
    folders = rules.packages((ROOT / "pyproject.toml").read_text())
    assert folders
    assert [name for name in folders if not (ROOT / name / "py.typed").is_file()] == []


def test_links_of_every_page_lead_somewhere() -> None:
    broken = []
    for name, text in _texts(".md").items():
        folder = (ROOT / name).parent

        def read(path: str, folder: Path = folder) -> str | None:
            target = folder / path
            if target.is_dir():
                return ""
            return target.read_text(encoding="utf-8") if target.is_file() else None

        broken += rules.told(name, rules.broken_links(text, read))
    assert broken == []


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    pages = [name for name in _tracked() if name.startswith("docs/") and name.endswith(".md")]
    assert [name for name in pages if f"({name})" not in readme] == []


def test_every_dependency_has_its_reason_and_every_reason_its_dependency() -> None:
    names = rules.dependencies((ROOT / "pyproject.toml").read_text())
    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    assert rules.without_reason(names, architecture) == []
    assert rules.reason_without_use(names, architecture) == []


def test_requirements_pin_everything() -> None:
    requirements = (ROOT / "requirements" / "dev.txt").read_text()
    assert rules.unpinned(requirements) == []
    names = rules.dependencies((ROOT / "pyproject.toml").read_text())
    assert names - rules.pinned(requirements) == set()


def test_the_targets_people_are_told_to_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    broken = {
        name: found
        for name, text in _texts(".md").items()
        if (found := rules.unknown_targets(text, makefile))
    }
    assert broken == {}


def _function(lines: int) -> str:
    body = "\n".join("    x = 1" for _ in range(lines - 1))
    return f"@decorated\ndef sample() -> None:\n{body}\n"


_HOST = "packages.example" + ".org"

_BAD = {
    "long function": (rules.long_functions, _function(71), "2: sample has 71 lines"),
    "long method": (
        rules.long_functions,
        "class A:\n    async def f(self):\n" + "        x = 1\n" * 70,
        "2: f has 71 lines",
    ),
    "long file": (rules.long_file, "x = 1\n" * 501, "501 lines"),
    "no docstring": (rules.missing_docstring, "import os\n", "no module docstring"),
    "work put off": (rules.unfinished, "a\n# TO" + "DO: later\n", "2: TO" + "DO"),
    "not for ever": (rules.unfinished, "good enough for" + " now", "1: for" + " now"),
    "stub": (rules.unfinished, "raise NotImplemented" + "Error", "1: NotImplemented" + "Error"),
    "machine path": (rules.machine_paths, 'open("/ro' + 'ot/x.db")', "1: /ro" + "ot/x.db"),
    "foreign host": (rules.foreign_hosts, f"see https://{_HOST}/simple", f"1: {_HOST}"),
    "index option": (rules.foreign_hosts, "--index" + "-url x", "1: index" + "-url"),
    "unpinned": (rules.unpinned, "click>=8\n", "click>=8"),
    "unpinned by name": (rules.unpinned, "a==1\nclick\n", "click"),
    "address in requirements": (
        rules.unpinned,
        f"click @ https://{_HOST}/click.whl\n",
        f"click @ https://{_HOST}/click.whl",
    ),
}


@pytest.mark.parametrize(("rule", "text", "complaint"), _BAD.values(), ids=_BAD.keys())
def test_rule_notices_a_bad_sample(rule: Rule, text: str, complaint: str) -> None:
    assert rule(text) == [complaint]


_GOOD = {
    "long enough": (rules.long_functions, _function(70)),
    "file at the limit": (rules.long_file, "x = 1\n" * 500),
    "docstring": (rules.missing_docstring, '"""What for."""\n'),
    "empty module": (rules.missing_docstring, ""),
    "part of a name": (rules.unfinished, "waits for" + " now_ms"),
    "relative path": (rules.machine_paths, "../shared/tmp/x and docs/work/y and a/home/b"),
    "own machine": (rules.foreign_hosts, "http://127.0.0.1:5103/metrics and http://{host}/x"),
    "pins": (rules.unpinned, "click==8.1\ntypes-PyYAML==6.0.12.2026\n\n"),
}


@pytest.mark.parametrize(("rule", "text"), _GOOD.values(), ids=_GOOD.keys())
def test_rule_lets_a_good_sample_pass(rule: Rule, text: str) -> None:
    assert rule(text) == []


def test_complaints_name_their_file() -> None:
    assert _broken(rules.long_file, {"a.py": "", "b.py": "x = 1\n" * 501}) == ["b.py: 501 lines"]


def test_a_broken_link_is_noticed() -> None:
    pages = {"b.md": "# Second page\n\n## Its `part`\n"}
    text = "# First\n[a](b.md) [b](b.md#its-part) [c](#first) [d](https://localhost/x)\n"
    assert rules.broken_links(text, pages.get) == []
    text = "[a](c.md) [b](b.md#other) [c](#gone)\n```\n[not a link](nowhere.md)\n```\n"
    assert rules.broken_links(text, pages.get) == [
        "c.md: no such file",
        "b.md#other: no such heading",
        "#gone: no such heading",
    ]


def test_an_unknown_target_is_noticed() -> None:
    makefile = "demo: x ## Show\n\t@echo\n"
    text = "Do make sense.\n```\nmake demo\nmake cake\n```\nThen `make tea`.\n"
    assert rules.unknown_targets(text, makefile) == ["cake", "tea"]


def test_a_dependency_without_a_reason_is_noticed() -> None:
    architecture = (
        "# A\n| room | what |\n|---|---|\n| grpcio | no reason, another table |\n"
        "\n## Dependencies and why\n\n| package | why |\n|---|---|\n"
        "| PyYAML, click | they fit |\n| old_one | was nice |\n"
        "| SQLite (standard library) | log |\n"
    )
    names = {"pyyaml", "click", "grpcio"}
    assert rules.without_reason(names, architecture) == ["grpcio"]
    assert rules.reason_without_use(names, architecture) == ["old-one"]


def test_dependencies_are_found_in_every_place() -> None:
    pyproject = (
        '[build-system]\nrequires = ["hatchling>=1"]\n[project]\ndependencies = ["PyYAML>=6.0"]\n'
        '[project.optional-dependencies]\ndev = ["types_a", "b[x]>=1; python_version<\'4\'"]\n'
    )
    assert rules.dependencies(pyproject) == {"hatchling", "pyyaml", "types-a", "b"}
    assert rules.pinned("PyYAML==6.0\ntypes_a==1\n") == {"pyyaml", "types-a"}
