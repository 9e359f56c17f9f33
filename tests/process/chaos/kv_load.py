"""Operations on the key-value store, by several processes on every sidecar, as a history to judge.

A process does one thing at a time. Values are unique, so a value stands for its revision: a
compare-and-set by revision is one by value to the checker. Keys are given up after some operations,
so that each history is short enough to be searched, however many outcomes are unknown.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import parti
from parti.kv import Entry
from tests.lincheck.history import History, Recorder
from tests.lincheck.steps import VARIOUS, Cas, CasRefused, Read, State, Various, Write

KEYS: Final = 8  # in use at once
OPERATIONS_PER_KEY: Final = 120
TIMEOUT_S: Final = 10.0
_ABSENT: Final = None


@dataclass(frozen=True, slots=True)
class Removed:
    """A delete that answered that there was something."""

    @property
    def observes(self) -> bool:
        return False

    @property
    def needs(self) -> State | Various:
        return VARIOUS

    @property
    def gives(self) -> State | Various:
        return _ABSENT

    def allows(self, state: State) -> bool:
        return state is not _ABSENT

    def after(self, state: State) -> State:
        return _ABSENT


@dataclass(slots=True)
class KvHistory:
    """What all processes do and see; `name` makes the keys its own."""

    name: str
    recorder: Recorder = field(default_factory=Recorder)
    outcomes: Counter[str] = field(default_factory=Counter)
    _uses: Counter[int] = field(default_factory=Counter)
    _values: int = 0

    def key(self, chance: random.Random) -> str:
        """One of the keys in use."""
        slot = chance.randrange(KEYS)
        self._uses[slot] += 1
        return f"{self.name}/{slot}/{self._uses[slot] // OPERATIONS_PER_KEY}"

    def value(self) -> bytes:
        """A value that nobody else writes."""
        self._values += 1
        return b"%d" % self._values

    def history(self) -> History:
        return self.recorder.history()


class KvProcess:
    """One process of the history."""

    def __init__(self, name: str, client: parti.Client, history: KvHistory, seed: int) -> None:
        self._name = name
        self._kv = client.kv
        self._history = history
        self._recorder = history.recorder
        self._chance = random.Random(seed)
        self._seen: dict[str, tuple[bytes | None, int]] = {}  # value and revision

    async def run(self, pause_s: float, is_over: Callable[[], bool]) -> None:
        """Do one thing after the other, with pauses of so much on average."""
        while not is_over():
            await self.act()
            await asyncio.sleep(pause_s * 2 * self._chance.random())

    async def act(self) -> None:
        """Do one thing."""
        key = self._history.key(self._chance)
        act = self._chance.choices((self._get, self._put, self._cas, self._delete), (8, 5, 6, 1))[0]
        try:
            await act(key)
        except parti.NotExecuted as error:
            self._recorder.fail(self._name)
            self._history.outcomes[f"refused {error.reason.name}"] += 1
        except parti.UnknownOutcome as error:
            self._recorder.unknown(self._name)
            self._history.outcomes[f"unknown {error.reason.name}"] += 1
        else:
            self._history.outcomes["answered"] += 1

    async def _get(self, key: str) -> None:
        self._recorder.invoke(self._name, key)
        entry: Entry | None = await self._kv.get(key, timeout=TIMEOUT_S)
        self._recorder.ok(self._name, Read(entry.value if entry else None))
        self._seen[key] = (entry.value, entry.revision) if entry else (None, 0)

    async def _put(self, key: str) -> None:
        value = self._history.value()
        self._recorder.invoke(self._name, key, Write(value))
        revision = await self._kv.put(key, value, timeout=TIMEOUT_S)
        self._recorder.ok(self._name)
        self._seen[key] = (value, revision)

    async def _cas(self, key: str) -> None:
        value, (expected, revision) = self._history.value(), self._seen.get(key, (None, 0))
        self._recorder.invoke(self._name, key, Cas(expected, value))
        result = await self._kv.cas(key, value, expect=revision, timeout=TIMEOUT_S)
        if result.ok:
            self._recorder.ok(self._name)
            self._seen[key] = (value, result.revision)
        else:
            self._recorder.fail(self._name, CasRefused(expected))

    async def _delete(self, key: str) -> None:
        self._recorder.invoke(self._name, key, Write(None))
        removed = await self._kv.delete(key, timeout=TIMEOUT_S)
        self._recorder.ok(self._name, Removed() if removed else Read(None))
        self._seen[key] = (None, 0)
