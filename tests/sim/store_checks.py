"""What users of the store saw is linearizable, and each write counts at most once."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

from parti_kv.store import KvStore
from parti_kv.values import NO_REVISION, Revision
from tests.lincheck.history import Recorder
from tests.lincheck.judge import Verdict, judge

KEYS: Final = 2  # in use at once
OPERATIONS_PER_KEY: Final = 60  # then another takes its place, so that histories stay short
CHANGES_MAX: Final = 10_000  # of one entry
STATES_MAX: Final = 200_000


class StoreChecks:
    """All users of one run. Values are unique, so each stands for the write that wrote it."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self._uses: Counter[int] = Counter()
        self._values = 0
        self._seen = NO_REVISION
        self._written: dict[bytes, Revision] = {}
        self._refused: set[bytes] = set()
        self._tokens: dict[int, int] = {}  # fencing token -> session

    def key(self, rng: Random) -> bytes:
        slot = rng.randrange(KEYS)
        self._uses[slot] += 1
        return b"%d/%d" % (slot, self._uses[slot] // OPERATIONS_PER_KEY)

    def value(self) -> bytes:
        self._values += 1
        return b"%d" % self._values

    def first_applied(self, store: KvStore) -> None:
        """An entry takes effect for the first time anywhere."""
        if store.revision == self._seen:
            return
        changes, _ = store.history.after(self._seen, b"", CHANGES_MAX)
        assert len(changes) < CHANGES_MAX, "more changes than one entry can make"
        self._seen = store.revision
        for change in changes:
            if change.value is not None:
                before = self._written.setdefault(change.value, change.revision)
                assert before == change.revision, f"{change} was written at {before} before"
                assert change.value not in self._refused, f"{change} was told as not executed"

    def acknowledged(self, value: bytes, revision: int) -> None:
        """Nobody is told of a write that is not committed."""
        written = self._written.get(value)
        assert written == revision, f"{value!r} acknowledged at {revision}, is at {written}"

    def refused(self, value: bytes) -> None:
        if value:
            assert value not in self._written, f"{value!r} was told as not executed, and is"
            self._refused.add(value)

    def locked(self, session: int, token: int) -> None:
        holder = self._tokens.setdefault(token, session)
        assert holder == session, f"token {token} is of sessions {holder} and {session}"

    def given_up(self, user: str) -> None:
        """A user is gone with what it was doing."""
        if user in self.recorder._open:
            self.recorder.unknown(user)

    def judge(self) -> str:
        """The verdict on the whole history, which must be good."""
        judgement = judge(self.recorder.history(), STATES_MAX)
        assert judgement.verdict is not Verdict.NOT_LINEARIZABLE, judgement.story()
        verdict: str = judgement.verdict.value
        return verdict
