"""A member that was taken out of its cluster."""

from __future__ import annotations

REMOVED = (
    "this member was removed from its cluster; empty the data directory, or set "
    "rejoin_after_removal, and it can join as a new one"
)


class RemovedError(Exception):
    """This member was taken out of the cluster by an operator."""

    def __init__(self) -> None:
        super().__init__(REMOVED)
