"""The one error of the store: bytes that do not follow its format."""

from __future__ import annotations


class MalformedKvError(ValueError):
    """A command, answer or snapshot cannot be read. Nothing of it counts."""


class HistoryCompactedError(Exception):
    """Changes after this revision are asked for, and some of them are not kept any more."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"changes after revision {asked} are gone, {oldest} is the oldest kept")
        self.asked = asked
        self.oldest = oldest
