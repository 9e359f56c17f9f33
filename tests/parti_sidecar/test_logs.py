"""Log lines: one per event, values kept apart from the sentence, nothing breaks a line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from parti_sidecar.logs import LogFormat, LogLevel, event, set_up_logs


@pytest.fixture(autouse=True)
def _own_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def set_up(form: LogFormat, level: LogLevel = LogLevel.INFO) -> io.StringIO:
    stream = io.StringIO()
    set_up_logs(form, level, context={"member": "m1"}, stream=stream)
    return stream


def failure() -> ValueError:
    try:
        int("broken")
    except ValueError as error:
        return error
    raise AssertionError("int takes words")


def test_json_has_sentence_context_and_values() -> None:
    stream = set_up(LogFormat.JSON)
    event(logging.getLogger("parti.x"), "partition granted", partition=7, words='a\n"b"')
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "parti.x",
        "event": "partition granted",
        "member": "m1",
        "partition": 7,
        "words": 'a\n"b"',
    }
    assert stream.getvalue().count("\n") == 1


def test_json_keeps_a_traceback_in_its_line() -> None:
    stream = set_up(LogFormat.JSON)
    event(logging.getLogger("x"), "failed", level=logging.ERROR, error=failure())
    line = json.loads(stream.getvalue())
    assert line["level"] == "error"
    assert "ValueError: invalid literal" in line["traceback"]


def test_human_lines_quote_what_would_confuse() -> None:
    stream = set_up(LogFormat.HUMAN)
    event(logging.getLogger("x"), "moved", partition=7, reason="no worker", text="a\nb", empty="")
    _, _, rest = stream.getvalue().partition(" ")
    assert rest == 'INFO    moved member=m1 partition=7 reason="no worker" text=a\\nb empty=""\n'


def test_human_tracebacks_follow_the_line() -> None:
    stream = set_up(LogFormat.HUMAN)
    event(logging.getLogger("x"), "failed", error=failure())
    first, _, others = stream.getvalue().partition("\n")
    assert first.endswith("failed member=m1")
    assert "ValueError: invalid literal" in others


def test_events_below_the_level_are_not_written() -> None:
    stream = set_up(LogFormat.HUMAN, LogLevel.WARNING)
    event(logging.getLogger("x"), "detail")
    event(logging.getLogger("x"), "trouble", level=logging.WARNING)
    assert "detail" not in stream.getvalue()
    assert "trouble" in stream.getvalue()


def test_lines_of_libraries_have_the_same_shape() -> None:
    stream = set_up(LogFormat.JSON)
    logging.getLogger("library").warning("%s happened", "this")
    assert json.loads(stream.getvalue())["event"] == "this happened"


def test_setting_up_twice_writes_each_line_once() -> None:
    set_up(LogFormat.JSON)
    stream = set_up(LogFormat.JSON)
    event(logging.getLogger("x"), "once")
    assert stream.getvalue().count("once") == 1


def test_a_value_must_not_hide_what_every_line_has() -> None:
    set_up(LogFormat.JSON)
    with pytest.raises(AssertionError, match="reserved"):
        event(logging.getLogger("x"), "e", time=1)
