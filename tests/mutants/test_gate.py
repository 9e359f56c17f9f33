"""The gate itself: what it calls a kill, what it refuses to call one, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutants import gate
from tests.mutants.__main__ import ROOT, main, run
from tests.mutants.gate import Fate, is_a_finding, judge_all
from tests.mutants.mutant import Mutant, StaleMutantError
from tests.mutants.scratch import Failure, Scratch
from tests.mutants.table import FAST, MUTANTS
from tests.mutants.tree import unknown_tests

_CODE = """\
def limited(value):
    if value > 9:
        return 9
    return value


def checked(value):
    assert value >= 0, "the machine's own check"
    return value
"""
_TEST = """\
from parti_tiny import checked, limited


def test_limit():
    assert limited(10) == 9


def test_check():
    checked(1)
"""
_PROJECT = '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\n'


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one module and two tests; copies of it are made beside it."""
    root = tmp_path / "tiny"
    (root / "sidecar").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "sidecar" / "parti_tiny.py").write_text(_CODE)
    (root / "tests" / "test_tiny.py").write_text(_TEST)
    (root / "pyproject.toml").write_text(_PROJECT)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return root


def mutant(
    old: str,
    new: str,
    killers: Sequence[str] = ("tests/test_tiny.py::test_limit",),
    inside: str = "limited",
) -> Mutant:
    name = f"{new}, not {old}, in {inside}"
    return Mutant(name, "breaks it", "parti_tiny.py", inside, old, new, tuple(killers))


def judged(mutants: Sequence[Mutant], root: Path) -> int:
    """The exit code of the gate, which leaves nothing behind and the tree as it was."""
    before = _files(root)
    code = run(mutants, root, jobs=2)
    assert _files(root) == before
    assert list((root.parent / "scratch").iterdir()) == []
    return code


def _files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


# --- what becomes of a mutant


def test_what_is_a_kill_and_what_is_an_error_of_the_gate(tiny: Path) -> None:
    test_check = ("tests/test_tiny.py::test_check",)
    checks = 'assert value >= 0, "the machine\'s own check"'
    fates = {
        mutant("return 9", "return 8"): Fate.KILLED,
        mutant(checks, checks.replace(">=", "<"), test_check, "checked"): Fate.KILLED,
        mutant("return value", "return value + 1"): Fate.SURVIVED,
        # Wrong Python: whoever runs it notices, and that says nothing about the tests.
        mutant("return 9", "return nine"): Fate.BROKEN,
        mutant("return 9", "return 9 9"): Fate.BROKEN,
        mutant("return 9", "return 9 + None"): Fate.BROKEN,
        # The line is not there, is there twice, and the function is not there.
        mutant("return 10", "return 8"): Fate.BROKEN,
        mutant("return value", "return 8", inside=""): Fate.BROKEN,
        mutant("return 9", "return 6", inside="unlimited"): Fate.BROKEN,
    }
    verdicts = judge_all(list(fates), tiny, jobs=2, tell=lambda _line: None)
    assert {each.mutant: each.fate for each in verdicts} == fates
    assert [each.mutant for each in verdicts] == list(fates), "in the order of the table"


