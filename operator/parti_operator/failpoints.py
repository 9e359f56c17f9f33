"""A failpoint ends the process before or after an action, so that tests can crash it anywhere.

`PARTI_OPERATOR_FAILPOINT=before:SetIntent#2` ends the process just before the second action of that
name is carried out; `after:` just after, when its effect is there and nothing has recorded it. The
variable is read once at start; without it a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "PARTI_OPERATOR_FAILPOINT"
EXIT_FAILPOINT: Final = 86
_FORM = re.compile(r"(before|after):([A-Za-z]+)(?:#([1-9]\d*))?")


class FailpointError(Exception):
    """The variable does not name a failpoint."""


def _end_process() -> None:
    os._exit(EXIT_FAILPOINT)


class Failpoints:
    """At most one failpoint, which counts how often it was passed."""

    def __init__(self, text: str = "", crash: Callable[[], None] = _end_process) -> None:
        self._armed: tuple[str, str, int] | None = None
        self._crash = crash
        self._passed: Counter[tuple[str, str]] = Counter()
        if text:
            found = _FORM.fullmatch(text)
            if found is None:
                raise FailpointError(f"{VARIABLE}: {text!r} is not like before:SetIntent#2")
            self._armed = (found[1], found[2], int(found[3] or 1))

    def before(self, action: str) -> None:
        self._pass("before", action)

    def after(self, action: str) -> None:
        self._pass("after", action)

    def _pass(self, moment: str, action: str) -> None:
        if self._armed is None:
            return
        self._passed[moment, action] += 1
        if self._armed == (moment, action, self._passed[moment, action]):
            self._crash()
