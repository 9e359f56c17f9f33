from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.kube.testbed.commands import TestbedError, run, succeeds, tail, wait_for


def test_run_returns_what_was_printed() -> None:
    assert run([sys.executable, "-c", "print(input())"], given="hello") == "hello\n"


def test_a_failure_tells_the_command_its_status_and_its_last_words() -> None:
    program = "import sys; sys.stderr.write('x' * 5000 + 'the reason'); sys.exit(3)"
    with pytest.raises(TestbedError, match=r"ended with 3:\nx+the reason$") as raised:
        run([sys.executable, "-c", program])
    assert len(str(raised.value)) < 3000


def test_a_command_that_takes_too_long_is_ended() -> None:
    program = "import time; print('began', flush=True); time.sleep(60)"
    with pytest.raises(TestbedError, match=r"took over 1 s:\nbegan"):
        run([sys.executable, "-c", program], deadline_s=1)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(TestbedError, match="`no-such-program` is not there"):
        run(["no-such-program"])
    assert not succeeds(["no-such-program"])
    assert succeeds(["true"])


def test_waiting_returns_the_answer() -> None:
    answers = iter(["", "", "yes"])
    assert wait_for(lambda: next(answers), 10, "an answer", poll_s=0) == "yes"


def test_waiting_in_vain_names_what_never_came_and_what_was_there() -> None:
    with pytest.raises(TestbedError, match=r"in vain for rain\nseen instead:\nsunshine"):
        wait_for(lambda: False, 0, "rain", poll_s=0, seen=lambda: "sunshine")


def test_the_end_of_a_log_or_why_there_is_none(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert "no log" in tail(log)
    log.write_text("a" * 9000 + "end")
    assert tail(log).endswith("aend")
    assert len(tail(log)) == 2000
