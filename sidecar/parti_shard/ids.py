"""Identifiers of sharding. All are integers; 0 means "none" for members, sessions and epochs."""

from __future__ import annotations

from typing import NewType

from parti_raft.types import NO_MEMBER, LogIndex, MemberId, Term

PartitionId = NewType("PartitionId", int)
Epoch = NewType("Epoch", int)
SessionId = NewType("SessionId", int)
# A stream that messages enter at: of a client, or of a peer's forwards. Local to one sidecar run.
StreamId = NewType("StreamId", int)
# One attachment of an application process. Local to one sidecar run.
WorkerId = NewType("WorkerId", int)

NO_SESSION = SessionId(0)
NO_EPOCH = Epoch(0)
NO_WORKER = WorkerId(0)
BY_KEY = PartitionId(0xFFFFFFFF)

__all__ = [
    "BY_KEY",
    "NO_EPOCH",
    "NO_MEMBER",
    "NO_SESSION",
    "NO_WORKER",
    "Epoch",
    "LogIndex",
    "MemberId",
    "PartitionId",
    "SessionId",
    "StreamId",
    "Term",
    "WorkerId",
]
