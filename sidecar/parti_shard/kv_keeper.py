"""The leader's side of the store: which client sessions are silent for too long.

The argument is that of the members' leases (`lease`). A client counts from before it sent its
keep-alive, for its TTL less 2 %. The leader answers only after a read round that began when the
keep-alive had arrived, which proves that it led then; it expires a session only when the TTL and
2 % have passed since the last receipt, and a new leader counts every session as kept alive when it
takes over. So the session still stands, with its locks, as long as the client's own count says.
What a client does *after* that is not stopped here: that is what fencing tokens are for.
"""

from __future__ import annotations

from collections.abc import Sequence

from parti_kv.store import KvStore
from parti_kv.values import SessionId
from parti_shard.lease import keeper_term_ms

SCAN_EVERY_MS = 250  # sessions end this much late at most
EXPIRIES_MAX = 256  # proposed at once
PROPOSE_AGAIN_MS = 2_000


class KvKeeper:
    """Useless and empty while this member does not lead."""

    def __init__(self, store: KvStore) -> None:
        self._store = store
        self._heard_ms: dict[SessionId, int] = {}
        self._ending: dict[SessionId, int] = {}  # until when it is not proposed again
        self._scan_at_ms = 0
        self.expired = 0

    def became_leader(self, now_ms: int) -> None:
        """Count every open session as kept alive now."""
        self.lost_leadership()
        self._heard_ms = dict.fromkeys(self._store.sessions.open, now_ms)
        self._scan_at_ms = now_ms

    def lost_leadership(self) -> None:
        """Forget everything: what is known here counts in this term alone."""
        self._heard_ms.clear()
        self._ending.clear()

    def heard(self, sessions: Sequence[SessionId], now_ms: int) -> tuple[bool, ...]:
        """Clients have kept these alive; says which of them are not over, or about to be."""
        alive = []
        for session in sessions:
            lives = session in self._store.sessions.open and session not in self._ending
            if lives:
                self._heard_ms[session] = now_ms
            alive.append(lives)
        return tuple(alive)

    def take_silent(self, now_ms: int) -> list[SessionId]:
        """The sessions to expire now. They are not kept alive any more, whatever comes."""
        if now_ms < self._scan_at_ms:
            return []
        self._scan_at_ms = now_ms + SCAN_EVERY_MS
        sessions = self._store.sessions.open
        self._forget_ended()
        silent: list[SessionId] = []
        for session_id, session in sessions.items():
            heard_ms = self._heard_ms.setdefault(session_id, now_ms)
            if now_ms - heard_ms < keeper_term_ms(session.ttl_ms):
                continue
            if now_ms >= self._ending.get(session_id, 0) and len(silent) < EXPIRIES_MAX:
                self.expired += session_id not in self._ending
                self._ending[session_id] = now_ms + PROPOSE_AGAIN_MS
                silent.append(session_id)
        return silent

    def _forget_ended(self) -> None:
        sessions = self._store.sessions.open
        for known in (self._heard_ms, self._ending):
            for session in [each for each in known if each not in sessions]:
                del known[session]
