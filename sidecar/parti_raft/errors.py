"""Errors the outside world can cause; a violated internal invariant is an `AssertionError`.

Every error carries a reason that code can branch on; the text is for people.
"""

from __future__ import annotations

from enum import Enum


class RaftError(Exception):
    """Root of the errors of this package."""


class ConfigError(RaftError):
    """The configuration contradicts itself or the storage."""


class LogDamagedError(RaftError):
    """The durable log misses or contradicts entries it has acknowledged: stop, never go on."""


class CompactedError(RaftError):
    """The wanted entries were compacted into a snapshot."""


class UnavailableError(RaftError):
    """The wanted entries do not exist (yet)."""


class SnapshotUnavailableError(RaftError):
    """The storage has no snapshot ready at this moment; ask again later."""


class SnapshotOutdatedError(RaftError):
    """The storage holds a newer snapshot than the given one."""


class InvalidMessageError(RaftError):
    """A message breaks the peer protocol and was not processed."""


class LocalMessageError(InvalidMessageError):
    """A message that only a member's own storage or clock may send came from the network."""


class UnknownPeerError(InvalidMessageError):
    """A response came from a member that is not part of the configuration."""


class MalformedConfChangeError(InvalidMessageError):
    """The bytes of a configuration change cannot be decoded."""


class DropReason(Enum):
    """Why a proposal or a read was dropped; it certainly has no effect."""

    NO_LEADER = "no leader is known"
    FORWARDING_DISABLED = "not the leader and forwarding is disabled"
    TRANSFER_IN_PROGRESS = "leadership is being transferred"
    REMOVED = "this leader is not a member any more"
    UNCOMMITTED_LIMIT = "too many uncommitted bytes"
    READ_LIMIT = "too many unconfirmed reads"


class DroppedError(RaftError):
    """A request was dropped before it had any effect."""

    def __init__(self, reason: DropReason) -> None:
        """Keep the reason for callers that branch on it."""
        super().__init__(reason.value)
        self.reason = reason


class ProposalDropped(DroppedError):  # noqa: N818  (the field's standard term)
    """A proposal was not appended anywhere."""


class ReadDropped(DroppedError):  # noqa: N818  (as ProposalDropped)
    """A read request will never be answered."""


class ConfChangeReason(Enum):
    """Why a configuration change is not possible on the configuration at hand."""

    ALREADY_JOINT = "the configuration is already joint"
    NO_VOTERS_TO_JOIN = "a configuration without voters cannot become joint"
    NOT_JOINT = "the configuration is not joint"
    SIMPLE_IN_JOINT = "a simple change is not possible in a joint configuration"
    TOO_MANY_VOTERS_CHANGED = "more than one voter would change without a joint configuration"
    NO_VOTERS_LEFT = "no voter would be left"


class ConfChangeError(RaftError):
    """A configuration change does not fit the configuration it is applied to."""

    def __init__(self, reason: ConfChangeReason) -> None:
        """Keep the reason for callers that branch on it."""
        super().__init__(reason.value)
        self.reason = reason
