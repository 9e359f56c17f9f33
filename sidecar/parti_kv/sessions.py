"""Client sessions: they make every write that is sent again count once, and hold locks.

A client numbers the writes of its session. The answer to each is kept until the client says that it
has it, or the session ends: a write with a known number changes nothing and gets the answer again.
So it does not matter how often a write enters the log, through whom, or whether a snapshot lies
between. Writes that changed nothing because they were refused are not kept: sent again, they may
succeed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parti_kv.limits import ANSWERS_KEPT_MAX, DEDUP_WINDOW, RECORD_OVERHEAD_BYTES, SESSIONS_MAX
from parti_kv.values import NO_SESSION, Answer, SessionId, Status


@dataclass(slots=True)
class Session:
    """One client's session."""

    id: SessionId
    nonce: int
    ttl_ms: int
    kept_from: int = 0  # answers to earlier writes are forgotten
    answers: dict[int, Answer] = field(default_factory=dict)  # by seq
    locks: dict[bytes, None] = field(default_factory=dict)  # held or waited for, in order


class Sessions:
    """The open sessions. Ids rise and are never used again."""

    __slots__ = ("_by_nonce", "answers_kept", "last_id", "open", "size_bytes")

    def __init__(self, last_id: SessionId = NO_SESSION) -> None:
        self.open: dict[SessionId, Session] = {}
        self.last_id = last_id
        self.size_bytes = 0
        self.answers_kept = 0
        self._by_nonce: dict[int, SessionId] = {}

    def begin(self, nonce: int, ttl_ms: int) -> SessionId | None:
        """The session of this nonce, opened if there is none; None if there are too many."""
        known = self._by_nonce.get(nonce)
        if known is not None:
            return known
        if len(self.open) >= SESSIONS_MAX:
            return None
        self.last_id = SessionId(self.last_id + 1)
        self.add(Session(self.last_id, nonce, ttl_ms))
        return self.last_id

    def add(self, session: Session) -> None:
        """Take over a session with all that is kept of it."""
        self.open[session.id] = session
        self._by_nonce[session.nonce] = session.id
        self.answers_kept += len(session.answers)
        results = sum(len(result) for _, _, result in session.answers.values())
        self.size_bytes += RECORD_OVERHEAD_BYTES + results

    def end(self, session_id: SessionId) -> Session | None:
        """Forget a session; gives what it was."""
        session = self.open.pop(session_id, None)
        if session is None:
            return None
        del self._by_nonce[session.nonce]
        self._forget(session, list(session.answers))
        self.size_bytes -= RECORD_OVERHEAD_BYTES
        return session

    def acknowledge(self, session: Session, below: int) -> None:
        """The client has the answers to all writes below this number."""
        if below <= session.kept_from:
            return
        answers = session.answers
        if below - session.kept_from <= len(answers):
            gone = [seq for seq in range(session.kept_from, below) if seq in answers]
        else:
            gone = [seq for seq in answers if seq < below]
        session.kept_from = below
        self._forget(session, gone)

    def refusal(self, session: Session, seq: int) -> Status | None:
        """Why a write without a known answer must not be done, if it must not."""
        if seq < session.kept_from:
            return Status.FORGOTTEN
        if seq >= session.kept_from + DEDUP_WINDOW or self.answers_kept >= ANSWERS_KEPT_MAX:
            return Status.WINDOW_FULL
        return None

    def remember(self, session: Session, seq: int, answer: Answer) -> None:
        """Keep the answer to a write that was done."""
        session.answers[seq] = answer
        self.answers_kept += 1
        self.size_bytes += len(answer[2])

    def check_invariants(self) -> None:
        """Assert what must hold between commands."""
        kept = size_bytes = 0
        for session_id, session in self.open.items():
            assert session.id == session_id <= self.last_id, session
            assert self._by_nonce[session.nonce] == session_id, session
            assert len(session.answers) <= DEDUP_WINDOW, len(session.answers)
            assert all(
                session.kept_from <= seq < session.kept_from + DEDUP_WINDOW
                for seq in session.answers
            ), session
            kept += len(session.answers)
            size_bytes += sum(len(result) for _, _, result in session.answers.values())
        assert len(self._by_nonce) == len(self.open), "a nonce names one open session"
        assert kept == self.answers_kept <= ANSWERS_KEPT_MAX, (kept, self.answers_kept)
        size_bytes += RECORD_OVERHEAD_BYTES * len(self.open)
        assert size_bytes == self.size_bytes, (size_bytes, self.size_bytes)

    def _forget(self, session: Session, seqs: list[int]) -> None:
        for seq in seqs:
            _, _, result = session.answers.pop(seq)
            self.size_bytes -= len(result)
        self.answers_kept -= len(seqs)
