"""Parsers of the two text forms of histories that exist outside.

- A register, absent at first: `INFO  jepsen.util - PROCESS :invoke|:ok|:fail|:info :F VALUE`.
- A string per key, empty at first: `{:process P, :type :T, :f :F, :key "K", :value VALUE}`.

Both speak the same words, so a line becomes one `Event` and the rest is common. A value is `nil`, a
number, a string, or a pair `[expected new]`; a keyword such as `:timed-out` is a reason and no
value. The parsers are strict: a line that is not understood is an error, not a line less.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lincheck.history import History, HistoryError, Recorder
from tests.lincheck.steps import Append, Cas, CasRefused, Read, Step, Write

_REGISTER = re.compile(r"INFO\s+jepsen\.util\s+-\s+(\S+)\s+:(\w+)\s+:(\w+)\s+(.*\S)\s*")
_KEYED = re.compile(
    r"\{:process (\S+), :type :(\w+), :f :(\w+), :key (\"(?:[^\"\\]|\\.)*\"), :value (.*)\}\s*"
)
_SCALAR = r'nil|-?\d+|"(?:[^"\\]|\\.)*"'
_VALUE = re.compile(rf"({_SCALAR})|\[({_SCALAR})\s+({_SCALAR})\]|(:[\w-]+)")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}

Scalar = str | None
Pair = tuple[Scalar, Scalar]


@dataclass(frozen=True, slots=True)
class Reason:
    """Stands where a value would, and says why there is none."""

    keyword: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history."""

    process: str
    type: str
    action: str
    key: Scalar
    value: Scalar | Pair | Reason


def parse(text: str) -> History:
    """Read a history in either form, told by its first line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    keyed = bool(lines) and lines[0][1].startswith("{")
    recorder = Recorder(initial="" if keyed else None)
    invoked: dict[str, Event] = {}
    for number, line in lines:
        try:
            event = _keyed_event(line) if keyed else _register_event(line)
            _record(recorder, invoked, event)
        except HistoryError as error:
            raise HistoryError(f"line {number}: {error}") from None
    return recorder.history()


def _register_event(line: str) -> Event:
    found = _REGISTER.fullmatch(line)
    if found is None:
        raise HistoryError(f"not an event of a register: {line!r}")
    process, kind, action, value = found.groups()
    return Event(process, kind, action, None, _value(value))


def _keyed_event(line: str) -> Event:
    found = _KEYED.fullmatch(line)
    if found is None:
        raise HistoryError(f"not an event of a keyed store: {line!r}")
    process, kind, action, key, value = found.groups()
    return Event(process, kind, action, _scalar(key), _value(value))


def _value(text: str) -> Scalar | Pair | Reason:
    found = _VALUE.fullmatch(text)
    if found is None:
        raise HistoryError(f"not a value: {text}")
    single, expected, new, keyword = found.groups()
    if keyword is not None:
        return Reason(keyword)
    return _scalar(single) if single is not None else (_scalar(expected), _scalar(new))


def _scalar(text: str) -> Scalar:
    if text == "nil":
        return None
    if text.startswith('"'):
        return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text[1:-1])
    return text


def _record(recorder: Recorder, invoked: dict[str, Event], event: Event) -> None:
    """Tell the recorder what a line says."""
    if event.type == "invoke":
        recorder.invoke(event.process, event.key, _effect(event))
        invoked[event.process] = event
        return
    asked = invoked.pop(event.process, None)
    if asked is None:
        raise HistoryError(f"process {event.process}: an answer without a question")
    if (asked.action, asked.key) != (event.action, event.key):
        raise HistoryError(f"process {event.process}: the answer to another question")
    if event.type == "ok":
        recorder.ok(event.process, _answered(asked, event))
    elif event.type == "fail":
        recorder.fail(event.process, _refused(asked, event))
    elif event.type == "info":
        recorder.unknown(event.process)
    else:
        raise HistoryError(f"unknown type :{event.type}")


def _effect(event: Event) -> Step | None:
    """What an invoked operation does if it works; nothing, if it reads."""
    match event.action, event.value:
        case "read" | "get", _:
            return None
        case "write" | "put", str() | None as value:
            return Write(value)
        case "append", str(text):
            return Append(text)
        case "cas", (expected, new):
            return Cas(expected, new)
    raise HistoryError(f"unknown operation :{event.action} {event.value}")


def _answered(asked: Event, answer: Event) -> Step | None:
    """What the answer adds to the question; only a read learns something."""
    if isinstance(answer.value, Reason):
        raise HistoryError(f"an answer without a value: {answer.value.keyword}")
    if _effect(asked) is None:
        return Read(answer.value)
    if answer.value != asked.value:
        raise HistoryError(f"{asked.value} was asked, {answer.value} answered")
    return None


def _refused(asked: Event, answer: Event) -> Step | None:
    """A compare-and-set that fails with its values, not a reason, saw another value."""
    match asked.action, answer.value:
        case "cas", (expected, _):
            return CasRefused(expected)
    return None