def test_all_killed_is_a_success(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judged([mutant("return 9", "return 8")], tiny) == 0
    assert "1 mutants in" in (said := capsys.readouterr().out)
    assert "1 killed, 0 survived, 0 broken" in said


def test_a_survivor_is_told_and_fails_the_gate(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survivor = mutant("return value", "return value + 1")
    assert judged([mutant("return 9", "return 8"), survivor], tiny) == 1
    said = capsys.readouterr().out
    assert f"  {survivor.name}: 1 tests pass" in said
    assert "1 killed, 1 survived, 0 broken" in said


def test_what_is_broken_is_told_and_fails_the_gate_otherwise(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged([mutant("return 10", "return 8")], tiny) == 2
    assert "limited: 0 lines are 'return 10'" in capsys.readouterr().out


# --- when it cannot judge


def test_tests_that_fail_anyway_kill_nothing(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny / "tests" / "test_tiny.py").write_text("def test_limit():\n    assert False\n")
    assert judged([mutant("return 9", "return 8")], tiny) == 2
    assert "without any sabotage fail: tests/test_tiny.py::test_limit" in capsys.readouterr().out


@pytest.mark.parametrize("killer", ["tests/test_tiny.py::test_more", "tests/test_more.py::test_it"])
def test_a_test_that_is_not_there_kills_nothing(
    tiny: Path, killer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged([mutant("return 9", "return 8", [killer])], tiny) == 2
    assert "the gate cannot judge" in capsys.readouterr().out


def test_a_test_that_is_skipped_kills_nothing(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny / "tests" / "test_tiny.py").write_text(
        "import pytest\n\n\ndef test_limit():\n    pytest.skip('not here')\n"
    )
    assert judged([mutant("return 9", "return 8")], tiny) == 2
    assert "did not run: tests/test_tiny.py::test_limit" in capsys.readouterr().out


def test_code_from_outside_of_the_copy_proves_nothing(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tiny.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "parti_tiny.py").write_text(_CODE)
    test = tiny / "tests" / "test_tiny.py"
    test.write_text(f"import sys\n\nsys.path.insert(0, {str(elsewhere)!r})\n\n{_TEST}")
    assert judged([mutant("return 9", "return 8")], tiny) == 2
    assert "parti_tiny came from" in capsys.readouterr().out


def test_a_run_that_is_interrupted_ends_and_leaves_nothing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Mutant] = []
    ended = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            ended.set()
            super().shutdown(wait=wait)

    def judge(each: Mutant, _copy: Scratch) -> gate.Verdict:
        begun.append(each)
        assert len(begun) == 1 or ended.wait(timeout=60)
        return gate.Verdict(each, Fate.KILLED, "", 0.0)

    def interrupt(line: str) -> None:
        if line.startswith("1/8"):
            raise KeyboardInterrupt

    monkeypatch.setattr(gate, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(gate, "judge", judge)
    mutants = [mutant("return 9", f"return {number}") for number in range(8)]
    with pytest.raises(KeyboardInterrupt):
        judge_all(mutants, tiny, jobs=1, tell=interrupt)
    assert len(begun) <= 2, "the others are not awaited"
    assert list((tiny.parent / "scratch").iterdir()) == []


def test_a_program_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.mutants", "longer-log-wins"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*/0/tree/pyproject.toml")):
            assert time.monotonic() < deadline, "no copy is made"
            assert program.poll() is None
            time.sleep(0.01)
        program.terminate()
        assert program.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        program.kill()
        program.wait()
    assert list(tmp_path.iterdir()) == []


# --- findings


@pytest.mark.parametrize(
    ("failure", "finding"),
    [
        (Failure("t", "call", frozenset({"builtins.AssertionError"}), "1 == 2"), True),
        (Failure("t", "call", frozenset({"builtins.Failed"}), "DID NOT RAISE"), True),
        (Failure("t", "call", frozenset({"parti_raft.errors.LogDamagedError"}), "lost"), True),
        (Failure("t", "call", frozenset({"builtins.Failed"}), "Timeout (>120.0s)"), False),
        (Failure("t", "setup", frozenset({"builtins.AssertionError"}), "1 == 2"), False),
        (Failure("t", "call", frozenset({"builtins.TypeError"}), "no argument"), False),
    ],
)
def test_what_is_a_finding(failure: Failure, finding: bool) -> None:  # noqa: FBT001
    assert is_a_finding(failure) is finding


# --- the command line


def test_the_table_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MUTANTS)
    assert main(["--list", "--fast"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(FAST)


def test_an_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-mutant"]) == 2
    assert "no-such-mutant" in capsys.readouterr().out


# --- the table


def test_there_are_enough_mutants_and_each_has_a_name() -> None:
    assert len(MUTANTS) >= 45
    assert 8 <= len(FAST) <= 10
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)
    assert len({(each.file, each.inside, each.old, each.new) for each in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("each", MUTANTS, ids=lambda each: each.name)
def test_the_line_is_there_once_and_what_replaces_it_is_python(each: Mutant) -> None:
    source = (ROOT / each.path).read_text()
    try:
        changed = each.applied(source)
    except StaleMutantError as error:
        pytest.fail(f"{error}: the table in tests/mutants has to follow the code")
    assert changed != source
    compile(changed, each.file, "exec")


def test_the_tests_that_shall_notice_exist() -> None:
    assert unknown_tests(ROOT, [test for each in MUTANTS for test in each.killers]) == []
    assert all(each.killers for each in MUTANTS)


@pytest.mark.timeout(300)
def test_a_few_mutants_are_killed_in_every_run_of_the_tests() -> None:
    lines: list[str] = []
    verdicts = judge_all(FAST, ROOT, jobs=1, tell=lines.append)
    assert [each.fate for each in verdicts] == [Fate.KILLED] * len(FAST), "\n".join(lines)
