"""The command: files found, verdicts compared, totals and exit codes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lincheck import judge as judging
from tests.lincheck.__main__ import main
from tests.lincheck.files import history_files, judge_file

_WRITE = "INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 :ok :write 1\n"
_READ = "INFO  jepsen.util - 0 :invoke :read nil\nINFO  jepsen.util - 0 :ok :read "
_GOOD, _BAD = f"{_WRITE}{_READ}1\n", f"{_WRITE}{_READ}nil\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "register").mkdir()
    (tmp_path / "register" / "good.log").write_text(_GOOD)
    (tmp_path / "register" / "bad.log").write_text(_BAD)
    (tmp_path / "README.md").write_text("not a history")
    return tmp_path


def _run(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["lincheck", *map(str, paths)])
    return main()


def _give(folder: Path, good: str, bad: str) -> None:
    text = f"register/good.log {good}\n\nregister/bad.log {bad}\n"
    (folder / "verdicts.txt").write_text(text)


def test_right_verdicts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _give(folder, "linearizable", "not-linearizable")
    assert _run(monkeypatch, folder) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}/register/bad.log not-linearizable",
        f"{folder}/register/good.log linearizable",
        "2 passed, 0 failed",
    ]


def test_verdicts_are_found_above_a_single_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _give(folder, "linearizable", "linearizable")
    assert _run(monkeypatch, folder / "register" / "bad.log") == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{folder}/register/bad.log not-linearizable (expected linearizable)",
        "0 passed, 1 failed",
    ]
    assert "no place for Operation(" in said.err


def test_without_verdicts_files_are_only_judged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, folder) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "0 passed, 0 failed, 2 judged without a given verdict"


def test_what_cannot_be_read_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "register" / "good.log").write_bytes(b"\xff")
    assert _run(monkeypatch, folder / "register" / "good.log", folder / "gone.log") == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}/register/good.log unreadable",
        f"{folder}/gone.log unreadable",
        "0 passed, 2 failed",
    ]


def test_undecided_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hard = "".join(f"INFO  jepsen.util - {at} :invoke :write {at}\n" for at in range(20))
    hard += "".join(f"INFO  jepsen.util - {at} :ok :write {at}\n" for at in range(20))
    path = folder / "register" / "good.log"
    path.write_text(hard)
    assert not judge_file(path).failed
    monkeypatch.setattr(judging.judge, "__defaults__", (10,))
    result = judge_file(path)
    assert result.failed
    assert result.line() == f"{path} undecided"


def test_damaged_verdicts_end_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _give(folder, "fine", "linearizable")
    with pytest.raises(SystemExit) as ended:
        _run(monkeypatch, folder)
    assert ended.value.code == 2
    assert "verdicts.txt line 1: not a name and a verdict" in capsys.readouterr().err


def test_a_folder_without_histories_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        _run(monkeypatch, tmp_path)
    assert ended.value.code == 2


def test_a_file_named_twice_is_judged_once(folder: Path) -> None:
    assert len(history_files([folder, folder / "register" / "good.log"])) == 2
